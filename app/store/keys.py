"""Every Redis key of the service, each described. Nothing else builds a key.

The part in braces is the cluster hash tag: all keys of a dataset share one slot, all keys of the job queue
another, those of predictions a third, those of the audit log a fourth: each script touches a single slot.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.store.layout import CELLS_A_CHUNK, ENTRIES_A_BUCKET, MEMBERS_A_CHUNK

QUEUE_NAME = "jobs"
"""What Celery calls its one queue."""


@dataclass(frozen=True)
class Keys:
    prefix: str

    # -- registry ------------------------------------------------------------------------------------------
    @property
    def datasets(self) -> str:
        """Hash: dataset name → uid. A name that is deleted and made again gets another uid."""
        return f"{self.prefix}:datasets"

    @property
    def fsync_marker(self) -> str:
        """Counter: written before each WAITAOF (`app.store.durability`)."""
        return f"{self.prefix}:fsync"

    @property
    def housekeeping(self) -> str:
        """String with expiry: which process keeps house now."""
        return f"{self.prefix}:housekeeping"

    # -- access --------------------------------------------------------------------------------------------
    @property
    def api_keys(self) -> str:
        """Hash: id → an API key's record as JSON, with the salted hash of its secret; revoked ones stay."""
        return f"{self.prefix}:api_keys"

    @property
    def rates(self) -> str:
        """Before `:{<limit and key id>}` and `:{…}/-1`: counters of requests in a window; they expire."""
        return f"{self.prefix}:rates"

    def dataset(self, uid: str) -> DatasetKeys:
        return DatasetKeys(self.prefix, uid)

    @property
    def audit(self) -> AuditKeys:
        return AuditKeys(self.prefix)

    # -- jobs ----------------------------------------------------------------------------------------------
    @property
    def jobs(self) -> JobKeys:
        return JobKeys(self.prefix)

    @property
    def predictions(self) -> PredictionKeys:
        return PredictionKeys(self.prefix)

    @property
    def celery_prefix(self) -> str:
        """Before every key of Celery's own."""
        return f"{self.prefix}:celery:"

    @property
    def celery_queue(self) -> str:
        """List: hints for the workers that a job may be waiting."""
        return f"{self.celery_prefix}{QUEUE_NAME}"


@dataclass(frozen=True)
class JobKeys:
    prefix: str

    @property
    def base(self) -> str:
        return f"{self.prefix}:{{jobs}}"

    def record(self, job_id: str) -> str:
        """Hash: one job (JSON fields; `token`, `uid`, `crashes`, `cancel`, `turn`, `behind_ms`, `death`,
        `ran_ms` beside them)."""
        return f"{self.base}:job:{job_id}"

    def idempotency(self, key_digest: str) -> str:
        """String: `<request digest> <job id>` of a request that carried an Idempotency-Key; expires."""
        return f"{self.base}:idempotency:{key_digest}"

    @property
    def index(self) -> str:
        """Sorted set: every job id by creation time in microseconds."""
        return f"{self.base}:index"

    @property
    def queue(self) -> str:
        """Sorted set: ids of queued jobs by creation time."""
        return f"{self.base}:queue"

    @property
    def leases(self) -> str:
        """Sorted set: ids of running jobs by the time in ms at which their lease expires."""
        return f"{self.base}:leases"

    @property
    def busy(self) -> str:
        """Hash: dataset uid → id of the one job that runs on it."""
        return f"{self.base}:busy"

    @property
    def served(self) -> str:
        """Sorted set: dataset uid → the token of its last claim; of the 10,000 that were served last."""
        return f"{self.base}:served"

    @property
    def token(self) -> str:
        """String: the last fencing token given out."""
        return f"{self.base}:token"

    @property
    def watched(self) -> str:
        """String: when leases were last looked after, in ms by the server's clock."""
        return f"{self.base}:watched"

    @property
    def webhooks(self) -> str:
        """Sorted set: ids of jobs whose webhook is not settled, by the time in ms of its next call."""
        return f"{self.base}:webhooks"

    @property
    def workers(self) -> str:
        """Sorted set: worker names by the time in ms at which they count as gone."""
        return f"{self.base}:workers"

    def line(self, worker: str) -> str:
        """Channel: held by a worker as long as it lives, only to be counted (`app.store.lines`)."""
        return f"{self.base}:line:{worker}"

    @property
    def tally(self) -> str:
        """Hash: what has happened to jobs → how often, since the server was empty (`app.store.tally`)."""
        return f"{self.base}:tally"

    @property
    def figures(self) -> str:
        """Hash: `<worker> <process>` → `<time in ms> <JSON>`: what each process says of itself."""
        return f"{self.base}:figures"

    @property
    def draining(self) -> str:
        """Set: workers that are shutting down; their jobs checkpoint and go back to the queue."""
        return f"{self.base}:draining"


