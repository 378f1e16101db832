"""What torch functions do to batch-free tensors: leave them batch-free, or join them with the batch.

Shapes alone do not tell: an expansion over the attention heads looks like one over the batch when there are
as many samples as heads. So each kind of call is learned beforehand from two runs with batches of different
size: where the result's shape follows the batch, it is a join.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import torch
from torch import Tensor, nn

from models.gradients.batch_free.joins import joined
from models.gradients.batch_free.sources import Origin, Source
from models.gradients.batch_free.tensors import BatchFreeTensor, marked_among, unmarked

GiveUp = Callable[[Iterable[nn.Parameter], str], None]


class _Kind(Enum):
    BATCH_FREE = auto()
    JOIN = auto()
    UNCLEAR = auto()  # both were seen


@dataclass(frozen=True, slots=True)
class _Seen:
    """A tensor among the arguments of a call."""

    marked: bool
    shape: torch.Size


@dataclass(frozen=True, slots=True)
class _Event:
    """One call in a trial run; ``arguments``: the function's and its arguments' ``_outline``."""

    arguments: Any
    result: torch.Size
    sources: tuple[Source, ...]


@dataclass(slots=True)
class Operations:
    """The kinds of calls that a model makes with batch-free tensors. ``give_up`` gets what they defeat."""

    give_up: GiveUp
    batch: int = 0
    _kinds: dict[Hashable, _Kind] = field(default_factory=dict)
    _trial: list[_Event] | None = None

    def run(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call ``func``; its result is marked where it is batch-free, and fanned out where it joins."""
        marked = tuple(marked_among((args, kwargs)))
        origins = [origin for tensor in marked for origin in tensor.origins]
        kind = None
        if self._trial is None and torch.is_grad_enabled():
            outline = _outline((func, args, kwargs))
            kind = self._kinds.get(_signature(outline, outline))
            if kind is _Kind.JOIN:
                result = joined(func, args, kwargs, self.batch)
                if result is not None:
                    return result
        with torch.autograd.graph.saved_tensors_hooks(_kept, _kept):
            result = func(*unmarked(args), **unmarked(kwargs))
        if self._trial is not None:
            return self._noted(func, args, kwargs, result)
        if not torch.is_grad_enabled() or not any(tensor.requires_grad for tensor in _tensors(result)):
            return result
        if kind is _Kind.BATCH_FREE:
            return _remarked(result, origins, self)
        name = getattr(func, "__name__", str(func))
        if kind is None and name == "__get__":  # torch.compile looks at attributes such as a view's base
            return result
        for origin in origins:
            reason = f"it is joined with the batch in a way that has no rule, {name}"
            self.give_up(origin.source.parameters, reason)
        return result

    @contextmanager
    def learning(self) -> Iterator[list[_Event]]:
        """A trial run: calls are noted, and every result stays marked."""
        self._trial = []
        try:
            yield self._trial
        finally:
            self._trial = None

    def learn(self, one: list[_Event], other: list[_Event]) -> set[nn.Parameter]:
        """Compare the trial runs of two batch sizes; the parameters that any operation used."""
        used: set[nn.Parameter] = set()
        for left, right in zip(one, other, strict=False):
            if left.arguments[0] is not right.arguments[0]:
                break  # the model takes another way for another batch: nothing more can be told
            signature = _signature(left.arguments, right.arguments)
            if not _any_marked(signature):
                continue  # beyond a join: the arguments follow the batch themselves
            used.update(parameter for source in left.sources for parameter in source.parameters)
            kind = _Kind.BATCH_FREE if left.result == right.result else _Kind.JOIN
            if self._kinds.setdefault(signature, kind) is not kind:
                self._kinds[signature] = _Kind.UNCLEAR
        return used

    def _noted(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> Any:
        assert self._trial is not None
        results = list(_tensors(result))
        marked = tuple(marked_among((args, kwargs)))
        if not results:
            return result
        origins = [origin for tensor in marked for origin in tensor.origins]
        sources = tuple(origin.source for origin in origins)
        self._trial.append(_Event(_outline((func, args, kwargs)), results[0].shape, sources))
        return _remarked(result, origins, self)


def _kept(values: Tensor) -> Tensor:
    """What a batch-free call saves for its backward stays, also within a checkpoint.

    It is small, and read once for all samples and once more for their sum: a checkpoint would compute
    everything again for each.
    """
    return values


def _outline(value: Any) -> Any:
    """A call without its values: the shapes of its tensors, the types of all else."""
    if isinstance(value, Tensor):
        return _Seen(isinstance(value, BatchFreeTensor), value.shape)
    if isinstance(value, tuple | list):
        return tuple(_outline(item) for item in value)
    if isinstance(value, dict):
        return tuple((name, _outline(item)) for name, item in sorted(value.items()))
    return value if callable(value) else type(value).__name__


def _signature(one: Any, other: Any) -> Hashable:
    """What two outlines share: which tensors are batch-free, and how many dimensions each has.

    Lengths are left out, so that texts of another length make the same calls.
    """
    if isinstance(one, _Seen) and isinstance(other, _Seen):
        return one.marked and other.marked and one.shape == other.shape, len(one.shape)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return tuple(_signature(left, right) for left, right in zip(one, other, strict=False))
    return one  # type: ignore[no-any-return]


def _any_marked(signature: Hashable) -> bool:
    return signature is True or (isinstance(signature, tuple) and any(map(_any_marked, signature)))


def _tensors(result: Any) -> Iterator[Tensor]:
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, tuple | list):
        for item in result:
            yield from _tensors(item)


def _remarked(result: Any, origins: Iterable[Origin], operations: Operations) -> Any:
    if isinstance(result, Tensor):
        return BatchFreeTensor.mark(result, origins, operations)
    if type(result) in (tuple, list):
        return type(result)(_remarked(item, origins, operations) for item in result)
    return result
