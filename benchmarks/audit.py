"""What the audit log costs: the steps of an entry, a changing request with and without it, the way to files.

python -m benchmarks.audit
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import msgspec

from app.api.audit import AuditDeeds
from app.contracts import now
from app.contracts.audit import AuditEntry, Outcome
from app.contracts.base import rfc3339
from app.main import create_app
from app.services.audit import seal_audit
from app.settings import Settings
from app.store.audit import AuditDesk, new_entry_id
from app.store.embedded import EmbeddedRedis
from app.store.state import open_state

TIMES = 3_000
SEALED = 20_000


def entry() -> AuditEntry:
    return AuditEntry(
        id=new_entry_id(),
        at=rfc3339(now()),
        action="sample.delete",
        outcome=Outcome.OPEN,
        request_id=new_entry_id(),
        key_id="k_0123",
        key_name="somebody",
        client="127.0.0.1",
        dataset="reviews",
        sample="row-000001",
    )


async def timed(work: Callable[[], Awaitable[object]], times: int) -> str:
    took = []
    for _ in range(times):
        started = time.perf_counter()
        await work()
        took.append((time.perf_counter() - started) * 1e6)
    took.sort()
    return f"median {statistics.median(took):7.0f} µs   p99 {took[int(times * 0.99)]:7.0f} µs"


async def steps(desk: AuditDesk) -> None:
    entries = [entry() for _ in range(TIMES)]
    todo = iter(entries)
    print("begin           ", await timed(lambda: desk.begin(next(todo)), TIMES))
    done = iter(msgspec.structs.replace(one, outcome=Outcome.DONE) for one in entries)
    print("end             ", await timed(lambda: desk.end(next(done)), TIMES))


async def requests(settings: Settings, *, audited: bool) -> None:
    """DELETE of a sample that is not there: the cheapest request that is entered."""
    call = AuditDeeds.__call__
    if not audited:
        AuditDeeds.__call__ = lambda self, *ends: self._app(*ends)  # type: ignore[method-assign]
    app = create_app(settings)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
        await client.put("/v1/datasets/d", json={"task": "classification"})
        word = "with" if audited else "without"
        print(f"request {word:8}", await timed(lambda: client.delete("/v1/datasets/d/samples/x"), TIMES))
    AuditDeeds.__call__ = call  # type: ignore[method-assign]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(Path(folder)) as server:
        settings = Settings(redis_url=server.url, data_url=folder, log_level="ERROR")
        state = open_state(settings)
        asyncio.run(steps(state.audit.desk))
        for audited in (False, True):
            asyncio.run(requests(settings, audited=audited))
        for _ in range(SEALED):
            state.audit.log.append(msgspec.structs.replace(entry(), outcome=Outcome.DONE))
        waiting = len(state.audit.log.waiting(10 * SEALED))
        held = int(state.client.memory_usage(state.keys.audit.stream, samples=0))  # type: ignore[arg-type]
        started = time.perf_counter()
        seal_audit(state)
        seconds = time.perf_counter() - started
        size = sum(file.stat().st_size for file in Path(folder, "audit").iterdir())
        print(f"sealed {waiting} entries: {waiting / seconds:.0f}/s, {size / waiting:.0f} bytes an entry")
        print(f"in Redis: {held / waiting:.0f} bytes an entry that waits")
        state.close()


if __name__ == "__main__":
    main()
