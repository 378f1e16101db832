"""`gradsift up` with real processes: a real server, and small programs in place of the other parts."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from app.services.api_keys import revoke_key
from app.settings import Settings
from app.store.embedded import EmbeddedRedis
from app.store.state import State, open_state
from tests.keys import make_key
from tests.processes import python, running, wait_until

pytestmark = pytest.mark.timeout(45)
PARTS = ("worker", "predictor", "api")

# Each part appends what happens to it as JSON lines to $EVENTS.
PART = """
import json, os, signal, subprocess, sys, time
from app.store.guard import die_with_parent

def note(what, **fields):
    line = json.dumps({"part": sys.argv[1], "what": what, "pid": os.getpid(), **fields}) + "\\n"
    with open(os.environ["EVENTS"], "a") as events:
        events.write(line)

def redis_answers():
    import redis
    return redis.Redis.from_url(os.environ["GRADSIFT_REDIS_URL"]).ping()
"""
WORKER = (
    PART
    + """
child = "from app.store.guard import die_with_parent; die_with_parent(); import time; time.sleep(60)"
loose = "import time; time.sleep(60)"
children = [
    subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL).pid for code in (child, loose)
]
mode = os.environ.get("WORKER_MODE", "")
def stop(*_):
    time.sleep(0.2)
    note("stopped", redis=redis_answers())
    sys.exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN if mode == "stubborn" else stop)
note("started", redis=redis_answers(), children=children, data=os.environ["GRADSIFT_DATA_URL"])
if mode == "broken":
    sys.exit(3)
while True:
    signal.pause()
"""
)
PREDICTOR = (
    PART
    + """
def stop(*_):
    note("stopped")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
note("started")
while True:
    signal.pause()
"""
)
API = (
    PART
    + """
import http.server, socket
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open(os.environ["EVENTS"]) as events:
            worker = any('"worker", "what": "started"' in line for line in events)
        self.send_response(200 if worker and os.environ.get("API_MODE") != "unready" else 503)
        self.end_headers()
        self.wfile.write(b"from %d" % os.getpid())
    def log_message(self, *_):
        pass
def stop(*_):
    note("stopped")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
server = http.server.HTTPServer(("", 0), Answer, bind_and_activate=False)
server.socket = socket.socket(fileno=int(sys.argv[2]))
note("started")
server.serve_forever()
"""
)
UP = """
import sys
from pathlib import Path
from app.up import supervisor
from app.errors import GradSiftError
from app.logs import configure_logging
from app.settings import Settings
from app.up import Commands, run_up
supervisor.LONGEST_BACKOFF_SECONDS = 0.1
data_dir, port, worker, predictor, api, host = sys.argv[1:]
settings = Settings(log_format="console")
configure_logging(settings, part="up")
commands = Commands(
    worker=[sys.executable, "-c", worker, "worker"],
    predictor=[sys.executable, "-c", predictor, "predictor"],
    api=lambda _host, _port, fd: [sys.executable, "-c", api, "api", str(fd)],
)
try:
    run_up(settings, host=host, port=int(port), data_dir=Path(data_dir), commands=commands)
except GradSiftError as error:
    print(error.code, error.detail, error.remedy, flush=True)
    sys.exit(1)
