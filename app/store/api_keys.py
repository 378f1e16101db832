"""API keys: in Redis for those who ask, and as files for when Redis is lost. Hashes only, in both."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import cast

import redis
from pydantic import ValidationError

from app.contracts.api_keys import ApiKey
from app.errors import Damaged, Unavailable
from app.store.artifacts import Folder
from app.store.exchange import Exchange
from app.store.keys import Keys
from app.store.locations import join_location
from app.store.wire import pack


class KeyArchive:
    """`archive/keys/<id>.json`: what a key's record says, from before Redis says it."""

    def __init__(self, data_url: str) -> None:
        self._folder = Folder(join_location(data_url, "archive", "keys"))

    def save(self, key: ApiKey) -> None:
        try:
            self._folder.write(f"{key.id}.json", key.model_dump_json(indent=1).encode())
        except OSError as error:
            raise Unavailable("service_unavailable", f"the archive cannot be written: {error}") from error

    def held(self) -> dict[str, ApiKey]:
        """By their ids. Raises Damaged."""
        found = {}
        for name in self._folder.names():
            try:
                key = ApiKey.model_validate_json(self._folder.read(name) or b"")
            except ValidationError as error:
                detail = f"{self._folder.location}/{name} is no API key's record"
                raise Damaged("damaged_file", detail) from error
            found[key.id] = key
        return found

    def any(self) -> bool:
        """Whether any key was ever made, revoked ones included."""
        return bool(self._folder.names())

    def any_unrevoked(self) -> bool:
        return any(key.revoked_at is None for key in self.held().values())


class ApiKeyStore:
    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._key = keys.api_keys

    def put(self, key: ApiKey) -> None:
        self._client.hset(self._key, key.id, key.model_dump_json())

    def held(self) -> dict[str, ApiKey]:
        """By the ids that they lie under."""
        raw = cast("dict[bytes, bytes]", self._client.hgetall(self._key))
        return {key_id.decode(): ApiKey.model_validate_json(record) for key_id, record in raw.items()}

    def refill(self, archived: Iterable[ApiKey]) -> None:
        """Puts back what Redis lacks; what is revoked in either place stays revoked."""
        held = self.held()
        for key in archived:
            here = held.get(key.id)
            if here is None or here.revoked_at is None:
                self.put(key)


class AskedKeys:
    """The records as they lie, by their ids, for an event loop; asked once, without patience."""

    def __init__(self, exchange: Exchange, keys: Keys) -> None:
        self._exchange = exchange
        self._question = pack(("HGETALL", keys.api_keys))

    async def __call__(self) -> dict[bytes, bytes]:
        (flat,) = await self._exchange(self._question, 1, give_up_at=time.monotonic())
        return dict(zip(flat[::2], flat[1::2], strict=True))
