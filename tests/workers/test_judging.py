"""A person's verdict is the last word on its sample, whatever else is known."""

from __future__ import annotations

import numpy as np
import pytest

from app.contracts.params import ScoreParams
from models.noise import Reviewed
from models.selection import Evidence
from workers.score.judging import judge


def two_clouds(count: int) -> Evidence:
    """Samples of two labels that lie where their label does, but for every eighth."""
    random = np.random.default_rng(0)
    true = np.arange(count) % 2
    rows = np.eye(2, 16)[true] + 0.15 * random.normal(size=(count, 16))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    labels = np.where(np.arange(count) % 8 == 0, 1 - true, true)
    ids = [f"s{i:04}" for i in range(count)]
    return Evidence(ids, labels, 2, random.random(count), embedding=rows.astype(np.float32))


@pytest.mark.parametrize("count", [24, 400], ids=["too few to judge", "judged"])
def test_the_most_suspicious_is_core_once_it_is_confirmed(count: int) -> None:
    evidence = two_clouds(count)
    flipped = np.arange(0, count, 8)
    confirmed = Reviewed(flipped[:2], np.array([False, False]))
    found = judge(evidence, ScoreParams(core_fraction=0.85), None, confirmed)
    assert [found.assignment.set_names()[i] for i in flipped[:2]] == ["core", "core"]
    assert found.noise[flipped[:2]].tolist() == [0.0, 0.0]
    assert found.told["reviews"] == 2


@pytest.mark.parametrize("count", [24, 400], ids=["too few to judge", "judged"])
def test_what_was_found_wrong_is_noise_first(count: int) -> None:
    """Where only so much may be noise, a verdict goes before a suspicion."""
    least_suspicious = np.array([1, 3])
    refuted = Reviewed(least_suspicious, np.array([True, True]))
    found = judge(two_clouds(count), ScoreParams(noise_fraction=2 / count), None, refuted)
    assert np.flatnonzero(found.assignment.sets == 3).tolist() == [1, 3]
    assert found.told["called"] == 2


def test_too_few_samples_without_reviews_are_not_judged() -> None:
    found = judge(two_clouds(24), ScoreParams(), None, None)
    assert np.isnan(found.noise).all()
    assert (found.assignment.sets != 3).all()
    assert (found.told["basis"], found.told["called"]) == (None, 0)
