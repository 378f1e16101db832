"""An open-loop client in a process of its own: requests leave when they are due, whatever became of others.

Latency counts from the moment a request was due, so that a server that stalls is charged for all that it kept
from leaving (coordinated omission). Poisson arrivals; connections are kept, and opened as they are needed.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop
from api_state import NAME, sample_id

MOST_CONNECTIONS = 400
PATIENCE_SECONDS = 20.0
ROWS = 100
KINDS = ("score", "batch", "page", "rows", "job")
SHARES = (70, 10, 10, 2, 8)
"""In percent: reads of scores and sets are 90."""


Entry = tuple[str, float, float, int, str, float]
"""kind, due (s from the start), how long it took (s), status, what was stored, how late it left (s)."""


@dataclass(frozen=True)
class Order:
    """What one client process is to do, and where it leaves what came of it."""

    port: int
    rate: float
    seconds: float
    samples: int
    job: str
    seed: int
    out: str


class Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.answer: asyncio.Future[int] | None = None
        self.closed = False
        self._held = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    def ask(self, packed: bytes) -> asyncio.Future[int]:
        """The status of the answer; 0 where the connection ended before it."""
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(packed)
        return self.answer

    def data_received(self, data: bytes) -> None:
        self._held += data
        head, end, body = self._held.partition(b"\r\n\r\n")
        if not end:
            return
        lowered = head.lower()
        length = int(lowered.partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
        if len(body) < length:
            return
        self._held = b""
        if b"connection: close" in lowered:
            self.closed = True
        self._tell(int(head[9:12]))

    def connection_lost(self, _: Exception | None) -> None:
        self.closed = True
        self._tell(0)

    def _tell(self, status: int) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(status)


class Client:
    def __init__(self, order: Order) -> None:
        self.order = order
        self.told: list[Entry] = []
        self._idle: list[Connection] = []
        self._room = asyncio.Semaphore(MOST_CONNECTIONS)
        self._random = random.Random(order.seed)
        self._posted = 0

    async def run(self) -> None:
        loop, due, tasks = asyncio.get_running_loop(), 0.0, set()
        began = loop.time()
        while due < self.order.seconds:
            if (early := began + due - loop.time()) > 0:
                await asyncio.sleep(early)
            kind = self._random.choices(KINDS, SHARES)[0]
            tasks.add(loop.create_task(self._one(kind, began, due)))
            due += self._random.expovariate(self.order.rate)
        await asyncio.wait(tasks, timeout=PATIENCE_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self, kind: str, began: float, due: float) -> None:
        packed, stored = self._request(kind)
        loop, status, late = asyncio.get_running_loop(), 0, 0.0
        try:
            async with self._room:
                connection = await self._connection()
                late = loop.time() - began - due
                status = await asyncio.wait_for(connection.ask(packed), PATIENCE_SECONDS)
                if not connection.closed:
                    self._idle.append(connection)
        except (OSError, TimeoutError):
            pass  # unanswered, as when it is cancelled
        finally:
            self.told.append((kind, due, loop.time() - began - due, status, stored, late))

    async def _connection(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                return connection
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(Connection, "127.0.0.1", self.order.port)
        return made

    def _request(self, kind: str) -> tuple[bytes, str]:
        sample, base = sample_id(self._random.randrange(self.order.samples)), f"/v1/datasets/{NAME}"
        if kind == "score":
            return _packed("GET", f"{base}/scores/{sample}"), ""
        if kind == "page":
            return _packed("GET", f"{base}/sets/core?limit=100"), ""
        if kind == "job":
            return _packed("GET", f"/v1/jobs/{self.order.job}"), ""
        if kind == "batch":
            ids = [sample_id(self._random.randrange(self.order.samples)) for _ in range(100)]
            return _packed("POST", f"{base}/scores/lookup", json.dumps({"ids": ids}).encode()), ""
        self._posted += 1
        first = f"p{self.order.seed}-{self._posted}"
        rows = [{"id": f"{first}-{n}", "text": f"a review of some length {n} " * 4} for n in range(ROWS)]
        body = json.dumps({"samples": rows}).encode()
        return _packed("POST", f"/v1/datasets/rows-{self._posted % 4}/samples", body), first


def _packed(method: str, path: str, body: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


# -- what it can do itself -----------------------------------------------------------------------------------
class _Nothing(asyncio.Protocol):
    """Answers everything at once."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if data.endswith((b"\r\n\r\n", b"}")):
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")


async def serve_nothing(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Nothing, "127.0.0.1", port)
    await server.serve_forever()


def answers(path: Path) -> Iterator[Entry]:
    for line in path.read_text().splitlines():
        kind, due, took, status, stored, late = json.loads(line)
        yield kind, due, took, status, stored, late


def main() -> None:
    if sys.argv[1] == "--nothing":
        uvloop.run(serve_nothing(int(sys.argv[2])))
    order = Order(**json.loads(sys.argv[1]))

    async def run() -> Client:
        client = Client(order)
        await client.run()
        return client

    began = time.process_time()
    client = uvloop.run(run())
    print(f"{time.process_time() - began:.2f}")
    Path(order.out).write_text("".join(json.dumps(one) + "\n" for one in client.told))


def packed_order(order: Order) -> str:
    return json.dumps(asdict(order))


if __name__ == "__main__":
    main()
