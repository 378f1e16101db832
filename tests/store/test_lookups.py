"""Look-ups that travel together: each caller gets its own, whatever befalls the others or the server."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as RedisAway
from redis.exceptions import TimeoutError as RedisSilent

from app.errors import Conflict
from app.services.datasets import delete_dataset
from app.services.scores import scores_of
from app.settings import Settings
from app.store import lookups, wire
from app.store.embedded import EmbeddedRedis
from app.store.exchange import Exchange
from app.store.hints import OrdinalHints
from app.store.known import KnownDatasets
from app.store.lookups import Lookups
from app.store.scores import Lookup
from app.store.state import State, open_state
from tests.playing import Player

IDS = [f"s{i}" for i in range(12)]
NORMS = {sample_id: [1.0 + n, 2.0] for n, sample_id in enumerate(IDS)}


def fill(player: Player, name: str = "d") -> None:
    player.dataset([{"id": i, "text": "t", "label": 1} for i in [*IDS, "unscored"]], name=name)
    player.score(NORMS, name=name)


def asking(
    url: str,
    state: State,
    questions: Callable[[Lookups], Awaitable[Any]],
    outage: float = 1.0,
    slots: int = 1024,
) -> Any:
    """What `questions` makes of a new `Lookups` in an event loop of its own."""

    async def ask() -> Any:
        exchange = Exchange(url, outage_seconds=outage)
        try:
            return await questions(
                Lookups(exchange, KnownDatasets(exchange, state.keys), OrdinalHints(slots))
            )
        finally:
            await exchange.close()

    return asyncio.run(ask())


def read(answer: Lookup | None) -> list[Any]:
    assert answer is not None
    return answer.values()


def told(answer: Lookup | None) -> tuple[Any, ...]:
    assert answer is not None
    return answer.lineage, answer.version, scores_of(answer)


def truth(state: State, ids: list[str], name: str = "d") -> tuple[Any, ...]:
    """By the script."""
    return told(state.scores.lookup(state.datasets.get(name), ids))


def calls(state: State) -> int:
    stats: dict[str, Any] = state.client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha"))


@pytest.fixture(scope="module")
def filled(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    settings = Settings(redis_url=redis_url, data_url=str(tmp_path_factory.mktemp("d")), key_prefix="lookups")
    state = open_state(settings)
    fill(Player(state, settings))
    fill(Player(state, settings), "other")
    yield state
    state.close()


@examples(max_examples=40, deadline=None)
@given(
    asked=st.lists(
        st.tuples(
            st.sampled_from(["d", "other", "nowhere"]),
            st.lists(st.sampled_from([*IDS, "unscored", "nobody", "", "é"]), max_size=6),
        ),
        min_size=1,
        max_size=12,
    ),
    together=st.integers(1, 20),
    slots=st.sampled_from([1, 4, 64]),
)
def test_each_caller_gets_what_it_would_get_alone(
    redis_url: str, filled: State, asked: list[tuple[str, list[str]]], together: int, slots: int
) -> None:
    """The second time, too, when it is remembered where some of the samples are."""

    async def questions(asked_of: Lookups) -> list[Lookup | None]:
        first = await asyncio.gather(*(asked_of.ask(name, ids) for name, ids in asked))
        return first + await asyncio.gather(*(asked_of.ask(name, ids) for name, ids in asked))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lookups, "MOST_IDS_TOGETHER", together)
        answers = asking(redis_url, filled, questions, slots=slots)
    for (name, ids), answer in zip(asked * 2, answers, strict=True):
        if name == "nowhere":
            assert answer is None
        else:
            assert told(answer) == truth(filled, ids, name)


def test_concurrent_look_ups_share_their_calls(redis_url: str, filled: State) -> None:
    async def questions(asked_of: Lookups) -> list[Lookup | None]:
        await asked_of.ask("d", [])
        return await asyncio.gather(*(asked_of.ask("d", [IDS[i % 12]]) for i in range(200)))

    before = calls(filled)
    answers = asking(redis_url, filled, questions)
    assert calls(filled) - before <= 3
    assert [told(answer) for answer in answers] == [truth(filled, [IDS[i % 12]]) for i in range(200)]


def test_the_index_is_asked_for_an_id_once(redis_url: str, filled: State) -> None:
    async def questions(asked_of: Lookups) -> None:
        await asked_of.ask("d", IDS)
        before = asked(filled)
        answer = await asked_of.ask("d", IDS[3:])
        # Nine entries, and two of the questions that confirm the dataset.
        assert asked(filled) - before == 9 + 2
        assert told(answer) == truth(filled, IDS[3:])

    def asked(state: State) -> int:
        return int(state.client.info("commandstats")["cmdstat_hget"]["calls"])

    asking(redis_url, filled, questions)


def test_where_a_sample_was_is_not_where_it_is(redis_url: str, state: State, player: Player) -> None:
    """It is deleted, sent again under another ordinal, or has the CRC-32 and so the slot of another."""
    twins = ["plumless", "buckeroo"]
    assert len({crc32(sample_id.encode()) for sample_id in twins}) == 1
    player.dataset([{"id": i, "text": "t", "label": 1} for i in [*twins, "s1"]])
    player.score({"plumless": [1.0], "buckeroo": [2.0], "s1": [3.0]})
    dataset = state.datasets.get("d")

    async def questions(asked_of: Lookups) -> None:
        for ids in (["plumless"], ["buckeroo"], twins, ["s1"]):
            assert told(await asked_of.ask("d", ids)) == truth(state, ids)
            assert None not in read(await asked_of.ask("d", ids))
        (entry,) = state.ids.entries(dataset, ["s1"])
        state.ids.commit(dataset, [("s1", None)], [])
        assert read(await asked_of.ask("d", ["s1"])) == [None]
        state.ids.assign(dataset, ["another"])
        (given,) = state.ids.assign(dataset, ["s1"])
        assert entry is not None
        assert given.ordinal != entry.ordinal
        assert read(await asked_of.ask("d", ["s1"])) == [None]
        state.ids.commit(dataset, [("s1", entry._replace(ordinal=given.ordinal))], [])
        assert told(await asked_of.ask("d", ["s1"])) == truth(state, ["s1"])
        assert None not in read(await asked_of.ask("d", ["s1"]))

    asking(redis_url, state, questions)


def test_a_part_of_an_answer_is_the_answer_to_that_part(redis_url: str, filled: State) -> None:
    whole = asking(redis_url, filled, lambda asked_of: asked_of.ask("d", IDS))
    assert told(whole.part(3, 7)) == truth(filled, IDS[3:7])
    assert told(whole.part(8, 12).part(1, 3)) == truth(filled, IDS[9:11])


def test_a_request_that_is_cancelled_leaves_alone(redis_url: str, filled: State) -> None:
    async def questions(asked_of: Lookups) -> Any:
        tasks = [asyncio.create_task(asked_of.ask("d", [sample_id])) for sample_id in IDS]
        await asyncio.sleep(0)  # all are on their way
        for task in tasks[::2]:
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = asking(redis_url, filled, questions)
    assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[::2])
    assert [told(answer) for answer in answers[1::2]] == [truth(filled, [i]) for i in IDS[1::2]]


def test_a_name_that_is_deleted_and_made_again_is_another_dataset(
    redis_url: str, state: State, settings: Settings, player: Player
) -> None:
    fill(player)

    async def questions(asked_of: Lookups) -> None:
        assert read(await asked_of.ask("d", ["s1"]))[0] is not None
        await asyncio.to_thread(delete_dataset, state, settings, state.datasets.get("d"))
        assert await asked_of.ask("d", ["s1"]) is None
        await asyncio.to_thread(player.dataset, [{"id": "s2", "text": "new"}])
        assert told(await asked_of.ask("d", ["s1", "s2"])) == truth(state, ["s1", "s2"])
        assert read(await asked_of.ask("d", ["s1"])) == [None]

    asking(redis_url, state, questions)


def test_a_name_that_leads_to_another_dataset_now(redis_url: str, state: State, player: Player) -> None:
    """A deletion was cut short after the name: what it left must not answer for the next dataset."""
    fill(player)
    registry = state.keys.datasets

    async def questions(asked_of: Lookups) -> None:
        assert read(await asked_of.ask("d", ["s1"]))[0] is not None
        state.client.hdel(registry, "d")
        assert await asked_of.ask("d", ["s1"]) is None
        await asyncio.to_thread(player.dataset, [{"id": "s2", "text": "new"}])
        assert read(await asked_of.ask("d", ["s1"])) == [None]
        state.client.delete(state.keys.dataset(state.datasets.get("d").uid).meta)
        assert await asked_of.ask("d", ["s1"]) is None

    asking(redis_url, state, questions)


def test_state_of_another_format_is_not_misread(redis_url: str, state: State, player: Player) -> None:
    fill(player)
    state.client.hset(state.keys.dataset(state.datasets.get("d").uid).meta, "format", "99")
    with pytest.raises(Conflict) as refused:
        asking(redis_url, state, lambda asked_of: asked_of.ask("d", ["s1"]))
    assert refused.value.code == "state_format"


def test_a_server_that_forgot_the_script_is_told_again(redis_url: str, filled: State) -> None:
    async def questions(asked_of: Lookups) -> None:
        for _ in range(2):
            assert told(await asked_of.ask("d", IDS)) == truth(filled, IDS)
            filled.client.script_flush()

    asking(redis_url, filled, questions)


# -- a server that dies --------------------------------------------------------------------------------------
@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path / "own") as server:
        yield server


@pytest.fixture
def own(server: EmbeddedRedis, tmp_path: Path) -> Iterator[State]:
    settings = Settings(redis_url=server.url, data_url=str(tmp_path / "data"))
    state = open_state(settings)
    fill(Player(state, settings))
    state.make_durable()
    yield state
    state.close()


def killed(server: EmbeddedRedis) -> None:
    server.kill()
    assert server._process is not None
    server._process.wait()


def test_a_server_that_is_away_is_told_soon_and_found_again(server: EmbeddedRedis, own: State) -> None:
    async def questions(asked_of: Lookups) -> None:
        assert told(await asked_of.ask("d", IDS)) == truth(own, IDS)
        killed(server)
        began = time.monotonic()
        waiting = [asyncio.create_task(asked_of.ask("d", [sample_id])) for sample_id in IDS]
        await asyncio.sleep(0.1)
        waiting += [asyncio.create_task(asked_of.ask(f"d{n}", ["s1"])) for n in range(5)]
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(answer, RedisAway) for answer in answers)
        assert time.monotonic() - began < 2  # all at once, not one after another
        await asyncio.to_thread(server.start)
        assert told(await asked_of.ask("d", IDS)) == truth(own, IDS)

    asking(server.url, own, questions, outage=0.5)


def test_a_short_outage_is_not_noticed(server: EmbeddedRedis, own: State) -> None:
    """Look-ups keep coming while the server is killed and started again: each gets its own, none an error."""

    async def questions(asked_of: Lookups) -> None:
        over = asyncio.Event()

        async def keep_asking(number: int) -> int:
            count = 0
            while not over.is_set():
                (found,) = read(await asked_of.ask("d", [IDS[number]]))
                assert found is not None
                assert found[5] == sum(NORMS[IDS[number]])
                count += 1
            return count

        asking_on = [asyncio.create_task(keep_asking(number)) for number in range(len(IDS))]
        for _ in range(3):
            await asyncio.sleep(0.05)
            killed(server)
            await asyncio.to_thread(server.start)
        over.set()
        assert min(await asyncio.gather(*asking_on)) > 0

    asking(server.url, own, questions, outage=30.0)


def test_a_silent_server_is_not_waited_for(
    server: EmbeddedRedis, own: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what it says when it wakes up is not taken for the answer to a later question."""
    monkeypatch.setattr(wire, "SILENCE_SECONDS", 0.3)
    assert server.pid is not None

    async def questions(asked_of: Lookups) -> None:
        assert told(await asked_of.ask("d", ["s1"])) == truth(own, ["s1"])
        os.kill(server.pid or 0, signal.SIGSTOP)
        try:
            with pytest.raises(RedisSilent):
                await asked_of.ask("d", ["s2"])
        finally:
            os.kill(server.pid or 0, signal.SIGCONT)
        assert told(await asked_of.ask("d", ["s3"])) == truth(own, ["s3"])

    asking(server.url, own, questions, outage=0.2)
