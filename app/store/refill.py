"""Writes the keys of a dataset that nobody uses, as the service would have left them.

The dataset is not registered until all of it is there, so no reader meets half of it and no writer is let in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import redis

from app.contracts import JobState, SetVersion
from app.contracts.webhooks import Webhook
from app.errors import Conflict
from app.store.archive import Fields
from app.store.datasets import batches
from app.store.keys import Keys
from app.store.records import Ledger, Records, pack_shard
from app.store.scripts import Scripts
from app.store.set_files import StoredVersion
from app.store.sets import version_chunks


class Refill:
    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)

    def take_token(self) -> int:
        """A fencing token that is higher than any before."""
        return int(cast("bytes", self._scripts.run("token_take", [self._keys.jobs.token], [])))

    def clear(self, uid: str) -> None:
        """Removes what an earlier attempt left of a dataset that is not registered."""
        keys = self._keys.dataset(uid)
        found = self._client.scan_iter(match=f"{keys.base}:*", count=2000)
        for some in batches((key for key in found if key.decode() != keys.write_lock), 1000):
            self._client.unlink(*some)

    def put_lineage(self, uid: str, lineage_id: str, content: str) -> None:
        self._client.set(self._keys.dataset(uid).lineage(lineage_id), content)

    def put_shard(self, uid: str, lineage_id: str, number: int, ledger: Ledger, records: Records) -> None:
        self._client.set(self._keys.dataset(uid).shard(lineage_id, number), pack_shard(ledger, records))

    def put_version(self, uid: str, version: StoredVersion, void: Mapping[int, int]) -> None:
        """`void`: code of a set → its members that are void by now."""
        keys = self._keys.dataset(uid)
        number = SetVersion.model_validate_json(version.description).version
        for key, chunk in version_chunks(keys, number, version.placement):
            if chunk:
                self._client.set(key, chunk)
        self._client.hset(keys.versions, str(number), version.description)
        for code, count in void.items():
            if count:
                self._client.hset(keys.versions, f"{number}:void:{code}", str(count))

    def register(self, meta: Fields) -> None:
        """Lets the dataset be seen.

        Raises:
            Conflict: another dataset has taken its name meanwhile.
        """
        self._client.hset(self._keys.dataset(meta["uid"]).meta, mapping=cast("dict[Any, Any]", meta))
        self._client.hsetnx(self._keys.datasets, meta["name"], meta["uid"])
        if self._client.hget(self._keys.datasets, meta["name"]) != meta["uid"].encode():
            detail = f"another dataset named {meta['name']!r} was made meanwhile"
            raise Conflict("dataset_exists", detail)

    def put_jobs(self, jobs: Iterable[Fields]) -> int:
        """Stores job records; one that had not ended is queued, and resumes from its checkpoint."""
        count = 0
        for fields in jobs:
            keys, job_id, created = self._keys.jobs, fields["id"], int(fields["created_us"])
            if self._client.exists(keys.record(job_id)):
                continue
            pipe = self._client.pipeline(transaction=True)
            if not JobState(fields["state"]).ended:
                fields = fields | {"state": JobState.QUEUED.value}
                pipe.zadd(keys.queue, {job_id: created})
            if "webhook" in fields and not Webhook.model_validate_json(fields["webhook"]).state.settled:
                pipe.zadd(keys.webhooks, {job_id: created // 1000})
            pipe.hset(keys.record(job_id), mapping=cast("dict[Any, Any]", fields))
            pipe.zadd(keys.index, {job_id: created})
            pipe.execute()
            count += 1
        return count