"""


class Up:
    """One `gradsift up` as a process, and what its parts noted."""

    def __init__(self, data_dir: Path, *, port: int = 0, host: str = "127.0.0.1", **env: str) -> None:
        self.data_dir = data_dir
        self.events_file = data_dir.parent / f"{data_dir.name}.events"
        self.process = python(
            UP,
            *(str(data_dir), str(port), WORKER, PREDICTOR, API, host),
            env={**os.environ, "EVENTS": str(self.events_file), **env},
        )

    @property
    def address(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("GradSift is ready at http://127.0.0.1:"), line
        assert f"(data in {self.data_dir})" in line
        return line.split()[4]

    def events(self, part: str, what: str) -> list[dict[str, Any]]:
        if not self.events_file.exists():
            return []
        events = [json.loads(line) for line in self.events_file.read_text().splitlines()]
        return [event for event in events if (event["part"], event["what"]) == (part, what)]

    def await_event(self, part: str, what: str, count: int = 1) -> dict[str, Any]:
        wait_until(lambda: len(self.events(part, what)) >= count)
        return self.events(part, what)[count - 1]

    def server_pid(self) -> int:
        with redis.Redis(unix_socket_path=str(self.data_dir / "redis" / "redis.sock")) as client:
            info = client.info("server")
        assert isinstance(info, dict)
        return int(info["process_id"])

    def pids(self) -> list[int]:
        started = [event for part in PARTS for event in self.events(part, "started")]
        return [event["pid"] for event in started] + [
            child for event in started for child in event.get("children", [])
        ]

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(signum)
        return self.process.wait(timeout=60)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gs-") as directory:
        yield Path(directory) / "data"


@pytest.fixture
def started() -> Iterator[list[Up]]:
    """Those to be ended after the test, whatever happened in it."""
    ups: list[Up] = []
    yield ups
    for up in ups:
        up.process.kill()
        up.process.communicate()


@pytest.fixture(autouse=True)
def _hang_up_is_heard() -> Iterator[None]:
    """`gradsift up` leaves SIGHUP ignored where it finds it so, and so it is for tests run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def fetch(address: str) -> str:
    with urllib.request.urlopen(f"{address}/readyz", timeout=30) as response:
        return str(response.read().decode())


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_starts_in_order_and_stops_in_reverse(
    data_dir: Path, started: list[Up], signum: signal.Signals
) -> None:
    up = Up(data_dir)
    started.append(up)
    assert fetch(up.address).startswith("from ")
    worker = up.await_event("worker", "started")
    assert worker["redis"] is True
    assert worker["data"] == str(data_dir)
    up.await_event("predictor", "started")
    pids = [up.server_pid(), *up.pids()]
    assert len(pids) == 6
    assert up.stop(signum) == 0
    assert not any(running(pid) for pid in pids)
    order = [json.loads(line) for line in up.events_file.read_text().splitlines()]
    happened = [(event["part"], event["what"]) for event in order]
    assert sorted(happened[:3]) == [(part, "started") for part in sorted(PARTS)]
    assert happened[3:] == [(part, "stopped") for part in reversed(PARTS)]
    assert order[-1]["redis"] is True, "the server must outlive the worker"
    assert not (data_dir / "redis" / "redis.sock").exists()
    assert "bye bye" in (data_dir / "redis" / "server.log").read_text()


def test_parts_share_a_session_so_that_niceness_counts_between_them_and_no_signal_of_a_terminal(
    data_dir: Path, started: list[Up]
) -> None:
    """Linux shares cores between sessions first (sched_autogroup); Ctrl-C is for a group of processes."""
    up = Up(data_dir)
    started.append(up)
    fetch(up.address)
    up.await_event("predictor", "started")
    parts = [up.server_pid(), *(up.await_event(part, "started")["pid"] for part in PARTS)]
    assert {os.getsid(pid) for pid in parts} == {os.getsid(up.process.pid)}
    assert [os.getpgid(pid) for pid in parts] == parts
    assert up.stop(signal.SIGTERM) == 0


def test_killed_it_leaves_nothing_running_and_the_next_finds_the_data(
    data_dir: Path, started: list[Up]
) -> None:
    first = Up(data_dir)
    started.append(first)
    assert first.address
    server = first.server_pid()
    with redis.Redis(unix_socket_path=str(data_dir / "redis" / "redis.sock")) as client:
        client.set("kept", "yes")
    first.process.kill()
    first.process.wait()
    worker = first.events("worker", "started")[0]
    tied = [server, worker["pid"], worker["children"][0], first.events("api", "started")[0]["pid"]]
    wait_until(lambda: not any(running(pid) for pid in tied), seconds=5)
    os.kill(worker["children"][1], signal.SIGKILL)  # the one that was not tied to its parent
    second = Up(data_dir)
    started.append(second)
    assert second.address
    with redis.Redis(
        unix_socket_path=str(data_dir / "redis" / "redis.sock"), decode_responses=True
    ) as client:
        assert client.get("kept") == "yes"
    assert second.stop() == 0


