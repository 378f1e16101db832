"""Which samples are being written: the trace that a writer who dies half-way leaves for the next one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import cast

import redis

from app.store.keys import Keys
from app.store.scripts import Scripts


class WriteJournal:
    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)

    def begin(self, dataset_uid: str, ids: Sequence[str]) -> None:
        """Raises `NotFound("unknown_dataset")` for a dataset that was deleted."""
        keys = self._keys.dataset(dataset_uid)
        self._scripts.run("journal_begin", [keys.meta, keys.journal], [json.dumps(ids)])

    def end(self, dataset_uid: str) -> None:
        self._client.delete(self._keys.dataset(dataset_uid).journal)

    def unfinished(self, dataset_uid: str) -> list[str] | None:
        """The ids of the batch that is being written, or was when its writer died; None if there is none."""
        raw = self._client.get(self._keys.dataset(dataset_uid).journal)
        return None if raw is None else cast("list[str]", json.loads(cast("bytes", raw)))
