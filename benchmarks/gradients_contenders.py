"""The training steps that the gradient benchmark compares; peers are imported only when they are asked for.

Each takes a model and returns a step: forward, backward, AdamW, and the per-sample gradient norms.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.gradients import GradientObserver
from models.gradients.native import torch_alone
from models.gradients.outer import OuterReduction
from models.gradients.rules import product

Batch = dict[str, Tensor]
Step = Callable[[Batch, Tensor], Tensor | None]


def _losses(model: Any, batch: Batch, labels: Tensor) -> Tensor:
    return F.cross_entropy(model(**batch).logits, labels, reduction="none")


def plain(model: nn.Module) -> Step:
    """No scores: what everything else is measured against."""
    optimizer = torch.optim.AdamW(model.parameters(), 1e-5)

    def step(batch: Batch, labels: Tensor) -> None:
        optimizer.zero_grad()
        _losses(model, batch, labels).mean().backward()
        optimizer.step()

    return step


def _observed(model: nn.Module, *, with_dots: bool) -> Step:
    optimizer = torch.optim.AdamW(model.parameters(), 1e-5)
    observer = GradientObserver(model)
    observer.__enter__()  # for the life of the process
    if with_dots:
        generator = torch.Generator().manual_seed(0)
        named = model.named_parameters()
        observer.set_direction({name: torch.randn(p.shape, generator=generator) for name, p in named})

    def step(batch: Batch, labels: Tensor) -> Tensor:
        optimizer.zero_grad()
        _losses(model, batch, labels).mean().backward()
        norms = observer.take(1 / len(labels)).norms
        optimizer.step()
        return norms

    return step


def ours(model: nn.Module) -> Step:
    return _observed(model, with_dots=False)


def ours_with_dots(model: nn.Module) -> Step:
    return _observed(model, with_dots=True)


def ours_torch_alone(model: nn.Module) -> Step:
    """Without the compiled kernels, as on a machine that has no C compiler."""
    observed = _observed(model, with_dots=False)

    def step(batch: Batch, labels: Tensor) -> Tensor | None:
        with torch_alone():
            return observed(batch, labels)

    return step


def plain_row_skipping(model: nn.Module) -> Step:
    """The plain step with our layers' row skipping and no norms of weights, for fairness."""
    observed = _observed(model, with_dots=False)

    def total_alone(a: Tensor, b: Tensor, _direction: Any, *, spans: Any = None, **_: Any) -> Any:
        if spans is not None and spans.are_few:
            total = spans.gathered(b).mT @ spans.gathered(a)
        elif spans is not None:
            total = b.new_zeros(b.shape[2], a.shape[2])
            for rows_a, rows_b in zip(spans.segments(a), spans.segments(b), strict=True):
                total.addmm_(rows_b.mT, rows_a)
        else:
            total = b.flatten(0, 1).mT @ a.flatten(0, 1)
        return OuterReduction(total, a.new_zeros(len(a)), None)

    def step(batch: Batch, labels: Tensor) -> None:
        with mock.patch.object(product, "reduce_outer", total_alone):
            observed(batch, labels)

    return step


def _positions(ids: Tensor) -> Tensor:
    """With a batch dimension, which some peers need and the default position ids have not."""
    return torch.arange(ids.shape[1]).repeat(len(ids), 1)


def per_sample_backward(model: nn.Module) -> Step:
    optimizer = torch.optim.AdamW(model.parameters(), 1e-5)
    parameters = list(model.parameters())

    def step(batch: Batch, labels: Tensor) -> Tensor:
        optimizer.zero_grad()
        losses = _losses(model, batch, labels)
        norms = []
        for loss in losses:
            gradients = torch.autograd.grad(loss, parameters, retain_graph=True)
            norms.append(torch.stack([g.square().sum() for g in gradients]).sum().sqrt())
            for parameter, gradient in zip(parameters, gradients, strict=True):
                part = gradient / len(labels)
                parameter.grad = part if parameter.grad is None else parameter.grad.add_(part)
        optimizer.step()
        return torch.stack(norms)

    return step


