"""Every Redis key of the service, each described. Nothing else builds a key.

The part in braces is the cluster hash tag: all keys of a dataset share one slot, all keys of the job queue
another, so that each script touches a single slot.
"""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

QUEUE_NAME = "jobs"
"""What Celery calls its one queue."""

NAMES_PER_BUCKET = 64
SHARD_RECORDS = 1020
"""Records a score shard holds: 1020 records of 64 bytes and a header stay just under a 64 KiB size class."""


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
        """Counter: written before each WAITAOF (`app.store.connections.make_durable`)."""
        return f"{self.prefix}:fsync"

    def dataset(self, uid: str) -> DatasetKeys:
        return DatasetKeys(self.prefix, uid)

    # -- jobs ----------------------------------------------------------------------------------------------
    @property
    def jobs(self) -> JobKeys:
        return JobKeys(self.prefix)

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
        """Hash: one job (JSON fields; `token`, `uid`, `crashes`, `cancel` beside them)."""
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
    def token(self) -> str:
        """String: the last fencing token given out."""
        return f"{self.base}:token"

    @property
    def workers(self) -> str:
        """Sorted set: worker names by the time in ms at which they count as gone."""
        return f"{self.base}:workers"

    @property
    def draining(self) -> str:
        """Set: workers that are shutting down; their jobs checkpoint and go back to the queue."""
        return f"{self.base}:draining"


@dataclass(frozen=True)
class DatasetKeys:
    prefix: str
    uid: str

    @property
    def base(self) -> str:
        return f"{self.prefix}:{{{self.uid}}}"

    @property
    def meta(self) -> str:
        """Hash: name, task, labels, created_at, next_ordinal, lineage, set_version, fence …"""
        return f"{self.base}:meta"

    @property
    def write_lock(self) -> str:
        """String with expiry: who changes the samples now."""
        return f"{self.base}:lock"

    def ids_prefix(self) -> str:
        return f"{self.base}:i:"

    def ids(self, sample_id: str, buckets: int) -> str:
        """Hash: sample id → 20-byte entry (ordinal, generation, content and attribute digests)."""
        return f"{self.ids_prefix()}{crc32(sample_id.encode()) % buckets}"

    def names_prefix(self) -> str:
        return f"{self.base}:n:"

    def names(self, ordinal: int) -> str:
        """Hash: ordinal % 64 → 4-byte generation and sample id."""
        return f"{self.names_prefix()}{ordinal // NAMES_PER_BUCKET}"

    def lineage(self, lineage_id: str) -> str:
        """String: the lineage as JSON."""
        return f"{self.base}:lineage:{lineage_id}"

    def shards_prefix(self) -> str:
        return f"{self.base}:s:"

    def shard(self, lineage_id: str, shard: int) -> str:
        """String: score records of 1020 ordinals behind a ledger header (`app.store.records`)."""
        return f"{self.shards_prefix()}{lineage_id}:{shard}"

    @property
    def versions(self) -> str:
        """Hash: set version → its description as JSON, and `<version>:void` counts."""
        return f"{self.base}:versions"

    def versions_prefix(self) -> str:
        return f"{self.base}:v:"

    def column(self, version: int) -> str:
        """String: 12 bytes an ordinal: set, reason, noise probability, rank, generation."""
        return f"{self.versions_prefix()}{version}:column"

    def members(self, version: int, set_name: str) -> str:
        """String: 24 bytes a member, by importance descending."""
        return f"{self.versions_prefix()}{version}:{set_name}"
