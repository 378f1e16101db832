"""Who a user is, as a keyed hash: without the key nobody can tell, nor try out guesses."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import msgspec

from app.errors import Conflict
from app.settings import Settings
from app.store.locations import is_url

KEY_FILE = "pseudonym.key"
HASH_BYTES = 16


class Pseudonyms:
    """Hashes under one key (BLAKE2b). What is hashed for one purpose says nothing about another."""

    def __init__(self, key: str) -> None:
        self._key = blake2b(key.encode(), digest_size=64).digest()
        self.fingerprint = self.digest("key", []).hex().encode()

    def user(self, user: str) -> str:
        return self.digest("user", [user]).hex()

    def session(self, user: str, session: str) -> str:
        return self.digest("session", [user, session]).hex()

    def digest(self, purpose: str, values: Sequence[object]) -> bytes:
        """16 bytes of the values, which are written as JSON so that no two lists are alike."""
        content = msgspec.json.encode(values)
        return blake2b(content, key=self._key, digest_size=HASH_BYTES, person=purpose.encode()).digest()


def open_pseudonyms(settings: Settings) -> Pseudonyms:
    """Under GRADSIFT_PSEUDONYM_KEY, or a random key that is made once and kept beside the data.

    Raises:
        Conflict: the data lie in an object store, where no file is private, and no key is set.
    """
    if settings.pseudonym_key is not None:
        return Pseudonyms(settings.pseudonym_key.get_secret_value())
    if is_url(settings.data_url):
        detail = "events need a key for the hashes of their users, and none is kept in an object store"
        raise Conflict("no_pseudonym_key", detail)
    return Pseudonyms(_kept_key(Path(settings.data_url).absolute() / KEY_FILE))


def _kept_key(file: Path) -> str:
    if not file.exists():
        _make_key(file)
    return file.read_text(encoding="ascii").strip()


def _make_key(file: Path) -> None:
    """The file appears whole, on disk, and once: of two makers the first one's key holds."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(32) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        with suppress(FileExistsError):
            os.link(draft, file)
    finally:
        draft.unlink()
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