def test_a_killed_worker_comes_back_and_its_children_go(data_dir: Path, started: list[Up]) -> None:
    up = Up(data_dir)
    started.append(up)
    assert up.address
    first = up.await_event("worker", "started")
    os.kill(first["pid"], signal.SIGKILL)
    second = up.await_event("worker", "started", count=2)
    assert second["pid"] != first["pid"]
    assert not any(running(child) for child in first["children"])
    assert up.stop() == 0
    assert not any(running(pid) for pid in up.pids())


def test_a_killed_server_comes_back_with_its_data(data_dir: Path, started: list[Up]) -> None:
    up = Up(data_dir)
    started.append(up)
    assert up.address
    path = str(data_dir / "redis" / "redis.sock")
    with redis.Redis(unix_socket_path=path) as client:
        client.set("kept", "yes")
    server = up.server_pid()
    os.kill(server, signal.SIGKILL)
    wait_until(lambda: not running(server))

    def back() -> bool:
        try:
            with redis.Redis(unix_socket_path=path, decode_responses=True) as client:
                return bool(client.get("kept") == "yes")
        except redis.ConnectionError:
            return False

    wait_until(back)
    assert len(up.events("worker", "started")) == 1
    assert up.stop() == 0


def test_a_killed_api_comes_back_and_callers_only_wait(data_dir: Path, started: list[Up]) -> None:
    up = Up(data_dir)
    started.append(up)
    address = up.address
    first = up.await_event("api", "started")["pid"]
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not running(first))
    assert fetch(address) != f"from {first}"
    assert up.stop() == 0


def test_gives_up_on_a_part_that_keeps_dying(data_dir: Path, started: list[Up]) -> None:
    up = Up(data_dir, WORKER_MODE="broken")
    started.append(up)
    output, _ = up.process.communicate(timeout=60)
    assert up.process.returncode == 1
    assert "part_keeps_dying the worker died 5 times" in output
    assert "exit code 3" in output
    assert len(up.events("worker", "started")) == 5
    assert not any(running(pid) for pid in up.pids())
    assert not (data_dir / "redis" / "redis.sock").exists()


def test_a_second_one_on_the_same_directory_says_so(data_dir: Path, started: list[Up]) -> None:
    first = Up(data_dir)
    started.append(first)
    address = first.address
    port = int(address.rpartition(":")[2])
    second = Up(data_dir, port=port)
    started.append(second)
    output, _ = second.process.communicate(timeout=60)
    assert second.process.returncode == 1
    assert output.startswith("already_running")
    assert str(first.process.pid) in output
    assert fetch(address)
    assert len(first.events("worker", "started")) == 1
    assert first.stop() == 0


