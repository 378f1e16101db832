"""Observes a model for the duration of a training step: exact per-sample gradients from its one backward."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from models.gradients.batch_free import raw_parameter
from models.gradients.census import RawParameter, in_place_of, take_census
from models.gradients.coverage import BATCH_FREE_RULE, FALLBACK_RULE, GroupOf, ParameterCoverage, layer_of
from models.gradients.eager import eager
from models.gradients.errors import ObservationStateError, UncoveredParameterError
from models.gradients.fallback import ExactFallback
from models.gradients.forms import SampleGradient
from models.gradients.installation import batch_size, find_sites, install
from models.gradients.projection import SeededProjection
from models.gradients.recorder import Recorder
from models.gradients.result import PerSampleGradients, unweighted


class GradientObserver:
    """Context manager that makes the ordinary backward also yield every sample's own gradient norm.

    While it is installed, the forward of every module that holds a trainable parameter goes through the
    module type's rule. Outputs and ``.grad`` stay those of the plain step, up to rounding. On exit, also by
    an error, the model is as it was. A model of torch.compile is observed too: observed modules run as they
    are, what lies between them is compiled; parameter names are those of the model that was compiled.

    >>> with GradientObserver(model) as observer:
    ...     losses = F.cross_entropy(model(**batch).logits, labels, reduction="none")
    ...     (losses * weights).sum().backward()
    ...     norms = observer.take(weights).norms

    Raises UncoveredParameterError at the first forward that shows that a trainable parameter has no rule;
    with ``fallback="exact"`` such parameters take one extra backward per sample instead.
    """

    def __init__(
        self, model: nn.Module, *, fallback: Literal["exact"] | None = None, group_of: GroupOf = layer_of
    ) -> None:
        if isinstance(model, torch._dynamo.OptimizedModule):
            model = model._orig_mod  # whose forward the compiled one runs, with what is installed there
        self._model = model
        self._fallback = ExactFallback(model) if fallback == "exact" else None
        self._group_of = group_of
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._names = {id(parameter): name for name, parameter in self._parameters.items()}
        self._frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
        self._recorder = Recorder()
        self._sites, self._unruled = find_sites(model, self._recorder)
        self._uncovered = {id(raw.parameter): reason for raw, reason in self._unruled.items()}
        self._raw: list[RawParameter] | None = None
        self._substituted = ExitStack()
        self._installed: ExitStack | None = None

    @property
    def coverage(self) -> tuple[ParameterCoverage, ...]:
        """Every trainable parameter and the rule that covers it, in the model's order."""
        rules = {id(parameter): site.rule.name for site in self._sites for parameter in site.parameters}
        rules |= {id(raw.parameter): BATCH_FREE_RULE for raw in self._raw or ()}
        slow = self._uncovered.keys() | self._recorder.given_up.keys()
        return tuple(
            ParameterCoverage(name, tuple(p.shape), FALLBACK_RULE if id(p) in slow else rules[id(p)])
            for name, p in self._parameters.items()
        )

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            install(self._sites, self._parameters.values(), self._recorder, stack)
            before = self._model.register_forward_pre_hook(
                self._before_forward, with_kwargs=True, prepend=True
            )
            stack.callback(before.remove)
            after = self._model.register_forward_hook(self._after_forward, always_call=True)
            stack.callback(after.remove)
            stack.callback(self._substituted.close)
            stack.callback(self.discard)
            self._installed = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._installed is not None:
            self._installed.close()
            self._installed = None

    def set_direction(self, direction: Mapping[str, Tensor] | None) -> None:
        """Ask for ``dots``: the inner product of every ``g_i`` with this direction; None ends it.

        ``direction`` maps every trainable parameter's name to a tensor of its shape.
        """
        if direction is None:
            self._recorder.directions = None
            return
        missing = sorted(self._parameters.keys() - direction.keys())
        if missing:
            raise ObservationStateError(f"The direction lacks {len(missing)} parameters, first {missing[0]}.")
        self._recorder.directions = {
            id(parameter): direction[name].detach().to(parameter.device, parameter.dtype)
            for name, parameter in self._parameters.items()
        }

    def set_projection(self, projection: SeededProjection | None) -> None:
        """Ask for ``projections``: every ``g_i`` under this seeded random map; None ends it."""
        if projection is None:
            self._recorder.project = None
            return
        names = self._names

        def project(parameter: nn.Parameter, gradient: SampleGradient) -> Tensor:
            return projection.sketch(names[id(parameter)], parameter.shape, gradient)

        self._recorder.project = project

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The plain model for a while, as for a validation gradient between two micro-batches."""
        with self._recorder.paused():
            yield

    def discard(self) -> None:
        """Drop what was observed since the last take."""
        self._recorder.clear()
        if self._fallback is not None:
            self._fallback.clear()

    def abandon(self) -> None:
        """After a forward or a backward that ended in an error: as before the micro-batch."""
        self._substituted.close()
        self._recorder.resume()
        self.discard()

    def take(self, weights: Tensor | float = 1.0) -> PerSampleGradients:
        """The micro-batch's per-sample gradients; clears the observer for the next one.

        ``weights``, one number or ``(batch,)``, is what each sample's own loss was multiplied by on its way
        into the scalar that ``backward`` was called on: ``1 / batch`` for a mean, a loss scale, a sample
        weight, or their product.
        """
        recorder = self._recorder
        if not recorder.backward_began:
            raise ObservationStateError("There is nothing to take: no observed backward since the last take.")
        norms_sq, dots = recorder.finish()
        projections = recorder.projections
        self._refuse_uncovered()
        try:
            slow = self._add_fallback(norms_sq, dots)
        finally:
            self.discard()
        if slow is not None:
            projections = slow if projections is None else projections + slow
        groups: dict[str, list[Tensor]] = {}
        for key, norm_sq in norms_sq.items():
            groups.setdefault(self._group_of(self._names[key]), []).append(norm_sq)
        return unweighted(groups, list(dots.values()), weights, projections)

    def _add_fallback(self, norms_sq: dict[int, Tensor], dots: dict[int, Tensor]) -> Tensor | None:
        """Adds what the fallback finds; the projections of its parameters, where they are asked for."""
        slow = self._uncovered.keys() | self._recorder.given_up.keys()
        parameters = [parameter for parameter in self._parameters.values() if id(parameter) in slow]
        if not parameters or self._fallback is None:
            return None
        with self.paused():
            more_norms_sq, more_dots, projections = self._fallback.gradients(
                parameters, self._recorder.directions, self._recorder.project
            )
        norms_sq |= more_norms_sq
        dots |= more_dots
        return projections

    def _refuse_uncovered(self) -> None:
        reasons = self._uncovered | self._recorder.given_up
        if reasons and self._fallback is None:
            raise UncoveredParameterError({self._names[key]: reason for key, reason in reasons.items()})

    @eager
    def _before_forward(self, _model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        recorder = self._recorder
        if not recorder.observing:
            return
        if not torch.is_grad_enabled():
            recorder.suspend()
            return
        if recorder.backward_began:
            raise ObservationStateError("A forward pass began before the last backward was taken.")
        if any(parameter.requires_grad for parameter in self._frozen):
            raise ObservationStateError("A parameter was unfrozen after the observer was made.")
        batch = batch_size(args, kwargs)
        if batch is not None:
            self._take_census_once(args, kwargs, batch)
            recorder.batch = recorder.operations.batch = batch
        self._refuse_uncovered()
        if self._fallback is not None:
            self._fallback.before_forward(args, kwargs)
        self._substituted.enter_context(in_place_of(self._raw_values()))

    def _take_census_once(self, args: tuple[Any, ...], kwargs: dict[str, Any], batch: int) -> None:
        if self._raw is None:
            self._raw = take_census(
                self._model, self._recorder, self._unruled, self._sites, args, kwargs, batch
            )
            for raw in self._raw:
                self._uncovered.pop(id(raw.parameter), None)

    def _raw_values(self) -> list[tuple[RawParameter, Tensor]]:
        recorder = self._recorder
        watched = [raw for raw in self._raw or () if id(raw.parameter) not in recorder.given_up]
        recorder.count_call(raw.parameter for raw in watched)
        return [(raw, raw_parameter(raw.parameter, recorder)) for raw in watched]

    @eager
    def _after_forward(self, _model: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        recorder = self._recorder
        recorder.resume()
        if recorder.trial is None:
            self._substituted.close()
        if output is None or not recorder.observing or not torch.is_grad_enabled():
            return output  # None: the forward ended in an error
        self._refuse_uncovered()
        return output if self._fallback is None else self._fallback.after_forward(output)
