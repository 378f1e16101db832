"""Samples come, change, go and come back while they are scored and sorted: nothing of the old shines through.

A plain dictionary is the truth; what the stores answer over a real Valkey is compared with it after every
step. The ids share a handful of checksums, and the index has segments of a few ordinals, so that each look-up
has to tell ids apart and to search several segments.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.contracts import Claim, SetName
from app.ingest.writing import delete_sample
from app.services.scores import scores, scores_json
from app.services.sets import Page, member, page, page_json
from app.settings import Settings
from app.store import ids as id_store
from app.store import lookups, scripts
from app.store.layout import CELLS_A_CHUNK, LUA_CONSTANTS, MEMBERS_A_CHUNK
from app.store.state import State, open_state
from tests.playing import Player

IDS = [f"s{i}" for i in range(9)] + ["日", "s1 "]
some_ids = st.lists(st.sampled_from(IDS), min_size=1, max_size=5, unique=True)


@dataclass
class Truth:
    """One stored sample."""

    ordinal: int
    content: tuple[str, str]
    generation: int = 0
    norms: list[float] = field(default_factory=list)


@dataclass
class Version:
    """One set version: who was placed where, by importance descending."""

    number: int
    order: list[tuple[str, int, int]]  # id, ordinal, generation
    sets: dict[str, str]
    importance: dict[str, float]


class Comings(RuleBasedStateMachine):
    def __init__(self, state: State, given: Settings) -> None:
        super().__init__()
        self.state = state
        self.player = Player(state, given)
        self.dataset = self.player.dataset()
        self.truth: dict[str, Truth] = {}
        self.given_out = 0
        self.versions: list[Version] = []
        self.loop = asyncio.Runner()

    def teardown(self) -> None:
        self.loop.run(self.state.exchange.close())
        self.loop.close()
        self.state.datasets.forget(self.dataset)
        self.state.close()

    # -- what happens ----------------------------------------------------------------------------------
    @rule(ids=some_ids, text=st.sampled_from("ab"), label=st.sampled_from("xy"))
    def send(self, ids: list[str], text: str, label: str) -> None:
        self.player.send(self.dataset, [{"id": i, "text": text, "label": label} for i in ids])
        for sample_id in ids:
            known = self.truth.get(sample_id)
            if known is None:
                self.truth[sample_id] = Truth(self.given_out, (text, label))
                self.given_out += 1
            elif known.content != (text, label):
                self.truth[sample_id] = Truth(known.ordinal, (text, label), known.generation + 1)

    @precondition(lambda self: self.truth)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        sample_id = data.draw(st.sampled_from(sorted(self.truth)))
        delete_sample(self.state, self.dataset, sample_id)
        del self.truth[sample_id]

    @precondition(lambda self: self.truth)
    @rule(data=st.data(), norm=st.floats(0.01, 100))
    def visit(self, data: st.DataObject, norm: float) -> None:
        ids = data.draw(st.lists(st.sampled_from(sorted(self.truth)), min_size=1, unique=True))
        norms = {sample_id: norm + position for position, sample_id in enumerate(ids)}
        claim = self.claim()
        self.player.write(self.dataset, {i: [value] for i, value in norms.items()}, claim.token)
        self.player.end(claim)
        for sample_id, value in norms.items():
            self.truth[sample_id].norms.append(value)

    @precondition(lambda self: any(one.norms for one in self.truth.values()))
    @rule()
    def sort(self) -> None:
        norms = {sample_id: one.norms for sample_id, one in self.truth.items() if one.norms}
        claim = self.claim()
        made = self.player.publish(self.dataset, norms, claim)
        self.player.end(claim)
        self.dataset = self.state.datasets.get("d")
        means = {sample_id: float(np.mean(values)) for sample_id, values in norms.items()}
        order = sorted(means, key=lambda sample_id: (-means[sample_id], sample_id))
        core, noise = made.sizes["core"], made.sizes["noise"]
        sets = ["core"] * core + ["edge"] * (len(order) - core - noise) + ["noise"] * noise
        self.versions.append(
            Version(
                made.version,
                [(i, self.truth[i].ordinal, self.truth[i].generation) for i in order],
                dict(zip(order, sets, strict=True)),
                means,
            )
        )

    def claim(self) -> Claim:
        self.player.queue()
        claim = self.player.claim()
        self.state.datasets.take_fence(self.dataset.uid, claim.token)
        return claim

    # -- what must hold --------------------------------------------------------------------------------
    def valid(self, version: Version) -> list[str]:
        """Who of a version still has the content that it had then."""
        return [
            sample_id
            for sample_id, ordinal, generation in version.order
            if (one := self.truth.get(sample_id)) and (one.ordinal, one.generation) == (ordinal, generation)
        ]

    @invariant()
    def ids_keep_their_ordinals(self) -> None:
        held = dict(self.state.ids.scan(self.dataset))
        assert {i: (e.ordinal, e.generation) for i, e in held.items()} == {
            i: (one.ordinal, one.generation) for i, one in self.truth.items()
        }
        assert self.state.datasets.next_ordinal(self.dataset) == self.given_out
        for sample_id in IDS:
            assert self.state.ids.find(self.dataset, sample_id) == held.get(sample_id)

    @invariant()
    def scores_are_those_of_the_present_content(self) -> None:
        newest = self.versions[-1] if self.versions else None
        valid = self.valid(newest) if newest else []
        for sample_id, shown in zip(IDS, scores(self.state, self.dataset, IDS), strict=True):
            one = self.truth.get(sample_id)
            if one is None:
                assert shown is None
                continue
            assert shown is not None
            assert shown["visits"] == len(one.norms)
            expected = pytest.approx(np.mean(one.norms), rel=1e-12) if one.norms else None
            assert shown["importance"] == expected
            assert shown["set"] == (newest.sets[sample_id] if newest and sample_id in valid else "unscored")
            if newest and sample_id in valid:
                rank = [i for i, _, _ in newest.order].index(sample_id)
                assert shown["percentile"] == 100.0 * (len(newest.order) - rank) / len(newest.order)
            else:
                assert shown["percentile"] is None

    @invariant()
    def pages_and_counts_are_those_who_are_left(self) -> None:
        for version in self.versions:
            valid = self.valid(version)
            for name in SetName:
                left = [i for i in valid if version.sets[i] == name]
                shown = self.page(name, version.number)
                assert [item.id for item in shown.items] == left
                assert shown.total == len(left)
                importance = [version.importance[i] for i in left]
                assert [item.importance for item in shown.items] == pytest.approx(importance, rel=1e-6)
            for sample_id in self.truth:
                told = member(self.state, self.dataset, SetName.CORE, sample_id, version.number)
                assert told["set"] == (version.sets[sample_id] if sample_id in valid else "unscored")

    @invariant()
    def the_event_loop_reads_the_same(self) -> None:
        told = msgspec.json.encode({"scores": scores(self.state, self.dataset, IDS)})
        for few in (0, len(IDS)):  # one segment of the index after the other, and all at once
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(lookups, "FEW_IDS", few)
                assert self.loop.run(scores_json(self.state, "d", IDS)) == told
        for version in self.versions:
            for name in SetName:
                asked: Any = {"version": version.number, "order": "importance", "limit": 3, "cursor": None}
                told = msgspec.json.encode(page(self.state, self.dataset, name, **asked))
                assert self.loop.run(page_json(self.state, "d", name, **asked)) == told

    def page(self, name: SetName, version: int) -> Page:
        return page(
            self.state, self.dataset, name, version=version, order="-importance", limit=100, cursor=None
        )


@pytest.fixture
def crowded_index(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Few checksums, small segments."""
    monkeypatch.setattr(id_store, "crc32", lambda raw: crc32(raw) & 0x00200001)
    for name, value in {"FIRST_SEGMENT": 4, "IDS_A_BUCKET": 2}.items():
        monkeypatch.setattr(id_store, name, value)
        monkeypatch.setitem(LUA_CONSTANTS, name, value)
    caches = (scripts.script_source, scripts.script_digest)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_no_ghosts(crowded_index: None, make_settings: Callable[..., Settings]) -> None:
    def begin() -> Comings:
        given = make_settings()
        return Comings(open_state(given), given)

    run_state_machine_as_test(
        begin,
        settings=settings(
            max_examples=30,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_ids_that_share_a_checksum_are_told_apart(crowded_index: None, player: Player) -> None:
    """One bucket, one mark, three segments."""
    dataset, state = player.dataset(), player.state
    ids = [f"{i}" for i in range(20)]
    first = state.ids.assign(dataset, ids)
    assert [entry.ordinal for entry in first] == list(range(20))
    state.ids.commit(dataset, [(i, e._replace(content=1)) for i, e in zip(ids, first, strict=True)], [])
    state.ids.commit(dataset, [(i, None) for i in ids[::2]], [])
    found = [state.ids.find(dataset, i) for i in ids]
    assert [None if entry is None else entry.ordinal for entry in found] == [
        None if i % 2 == 0 else i for i in range(20)
    ]
    assert [entry.ordinal for entry in state.ids.assign(dataset, ids[:4])] == [20, 1, 21, 3]
    prefix = state.keys.dataset(dataset.uid).index_prefix()
    buckets = list(state.client.scan_iter(match=f"{prefix}*"))
    assert any(b"," in held for key in buckets for held in state.client.hvals(key))


def test_sets_and_pages_over_the_end_of_a_chunk(player: Player) -> None:
    """As many members as fill a chunk and a little of the next; their cells fill several chunks."""
    count = MEMBERS_A_CHUNK + 150
    dataset, state = player.dataset(), player.state
    ids = [f"s{i}" for i in range(count)]
    entries = [
        entry for at in range(0, count, 2000) for entry in state.ids.assign(dataset, ids[at : at + 2000])
    ]
    changes = [(i, entry._replace(content=1)) for i, entry in zip(ids, entries, strict=True)]
    for at in range(0, count, 2000):
        state.ids.commit(dataset, changes[at : at + 2000], [])
    player.queue()
    norms = {sample_id: [float(count - position)] for position, sample_id in enumerate(ids)}
    claim = player.claim()
    player.publish(dataset, norms, claim, core_fraction=1.0, noise_fraction=0.0)
    dataset = state.datasets.get("d")
    held = state.sets.members(dataset, 1, SetName.CORE, MEMBERS_A_CHUNK - 50, MEMBERS_A_CHUNK + 49)
    assert [one.sample_id for one in held] == ids[MEMBERS_A_CHUNK - 50 : MEMBERS_A_CHUNK + 50]
    assert [one.row for one in held] == list(range(MEMBERS_A_CHUNK - 50, MEMBERS_A_CHUNK + 50))
    for ordinal in (0, CELLS_A_CHUNK - 1, CELLS_A_CHUNK, count - 1):
        cell = state.sets.cell(dataset, 1, ordinal)
        assert cell is not None
        assert (cell.rank, cell.importance) == (ordinal, count - ordinal)
    column = state.sets.column(dataset, 1)
    assert column["rank"].tolist() == list(range(count))
    assert (column["set"] == 1).all()
    state.sets._versions_kept = 1
    player.publish(dataset, {"s1": [1.0]}, claim)
    prefix = state.keys.dataset(dataset.uid).versions_prefix()
    left = [key.decode() for key in state.client.scan_iter(match=f"{prefix}*")]
    assert {key.removeprefix(prefix).split(":")[0] for key in left} == {"2"}
