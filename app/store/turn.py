"""One process at a time keeps house. Two would do no harm, but the same work twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import redis
from redis.exceptions import LockError

from app.store.keys import Keys

TURN_SECONDS = 600


@contextmanager
def housekeeping_turn(client: redis.Redis, keys: Keys) -> Iterator[bool]:
    """Whether it is this process's turn."""
    lock = client.lock(keys.housekeeping, timeout=TURN_SECONDS, blocking=False)
    mine = bool(lock.acquire())
    try:
        yield mine
    finally:
        if mine:
            with suppress(LockError):  # it took longer than a turn
                lock.release()


def rewrite_log(client: redis.Redis) -> bool:
    """Asks the server for a fresh append-only file: the old one still holds what was written and deleted
    since the last one. False where it does not take the command."""
    try:
        client.bgrewriteaof()
    except redis.exceptions.ResponseError as error:
        return "already in progress" in str(error)
    return True
