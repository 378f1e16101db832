"""`gradsift keys`: where nothing runs yet, beside a running service, and on a server of its own."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.settings import Settings
from app.store.state import State
from tests.api.asking import Api
from tests.keys import bearer
from tests.test_cli import cli

pytestmark = pytest.mark.timeout(90)
KEY = re.compile(r"gs_([0-9a-z]{8})_[A-Za-z0-9_-]{43}\n")


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gs-") as directory:
        yield Path(directory) / "data"


def test_on_a_directory_where_nothing_runs_yet(data_dir: Path) -> None:
    """The first key is made before the first start: so the first start can be beyond loopback."""
    where = ("--data-dir", str(data_dir))
    code, output, errors = cli(
        *("keys", "create", "search team", "--scope", "read", "--scope", "jobs", "--dataset", "reviews*"),
        *("--rate", "100/second", "--concurrent", "8", "--queued-jobs", "10", "--expires-days", "90", *where),
    )
    assert code == 0, errors
    made = KEY.fullmatch(output)
    assert made, "the key alone, so that it can be piped"
    assert "not shown again" in errors
    assert output.strip() not in errors
    code, output, errors = cli("keys", "list", *where)
    assert code == 0, errors
    for part in (
        made[1],
        "live",
        "search team",
        "read,jobs",
        "reviews*",
        "rate 100/second",
        "queued_jobs 10",
    ):
        assert part in output
    assert made[0][12:].strip() not in output
    code, output, errors = cli("keys", "revoke", made[1], *where)
    assert (code, output) == (0, f"{made[1]} (search team) is revoked\n"), errors
    code, output, errors = cli("keys", "list", "--json", *where)
    (told,) = [json.loads(line) for line in output.splitlines()]
    assert told["state"] == "revoked"
    assert not {"hash", "salt"} & told.keys()
    code, _, errors = cli("keys", "revoke", "nobodys0", *where)
    assert code == 1
    assert "[unknown_key]" in errors


def test_beside_a_running_service_on_a_server_of_its_own(
    serve: Callable[..., Api], settings: Settings, state: State
) -> None:
    api = serve(api_keys=("key-of-the-settings",))
    env = {
        "GRADSIFT_REDIS_URL": settings.redis_url,
        "GRADSIFT_DATA_URL": settings.data_url,
        "GRADSIFT_KEY_PREFIX": settings.key_prefix,
    }
    code, output, errors = cli("keys", "create", "ranking", "--scope", "read", **env)
    assert code == 0, errors
    assert api.http.get("/v1/datasets", headers=bearer(output.strip())).status_code == 200
    assert set(state.api_keys.held()) == {output[3:11]}
    log = api.http.get("/v1/audit?action=keys.create", headers=bearer("key-of-the-settings")).text
    (entered,) = [json.loads(line) for line in log.splitlines()]
    assert (entered["key_id"], entered["subject"]) == ("cli", output[3:11])


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--scope", "root"], "invalid_key"),
        (["--scope", "read", "--rate", "many"], "invalid_key"),
        (["--scope", "read", "--dataset", "a/b"], "invalid_key"),
        ([], "scope"),
    ],
    ids=str,
)
def test_what_is_no_key(data_dir: Path, options: list[str], word: str) -> None:
    code, output, errors = cli("keys", "create", "x", *options, "--data-dir", str(data_dir))
    assert code != 0
    assert word in errors
    assert output == ""


def test_there_is_no_such_directory(data_dir: Path) -> None:
    for command in (["keys", "list"], ["keys", "revoke", "12345678"]):
        code, _, errors = cli(*command, "--data-dir", str(data_dir))
        assert code == 1
        assert "[data_dir_unusable]" in errors
    assert not data_dir.exists()
