"""The records of jobs, for those who read them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import redis

from app.contracts import Job, JobKind, JobState
from app.contracts.access import JobOrigin
from app.errors import NotFound
from app.store.keys import Keys

_JSON_FIELDS = ("progress", "params", "result", "error")


class JobRecords:
    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys.jobs

    def get(self, job_id: str) -> Job:
        """Raises `NotFound("unknown_job")`."""
        raw = cast("dict[bytes, bytes]", self._client.hgetall(self._keys.record(job_id)))
        if b"id" not in raw:
            raise NotFound("unknown_job", f"there is no job {job_id!r}")
        return _job(raw)

    def dataset_uid(self, job_id: str) -> str:
        """Which dataset the job belongs to; another one may have taken its name since."""
        return cast("bytes", self._client.hget(self._keys.record(job_id), "uid")).decode()

    def origin(self, job_id: str) -> JobOrigin:
        """Of the request that sent it; empty for a job of before records kept it."""
        raw = cast("bytes | None", self._client.hget(self._keys.record(job_id), "origin"))
        return JobOrigin() if raw is None else JobOrigin.model_validate_json(raw)

    def ran_seconds(self, job_id: str) -> float:
        """How long the job has run, in all attempts, as its workers have told."""
        raw = cast("bytes | None", self._client.hget(self._keys.record(job_id), "ran_ms"))
        return int(raw or 0) / 1000

    def ids_before(self, bound: float | None, limit: int) -> list[tuple[str, float]]:
        """Job ids and their places in time, newest first, strictly older than `bound`."""
        top = "+inf" if bound is None else f"({bound:.0f}"
        raw = self._client.zrange(
            self._keys.index, top, "-inf", desc=True, byscore=True, withscores=True, offset=0, num=limit
        )
        return [(item[0].decode(), item[1]) for item in cast("list[tuple[bytes, float]]", raw)]

    def newest_succeeded(self, dataset_uid: str, kind: JobKind) -> str | None:
        """Id of the dataset's job of this kind that was sent last, of those that have succeeded."""
        wanted = [text.encode() for text in (dataset_uid, kind.value, JobState.SUCCEEDED.value)]
        bound: float | None = None
        while places := self.ids_before(bound, 200):
            pipe = self._client.pipeline(transaction=False)
            for job_id, _ in places:
                pipe.hmget(self._keys.record(job_id), "uid", "kind", "state")
            for (job_id, _), held in zip(places, pipe.execute(), strict=True):
                if held == wanted:
                    return job_id
            bound = places[-1][1]
        return None

    def unfinished_of(self, dataset_uid: str) -> list[str]:
        """Ids of the dataset's queued and running jobs."""
        ids = self.unfinished()
        pipe = self._client.pipeline(transaction=False)
        for job_id in ids:
            pipe.hget(self._keys.record(job_id), "uid")
        return [
            job_id for job_id, uid in zip(ids, pipe.execute(), strict=True) if uid == dataset_uid.encode()
        ]

    def unfinished(self) -> list[str]:
        """Ids of all queued and running jobs."""
        waiting = cast("list[bytes]", self._client.zrange(self._keys.queue, 0, -1))
        running = cast("list[bytes]", self._client.zrange(self._keys.leases, 0, -1))
        return [raw.decode() for raw in (*waiting, *running)]

    def ids_of(self, dataset_uid: str) -> list[str]:
        """Ids of all of the dataset's jobs, newest first."""
        found: list[str] = []
        bound: float | None = None
        while places := self.ids_before(bound, 1000):
            pipe = self._client.pipeline(transaction=False)
            for job_id, _ in places:
                pipe.hget(self._keys.record(job_id), "uid")
            uids = pipe.execute()
            found += [
                job_id for (job_id, _), uid in zip(places, uids, strict=True) if uid == dataset_uid.encode()
            ]
            bound = places[-1][1]
        return found

    def rewrite(self, job_id: str, params: dict[str, Any], result: dict[str, Any] | None) -> None:
        """What an ended job's record says from now on."""
        fields: dict[Any, Any] = {"params": json.dumps(params)}
        if result is not None:
            fields["result"] = json.dumps(result, allow_nan=False)
        self._client.hset(self._keys.record(job_id), mapping=fields)

    def waiting(self) -> int:
        return self._client.zcard(self._keys.queue)


def _job(raw: Mapping[bytes, bytes]) -> Job:
    fields: dict[str, Any] = {key.decode(): value.decode() for key, value in raw.items()}
    for name in _JSON_FIELDS:
        if name in fields:
            fields[name] = json.loads(fields[name])
    return Job.model_validate(fields)
