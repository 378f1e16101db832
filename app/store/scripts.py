"""The Lua scripts of `app/store/lua`, each one atomic step on the server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import redis
from redis.commands.core import Script
from redis.exceptions import ResponseError

from app.errors import NotFound
from app.store.layout import LUA_CONSTANTS, other_format

Value = str | bytes | int | float
_INCLUDE = re.compile(r"^--#include (\w+)$", re.MULTILINE)


@cache
def script_source(name: str) -> str:
    """A script as the server gets it: the constants of the layout, and other files where it includes them."""
    constants = f"local {', '.join(LUA_CONSTANTS)} = {', '.join(map(str, LUA_CONSTANTS.values()))}\n"
    return constants + _INCLUDE.sub(lambda found: _file(found[1]), _file(name))


def _file(name: str) -> str:
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
            script = self._loaded[name] = self._client.register_script(script_source(name))
        try:
            return script(keys=list(keys), args=list(args), client=pipeline)
        except ResponseError as error:
            raise_refusal(error)
            raise


def raise_refusal(error: ResponseError) -> None:
    """Raises what a script's error reply stands for, if it is one of ours.

    Raises:
        NotFound: the dataset was deleted.
        Conflict: its score state has another format.
    """
    if str(error).startswith("GONE"):
        raise NotFound("unknown_dataset", "the dataset was deleted meanwhile") from error
    if str(error).startswith("FORMAT"):
        raise other_format(str(error).removeprefix("FORMAT ")) from error
