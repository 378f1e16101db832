"""The registry of datasets and what is known of each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import redis
from redis.exceptions import LockError

from app.contracts import Dataset, Label, Lineage
from app.contracts.dataset_settings import DatasetSettings
from app.errors import Conflict, NotFound, StaleWorker
from app.store.keys import Keys
from app.store.layout import STATE_FORMAT, other_format
from app.store.scripts import Scripts

LOCK_SECONDS = 30
LOCK_WAIT_SECONDS = 20


class DatasetStore:
    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)

    def register(self, dataset: Dataset) -> bool:
        """Makes a new dataset known under its name; False if the name is taken."""
        fields: dict[Any, Any] = {
            "uid": dataset.uid,
            "name": dataset.name,
            "task": dataset.task.value,
            "created_at": dataset.created_at.isoformat(),
            "format": str(STATE_FORMAT),
        }
        if dataset.labels is not None:
            fields["labels"] = json.dumps(dataset.labels)
        if dataset.description is not None:
            fields["description"] = dataset.description
        if dataset.settings != DatasetSettings():
            fields["settings"] = dataset.settings.model_dump_json()
        meta = self._keys.dataset(dataset.uid).meta
        self._client.hset(meta, mapping=fields)
        self._client.hsetnx(self._keys.datasets, dataset.name, dataset.uid)
        # Read back: a call that was sent again after a broken connection finds its own entry there.
        if _text(self._client.hget(self._keys.datasets, dataset.name)) == dataset.uid:
            return True
        self._client.delete(meta)
        return False

    def find(self, name: str) -> Dataset | None:
        uid = self._client.hget(self._keys.datasets, name)
        return self.by_uid(_text(uid)) if uid is not None else None

    def get(self, name: str) -> Dataset:
        """Raises `NotFound("unknown_dataset")` for a name that nobody has created."""
        dataset = self.find(name)
        if dataset is None:
            raise NotFound("unknown_dataset", f"there is no dataset named {name!r}")
        return dataset

    def by_uid(self, uid: str) -> Dataset | None:
        """Raises `Conflict("state_format")` where another version of the service wrote it."""
        raw = cast("dict[bytes, bytes]", self._client.hgetall(self._keys.dataset(uid).meta))
        return _read(raw) if b"name" in raw else None

    def next_ordinal(self, dataset: Dataset) -> int:
        """How many ordinals have been given out so far."""
        return int(self._client.hget(self._keys.dataset(dataset.uid).meta, "next_ordinal") or 0)

    def names(self) -> list[str]:
        return sorted(name.decode() for name in cast("list[bytes]", self._client.hkeys(self._keys.datasets)))

    def all(self) -> list[Dataset]:
        """Every dataset, by name."""
        named = cast("dict[bytes, bytes]", self._client.hgetall(self._keys.datasets))
        pipe = self._client.pipeline(transaction=False)
        for _, uid in sorted(named.items()):
            pipe.hgetall(self._keys.dataset(uid.decode()).meta)
        return [_read(meta) for meta in pipe.execute() if b"name" in meta]  # the others: deleted meanwhile

    def describe(self, dataset: Dataset, description: str) -> None:
        self._client.hset(self._keys.dataset(dataset.uid).meta, "description", description)

    def save_settings(self, dataset: Dataset, settings: DatasetSettings) -> None:
        self._client.hset(self._keys.dataset(dataset.uid).meta, "settings", settings.model_dump_json())

    def save_flags(self, dataset: Dataset, jobs: Sequence[str]) -> None:
        self._client.hset(self._keys.dataset(dataset.uid).meta, "flags", json.dumps(list(jobs)))

    def fix_labels(self, dataset: Dataset, labels: tuple[Label, ...]) -> tuple[Label, ...]:
        """Fixes the labels for good; answers the ones that hold, which an earlier call may have fixed."""
        meta = self._keys.dataset(dataset.uid).meta
        self._client.hsetnx(meta, "labels", json.dumps(labels))
        return tuple(json.loads(_text(self._client.hget(meta, "labels"))))

    def forget(self, dataset: Dataset) -> None:
        """Takes the dataset out of the registry and deletes its keys; later writers are refused."""
        keys = self._keys.dataset(dataset.uid)
        if _text(self._client.hget(self._keys.datasets, dataset.name) or b"") == dataset.uid:
            self._client.hdel(self._keys.datasets, dataset.name)
        self._client.delete(keys.meta)
        found = self._client.scan_iter(match=f"{keys.base}:*", count=2000)
        for batch in batches((key for key in found if key.decode() != keys.write_lock), 1000):
            self._client.unlink(*batch)

    @contextmanager
    def writing(self, dataset: Dataset) -> Iterator[None]:
        """Holds the one right to change the dataset's samples.

        Raises:
            Conflict: another process held it for too long.
        """
        lock = self._client.lock(
            self._keys.dataset(dataset.uid).write_lock,
            timeout=LOCK_SECONDS,
            sleep=0.01,
            blocking_timeout=LOCK_WAIT_SECONDS,
        )
        if not lock.acquire():
            raise Conflict("dataset_busy", f"dataset {dataset.name!r} is being written by another request")
        try:
            yield
        finally:
            try:
                lock.release()
            except LockError as error:
                raise Conflict(
                    "dataset_busy", "the right to write ran out before the rows were stored"
                ) from error

    # -- lineages --------------------------------------------------------------------------------------
    def lineage(self, dataset: Dataset, lineage_id: str) -> Lineage | None:
        raw = self._client.get(self._keys.dataset(dataset.uid).lineage(lineage_id))
        return None if raw is None else Lineage.model_validate_json(cast("bytes", raw))

    def save_lineage(self, dataset: Dataset, lineage: Lineage, token: int) -> None:
        """Raises StaleWorker where a newer token has been seen: an old count of runs must not come back."""
        keys = self._keys.dataset(dataset.uid)
        answer = self._scripts.run(
            "lineage_save", [keys.meta, keys.lineage(lineage.id)], [token, lineage.model_dump_json()]
        )
        refuse_unless(answer, b"saved")

    def show_lineage_if_first(self, dataset: Dataset, lineage: Lineage) -> None:
        """The first lineage is visible while its scores come in; a later one once its job has succeeded."""
        self._client.hsetnx(self._keys.dataset(dataset.uid).meta, "lineage", lineage.id)

    def take_fence(self, dataset_uid: str, token: int) -> None:
        """From here on, score writes of older tokens are refused.

        Raises:
            StaleWorker: a newer token has been seen.
            NotFound: the dataset was deleted.
        """
        answer = self._scripts.run("fence_take", [self._keys.dataset(dataset_uid).meta], [token])
        refuse_unless(answer, b"taken")


def dataset_of(meta: Mapping[str, str]) -> Dataset:
    """The dataset that a meta hash describes.

    Raises:
        ValueError: it describes none.
        Conflict: `state_format`; another version of the service wrote it.
    """
    if int(meta.get("format", 1)) != STATE_FORMAT:
        raise other_format(int(meta.get("format", 1)))
    parsed = {name: json.loads(meta[name]) for name in ("labels", "settings", "flags") if name in meta}
    return Dataset.model_validate({**meta, **parsed})


def _read(meta: Mapping[bytes, bytes]) -> Dataset:
    return dataset_of({key.decode(): value.decode() for key, value in meta.items()})


def refuse_unless(answer: bytes, wanted: bytes) -> None:
    """Turns a script's refusal into an error."""
    if answer == b"gone":
        raise NotFound("unknown_dataset", "the dataset was deleted meanwhile")
    if answer != wanted:
        raise StaleWorker("stale_worker", "another worker holds the dataset now")


def _text(value: object) -> str:
    return cast("bytes", value).decode()


def batches(items: Iterator[bytes], size: int) -> Iterator[list[bytes]]:
    """Like `itertools.batched` of Python 3.12."""
    batch: list[bytes] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
