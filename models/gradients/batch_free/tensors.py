"""A tensor that says of itself that it has no batch dimension, and keeps saying it through the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from models.gradients.batch_free.sources import Edge, Origin
from models.gradients.eager import eager

if TYPE_CHECKING:
    from models.gradients.batch_free.operations import Operations


class BatchFreeTensor(Tensor):
    """Values that the model computes once for the whole batch, with the sources that they come from.

    Every torch function that meets one is passed to ``operations``, which knows whether the result is still
    batch-free or joins the batch. (torch's documented way to extend it: "Subclassing torch.Tensor".)
    """

    operations: Operations
    origins: tuple[Origin, ...]

    @staticmethod
    def mark(values: Tensor, origins: Iterable[Origin], operations: Operations) -> BatchFreeTensor:
        marked = values.as_subclass(BatchFreeTensor)
        marked.operations = operations
        marked.origins = tuple(dict.fromkeys(origins))
        return marked

    def plain(self) -> Tensor:
        """The same values in the same graph, unmarked."""
        with torch._C.DisableTorchFunctionSubclass():
            return self.as_subclass(Tensor)

    def edge(self) -> Edge:
        return Edge(self.plain(), self.origins)

    @classmethod
    @eager
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        first = next(marked_among((args, kwargs or {})))
        with torch._C.DisableTorchFunctionSubclass():
            return first.operations.run(func, args, kwargs or {})


def marked_among(value: Any) -> Iterator[BatchFreeTensor]:
    """Every batch-free tensor in the arguments of a function."""
    if isinstance(value, BatchFreeTensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from marked_among(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from marked_among(item)


def unmarked(value: Any) -> Any:
    """The arguments of a function with plain tensors in place of batch-free ones."""
    if isinstance(value, BatchFreeTensor):
        return value.plain()
    if type(value) in (tuple, list):
        return type(value)(unmarked(item) for item in value)
    if type(value) is dict:
        return {key: unmarked(item) for key, item in value.items()}
    return value
