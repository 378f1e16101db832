"""The Lua scripts of `app/store/lua`, each one atomic step on the server."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import redis
from redis.commands.core import Script
from redis.exceptions import ResponseError

from app.errors import NotFound

Value = str | bytes | int | float


@cache
def _source(name: str) -> str:
    return files("app.store").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")


class Scripts:
    """Runs scripts by name on one client, or queues them on a pipeline of it."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._loaded: dict[str, Script] = {}

    def run(
        self,
        name: str,
        keys: Sequence[str],
        args: Sequence[Value],
        *,
        pipeline: redis.client.Pipeline | None = None,
    ) -> Any:
        script = self._loaded.get(name)
        if script is None:
            script = self._loaded[name] = self._client.register_script(_source(name))
        try:
            return script(keys=list(keys), args=list(args), client=pipeline)
        except ResponseError as error:
            if str(error).startswith("GONE"):
                raise NotFound("unknown_dataset", "the dataset was deleted meanwhile") from error
            raise