@dataclass(frozen=True)
class AuditKeys:
    """The newest part of the audit log; the rest are files (`app.store.audit_files`)."""

    prefix: str

    @property
    def base(self) -> str:
        return f"{self.prefix}:{{audit}}"

    @property
    def open(self) -> str:
        """Hash: id of an entry → what has been begun and not ended, as JSON."""
        return f"{self.base}:open"

    @property
    def stream(self) -> str:
        """Stream: entries that are in no file yet, as JSON."""
        return f"{self.base}:stream"

    @property
    def head(self) -> str:
        """String: number and SHA-256 of the last entry in the files."""
        return f"{self.base}:head"

    @property
    def turn(self) -> str:
        """String with expiry: which process writes files now."""
        return f"{self.base}:turn"

    @property
    def all(self) -> tuple[str, ...]:
        return (self.open, self.stream, self.head, self.turn)


@dataclass(frozen=True)
class PredictionKeys:
    """None of them outlives the request that it is about by more than seconds."""

    prefix: str

    @property
    def base(self) -> str:
        return f"{self.prefix}:{{predict}}"

    @property
    def queue(self) -> str:
        """List: ids of requests that wait for a predictor, oldest first; expires with the last of them."""
        return f"{self.base}:queue"

    def asked(self, request_id: str) -> str:
        """Hash: `job`, `texts` (how many), `body`, and `taken`, by which predictor.

        Expires at the request's deadline, and is deleted once it is answered or its client gives up: without
        it the request is not computed.
        """
        return f"{self.base}:asked:{request_id}"

    def answer(self, request_id: str) -> str:
        """List: the one answer, until the API has taken it; expires."""
        return f"{self.base}:answer:{request_id}"

    @property
    def predictors(self) -> str:
        """Sorted set: names of predictors by the time in ms at which they count as gone."""
        return f"{self.base}:predictors"


@dataclass(frozen=True)
class DatasetKeys:
    prefix: str
    uid: str

    @property
    def base(self) -> str:
        return f"{self.prefix}:{{{self.uid}}}"

    @property
    def meta(self) -> str:
        """Hash: name, task, labels, created_at, format, next_ordinal, lineage, set_version, fence …"""
        return f"{self.base}:meta"

    @property
    def write_lock(self) -> str:
        """String with expiry: who changes the samples now."""
        return f"{self.base}:lock"

    @property
    def journal(self) -> str:
        """String: ids of the batch that is being written, as JSON; left behind only by a writer that died."""
        return f"{self.base}:writing"

    def answer(self, key_digest: str) -> str:
        """Hash: `request` (its digest), `status`, `body` (zlib) of what an Idempotency-Key got; expires."""
        return f"{self.base}:answer:{key_digest}"

    # -- ids ---------------------------------------------------------------------------------------------
    def index_prefix(self) -> str:
        """Before `<segment>:<bucket>`. Hash: 12 bits of an id's CRC-32 → ordinals of such ids, "5" or "5,9".

        Which of them is meant, if any, the entries say. The bucket: CRC-32 modulo the segment's buckets.
        """
        return f"{self.base}:i:"

    def entries_prefix(self) -> str:
        return f"{self.base}:e:"

    def entries(self, ordinal: int) -> str:
        """Hash: ordinal % 80 → entry: generation, content and attribute digests, sample id."""
        return f"{self.entries_prefix()}{ordinal // ENTRIES_A_BUCKET}"

    # -- scores ------------------------------------------------------------------------------------------
    def lineage(self, lineage_id: str) -> str:
        """String: the lineage as JSON."""
        return f"{self.base}:lineage:{lineage_id}"

    def shards_prefix(self) -> str:
        return f"{self.base}:s:"

    def shard_prefix(self, lineage_id: str) -> str:
        return f"{self.shards_prefix()}{lineage_id}:"

    def shard(self, lineage_id: str, shard: int) -> str:
        """String: score records of 1,259 ordinals behind a ledger header (`app.store.records`)."""
        return f"{self.shard_prefix(lineage_id)}{shard}"

    # -- sets --------------------------------------------------------------------------------------------
    @property
    def versions(self) -> str:
        """Hash: set version → its description as JSON; `<version>:void:<set>` → members void by now."""
        return f"{self.base}:versions"

    def versions_prefix(self) -> str:
        return f"{self.base}:v:"

    def column_prefix(self, version: int) -> str:
        return f"{self.versions_prefix()}{version}:c:"

    def column(self, version: int, ordinal: int) -> str:
        """String: the cells of 4,680 ordinals in a version (`app.store.sets`)."""
        return f"{self.column_prefix(version)}{ordinal // CELLS_A_CHUNK}"

    def members_prefix(self, version: int, set_name: str) -> str:
        return f"{self.versions_prefix()}{version}:m:{set_name}:"

    def members(self, version: int, set_name: str, row: int) -> str:
        """String: the ordinals of 16,382 members, 4 bytes each, by importance descending."""
        return f"{self.members_prefix(version, set_name)}{row // MEMBERS_A_CHUNK}"
