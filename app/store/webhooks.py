"""Webhooks of jobs that are not settled. A job is listed before it is recorded, and until its call is: what a
server loses with its tail is called once more, never left out."""

from __future__ import annotations

from typing import cast

import redis

from app.contracts import JobState
from app.contracts.webhooks import Webhook
from app.store.keys import Keys
from app.store.scripts import Scripts

UNKNOWN_MS = 600_000
"""So long after it was listed, a job without a record never was one."""
RECORDS_A_CALL = 500


class WebhookStore:
    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys.jobs
        self._scripts = Scripts(client)

    def expect(self, job_id: str, created_us: int) -> None:
        self._client.zadd(self._keys.webhooks, {job_id: created_us // 1000}, nx=True)

    def due(self) -> list[str]:
        """Ids of jobs that have ended and whose call is due, that of longest ago first."""
        seconds, micros = self._client.time()
        now_ms = seconds * 1000 + micros // 1000
        listed = self._client.zrange(self._keys.webhooks, 0, now_ms, byscore=True, withscores=True)
        found = []
        places = cast("list[tuple[bytes, float]]", listed)
        for start in range(0, len(places), RECORDS_A_CALL):
            some = places[start : start + RECORDS_A_CALL]
            pipe = self._client.pipeline(transaction=False)
            for raw, _ in some:
                pipe.hget(self._keys.record(raw.decode()), "state")
            for (raw, since), state in zip(some, pipe.execute(), strict=True):
                if state is None:
                    if now_ms - since > UNKNOWN_MS:
                        self._client.zrem(self._keys.webhooks, raw)
                elif JobState(state.decode()).ended:
                    found.append(raw.decode())
        return found

    def take(self, job_id: str, seconds: float) -> bool:
        """Whether the call is this process's to make; nobody else's for so long."""
        return bool(self._scripts.run("webhook_take", [self._keys.webhooks], [job_id, int(seconds * 1000)]))

    def settle(self, job_id: str, told: Webhook, again_after: float | None) -> None:
        """Records what became of a call. again_after: seconds until the next one; None: there is none."""
        pipe = self._client.pipeline(transaction=True)
        pipe.hset(self._keys.record(job_id), "webhook", told.model_dump_json())
        if again_after is None:
            pipe.zrem(self._keys.webhooks, job_id)
        else:
            seconds, micros = self._client.time()
            due = seconds * 1000 + micros // 1000 + int(again_after * 1000)
            pipe.zadd(self._keys.webhooks, {job_id: due})
        pipe.execute()
