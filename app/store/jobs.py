"""Jobs: records, the queue, leases with fencing tokens. Redis is the truth, a Celery message only a hint."""

from __future__ import annotations

import hashlib
import json
import math
import secrets
import time
from collections.abc import Collection, Mapping
from typing import Any, Literal, cast

import redis

from app.contracts import Claim, Dataset, Job, JobError, JobKind, JobState, Progress, now
from app.contracts.access import JobOrigin
from app.contracts.webhooks import Webhook
from app.errors import REMEDIES, Busy, Conflict, NotFound, StaleWorker
from app.store.job_records import JobRecords
from app.store.keys import Keys
from app.store.roll import Roll
from app.store.scripts import Scripts
from app.store.tally import CREATED
from app.store.webhooks import WebhookStore

IDEMPOTENCY_SECONDS = 24 * 3600
BEHIND_SECONDS = 10.0
LONGEST_BEHIND_SECONDS = 600.0
"""How long a job stands behind those of other datasets after its worker's first death, and at most."""
Word = Literal["ok", "cancel", "drain"]


class JobStore(JobRecords):
    """present: the workers that are there. webhooks: what is to be called when jobs have ended."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        super().__init__(client, keys)
        self._all_keys = keys
        self._scripts = Scripts(client)
        self.present = Roll(client, self._keys.workers)
        self.webhooks = WebhookStore(client, keys)

    # -- for clients -----------------------------------------------------------------------------------
    def create(
        self,
        dataset: Dataset,
        kind: JobKind,
        model: str,
        params: Mapping[str, Any],
        idempotency: tuple[str, str] | None = None,
        job_id: str | None = None,
        origin: JobOrigin | None = None,
        *,
        most_waiting: int = 0,
        most_queued: int | None = None,
    ) -> tuple[Job, bool]:
        """Records and queues a job; answers it and whether this call made it.

        Args:
            idempotency: the client's Idempotency-Key, and the request that it stands for. Those of different
                API keys are apart.
            job_id: of `new_job_id`; to create the same job again changes nothing.
            origin: of the request that sends it.
            most_waiting: jobs in the queue; 0: any number.
            most_queued: how many of them may be of the same API key.

        Raises:
            Conflict: the key was used for another request.
            Busy: `queue_full`, `too_many_queued_jobs`.
        """
        job_id = job_id or new_job_id()
        micros = int(job_id.removeprefix("job_")[:14], 16)
        fields = {
            "id": job_id,
            "kind": kind.value,
            "dataset": dataset.name,
            "uid": dataset.uid,
            "model": model,
            "state": JobState.QUEUED.value,
            "progress": Progress().model_dump_json(),
            "attempt": "0",
            "crashes": "0",
            "created_at": now().isoformat(),
            "created_us": str(micros),
            "params": json.dumps(params),
        }
        if origin is not None:
            fields["origin"] = origin.model_dump_json(exclude_defaults=True)
            if origin.webhook is not None:
                fields["webhook"] = Webhook.of(origin.webhook).model_dump_json()
                self.webhooks.expect(job_id, micros)
        key, digest, sender = ("", "", "" if origin is None else origin.key_id)
        if idempotency is not None:
            named = f"{sender}\0{idempotency[0]}" if sender else idempotency[0]
            key = self._all_keys.jobs.idempotency(hashlib.sha256(named.encode()).hexdigest())
            digest = hashlib.sha256(idempotency[1].encode()).hexdigest()
        known = self._scripts.run(
            "job_create",
            [self._keys.record(job_id), self._keys.index, self._keys.queue, key, self._keys.tally],
            [
                job_id,
                micros,
                digest,
                IDEMPOTENCY_SECONDS,
                self._keys.record(""),
                most_waiting,
                sender,
                0 if most_queued is None else most_queued,
                f"{CREATED} {kind.value}",
                *(part for pair in fields.items() for part in pair),
            ],
        )
        if not known:
            return self.get(job_id), True
        if known == b"full":
            raise Busy("queue_full", f"{most_waiting} jobs wait already, the most that may")
        if known == b"queued_jobs":
            raise Busy("too_many_queued_jobs", f"{most_queued} jobs of this key wait already")
        known_digest, known_id = cast("bytes", known).decode().split(" ")
        if known_digest != digest:
            raise Conflict("idempotency_key_reused", "this Idempotency-Key belongs to a different request")
        return self.get(known_id), False

    def cancel(self, job_id: str) -> JobState:
        """Cancels a queued job, asks a running one to stop; answers the state before."""
        keys = [self._keys.record(job_id), self._keys.queue, self._keys.tally]
        before = self._scripts.run("job_cancel", keys, [job_id, now().isoformat()])
        if before is None:
            raise NotFound("unknown_job", f"there is no job {job_id!r}")
        return JobState(cast("bytes", before).decode())

    # -- for workers -----------------------------------------------------------------------------------
    def claim(
        self, worker: str, lease_seconds: float, call: str | None = None, kinds: Collection[str] = ()
    ) -> Claim | None:
        """A queued job whose dataset is free, now leased to this worker; None if there is none.

        The oldest of the dataset that was given a worker the longest ago.

        Args:
            call: a name of this claim: claiming again under it gives the same job while it runs. A new one
                when left out.
            kinds: that the worker takes; none: all. A dataset whose oldest job is of another kind waits.
        """
        keys = self._keys
        answer = self._scripts.run(
            "job_claim",
            [keys.queue, keys.leases, keys.busy, keys.token, keys.served, keys.tally],
            [
                self._keys.record(""),
                int(lease_seconds * 1000),
                worker,
                now().isoformat(),
                call or secrets.token_hex(8),
                Progress().model_dump_json(),
                *kinds,
            ],
        )
        if answer is None:
            return None
        job_id, token = (part.decode() for part in cast("list[bytes]", answer))
        return Claim(
            job=self.get(job_id),
            dataset_uid=self.dataset_uid(job_id),
            token=int(token),
            worker=worker,
            origin=self.origin(job_id),
            ran_seconds=self.ran_seconds(job_id),
        )

    def renew(
        self, claim: Claim, lease_seconds: float, progress: Progress | None, ran_seconds: float = 0.0
    ) -> Word:
        """Renews the lease and leaves the progress; says whether to go on, cancel, or give the job back.

        A lease that ran out is taken again where nobody has claimed the job since.

        Args:
            ran_seconds: how long the job has run by now, in all attempts.

        Raises:
            StaleWorker: the job is another worker's, or has ended.
        """
        keys = self._keys
        answer = self._scripts.run(
            "job_renew",
            [keys.record(claim.job.id), keys.leases, keys.draining, keys.queue, keys.busy, keys.token],
            [
                claim.job.id,
                claim.token,
                int(lease_seconds * 1000),
                "" if progress is None else progress.model_dump_json(),
                claim.worker,
                keys.record(""),
                int(ran_seconds * 1000),
            ],
        )
        word = cast("bytes", answer).decode()
        if word == "lost":
            raise StaleWorker("stale_worker", f"job {claim.job.id} is no longer this worker's")
        return cast("Word", word)

    def set_lineage(self, claim: Claim, lineage_id: str) -> None:
        self._client.hset(self._keys.record(claim.job.id), "lineage", lineage_id)

    def remember(self, claim: Claim, name: str, value: object) -> Any:
        """What an earlier attempt of the job fixed under this name, or else `value`, fixed from now on."""
        record = self._keys.record(claim.job.id)
        self._client.hsetnx(record, f"fixed:{name}", json.dumps(value))
        return json.loads(cast("bytes", self._client.hget(record, f"fixed:{name}")))

    def end(
        self,
        claim: Claim,
        state: JobState,
        *,
        progress: Progress,
        result: Mapping[str, Any] | None = None,
        error: JobError | None = None,
    ) -> None:
        """Ends the job, or with `QUEUED` gives it back to the queue.

        Raises:
            StaleWorker: the job is another worker's by now.
        """
        fields: dict[str, str] = {"state": state.value, "progress": progress.model_dump_json()}
        if state.ended:
            fields["finished_at"] = now().isoformat()
        if result is not None:
            fields["result"] = json.dumps(result, allow_nan=False)
        if error is not None:
            fields["error"] = error.model_dump_json()
        answer = self._scripts.run(
            "job_end",
            [
                self._keys.record(claim.job.id),
                self._keys.leases,
                self._keys.busy,
                self._keys.queue,
                self._keys.tally,
            ],
            [
                claim.job.id,
                claim.token,
                now().isoformat(),
                *(part for pair in fields.items() for part in pair),
            ],
        )
        if answer != b"ok":
            raise StaleWorker("stale_worker", f"job {claim.job.id} is no longer this worker's")

    # -- keeping the queue moving ----------------------------------------------------------------------
    def reap(
        self, max_crashes: int, *, lease_seconds: float = 0.0, longest_gap_seconds: float = math.inf
    ) -> list[str]:
        """Takes back the jobs of workers that stopped renewing; answers their ids.

        Args:
            lease_seconds: what every lease is given anew after a gap.
            longest_gap_seconds: if nobody has looked for so long by the server's clock, or the clock went
                back, nobody could be expected to renew in time either.
        """
        error = JobError(
            code="worker_lost",
            detail=f"the job's worker died {max_crashes} times while it ran",
            remedy=REMEDIES["worker_lost"],
        )
        reaped = self._scripts.run(
            "job_reap",
            [self._keys.leases, self._keys.queue, self._keys.busy, self._keys.watched, self._keys.tally],
            [
                self._keys.record(""),
                max_crashes,
                now().isoformat(),
                error.model_dump_json(),
                int(lease_seconds * 1000),
                longest_gap_seconds * 1000,
                int(BEHIND_SECONDS * 1000),
                int(LONGEST_BEHIND_SECONDS * 1000),
            ],
        )
        return [raw.decode() for raw in cast("list[bytes]", reaped)]

    def note_death(self, worker: str, reason: str) -> str | None:
        """The process that ran this worker's job is dead: the job is taken back at once. Answers its id."""
        answer = self._scripts.run("job_died", [self._keys.leases], [self._keys.record(""), worker, reason])
        return None if answer is None else cast("bytes", answer).decode()

    def hints(self) -> int:
        """How many unread messages tell the workers to look into the queue."""
        return self._client.llen(self._all_keys.celery_queue)

    # -- workers that leave ----------------------------------------------------------------------------
    def leave(self, worker: str) -> None:
        self.present.leave(worker)
        self._client.srem(self._keys.draining, worker)

    def drain(self, worker: str) -> None:
        """Asks the worker's running job to checkpoint and go back to the queue."""
        self._client.sadd(self._keys.draining, worker)


def new_job_id() -> str:
    """Sorts by the time of its making: 14 hex digits of microseconds, then 8 at random."""
    return f"job_{time.time_ns() // 1000:014x}{secrets.token_hex(4)}"
