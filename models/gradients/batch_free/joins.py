"""The ways in which models join a batch-free value with the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch import Tensor

from models.gradients.batch_free.sources import Fan
from models.gradients.batch_free.tensors import BatchFreeTensor

_ELEMENTWISE = {
    f"{before}{name}{after}"
    for name in ("add", "sub", "mul", "div", "truediv")
    for before, after in (("", ""), ("", "_"), ("__", "__"), ("__r", "__"), ("__i", "__"))
}


def joined(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], batch: int
) -> Tensor | None:
    """The result of a call that joins, its gradient coming per sample; None if it has no such form here."""
    name = getattr(func, "__name__", "")
    if name == "expand":
        sizes = _sizes(args)
        fanned = _fanned(args[0], batch, len(sizes)) if sizes[0] == batch else None
        return None if fanned is None else fanned.expand(sizes)
    if name == "repeat":
        return _repeated(args[0], _sizes(args), batch)
    if name in _ELEMENTWISE and len(args) == 2:
        return _elementwise(func, args, kwargs, batch)
    return None


def _sizes(args: tuple[Any, ...]) -> tuple[int, ...]:
    """Of ``expand(2, 3)`` or ``expand((2, 3))``."""
    return tuple(args[1]) if isinstance(args[1], tuple | list) else args[1:]


def _fan(values: BatchFreeTensor, batch: int) -> Tensor:
    edge = values.edge()
    return cast("Callable[..., Tensor]", Fan.apply)(edge.values, batch, edge)


def _fanned(values: BatchFreeTensor, batch: int, dims: int) -> Tensor | None:
    """``(batch, 1, ..., *shape)`` with ``dims`` dimensions; a leading 1 of the shape is the batch's place."""
    if values.dim() < dims:
        return _fan(values, batch).reshape(batch, *[1] * (dims - 1 - values.dim()), *values.shape)
    if values.dim() == dims and len(values) == 1:
        return _fan(values, batch).flatten(0, 1)
    return None


def _repeated(values: BatchFreeTensor, times: tuple[int, ...], batch: int) -> Tensor | None:
    """``(k, ...)`` repeated to ``(batch * k, ...)``: sample after sample."""
    if times[0] != batch or any(one != 1 for one in times[1:]):
        return None
    if len(times) > values.dim():
        fanned = _fanned(values, batch, len(times))
        return None if fanned is None else fanned.contiguous()
    return _fan(values, batch).flatten(0, 1)


def _elementwise(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], batch: int
) -> Tensor | None:
    left, right = args
    values, other = (left, right) if isinstance(left, BatchFreeTensor) else (right, left)
    if not isinstance(other, Tensor) or isinstance(other, BatchFreeTensor) or len(other) != batch:
        return None
    fanned = _fanned(values, batch, max(values.dim(), other.dim()))
    if fanned is None:
        return None
    result: Tensor = func(fanned, other, **kwargs) if values is left else func(other, fanned, **kwargs)
    return result
