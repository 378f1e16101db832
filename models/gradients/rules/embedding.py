"""``y = table[ids]``: nn.Embedding for tokens, positions and types."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from models.gradients.forms import LookupGradient
from models.gradients.recorder import Recorder
from models.gradients.rules.base import Rule, Site, first_argument, through
from models.gradients.rules.shared_rows import Backward, backward_of_shared_lookup


class EmbeddingRule(Rule):
    """Row v of ``G_i`` is the sum of b_it over the positions t of sample i that hold id v.

    Ids of shape ``(1, rows)`` are looked up once for the whole batch, as position ids are. Their output is
    expanded to the batch (a view, without memory) so that its gradient arrives per sample.
    """

    name = "embedding"

    def covers(self, module: nn.Module) -> bool:
        return (
            type(module).forward is nn.Embedding.forward
            and isinstance(module, nn.Embedding)
            and module.max_norm is None  # changes the table in the forward pass
            and not module.scale_grad_by_freq  # depends on batch mates
            and not module.sparse
        )

    def follows_batch(self, length: int, batch: int) -> bool:
        return length in (1, batch)

    def obstacle(self, site: Site, *args: Any, **kwargs: Any) -> str | None:
        ids = first_argument(args, kwargs)
        if ids.dim() == 2 and len(ids) == 1:
            return None
        return super().obstacle(site, *args, **kwargs)

    def forward(self, site: Site, *args: Any, **kwargs: Any) -> Tensor:
        ids = first_argument(args, kwargs)
        batch = site.recorder.batch_of(ids)
        module = site.module
        return through(_ObservedEmbedding, module.weight, ids, module.padding_idx, batch, site.recorder)

    def backward_batch_free(self, site: Site, values: Tensor, gradients: Tensor) -> Backward:
        return backward_of_shared_lookup(site.recorder, cast("nn.Embedding", site.module), values, gradients)


class _ObservedEmbedding(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, table: nn.Parameter, ids: Tensor, padding_idx: int | None, batch: int, recorder: Recorder
    ) -> Tensor:
        ctx.table, ctx.padding_idx, ctx.recorder = table, padding_idx, recorder
        ctx.save_for_backward(ids)
        output = functional.embedding(ids, table.detach(), padding_idx)
        return output.expand(batch, *output.shape[1:]) if len(ids) < batch else output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (ids,) = ctx.saved_tensors
        table: nn.Parameter = ctx.table
        summed = gradient.sum(0, keepdim=True) if len(ids) < len(gradient) else gradient
        total = torch.ops.aten.embedding_dense_backward(
            summed, ids, len(table), -1 if ctx.padding_idx is None else ctx.padding_idx, False
        )
        rows = gradient.reshape(len(gradient), -1, gradient.shape[-1])
        tokens = ids.reshape(len(ids), -1).expand(len(gradient), -1)
        recorder: Recorder = ctx.recorder
        recorder.observe(table, LookupGradient(tokens, rows, ctx.padding_idx))
        recorder.expect(table, total)
        return total, None, None, None, None