def test_a_taken_port_is_found_before_anything_starts(data_dir: Path, started: list[Up]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        up = Up(data_dir, port=port)
        started.append(up)
        output, _ = up.process.communicate(timeout=60)
    assert up.process.returncode == 1
    assert output.startswith(f"port_in_use port {port}")
    assert not (data_dir / "redis").exists()
    assert up.events("worker", "started") == []
    with EmbeddedRedis(data_dir):
        pass


def test_an_open_address_needs_keys(data_dir: Path, started: list[Up]) -> None:
    up = Up(data_dir, host="0.0.0.0")
    started.append(up)
    output, _ = up.process.communicate(timeout=60)
    assert up.process.returncode == 1
    assert output.startswith("unsafe_bind")
    assert not data_dir.exists()


def test_a_stored_key_is_enough_for_an_open_address(data_dir: Path, started: list[Up]) -> None:
    with _state(data_dir) as state:
        key_id, _ = make_key(state)
    opened = Up(data_dir, host="0.0.0.0")
    started.append(opened)
    assert opened.address
    assert opened.stop() == 0
    with _state(data_dir) as state:
        revoke_key(state, key_id)
    refused = Up(data_dir, host="0.0.0.0")
    started.append(refused)
    output, _ = refused.process.communicate(timeout=60)
    assert output.startswith("unsafe_bind")


@contextmanager
def _state(data_dir: Path) -> Iterator[State]:
    with EmbeddedRedis(data_dir) as server:
        state = open_state(Settings(redis_url=server.url, data_url=str(data_dir)))
        yield state
        state.close()


def test_a_foreign_address_is_refused(data_dir: Path, started: list[Up]) -> None:
    up = Up(data_dir, host="192.0.2.1", GRADSIFT_API_KEYS="some-key")
    started.append(up)
    output, _ = up.process.communicate(timeout=60)
    assert up.process.returncode == 1
    assert output.startswith("cannot_listen")


def test_a_second_signal_hurries(data_dir: Path, started: list[Up]) -> None:
    up = Up(data_dir, WORKER_MODE="stubborn")
    started.append(up)
    assert up.address
    up.process.send_signal(signal.SIGINT)
    up.await_event("api", "stopped")
    time.sleep(0.4)  # two presses, not one
    assert up.process.poll() is None, "the worker has 30 s"
    assert up.stop(signal.SIGINT) == 0
    assert not any(running(pid) for pid in up.pids())
    assert "bye bye" in (data_dir / "redis" / "server.log").read_text(), "hurry must not cost the log's tail"


def test_stops_also_before_it_is_ready(data_dir: Path, started: list[Up]) -> None:
    up = Up(data_dir, API_MODE="unready")
    started.append(up)
    up.await_event("api", "started")
    assert up.stop() == 0
    assert not any(running(pid) for pid in up.pids())


def test_a_given_redis_replaces_the_embedded_one(data_dir: Path, started: list[Up]) -> None:
    with EmbeddedRedis(data_dir.parent / "elsewhere") as server:
        up = Up(data_dir, GRADSIFT_REDIS_URL=server.url)
        started.append(up)
        assert up.address
        assert up.events("worker", "started")[0]["redis"] is True
        assert not (data_dir / "redis").exists()
        assert up.stop() == 0
        assert server.poll() is None


def test_a_broken_append_only_file_ends_it_with_the_reason(data_dir: Path, started: list[Up]) -> None:
    with EmbeddedRedis(data_dir):
        pass
    next((data_dir / "redis" / "appendonlydir").glob("*.incr.aof")).write_bytes(b"nonsense\r\n" * 50)
    up = Up(data_dir)
    started.append(up)
    output, _ = up.process.communicate(timeout=60)
    assert up.process.returncode == 1
    assert output.startswith("redis_start_failed")
    assert "Bad file format" in output
    assert up.events("worker", "started") == []


class TestGuard:
    def test_a_missing_command_is_named(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "app.store.guard", "--", "/no/such/program"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 127
        assert "/no/such/program" in done.stderr

    def test_a_parent_that_is_gone_already_is_noticed(self) -> None:
        command = [sys.executable, "-m", "app.store.guard", "--parent", "1", "--", "sleep", "60"]
        done = subprocess.run(command, timeout=30, check=False)
        assert done.returncode == -signal.SIGKILL

    def test_watching_where_the_kernel_does_not_help(self) -> None:
        """The way of other systems than Linux: the guard stays, and kills the child of a dead parent."""
        watch = (
            "import os, sys\n"
            "from app.store.guard import run_watched\n"
            "child = 'import os, time; print(os.getpid(), flush=True); time.sleep(60)'\n"
            "sys.exit(run_watched([sys.executable, '-c', child], os.getppid()))"
        )
        parent = python(
            "import subprocess, sys, time\n"
            "subprocess.Popen([sys.executable, '-c', sys.argv[1]])\ntime.sleep(60)",
            watch,
        )
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
        wait_until(lambda: not running(child), seconds=5)
        parent.communicate()

    def test_watching_passes_signals_and_exit_codes_on(self) -> None:
        child = (
            "import signal, sys\n"
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
            "print('up', flush=True)\nsignal.pause()"
        )
        watch = python(
            "import os, sys\nfrom app.store.guard import run_watched\n"
            "sys.exit(run_watched([sys.executable, '-c', sys.argv[1]], os.getppid()))",
            child,
        )
        assert watch.stdout is not None
        assert watch.stdout.readline() == "up\n"
        watch.terminate()
        assert watch.wait(timeout=30) == 7
        watch.communicate()
