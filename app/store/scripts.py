"""The Lua scripts of `app/store/lua`, each one atomic step on the server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any

import redis
from redis.exceptions import NoScriptError, ResponseError

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


@cache
def script_digest(name: str) -> str:
    """The name that a server knows a script by once it has it."""
    return sha1(script_source(name).encode(), usedforsecurity=False).hexdigest()


class Scripts:
    """Runs scripts by name on one client. A server that was started anew, even just now, gets them again."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def run(self, name: str, keys: Sequence[str], args: Sequence[Value]) -> Any:
        operands: list[Any] = [len(keys), *keys, *args]
        try:
            try:
                return self._client.evalsha(script_digest(name), *operands)
            except NoScriptError:
                return self._client.eval(script_source(name), *operands)
        except ResponseError as error:
            raise_refusal(error)
            raise

    def run_each(self, name: str, calls: Sequence[tuple[Sequence[str], Sequence[Value]]]) -> list[Any]:
        """One script with each of these keys and arguments, in one pipeline; the replies in order.

        The script itself travels in front: where the pipeline is sent again because the server was restarted,
        the new one knows it.
        """
        pipe = self._client.pipeline(transaction=False)
        pipe.script_load(script_source(name))
        for keys, args in calls:
            operands: list[Any] = [len(keys), *keys, *args]
            pipe.evalsha(script_digest(name), *operands)
        try:
            _, *replies = pipe.execute()
        except ResponseError as error:
            raise_refusal(error)
            raise
        return replies


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
