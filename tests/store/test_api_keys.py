"""API keys as they are kept: nothing to make a key of, and nothing lost with Redis."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from app.contracts import now
from app.contracts.access import NO_LIMITS, KeyLimits, KeyScope
from app.contracts.api_keys import KEY_SHAPE, NO_SECRET, SecretHash, new_key
from app.errors import Damaged, Invalid, NotFound
from app.services.api_keys import list_keys, revoke_key
from app.services.backup import backup
from app.services.rebuild import rebuild
from app.services.restore import restore
from app.services.verify import Finding, verify
from app.settings import Settings
from app.store.state import State, open_state
from tests.keys import make_key
from tests.recovery.keyspace import everything, lose_redis


def findings(state: State) -> list[Finding]:
    return list(verify(state, [], lambda what: None))


def silent(what: str, done: int = 0, total: int = 0) -> None:
    pass


def test_only_salt_and_hash_are_kept(state: State, tmp_path: Path) -> None:
    key_id, key = make_key(state)
    parts = KEY_SHAPE.fullmatch(key.encode())
    assert parts is not None
    assert parts[1].decode() == key_id
    secret = parts[2].decode()
    files = [path.read_text() for path in (tmp_path / "archive" / "keys").iterdir()]
    for place in (str(everything(state)), *files):
        assert key_id in place
        assert secret not in place
        assert secret[:12] not in place
    held = state.api_keys.held()[key_id]
    assert SecretHash.of(held).fits(secret.encode())
    for wrong in (b"", secret[:-1].encode(), secret.swapcase().encode(), (secret + "a").encode(), bytes(43)):
        assert not SecretHash.of(held).fits(wrong)
        assert not NO_SECRET.fits(wrong)


def test_no_two_keys_have_anything_in_common() -> None:
    made = [new_key("same", (KeyScope.READ,), ("*",), NO_LIMITS, now(), None) for _ in range(200)]
    for part in (
        [stored.id for stored, _ in made],
        [stored.salt for stored, _ in made],
        [stored.hash for stored, _ in made],
        [key[12:] for _, key in made],
    ):
        assert len(set(part)) == len(made)
    assert all(len(key) == 3 + 8 + 1 + 43 for _, key in made)


def test_what_a_key_says_is_kept_as_it_was_given(state: State) -> None:
    key_id, _ = make_key(
        state,
        " search team ",
        scopes=[KeyScope.JOBS, KeyScope.READ, KeyScope.READ],
        datasets=["reviews*", "reviews*", "shop-[ab]"],
        rate="100/second",
        concurrent=8,
        queued_jobs=10,
        expires_days=90,
    )
    (held,) = list_keys(state)
    assert held.id == key_id
    assert held.name == "search team"
    assert held.scopes == (KeyScope.READ, KeyScope.JOBS)
    assert held.datasets == ("reviews*", "shop-[ab]")
    assert held.limits == KeyLimits(rate="100/second", concurrent=8, queued_jobs=10)
    assert held.expires_at == held.created_at + timedelta(days=90)
    assert state.key_archive.held() == {key_id: held}
    assert held.state(now()) == "live"
    assert held.state(now() + timedelta(days=91)) == "expired"


@pytest.mark.parametrize(
    "given",
    [
        {"name": ""},
        {"name": "   "},
        {"name": "two\nlines"},
        {"name": "\x1b[2J"},
        {"name": "x" * 65},
        {"scopes": []},
        {"scopes": ["read", "root"]},
        {"datasets": []},
        {"datasets": [""]},
        {"datasets": ["a/b"]},
        {"datasets": ["a b"]},
        {"datasets": ["x" * 129]},
        {"rate": "100"},
        {"rate": "0/second"},
        {"rate": "1/fortnight"},
        {"rate": "1/second;5/minute"},
        {"rate": "1/second\n"},
        {"concurrent": 0},
        {"queued_jobs": -1},
    ],
    ids=str,
)
def test_what_is_no_key(state: State, given: dict[str, object]) -> None:
    with pytest.raises(Invalid) as refused:
        make_key(state, **({"name": "x"} | given))  # type: ignore[arg-type]
    assert refused.value.code == "invalid_key"
    assert not state.api_keys.held()
    assert not state.key_archive.any()


def test_revoking(state: State) -> None:
    key_id, _ = make_key(state)
    first = revoke_key(state, key_id)
    assert first.revoked_at is not None
    assert revoke_key(state, key_id) == first, "the time of the first revocation stays"
    assert state.api_keys.held() == state.key_archive.held() == {key_id: first}
    assert not state.key_archive.any_unrevoked()
    with pytest.raises(NotFound) as refused:
        revoke_key(state, "nobodys0")
    assert refused.value.code == "unknown_key"


def test_keys_outlive_redis(state: State) -> None:
    kept, _ = make_key(state)
    gone, _ = make_key(state)
    revoke_key(state, gone)
    before = state.api_keys.held()
    assert findings(state) == []
    lose_redis(state)
    rebuild(state, [], replace=False, report=silent)
    assert state.api_keys.held() == before
    assert before[gone].revoked_at is not None
    assert before[kept].revoked_at is None
    assert findings(state) == []


def test_a_rebuild_never_brings_a_revoked_key_to_life(state: State) -> None:
    """Whichever of the two places the revocation has reached."""
    for place in ("archive", "redis"):
        key_id, _ = make_key(state)
        live = state.api_keys.held()[key_id]
        dead = live.model_copy(update={"revoked_at": now()})
        state.key_archive.save(dead if place == "archive" else live)
        state.api_keys.put(dead if place == "redis" else live)
        rebuild(state, [], replace=False, report=silent)
        assert state.api_keys.held()[key_id].revoked_at is not None, place


def test_a_key_that_only_the_archive_knows_can_be_revoked(state: State) -> None:
    key_id, _ = make_key(state)
    lose_redis(state)
    revoke_key(state, key_id)
    assert state.api_keys.held()[key_id].revoked_at is not None


def test_backup_and_restore(settings: Settings, state: State, tmp_path: Path) -> None:
    make_key(state)
    dead, _ = make_key(state)
    revoke_key(state, dead)
    before = state.api_keys.held()
    backup(state, str(tmp_path / "backup"), silent)
    other = open_state(
        settings.model_copy(
            update={"data_url": str(tmp_path / "new"), "key_prefix": settings.key_prefix + "n"}
        )
    )
    try:
        restore(other, str(tmp_path / "backup"), silent)
        assert other.api_keys.held() == other.key_archive.held() == before
        assert findings(other) == []
        with pytest.raises(Exception, match="API keys"):
            restore(other, str(tmp_path / "backup"), silent)
    finally:
        other.close()


def test_verify_tells_of_keys_that_are_not_as_they_were_made(state: State, tmp_path: Path) -> None:
    key_id, _ = make_key(state)
    held = state.api_keys.held()[key_id]
    state.api_keys.put(held.model_copy(update={"scopes": tuple(KeyScope)}))
    assert [found.check for found in findings(state)] == ["api_keys"]
    state.client.hdel(state.keys.api_keys, key_id)
    assert "archive only" in findings(state)[0].detail
    state.api_keys.put(held)
    state.client.hset(state.keys.api_keys, "smuggled", held.model_dump_json())
    assert "no file" in findings(state)[0].detail
    state.client.hdel(state.keys.api_keys, "smuggled")
    smuggled = held.model_copy(update={"id": "smuggled"})
    state.api_keys.put(smuggled)
    assert "no file" in findings(state)[0].detail
    state.client.hset(state.keys.api_keys, "smuggled", "{")
    assert "damaged" in findings(state)[0].detail
    state.client.hdel(state.keys.api_keys, "smuggled")
    file = tmp_path / "archive" / "keys" / f"{key_id}.json"
    file.write_text(json.dumps({"id": key_id}))
    assert [found.check for found in findings(state)] == ["archive"]
    with pytest.raises(Damaged):
        state.key_archive.held()