def vmap_grad(model: nn.Module) -> Step:
    """torch.func: the gradient of one sample's loss, vectorised over the batch."""
    from torch.func import functional_call, grad, vmap

    optimizer = torch.optim.AdamW(model.parameters(), 1e-5)
    parameters = dict(model.named_parameters())
    model.set_attn_implementation("eager")  # type: ignore[operator]

    def loss_of(values: dict[str, Tensor], ids: Tensor, label: Tensor) -> Tensor:
        logits = functional_call(model, values, (), {"input_ids": ids.unsqueeze(0)}).logits
        return F.cross_entropy(logits, label.unsqueeze(0))

    gradients_of = vmap(grad(loss_of), in_dims=(None, 0, 0), randomness="different")

    def step(batch: Batch, labels: Tensor) -> Tensor:
        optimizer.zero_grad()
        detached = {name: p.detach() for name, p in parameters.items()}
        if not bool(batch["attention_mask"].all()):
            raise NotImplementedError("its attention mask cannot be built under vmap")
        gradients = gradients_of(detached, batch["input_ids"], labels)
        squares = [g.flatten(1).square().sum(1) for g in gradients.values()]
        for name, parameter in parameters.items():
            parameter.grad = gradients[name].mean(0)
        optimizer.step()
        return torch.stack(squares).sum(0).sqrt()

    return step


def opacus_materialised(model: nn.Module) -> Step:
    from opacus.grad_sample import GradSampleModule

    wrapped: Any = GradSampleModule(model, loss_reduction="mean", strict=False)
    return _opacus_step(wrapped, lambda: _grad_sample_norms(wrapped))


def opacus_ghost(model: nn.Module) -> Step:
    """Norms by Opacus' ghost clipping hooks in one backward, without its second one for clipping."""
    from opacus.grad_sample import GradSampleModuleFastGradientClipping

    wrapped: Any = GradSampleModuleFastGradientClipping(
        model, loss_reduction="mean", max_grad_norm=1.0, use_ghost_clipping=True, strict=False
    )
    return _opacus_step(wrapped, wrapped.get_norm_sample)


def _opacus_step(wrapped: Any, norms_of: Callable[[], Tensor]) -> Step:
    optimizer = torch.optim.AdamW(wrapped.parameters(), 1e-5)

    def step(batch: Batch, labels: Tensor) -> Tensor:
        optimizer.zero_grad()
        wrapped.zero_grad()
        positions = _positions(batch["input_ids"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _losses(wrapped, batch | {"position_ids": positions}, labels).mean().backward()
        norms = norms_of()
        optimizer.step()
        return norms

    return step


def _grad_sample_norms(wrapped: Any) -> Tensor:
    squares = [p.grad_sample.flatten(1).square().sum(1) for p in wrapped.parameters() if p.requires_grad]
    for parameter in wrapped.parameters():
        parameter.grad_sample = None
    return torch.stack(squares).sum(0).sqrt()


def backpack(model: nn.Module) -> Step:
    """BatchL2Grad of what BackPACK knows: Linear and Embedding, not LayerNorm."""
    from backpack import backpack as extended
    from backpack import extend
    from backpack.extensions import BatchL2Grad

    optimizer = torch.optim.AdamW(model.parameters(), 1e-5)
    known = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Embedding)]
    for module in known:
        if isinstance(module, nn.Embedding):
            module.padding_idx = None  # the only one that it knows
        extend(module)
    parameters = [p for m in known for p in m.parameters(recurse=False)]

    def step(batch: Batch, labels: Tensor) -> Tensor:
        optimizer.zero_grad()
        losses = _losses(model, batch | {"position_ids": _positions(batch["input_ids"])}, labels)
        with extended(BatchL2Grad()):
            losses.mean().backward()
        norms = torch.stack([p.batch_l2 for p in parameters if hasattr(p, "batch_l2")]).sum(0).sqrt()
        optimizer.step()
        return norms

    return step


CONTENDERS: dict[str, Callable[[nn.Module], Step]] = {
    "plain": plain,
    "plain-row-skipping": plain_row_skipping,
    "ours": ours,
    "ours-with-dots": ours_with_dots,
    "ours-torch-alone": ours_torch_alone,
    "opacus-ghost": opacus_ghost,
    "opacus-materialised": opacus_materialised,
    "vmap-grad": vmap_grad,
    "per-sample-backward": per_sample_backward,
    "backpack": backpack,
}
