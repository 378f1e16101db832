"""`gradsift submit`: files of every format, interrupted and gone on with, two at once; against a real API."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.client import Client
from app.client_problems import ServiceProblem
from tests.processes import wait_until
from tests.test_cli import KEY, Service, cli_process, service

__all__ = ["service"]
pytestmark = pytest.mark.timeout(110)
COLUMNS = ("--id", "nr", "--text", "body", "--label", "sort")


def rows_of(count: int, *, first: int = 0) -> str:
    lines = (f"id{n},words of {n},{'ab'[n % 2]}\n" for n in range(first, first + count))
    return "nr,body,sort\n" + "".join(lines)


def stored_ids(service: Service, dataset: str) -> list[str]:
    held = service.state.datasets.get(dataset)
    found: list[str] = service.state.samples.table(held).to_table(columns=["id"])["id"].to_pylist()
    return sorted(found)


def states(service: Service) -> list[Path]:
    return list((service.directory / "state" / "submit").glob("*.json"))


def rows_sent(service: Service) -> int:
    return max((json.loads(path.read_bytes())["rows"] for path in states(service)), default=0)


class TestResume:
    ROWS = 24_000

    def test_kill_9_half_way_and_the_same_command_again(self, service: Service) -> None:
        arguments = ("submit", service.file("killed.csv", rows_of(self.ROWS)), "--dataset", "half", *COLUMNS)
        process = cli_process(*arguments, **service.env)
        wait_until(lambda: rows_sent(service) >= 4_000, 60)
        process.kill()
        process.communicate()
        (state,) = states(service)
        sent = rows_sent(service)
        assert sent < self.ROWS
        code, output, errors = service.cli(*arguments)
        assert (code, errors.split(":")[0]) == (0, f"going on after row {sent}")
        counts = {name: int(n) for n, name in (part.split() for part in output.strip().split(", "))}
        assert counts["received"] == self.ROWS
        assert counts["created"] + counts["unchanged"] == self.ROWS
        assert counts["unchanged"] <= 2_000, "at most the batch whose answer was not noted"
        assert stored_ids(service, "half") == sorted(f"id{n}" for n in range(self.ROWS))
        assert not state.exists()

    def test_ctrl_c_says_how_to_go_on(self, service: Service) -> None:
        path = service.file("stopped.csv", rows_of(self.ROWS))
        arguments = ("submit", path, "--dataset", "stopped", *COLUMNS)
        process = cli_process(*arguments, **service.env)
        wait_until(lambda: rows_sent(service) >= 2_000, 60)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "The same command goes on after them" in errors
        assert "Traceback" not in errors
        sent = rows_sent(service)

        Path(path).write_text(rows_of(4_000), encoding="utf-8")  # another file: nothing of it was sent
        code, output, errors = service.cli(*arguments)
        assert (code, errors) == (0, "")
        assert output.startswith("4000 received, ")

        (state,) = states(service)
        noted = state.read_bytes()
        assert json.loads(noted)["rows"] == sent
        state.write_bytes(noted[:20])  # a state that cannot be read is none
        code, output, _ = service.cli(*arguments)
        assert output == "4000 received, 0 created, 0 updated, 4000 unchanged, 0 rejected\n"
        state.unlink()

    def test_restart_and_a_dataset_made_anew_begin_anew(self, service: Service) -> None:
        text = rows_of(3_000).replace("words of 1000,", ",")
        arguments = ("submit", service.file("anew.csv", text), "--dataset", "anew", *COLUMNS)
        assert service.cli(*arguments)[0] == 3
        with stopped_after_a_batch(service, *arguments) as state:
            code, output, errors = service.cli(*arguments)
            assert (code, output) == (3, "3000 received, 0 created, 0 updated, 2999 unchanged, 1 rejected\n")
            assert errors.startswith("going on after row 2000")
            assert "row 1001 rejected" in errors, "also what an earlier call was told"
            assert not state.exists()
        with stopped_after_a_batch(service, *arguments) as state:
            code, output, errors = service.cli(*arguments, "--restart")
            assert (code, output) == (3, "3000 received, 0 created, 0 updated, 2999 unchanged, 1 rejected\n")
            assert "going on" not in errors
            assert not state.exists()
        with stopped_after_a_batch(service, *arguments):
            headers = {"Authorization": f"Bearer {KEY}"}
            answer = httpx.delete(f"{service.url}/v1/datasets/anew", headers=headers, trust_env=False)
            assert answer.status_code == 204
            code, output, errors = service.cli(*arguments)
            assert output == "3000 received, 2999 created, 0 updated, 0 unchanged, 1 rejected\n"
            assert "going on" not in errors

    def test_a_state_that_cannot_be_written_is_said_once(self, service: Service, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        path = service.file("nowhere.csv", rows_of(4_100))
        env = service.env | {"GRADSIFT_STATE_DIR": str(tmp_path / "file")}
        process = cli_process("submit", path, "--dataset", "nowhere", *COLUMNS, **env)
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, output.split(",")[0]) == (0, "4100 received")
        assert errors.count("will begin anew") == 1


@contextmanager
def stopped_after_a_batch(service: Service, *arguments: str) -> Iterator[Path]:
    """The state that a submit leaves which is killed as it sends its second batch."""
    code = (
        "import os, signal, sys\n"
        "from app.cli import main, submit_state\n"
        "save = submit_state.SubmitState.save\n"
        "def save_and_die(self, sent):\n"
        "    save(self, sent)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "submit_state.SubmitState.save = save_and_die\n"
        "sys.argv[0] = 'gradsift'\n"
        "main()\n"
    )
    process = subprocess.run([sys.executable, "-c", code, *arguments], env={**os.environ, **service.env})
    assert process.returncode == -signal.SIGKILL
    (state,) = states(service)
    yield state
    state.unlink(missing_ok=True)


def test_two_clients_with_the_same_and_overlapping_ids_at_once(service: Service) -> None:
    files = [
        service.file("first.csv", rows_of(6_000)),
        service.file("second.csv", rows_of(6_000, first=3_000)),
        service.file("same.csv", rows_of(6_000)),
    ]
    processes = [
        cli_process("submit", file, "--dataset", "shared", *COLUMNS, **service.env) for file in files
    ]
    created = 0
    for process in processes:
        output, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors
        counts = {name: int(n) for n, name in (part.split() for part in output.strip().split(", "))}
        assert counts["received"] == 6_000
        assert counts["rejected"] == counts["updated"] == 0
        created += counts["created"]
    assert created == 9_000
    held = stored_ids(service, "shared")
    assert held == sorted(f"id{n}" for n in range(9_000))
    dataset = service.state.datasets.get("shared")
    entries = service.state.ids.entries(dataset, held)
    assert max(Counter(entry.ordinal for entry in entries if entry is not None).values()) == 1
    assert service.state.datasets.next_ordinal(dataset) == 9_000
    assert states(service) == []


class TestFormats:
    TABLE: ClassVar[dict[str, list[Any]]] = {
        "nr": [1, 2, 3],
        "body": ["eins", "zwei", ""],
        "sort": ["a", None, "b"],
        "stars": [5.0, float("nan"), 1.0],
        "shop": ["north", "south", "east"],
    }

    def test_parquet_with_meta(self, service: Service) -> None:
        path = service.directory / "table.parquet"
        pq.write_table(pa.table(self.TABLE), path)
        options = ("--meta", "stars", "--meta", "shop")
        code, output, errors = service.cli("submit", str(path), "--dataset", "table", *COLUMNS, *options)
        assert (code, output) == (3, "3 received, 2 created, 0 updated, 0 unchanged, 1 rejected\n")
        assert "row 3 rejected: `text` is empty" in errors
        one, two = service.sample("table", "1"), service.sample("table", "2")
        assert (one["label"], one["meta"]) == ("a", {"stars": 5.0, "shop": "north"})
        assert (two["label"], two["meta"]) == (None, {"shop": "south"})

    @pytest.mark.parametrize(
        "name", ["packed.csv.zst", "lines.ndjson.zst", "tabs.tsv", "lines", "table", "columns"]
    )
    def test_by_name_or_by_how_it_begins(self, service: Service, name: str) -> None:
        lines = [{"nr": f"n{n}", "body": f"text, {n}", "sort": "ab"[n % 2]} for n in range(3_000)]
        path = service.directory / name
        if name == "columns":
            pq.write_table(pa.Table.from_pylist(lines), path)
        else:
            ndjson = "".join(json.dumps(line) + "\n" for line in lines)
            tabs = "nr\tbody\tsort\n" + "".join("\t".join(line.values()) + "\n" for line in lines)
            table = "nr,body,sort\n" + "".join('{nr},"{body}",{sort}\n'.format(**line) for line in lines)
            text = ndjson if "lines" in name else tabs if "tabs" in name else table
            raw = text.encode()
            path.write_bytes(pa.compress(raw, "zstd", asbytes=True) if name.endswith(".zst") else raw)
        code, output, errors = service.cli("submit", str(path), "--dataset", f"by-{name}", *COLUMNS)
        assert (code, errors) == (0, "")
        assert output == "3000 received, 3000 created, 0 updated, 0 unchanged, 0 rejected\n"
        assert service.sample(f"by-{name}", "n7")["text"] == "text, 7"

    def test_files_that_are_cut_or_packed_twice(self, service: Service) -> None:
        zstd = pa.compress(os.urandom(60_000).hex().encode(), "zstd", asbytes=True)
        contents = {"cut.csv.zst": zstd[:-3000], "no.parquet": b"PAR1 not really", "no.parquet.gz": b""}
        for name, content in contents.items():
            path = service.directory / name
            path.write_bytes(content)
            code, _, errors = service.cli("submit", str(path), "--dataset", "none", "--text", "body")
            assert code == 1, name
            assert "[unreadable_file]" in errors, (name, errors)
        code, _, errors = service.cli(
            "submit", service.file("x.csv", "a\n1\n"), "--dataset", "none", "--text", "a", "--meta", "b"
        )
        assert code == 1
        assert "[missing_column]" in errors


class _Busy(BaseHTTPRequestHandler):
    """Busy at first, as a proxy before the service says it."""

    answers: ClassVar[list[tuple[int, str | None]]] = []
    asked: ClassVar[list[float]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append(time.monotonic())
        status, retry_after = self.answers.pop(0)
        body = json.dumps({"received": 1} if status == 200 else {"code": "slow_down"}).encode()
        self.send_response(status)
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_retry_after_is_heard() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Busy)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with Client(f"http://127.0.0.1:{server.server_port}") as client:
            _Busy.answers[:] = [(429, "1"), (503, None), (200, None)]
            assert client.send_samples("d", [{"id": "a"}]) == {"received": 1}
            first, second, third = _Busy.asked
            assert second - first >= 1.0
            assert third - second < 0.9
            _Busy.answers[:] = [(400, "1")]
            with pytest.raises(ServiceProblem, match="400"):
                client.send_samples("d", [{"id": "a"}])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
