"""What the rules write during one backward pass and the observer reads after it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from models.gradients.batch_free.operations import Operations
from models.gradients.forms import SampleGradient, summed_norm_sq
from models.gradients.grams import GramCache
from models.gradients.rows import RowScout

if TYPE_CHECKING:
    from models.gradients.census import Trial
    from models.gradients.rules.base import Site

_OUTSIDE = "it receives a gradient outside its module's forward"
_UNCOUNTED = "it was used more often than was counted"


@dataclass
class _Balance:
    """Gradients that the rules announced for a shared parameter minus those that arrived at it."""

    difference: Tensor
    scale: float = 0.0

    def is_settled(self) -> bool:
        """Also after an overflow, which says nothing of unseen uses; the norms show it."""
        rounding = torch.finfo(self.difference.dtype).eps ** 0.5
        missing = float(self.difference.norm())
        return missing <= rounding * self.scale or not math.isfinite(missing)


class Recorder:
    """Collects squared norms and inner products per parameter, ``(batch,)`` each, over one micro-batch.

    A parameter used once is reduced at once. One used several times (tied embeddings, a shared layer) keeps
    its factored uses until ``finish``, because the norm of the sum needs the cross terms. Uses are counted
    in the forward pass; what runs after the backward began is a checkpoint's recomputation and not counted.
    """

    def __init__(self) -> None:
        self.directions: dict[int, Tensor] | None = None
        self.project: Callable[[nn.Parameter, SampleGradient], Tensor] | None = None
        self.observing = True
        self._suspended = False
        self.given_up: dict[int, str] = {}
        self.batch_free: dict[Site, tuple[bool, ...]] = {}
        self.operations = Operations(self.give_up)
        self.trial: Trial | None = None
        self.clear()

    def clear(self) -> None:
        """Forget the micro-batch; called after every take."""
        self.batch: int | None = None
        self.backward_began = False
        self._calls: Counter[int] = Counter()
        self._places: Counter[Site] = Counter()
        self._norms_sq: dict[int, Tensor] = {}
        self._dots: dict[int, Tensor] = {}
        self._held: dict[int, list[SampleGradient]] = {}
        self._projections: dict[int, Tensor] = {}
        self._expected: dict[int, list[int]] = {}
        self._balances: dict[int, _Balance] = {}
        self.unexplained: dict[int, str] = {}
        self.scout = RowScout()
        self.grams = GramCache()

    def suspend(self) -> None:
        """A forward without gradients begins: nothing in it is ours."""
        self._suspended = self.observing
        self.observing = False

    def resume(self) -> None:
        if self._suspended:
            self.observing, self._suspended = True, False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The plain model for a while."""
        before, self.observing = self.observing, False
        try:
            yield
        finally:
            self.observing = before

    # Forward

    def count_call(self, parameters: Iterable[nn.Parameter]) -> None:
        if not self.backward_began:
            self._calls.update(id(parameter) for parameter in parameters)

    def next_is_batch_free(self, site: Site) -> bool:
        """Whether the census saw this call of the site, by its place in the forward, without a batch.

        A checkpoint's recomputation makes the same calls in the same order once more.
        """
        calls = self.batch_free.get(site)
        if calls is None:
            return False
        place = self._places[site]
        self._places[site] += 1
        return calls[place % len(calls)]

    def batch_of(self, values: Tensor) -> int:
        """The batch size: that of the model's input, else that of the first observed module's."""
        if self.batch is None:
            self.batch = len(values)
        return self.batch

    def give_up(self, parameters: Iterable[nn.Parameter], reason: str) -> None:
        """This use cannot be observed: the parameters need the exact fallback."""
        for parameter in parameters:
            self.given_up.setdefault(id(parameter), reason)

    def has_given_up(self, parameters: Iterable[nn.Parameter]) -> bool:
        return bool(self.given_up) and all(id(parameter) in self.given_up for parameter in parameters)

    def is_shared(self, parameter: nn.Parameter) -> bool:
        return self._calls[id(parameter)] > 1

    # Backward, from the rules

    def direction(self, parameter: nn.Parameter) -> Tensor | None:
        return None if self.directions is None else self.directions[id(parameter)]

    def observe(self, parameter: nn.Parameter, gradient: SampleGradient) -> None:
        """Take one use's per-sample gradients, in any form."""
        self.backward_began = True
        self.add_projection(parameter, gradient)
        if self.is_shared(parameter):
            uses = self._held.setdefault(id(parameter), [])
            uses.append(gradient)
            if len(uses) == self._calls[id(parameter)]:
                self._reduce(id(parameter))
            return
        direction = self.direction(parameter)
        self.add(parameter, gradient.norm_sq(), None if direction is None else gradient.dot(direction))

    def _reduce(self, key: int) -> None:
        """Sum up a parameter's uses; what they hold of the layers is needed no longer."""
        uses = self._held.pop(key)
        if key in self._norms_sq:
            self.unexplained[key] = _UNCOUNTED
        self._norms_sq[key] = summed_norm_sq(uses)
        if self.directions is not None:
            direction = self.directions[key]
            self._dots[key] = torch.stack([use.dot(direction) for use in uses]).sum(0)

    def add_projection(self, parameter: nn.Parameter, gradient: SampleGradient) -> None:
        """Projections are linear: every use of every parameter adds its own."""
        if self.project is None:
            return
        sketch, key = self.project(parameter, gradient), id(parameter)
        self._projections[key] = self._projections[key] + sketch if key in self._projections else sketch

    def add(self, parameter: nn.Parameter, norm_sq: Tensor, dots: Tensor | None) -> None:
        """Take the ready numbers of a parameter that is used once."""
        self.backward_began = True
        if id(parameter) in self._norms_sq:
            self.unexplained[id(parameter)] = _UNCOUNTED
        self._norms_sq[id(parameter)] = norm_sq
        if dots is not None:
            self._dots[id(parameter)] = dots

    def expect(self, parameter: nn.Parameter, gradient: Tensor) -> None:
        """Note the summed gradient that a rule hands to autograd, to recognise it on arrival.

        Only its address is kept: a reference would make autograd copy it instead of storing it in ``.grad``.
        """
        self._expected.setdefault(id(parameter), []).append(gradient.data_ptr())
        if self.is_shared(parameter):
            balance = self._balances.setdefault(id(parameter), _Balance(torch.zeros_like(gradient)))
            balance.scale += float(gradient.norm())
            balance.difference += gradient

    def arrive(self, parameter: nn.Parameter, gradient: Tensor) -> None:
        """Check that what autograd accumulates is what the rules saw: no use may go by unobserved."""
        self.backward_began = True
        key = id(parameter)
        if key in self.given_up:
            return
        if key in self._balances:
            self._balances[key].difference -= gradient
        elif key not in self._expected or self._expected[key] != [gradient.data_ptr()]:
            self.unexplained[key] = _OUTSIDE

    # After

    @property
    def projections(self) -> Tensor | None:
        """``(batch, dim)`` over all parameters, after ``finish``; None without a projection."""
        parts = list(self._projections.values())
        return torch.stack(parts).sum(0) if parts else None

    @torch.no_grad()
    def finish(self) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """Squared norms and inner products by parameter id, still scaled by the samples' weights.

        Parameters that were seen in part only are given up and left out.
        """
        for key, balance in self._balances.items():
            if not balance.is_settled():
                self.unexplained[key] = _OUTSIDE
        self.given_up = {**self.unexplained, **self.given_up}
        for key in list(self._held):
            self._reduce(key)
        for key in self.given_up:
            self._norms_sq.pop(key, None)
            self._dots.pop(key, None)
            self._projections.pop(key, None)
        return self._norms_sq, self._dots
