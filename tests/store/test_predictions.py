"""Requests for predictions between those who ask and those who answer, without a model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from starlette.requests import ClientDisconnect, Request

from app.api.leaving import unless_client_leaves
from app.contracts.predictions import PredictionAnswer, PredictionRequest
from app.errors import TimedOut, Unavailable
from app.settings import Settings
from app.store.embedded import EmbeddedRedis
from app.store.prediction_queue import PredictionQueue, Taken
from app.store.state import State, open_state

Answered = asyncio.Task[PredictionAnswer]


class Clients:
    """Those who ask, on one event loop; a predictor is there, which the tests play."""

    def __init__(self, state: State) -> None:
        self._desk = state.prediction_desk
        self.queue = state.predictions
        self.queue.present.beat("p", 30.0)

    def ask(self, job: str, *texts: str, seconds: float = 5.0, most_bytes: int = 10_000) -> Answered:
        request = PredictionRequest(list(texts), [None] * len(texts))
        limits = {"longest_queue": 6, "most_bytes": most_bytes}
        return asyncio.create_task(self._desk.ask(job, request, seconds=seconds, **limits))

    async def waiting(self, count: int) -> None:
        while self.queue.waiting() < count:
            await asyncio.sleep(0.002)


@asynccontextmanager
async def clients_of(state: State) -> AsyncIterator[Clients]:
    try:
        yield Clients(state)
    finally:
        await state.prediction_desk.close()


def texts_of(taken: Taken | None) -> list[list[str]]:
    return [] if taken is None else [request.texts for request in taken.requests.values()]


def answer(queue: PredictionQueue, taken: Taken | None) -> None:
    """The probability tells the length of the text, so that nobody can get another one's answer."""
    assert taken is not None
    for request_id, request in taken.requests.items():
        queue.answer(request_id, PredictionAnswer([[float(len(text))] for text in request.texts]))


def test_requests_to_one_model_share_a_batch_and_each_gets_its_own_answer(state: State) -> None:
    async def go() -> None:
        async with clients_of(state) as clients:
            asked: list[Answered] = []
            for job, *texts in (("a", "1"), ("b", "22"), ("a", "3", "333"), ("a", "4" * 4, "5"), ("a", "6")):
                asked.append(clients.ask(job, *texts))
                await clients.waiting(len(asked))
            queue = clients.queue
            assert queue.wait(1)
            first = queue.take("p", 4)
            assert first is not None
            assert first.job == "a"
            assert texts_of(first) == [["1"], ["3", "333"], ["6"]]
            answer(queue, first)
            second, third = queue.take("p", 4), queue.take("p", 1)
            assert texts_of(second) == [["22"]]
            assert texts_of(third) == [["4444", "5"]], "a request is never cut in two"
            answer(queue, third)
            answer(queue, second)
            found = [one.probabilities for one in await asyncio.gather(*asked)]
            assert found == [[[1.0]], [[2.0]], [[1.0], [3.0]], [[4.0], [1.0]], [[1.0]]]
            assert not queue.wait(1)
            assert [key.decode() for key in state.client.keys(f"{state.keys.predictions.base}:*")] == [
                state.keys.predictions.predictors
            ]

    asyncio.run(go())


def test_what_nobody_waits_for_is_not_computed(state: State) -> None:
    async def go() -> None:
        async with clients_of(state) as clients:
            queue = clients.queue
            given_up, hurried, patient = (
                clients.ask("a", "given up"),
                clients.ask("a", "hurried", seconds=0.2),
                clients.ask("a", "patient"),
            )
            await clients.waiting(3)
            given_up.cancel()
            await asyncio.wait([given_up])
            with pytest.raises(TimedOut):
                await hurried
            taken = queue.take("p", 10)
            assert texts_of(taken) == [["patient"]]
            assert taken is not None
            patient.cancel()
            await asyncio.wait([patient])
            assert queue.wanted([*taken.requests]) == []
            answer(queue, taken)
            assert state.client.keys(f"{state.keys.predictions.base}:a*") == [], "the answer is for nobody"

    asyncio.run(go())


def test_a_client_can_give_up_at_any_moment(state: State) -> None:
    """Also while a reply lies there that was not read yet."""

    async def go() -> None:
        async with clients_of(state) as clients:
            for steps in range(24):
                asked = clients.ask("a", "text", seconds=20.0)
                while not clients.queue.waiting():
                    await asyncio.sleep(0)
                for _ in range(steps % 6):
                    await asyncio.sleep(0)
                asked.cancel()
                await asyncio.wait([asked], timeout=2.0)
                assert asked.cancelled(), steps
                assert clients.queue.take("p", 10) is None

    asyncio.run(go())


def test_a_client_that_hangs_up_is_one_that_has_given_up(state: State) -> None:
    async def go() -> None:
        async with clients_of(state) as clients:

            async def receive() -> dict[str, object]:
                await clients.waiting(1)
                return {"type": "http.disconnect"}

            async def work() -> PredictionAnswer:
                return await clients.ask("a", "text")

            with pytest.raises(ClientDisconnect):
                await unless_client_leaves(Request({"type": "http"}, receive), work())
            assert clients.queue.take("p", 10) is None

    asyncio.run(go())


def test_refusals_come_at_once_and_a_lost_predictor_is_told(state: State) -> None:
    async def refused(asked: Answered) -> str:
        with pytest.raises(Unavailable) as caught:
            await asked
        return caught.value.code

    async def go() -> None:
        async with clients_of(state) as clients:
            queue = clients.queue
            alone = clients.ask("a", "x" * 500, most_bytes=400)
            await clients.waiting(1)
            assert await refused(clients.ask("a", "x", most_bytes=400)) == "predictors_busy"
            others = [clients.ask("a", "x") for _ in range(5)]
            await clients.waiting(6)
            assert await refused(clients.ask("a", "x")) == "predictors_busy"
            assert texts_of(queue.take("p", 1)) == [["x" * 500]]
            queue.present.beat("q", 30.0)
            queue.present.leave("p")
            assert await refused(alone) == "predictor_lost"
            queue.present.leave("q")
            assert [await refused(one) for one in others] == ["no_predictor"] * 5
            began = time.monotonic()
            assert await refused(clients.ask("a", "x")) == "no_predictor"
            assert time.monotonic() - began < 0.5

    asyncio.run(go())


@pytest.mark.parametrize("lost", [False, True])
def test_a_server_that_is_started_again(
    tmp_path: Path, lost: bool, make_settings: Callable[..., Settings]
) -> None:
    """What it kept is answered; what it lost is told."""

    async def go() -> None:
        async with clients_of(state) as clients:
            asked = clients.ask("a", "text", seconds=20.0)
            await clients.waiting(1)
            if lost:
                state.client.delete(*state.client.keys(f"{state.keys.predictions.base}:asked:*"))
            state.client.waitaof(1, 0, 5000)
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(server.start)
            taken = clients.queue.take("p", 10)
            if not lost:
                answer(clients.queue, taken)
                assert (await asked).probabilities == [[4.0]]
                return
            assert taken is None
            with pytest.raises(Unavailable) as caught:
                await asked
            assert caught.value.code == "predictor_lost"

    with EmbeddedRedis(tmp_path) as server:
        state = open_state(make_settings(redis_url=server.url))
        asyncio.run(go())
        state.close()
