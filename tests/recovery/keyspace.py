"""Every key of a service as plain values, and how a test loses them."""

from __future__ import annotations

from typing import Any, cast

from app.store.state import State


def everything(state: State) -> dict[str, Any]:
    """Key → its whole value, whatever the server's encoding of it."""
    client = state.client
    found: dict[str, Any] = {}
    for raw in client.scan_iter(match=f"{state.keys.prefix}:*", count=1000):
        key = raw.decode()
        kind = cast("bytes", client.type(raw)).decode()
        if kind == "string":
            found[key] = client.get(raw)
        elif kind == "hash":
            found[key] = dict(sorted(cast("dict[bytes, bytes]", client.hgetall(raw)).items()))
        elif kind == "zset":
            found[key] = client.zrange(raw, 0, -1, withscores=True)
        elif kind == "stream":
            found[key] = client.xrange(raw)
        else:
            raise AssertionError(f"{key} is a {kind}")
    return found


def rebuilt_part(state: State) -> dict[str, Any]:
    """What `rebuild` brings back to the byte: all but leases, tokens and the fence, which it raises."""
    keys = state.keys
    left_out = {
        *keys.audit.all,  # its own files are what it comes back from
        keys.fsync_marker,
        keys.jobs.token,
        keys.jobs.leases,
        keys.jobs.busy,
        keys.jobs.served,  # who is not in it counts as never served
        keys.jobs.workers,
        keys.jobs.draining,
        keys.jobs.watched,
        keys.jobs.tally,
        keys.jobs.figures,
    }
    found = {key: value for key, value in everything(state).items() if key not in left_out}
    for key, value in found.items():
        if key.endswith(":meta"):
            value.pop(b"fence", None)
    return found


def lose_redis(state: State) -> None:
    """What FLUSHDB does, to the keys of this test alone."""
    keys = list(state.client.scan_iter(match=f"{state.keys.prefix}:*", count=1000))
    if keys:
        state.client.delete(*keys)
