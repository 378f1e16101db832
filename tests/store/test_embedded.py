"""The embedded server is real here: what is tested is how it starts, stops, dies and comes back."""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from app.errors import Conflict, GradSiftError
from app.store import embedded_config
from app.store.embedded import EmbeddedRedis
from app.store.embedded_config import find_server
from tests.processes import python, running, wait_until

pytestmark = pytest.mark.timeout(30)

HOLD = """
import sys, time
from app.store.embedded import EmbeddedRedis
server = EmbeddedRedis(sys.argv[1]).start()
print(server.pid, server.url, flush=True)
time.sleep(60)
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gs-") as directory:
        yield Path(directory)


def put(server: EmbeddedRedis, key: str, value: str) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.set(key, value)


def get(server: EmbeddedRedis, key: str) -> str | None:
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        value = client.get(key)
    assert value is None or isinstance(value, str)
    return value


def append_only_file(data_dir: Path) -> Path:
    return next((data_dir / "redis" / "appendonlydir").glob("*.incr.aof"))


def test_configured_to_keep_everything_and_listen_to_nobody_else(data_dir: Path) -> None:
    with EmbeddedRedis(data_dir) as server:
        with redis.Redis.from_url(server.url, decode_responses=True) as client:
            config = client.config_get("*")
        path = data_dir / "redis" / "redis.sock"
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert isinstance(config, dict)
    wanted = {
        "port": "0",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "aof-load-truncated": "yes",
        "maxmemory-policy": "noeviction",
        "hash-max-listpack-value": "256",
        "save": "",
    }
    assert {name: config[name] for name in wanted} == wanted


def test_stop_leaves_data_but_no_process_socket_or_lock(data_dir: Path) -> None:
    server = EmbeddedRedis(data_dir).start()
    pid = server.pid
    assert pid is not None
    put(server, "sample", "kept")
    server.stop()
    assert not running(pid)
    assert not (data_dir / "redis" / "redis.sock").exists()
    assert "bye bye" in (data_dir / "redis" / "server.log").read_text(), "the end was not a clean one"
    with EmbeddedRedis(data_dir) as again:
        assert get(again, "sample") == "kept"


def test_stop_is_safe_to_repeat_and_before_start(data_dir: Path) -> None:
    server = EmbeddedRedis(data_dir)
    server.stop()
    server.start().stop()
    server.stop()


def test_a_server_that_will_not_end_is_killed(data_dir: Path) -> None:
    server = EmbeddedRedis(data_dir).start()
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    pid = server.pid
    server.stop(grace=0.1)
    assert not running(pid)


def test_starts_again_after_its_server_was_killed(data_dir: Path) -> None:
    with EmbeddedRedis(data_dir) as server:
        put(server, "answered", "durable")
        first = server.pid
        server.kill()
        wait_until(lambda: server.poll() is not None)
        server.start()
        assert server.pid != first
        assert get(server, "answered") == "durable"


def test_second_taker_is_told_who_holds_the_directory(data_dir: Path) -> None:
    with EmbeddedRedis(data_dir) as server:
        with pytest.raises(Conflict) as refused:
            EmbeddedRedis(data_dir).start()
        assert refused.value.code == "already_running"
        assert str(os.getpid()) in refused.value.detail
        put(server, "still", "alive")
    with EmbeddedRedis(data_dir):
        pass


def test_second_process_is_refused(data_dir: Path) -> None:
    with EmbeddedRedis(data_dir):
        second = python(
            "import sys\n"
            "from app.errors import GradSiftError\n"
            "from app.store.embedded import EmbeddedRedis\n"
            "try:\n    EmbeddedRedis(sys.argv[1]).start()\n"
            "except GradSiftError as error:\n    print(error.code, error.detail)",
            str(data_dir),
        )
        output, _ = second.communicate(timeout=20)
    assert output.startswith("already_running")
    assert str(os.getpid()) in output


def test_dies_with_a_killed_parent_and_the_next_finds_the_data(data_dir: Path) -> None:
    parent = python(HOLD, str(data_dir))
    assert parent.stdout is not None
    pid, url = parent.stdout.readline().split()
    with redis.Redis.from_url(url) as client:
        client.set("before", "the kill")
    parent.kill()
    # At once, while the old server may still be dying: it must never share its file with the new one.
    with EmbeddedRedis(data_dir) as server:
        assert not running(int(pid))
        assert get(server, "before") == "the kill"
    parent.communicate()


@pytest.mark.parametrize(
    "name", ["x" * 120, "sp ace", 'quo"te', "back\\slash", "naïve-目录", "per%20cent", "ques?tion#hash"]
)
def test_any_path_serves(data_dir: Path, name: str) -> None:
    with EmbeddedRedis(data_dir / name) as server:
        put(server, "a", "b")
        assert get(server, "a") == "b"
        path = Path(redis.Redis.from_url(server.url).connection_pool.connection_kwargs["path"])
        assert len(os.fsencode(path)) <= 100
        assert (data_dir in path.parents) == (len(name) < 100)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.exists()
    assert path.parent == data_dir / name / "redis" or not path.parent.exists()


def test_a_foreign_directory_in_the_temporary_place_is_not_trusted(data_dir: Path) -> None:
    deep = data_dir / ("x" * 120)
    expected = embedded_config.socket_path(deep / "redis").parent
    expected.chmod(0o755)
    try:
        with EmbeddedRedis(deep) as server:
            assert str(expected) + "/" not in server.url
    finally:
        expected.rmdir()


def test_stale_socket_and_lock_file_do_not_disturb(data_dir: Path) -> None:
    (data_dir / "redis").mkdir()
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(data_dir / "redis" / "redis.sock"))
    (data_dir / "gradsift.lock").write_text("1\n")
    with EmbeddedRedis(data_dir) as server:
        put(server, "a", "b")


def test_a_cut_tail_of_the_append_only_file_is_survived(data_dir: Path) -> None:
    with EmbeddedRedis(data_dir) as server:
        put(server, "first", "whole")
        put(server, "second", "cut")
    file = append_only_file(data_dir)
    file.write_bytes(file.read_bytes()[:-5])
    with EmbeddedRedis(data_dir) as server:
        assert get(server, "first") == "whole"
        assert get(server, "second") is None


def test_a_broken_append_only_file_says_so_with_the_log(data_dir: Path) -> None:
    with EmbeddedRedis(data_dir) as server:
        put(server, "a", "b")
    append_only_file(data_dir).write_bytes(b"this is no append-only file\r\n" * 20)
    with pytest.raises(GradSiftError) as failed:
        EmbeddedRedis(data_dir).start()
    assert failed.value.code == "redis_start_failed"
    assert "Bad file format" in failed.value.detail
    assert "server.log" in failed.value.remedy


def test_a_data_directory_that_is_a_file(data_dir: Path) -> None:
    file = data_dir / "file"
    file.write_text("mine")
    for unusable in (file, file / "below"):
        with pytest.raises(GradSiftError) as refused:
            EmbeddedRedis(unusable).start()
        assert refused.value.code == "data_dir_unusable"
        assert str(unusable) in refused.value.detail
    assert file.read_text() == "mine"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is the read-only place that root meets too")
def test_a_data_directory_that_cannot_be_written() -> None:
    with pytest.raises(GradSiftError) as refused:
        EmbeddedRedis("/proc/gradsift").start()
    assert refused.value.code == "data_dir_unusable"


def test_a_full_disk_is_named(data_dir: Path) -> None:
    code = (
        "import resource, sys\n"
        "from app.errors import GradSiftError\n"
        "from app.store.embedded import EmbeddedRedis\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))\n"
        "try:\n    EmbeddedRedis(sys.argv[1]).start()\n"
        "except GradSiftError as error:\n    print(error.code, error.detail)"
    )
    output, _ = python(code, str(data_dir)).communicate(timeout=20)
    assert output.startswith("data_dir_unusable"), output
    with EmbeddedRedis(data_dir):
        pass


def test_a_server_on_the_path_serves_where_there_is_no_wheel(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = find_server()
    programs = data_dir / "bin"
    programs.mkdir()
    (programs / "redis-server").symlink_to(real)
    old = programs / "valkey-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=6.0.16 sha=0'\n")
    old.chmod(0o755)
    monkeypatch.setattr(embedded_config, "_bundled_server", lambda: None)
    monkeypatch.setenv("PATH", str(programs))
    assert find_server() == programs / "redis-server"
    with EmbeddedRedis(data_dir / "data") as server:
        put(server, "a", "b")
    (programs / "redis-server").unlink()
    with pytest.raises(GradSiftError, match=r"version 6\.0, 7\.2 is needed") as missing:
        find_server()
    assert missing.value.code == "no_redis_server"


def test_without_any_server_the_directory_is_given_back(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(embedded_config, "_bundled_server", lambda: None)
        patched.setenv("PATH", str(data_dir))
        with pytest.raises(GradSiftError) as missing:
            EmbeddedRedis(data_dir).start()
        assert missing.value.code == "no_redis_server"
    with EmbeddedRedis(data_dir):
        pass
