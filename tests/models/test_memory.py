"""Where memory does not suffice: the same step in smaller parts, and nothing of the attempt that failed."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from models.batching import LabelledTexts
from models.encoders import LoadedClassifier
from models.errors import ModelError
from models.evaluation import predict_logits
from models.gradients.census import take_census
from models.memory import MicroBatch, cut, is_out_of_memory
from models.signals import VisitSignals
from models.training import FittingRun, ScoringRun, TrainingConfig
from tests.models.conftest import LoadTiny, MakeData
from tests.models.runs import CPU, changed, parameters, saved, state_after

OUT = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
ON_CPU = RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")


@contextmanager
def room_for(
    classifier: LoadedClassifier, rows: int, *, where: str = "forward", error: Exception = OUT
) -> Iterator[list[int]]:
    """More samples at a time than this are too many for the last layer of the encoder; tells the failures.

    The observer's first look at a model, at its first sample three times, always fits.
    """
    layer, failed = classifier.model.get_submodule("bert.encoder.layer.1.output.dense"), []
    looking = False

    def census(*args: Any) -> Any:
        nonlocal looking
        looking = True
        try:
            return take_census(*args)
        finally:
            looking = False

    def before(_: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        if len(inputs[0]) > rows and not looking:
            failed.append(len(inputs[0]))
            raise type(error)(*error.args)  # a new one, that holds on to nothing

    def back(_: Any, __: Any, gradients: tuple[torch.Tensor, ...]) -> None:
        before(_, gradients)

    handle = (
        layer.register_forward_pre_hook(before)
        if where == "forward"
        else layer.register_full_backward_hook(back)
    )
    with patch("models.gradients.observer.take_census", census):
        yield failed
    handle.remove()


def run_of(
    classifier: LoadedClassifier, data: LabelledTexts, micro_batch: MicroBatch | None = None, **changes: Any
) -> ScoringRun:
    validation = data.take(np.arange(min(6, len(data)))) if "alignment_steps" in changes else None
    return ScoringRun(classifier, data, validation, changed(**changes), CPU, micro_batch)


def all_signals(run: Any) -> list[VisitSignals]:
    return [result.signals for result in run.steps()]


def assert_same_signals(found: list[VisitSignals], wanted: list[VisitSignals]) -> None:
    for mine, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(mine.positions, other.positions)
        for name in ("grad_norm", "loss", "el2n", "margin", "confidence", "alignment"):
            one, two = getattr(mine, name), getattr(other, name)
            np.testing.assert_allclose(one, two, rtol=2e-4, atol=1e-5, err_msg=name)
        if other.projection is not None:
            np.testing.assert_allclose(mine.projection, other.projection, rtol=2e-3, atol=1e-4)
        if other.views is not None and mine.views is not None:
            np.testing.assert_allclose(mine.views.logits, other.views.logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("where", ["forward", "backward"])
@given(
    count=st.integers(3, 14),
    batch=st.integers(2, 7),
    accumulation=st.integers(1, 3),
    rows=st.integers(1, 6),
    error=st.sampled_from([OUT, ON_CPU]),
)
@settings(
    max_examples=8,
    deadline=None,
    phases=(Phase.generate,),  # an example takes a second
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_step_in_parts_is_the_step(
    load_tiny: LoadTiny,
    make_data: MakeData,
    where: str,
    count: int,
    batch: int,
    accumulation: int,
    rows: int,
    error: Exception,
) -> None:
    """Scores, projections, alignment and the model afterwards, up to another order of sums."""
    whole, halved = load_tiny(), load_tiny()
    data = make_data(whole, count)
    asked: dict[str, Any] = {
        "num_train_epochs": 1,
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": accumulation,
        "alignment_steps": 2,
        "projection_dim": 16,
        "learning_rate": 1e-4,
    }
    wanted = all_signals(run_of(whole, data, **asked))
    told: list[int] = []
    micro_batch = MicroBatch(on_shrink=told.append)
    with room_for(halved, rows, where=where, error=error) as failed:
        found = all_signals(run_of(halved, data, micro_batch, **asked))
    assert_same_signals(found, wanted)
    for name, value in parameters(whole).items():
        torch.testing.assert_close(parameters(halved)[name], value, rtol=1e-3, atol=2e-5)
    if min(batch, count) > rows:
        assert failed
        assert micro_batch.size is not None
        assert micro_batch.size <= rows
        assert told[-1] == micro_batch.size
        assert told == sorted(told, reverse=True)
    else:
        assert (micro_batch.size, told) == (None, [])


def test_the_smaller_size_stays(load_tiny: LoadTiny, make_data: MakeData) -> None:
    classifier = load_tiny()
    micro_batch = MicroBatch()
    with room_for(classifier, 2) as failed:
        run = run_of(classifier, make_data(classifier, 16), micro_batch, per_device_train_batch_size=8)
        list(run.steps())
    assert failed == [8, 4], "once for each size, and never again"
    assert micro_batch.size == 2


def test_a_resumed_run_begins_with_it_and_goes_on_to_the_bit(
    load_tiny: LoadTiny, make_data: MakeData
) -> None:
    one, other = load_tiny(dropout=0.1), load_tiny(dropout=0.1)
    data = make_data(one, 24)
    with room_for(one, 2):
        run = run_of(one, data)
        state = state_after(run, 3)
        wanted = all_signals(run)
    resumed = run_of(other, data)
    resumed.load_state_dict(state)
    with room_for(other, 2) as failed:
        found = all_signals(resumed)
    assert failed == []
    for mine, theirs in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(mine.grad_norm, theirs.grad_norm)
    del state["micro_batch"]  # of a version that did not keep it
    again = run_of(load_tiny(dropout=0.1), data)
    again.load_state_dict(state)
    assert saved(again)["micro_batch"] is None


def test_nothing_of_the_failed_attempt_is_held(load_tiny: LoadTiny, make_data: MakeData) -> None:
    """Else there would be no more memory for the halves than for the whole."""
    classifier = load_tiny()
    held: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def note(_: Any, __: Any, output: torch.Tensor) -> None:
        alive.append(sum(ref() is not None for ref in held))
        held.append(weakref.ref(output))

    layer = classifier.model.get_submodule("bert.encoder.layer.0.intermediate.dense")
    handle = layer.register_forward_hook(note)
    with room_for(classifier, 2):
        run = run_of(classifier, make_data(classifier, 8), per_device_train_batch_size=8)
        next(run.steps())
    handle.remove()
    assert len(alive) > 4
    assert max(alive) == 0, alive


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_one_sample_too_many_is_a_failure_with_a_remedy(
    load_tiny: LoadTiny, make_data: MakeData, where: str
) -> None:
    classifier = load_tiny()
    before = parameters(classifier)
    with room_for(classifier, 0, where=where), pytest.raises(ModelError) as raised:
        next(run_of(classifier, make_data(classifier, 8)).steps())
    assert raised.value.code == "out_of_memory"
    assert "2.00 GiB" in raised.value.detail
    assert raised.value.remedy
    for name, value in parameters(classifier).items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_other_errors_are_no_lack_of_memory(load_tiny: LoadTiny, make_data: MakeData) -> None:
    classifier = load_tiny()
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with room_for(classifier, 1, error=error) as failed, pytest.raises(RuntimeError, match="multiplied"):
        next(run_of(classifier, make_data(classifier, 8)).steps())
    assert len(failed) == 1
    assert not is_out_of_memory(error)
    assert is_out_of_memory(ON_CPU)


def test_raw_parameters_are_put_back(load_tiny: LoadTiny, make_data: MakeData) -> None:
    """A forward that broke off left stand-ins in their place."""
    classifier = load_tiny()
    with room_for(classifier, 2):
        list(run_of(classifier, make_data(classifier, 12), per_device_train_batch_size=6).steps())
    names = {name for name, p in classifier.model.named_parameters() if type(p) is torch.nn.Parameter}
    assert names == set(parameters(classifier))


# -- fitting and reading -----------------------------------------------------------------------------------
def test_fitting_in_parts_is_the_same_training(load_tiny: LoadTiny, make_data: MakeData) -> None:
    whole, halved = load_tiny(), load_tiny()
    data = make_data(whole, 20)
    config = TrainingConfig(num_train_epochs=2, per_device_train_batch_size=8, learning_rate=1e-4)
    wanted = [result.loss for result in FittingRun(whole, data, None, config, CPU).steps()]
    micro_batch = MicroBatch()
    with room_for(halved, 3):
        run = FittingRun(halved, data, None, config, CPU, micro_batch=micro_batch)
        found = [result.loss for result in run.steps()]
    assert micro_batch.size == 2
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    for name, value in parameters(whole).items():
        torch.testing.assert_close(parameters(halved)[name], value, rtol=1e-3, atol=2e-5)


def test_reading_in_parts_says_the_same(load_tiny: LoadTiny, make_data: MakeData) -> None:
    classifier = load_tiny()
    tokens = make_data(classifier, 21).tokens
    wanted = predict_logits(classifier.model, tokens, batch_size=8)
    with room_for(classifier, 3) as failed:
        found = predict_logits(classifier.model, tokens, batch_size=8)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert failed == [8, 4], "the longest come first, and the size stays"
    with room_for(classifier, 0), pytest.raises(ModelError):
        predict_logits(classifier.model, tokens, batch_size=8)


def test_measuring_in_parts_says_the_same(load_tiny: LoadTiny, make_data: MakeData) -> None:
    classifier = load_tiny()
    data = make_data(classifier, 13)
    run = run_of(classifier, data, per_device_train_batch_size=5)
    wanted = list(run.measure(data))
    with room_for(classifier, 2):
        found = list(run.measure(data))
    assert_same_signals(found, wanted)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.integers(1, 12))
def test_no_query_is_cut(of: list[int], size: int) -> None:
    queries = np.sort(np.array(of))
    batch = np.arange(len(of)) + 100
    for some in (None, queries):
        parts = cut(batch, size, some)
        np.testing.assert_array_equal(np.concatenate(parts), batch)
    seen: set[int] = set()
    for part in cut(batch, size, queries):
        mine = set(queries[part - 100].tolist())
        assert not mine & seen
        assert len(part) <= size or len(mine) == 1
        seen |= mine
    assert max(map(len, cut(batch, size))) <= size
