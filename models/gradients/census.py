"""What in a model does not follow the batch, found once by running two small batches of different size.

A tensor's first dimension alone does not tell: relative position ids ``(seq, seq)`` look like a batch when
the batch happens to have as many samples as each has tokens, and would be scored wrongly without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from models.gradients.batch_free import BatchFreeTensor
from models.gradients.batch_free.sources import Origin, Source
from models.gradients.recorder import Recorder
from models.gradients.rules.base import Site, first_argument

_SIZES = (2, 3)


@dataclass(frozen=True, slots=True)
class RawParameter:
    """A parameter that no rule's forward uses: if it is used, then by the model's own code."""

    module: nn.Module
    name: str
    parameter: nn.Parameter


@contextmanager
def in_place_of(raw: Iterable[tuple[RawParameter, Tensor]]) -> Iterator[None]:
    """Tensors in the place of their parameters, as torch.func.functional_call does it."""
    with ExitStack() as stack:
        for one, values in raw:
            slots: dict[str, Any] = one.module._parameters
            stack.callback(slots.__setitem__, one.name, slots[one.name])
            slots[one.name] = values
        yield


@dataclass(slots=True)
class Trial:
    """One run of the model: what each site is applied to, and what becomes of batch-free values."""

    recorder: Recorder
    marking: bool = False
    lengths: dict[Site, list[int]] = field(default_factory=dict)
    used: set[nn.Parameter] = field(default_factory=set)  # by way of the modules

    def run(self, site: Site, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        values = first_argument(args, kwargs)
        place = len(self.lengths.setdefault(site, []))
        self.lengths[site].append(len(values))
        if not self.marking:
            return site.plain_forward(*args, **kwargs)
        if isinstance(values, BatchFreeTensor):
            self.used.update(p for origin in values.origins for p in origin.source.parameters)
            output = site.plain_forward(values.plain())
        elif self.recorder.batch_free.get(site, ())[place : place + 1] == (True,):
            output = site.plain_forward(values)
        else:
            return site.plain_forward(*args, **kwargs)
        return BatchFreeTensor.mark(
            output, [Origin(Source(site.parameters), output)], self.recorder.operations
        )


def take_census(
    model: nn.Module,
    recorder: Recorder,
    unruled: Iterable[RawParameter],
    sites: Iterable[Site],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    batch: int,
) -> list[RawParameter]:
    """Tell the recorder which calls and operations are batch-free; the raw parameters that are used.

    ``unruled``: the parameters of modules without a rule. Runs the model on its first sample, repeated, and
    drops the output; random state is left as it was.
    """
    trials = []
    for size in _SIZES:
        resize = _resizer(batch, size)
        with _trying(model, recorder, marking=False) as trial:
            model(*map(resize, args), **{name: resize(value) for name, value in kwargs.items()})
        trials.append(trial)
    for site, lengths in trials[0].lengths.items():
        calls = _batch_free_calls(site, lengths, trials[1].lengths.get(site, []))
        if any(calls):
            recorder.batch_free[site] = calls
    raw = [*unruled, *_uncalled(sites, trials[0])]
    if not raw and not recorder.batch_free:
        return []
    notes = []
    used: set[nn.Parameter] = set()
    for size in _SIZES:
        resize = _resizer(batch, size)
        marked = [(one, _trial_source(one, recorder)) for one in raw]
        with (
            _trying(model, recorder, marking=True) as trial,
            recorder.operations.learning() as events,
            in_place_of(marked),
        ):
            model(*map(resize, args), **{name: resize(value) for name, value in kwargs.items()})
        notes.append(events)
        used |= trial.used
    used |= recorder.operations.learn(*notes)
    return [one for one in raw if one.parameter in used]


def _trial_source(raw: RawParameter, recorder: Recorder) -> BatchFreeTensor:
    values = raw.parameter.view_as(raw.parameter)
    return BatchFreeTensor.mark(values, [Origin(Source((raw.parameter,)), values)], recorder.operations)


@contextmanager
def _trying(model: nn.Module, recorder: Recorder, *, marking: bool) -> Iterator[Trial]:
    devices = {p.device.index or 0 for p in model.parameters() if p.is_cuda}
    recorder.trial = Trial(recorder, marking)
    try:
        with recorder.paused(), torch.random.fork_rng(devices):
            yield recorder.trial
    finally:
        recorder.trial = None


def _batch_free_calls(site: Site, *lengths: list[int]) -> tuple[bool, ...]:
    """For each call of the site, whether it is applied to a tensor that does not follow the batch."""
    pairs = zip(*lengths, strict=False)
    follows = site.rule.follows_batch
    return tuple(
        not all(follows(length, size) for length, size in zip(pair, _SIZES, strict=True)) for pair in pairs
    )


def _uncalled(sites: Iterable[Site], trial: Trial) -> list[RawParameter]:
    """Parameters of modules whose forward the model does not call, as that of a table read as a whole."""
    return [
        RawParameter(site.module, name, parameter)
        for site in sites
        if site not in trial.lengths
        for name, parameter in site.module.named_parameters(recurse=False)
        if parameter.requires_grad
    ]


def _resizer(batch: int, size: int) -> Callable[[Any], Any]:
    """The first sample ``size`` times. A text of one token gets two: one alone looks like anything."""

    def resize(value: Any) -> Any:
        if not isinstance(value, Tensor) or value.dim() == 0 or len(value) != batch:
            return value
        columns = 2 if value.dim() == 2 and value.shape[1] == 1 else 1
        return value[:1].repeat(size, *[columns] * (value.dim() - 1))

    return resize
