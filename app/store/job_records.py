"""The records of jobs, for those who read them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any, cast

import redis

from app.contracts import Job, JobBrief, JobKind, JobState
from app.contracts.access import JobOrigin
from app.errors import NotFound
from app.store.keys import Keys

_JSON_FIELDS = ("progress", "params", "result", "error", "webhook")
JOBS_A_CALL = 1_000
CALLS_FOR_NEWEST = 10
"""Beyond so many newer jobs of other datasets, a dataset's last one is not looked for."""


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

    def holders(self) -> set[str]:
        """The workers that have jobs."""
        pipe = self._client.pipeline(transaction=False)
        for job_id in cast("list[bytes]", self._client.zrange(self._keys.leases, 0, -1)):
            pipe.hget(self._keys.record(job_id.decode()), "worker")
        return {worker.decode() for worker in pipe.execute() if worker is not None}

    def require_reached(self, job_id: str, reaches: Callable[[str], bool]) -> None:
        """Raises `NotFound("unknown_job")`, also for a job of a dataset that the caller does not reach."""
        name = cast("bytes | None", self._client.hget(self._keys.record(job_id), "dataset"))
        if name is None or not reaches(name.decode()):
            raise NotFound("unknown_job", f"there is no job {job_id!r}")

    def dataset_uid(self, job_id: str) -> str:
        """Of the dataset that the job belongs to, whose name may be another's by now; empty without a job."""
        return cast("bytes", self._client.hget(self._keys.record(job_id), "uid") or b"").decode()

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

    def newest_of(self, dataset_uids: Collection[str]) -> dict[str, JobBrief]:
        """Of each dataset the job that was sent last, where it is among the newest of all."""
        newest: dict[str, str] = {}
        bound: float | None = None
        for _ in range(CALLS_FOR_NEWEST):
            places = self.ids_before(bound, JOBS_A_CALL)
            pipe = self._client.pipeline(transaction=False)
            for job_id, _ in places:
                pipe.hget(self._keys.record(job_id), "uid")
            for (job_id, _), uid in zip(places, pipe.execute(), strict=True):
                if uid is not None:
                    newest.setdefault(uid.decode(), job_id)
            if len(places) < JOBS_A_CALL or newest.keys() >= set(dataset_uids):
                break
            bound = places[-1][1]
        return self._briefs({uid: newest[uid] for uid in dataset_uids if uid in newest})

    def _briefs(self, ids: Mapping[str, str]) -> dict[str, JobBrief]:
        fields = list(JobBrief.model_fields)
        pipe = self._client.pipeline(transaction=False)
        for job_id in ids.values():
            pipe.hmget(self._keys.record(job_id), fields)
        briefs = {}
        for name, held in zip(ids, pipe.execute(), strict=True):
            raw = {
                field.encode(): value for field, value in zip(fields, held, strict=True) if value is not None
            }
            if b"id" in raw:
                briefs[name] = JobBrief.model_validate(_parsed(raw))
        return briefs

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
    return Job.model_validate(_parsed(raw))


def _parsed(raw: Mapping[bytes, bytes]) -> dict[str, Any]:
    fields: dict[str, Any] = {key.decode(): value.decode() for key, value in raw.items()}
    for name in _JSON_FIELDS:
        if name in fields:
            fields[name] = json.loads(fields[name])
    return fields
