"""Import jobs on real files: every format, what is wrong with them, and attempts that die."""

from __future__ import annotations

import errno
import gzip
import json
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.contracts import Job, JobKind, JobState, Task
from app.errors import Forbidden, Unavailable
from app.services.datasets import put_dataset
from app.services.jobs import cancel_job
from tests.workers.conftest import Bench
from workers.ground import Ground
from workers.runner import run_claimed

LINES = [
    {"id": f"r{n}", "text": f"words of {n}", "label": "ab"[n % 2], "shop": f"s{n % 3}"} for n in range(250)
]


@pytest.fixture
def imports(bench: Bench) -> Path:
    """Batches of 20 rows, and the folder that may be imported from."""
    bench.settings = bench.settings.model_copy(update={"ingest_batch_rows": 20})
    put_dataset(bench.state, "d", Task.CLASSIFICATION)
    folder = Path(bench.settings.data_url) / "imports"
    folder.mkdir()
    return folder


def samples(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As the contract has them: what is no field of a sample is in its `meta`."""
    fields = ("id", "text", "label")
    found = []
    for line in lines:
        meta = {name: value for name, value in line.items() if name not in fields}
        sample = {name: line[name] for name in fields if name in line}
        found.append(sample | ({"meta": meta} if meta else {}))
    return found


def ndjson(lines: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(line) + "\n" for line in samples(lines)).encode()


def csv(lines: list[dict[str, Any]], delimiter: str = ",") -> bytes:
    rows = [list(lines[0]), *(list(line.values()) for line in lines)]
    return "".join(delimiter.join(map(str, row)) + "\n" for row in rows).encode()


def run(bench: Bench, url: str, **params: Any) -> Job:
    return bench.run(kind=JobKind.IMPORT, url=url, **params)


def counts(job: Job) -> tuple[int, ...]:
    """received, created, updated, unchanged, rejected_total"""
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.result is not None
    names = ("received", "created", "updated", "unchanged", "rejected_total")
    return tuple(job.result[name] for name in names)


def stored(bench: Bench) -> dict[str, dict[str, Any]]:
    table = bench.state.samples.table(bench.state.datasets.get("d"))
    return {row["id"]: row for row in table.to_table().to_pylist()}


class TestFormats:
    @pytest.mark.parametrize(
        "name", ["a.ndjson", "a.csv", "a.tsv", "a.parquet", "a.jsonl.gz", "a.csv.zst", "a.parquet.gz"]
    )
    def test_by_the_files_name(self, bench: Bench, imports: Path, name: str) -> None:
        if ".parquet" in name:
            pq.write_table(pa.Table.from_pylist(LINES), imports / "a.parquet", row_group_size=40)
            content = (imports / "a.parquet").read_bytes()
        else:
            content = csv(LINES, "\t" if "tsv" in name else ",") if "sv" in name else ndjson(LINES)
        if name.endswith(".gz"):
            content = gzip.compress(content)
        if name.endswith(".zst"):
            content = pa.compress(content, "zstd", asbytes=True)
        (imports / name).write_bytes(content)
        job = run(bench, name)
        assert counts(job) == (250, 250, 0, 0, 0)
        assert job.progress.fraction == 1.0
        assert job.result is not None
        assert job.result["files"] == 1
        rows = stored(bench)
        assert len(rows) == 250
        assert (rows["r7"]["text"], rows["r7"]["label"]) == ("words of 7", "b")
        assert json.loads(rows["r7"]["meta"]) == {"shop": "s1"}

    def test_what_the_job_says_goes_before_the_name(self, bench: Bench, imports: Path) -> None:
        lines = [{"nr": n, "review": f"text {n}", "stars": n % 2, "text": "not this"} for n in range(30)]
        (imports / "odd.parquet").write_bytes(gzip.compress(csv(lines, ";")))
        columns = {"id": "nr", "text": "review", "label": "stars"}
        job = run(bench, "odd.parquet", format="csv", compression="gzip", delimiter=";", columns=columns)
        assert counts(job) == (30, 30, 0, 0, 0)
        assert (stored(bench)["3"]["text"], stored(bench)["3"]["label"]) == ("text 3", "1")

    def test_a_folder_a_pattern_and_numbered_rows(self, bench: Bench, imports: Path) -> None:
        for name in ("b/2.ndjson", "b/1.csv", "b/deep/3.ndjson", "b/README", "b/_SUCCESS", "b/.hidden.csv"):
            (imports / name).parent.mkdir(parents=True, exist_ok=True)
            lines = [{"text": f"{name} {n}", "label": n % 2} for n in range(25)]
            (imports / name).write_bytes(csv(lines) if name.endswith("csv") else ndjson(lines))
        job = run(bench, "b", ids="rows")
        assert counts(job) == (75, 75, 0, 0, 0)
        assert job.result is not None
        assert job.result["files"] == 3
        rows = stored(bench)
        assert rows["1.csv-000001"]["text"] == "b/1.csv 0"
        assert rows["deep:3.ndjson-000025"]["text"] == "b/deep/3.ndjson 24"
        assert [row["id"] for row in rows.values()][:1] == ["1.csv-000001"]
        assert counts(run(bench, "b/*.ndjson", ids="rows")) == (25, 0, 0, 25, 0)
        assert counts(run(bench, "b/2.ndjson", ids="rows"))[1] == 25
        assert "row-000001" in stored(bench)

    def test_an_id_that_comes_again_replaces(self, bench: Bench, imports: Path) -> None:
        texts = ["one", "two", "two", "three"]
        lines = [{"id": "same", "text": text} for text in texts] + [
            {"id": f"x{n}", "text": "x"} for n in range(40)
        ]
        lines += [{"id": "same", "text": "last"}]
        (imports / "again.ndjson").write_bytes(ndjson(lines))
        assert counts(run(bench, "again.ndjson")) == (45, 41, 3, 1, 0)
        assert stored(bench)["same"]["text"] == "last"


class TestWrong:
    def test_rejected_rows_are_told_by_file_and_row(self, bench: Bench, imports: Path) -> None:
        lines = [dict(line) for line in LINES]
        lines[3]["text"] = lines[130]["text"] = ""
        content = ndjson(lines).replace(b'{"id": "r77"', b'{"id": "r77')
        (imports / "some.ndjson").write_bytes(content)
        job = run(bench, "some.ndjson")
        assert counts(job) == (250, 247, 0, 0, 3)
        assert job.result is not None
        found = [(one["file"], one["row"], one["id"], one["code"]) for one in job.result["rejected"]]
        assert found == [
            ("some.ndjson", 4, "r3", "missing_field"),
            ("some.ndjson", 78, None, "invalid_row"),
            ("some.ndjson", 131, "r130", "missing_field"),
        ]

    @pytest.mark.parametrize(
        ("name", "content", "code", "says"),
        [
            ("all.csv", b"id,text\n1,\n2,\n", "import_nothing_stored", "all.csv, row 1"),
            ("empty.ndjson", b"", "import_nothing_stored", "no rows"),
            ("lost.csv", None, "import_not_found", "lost.csv"),
            ("no.parquet", b"PAR1 is not enough", "import_unreadable", "no.parquet"),
            ("no.csv.gz", b"not packed", "import_unreadable", "gzip"),
            ("columns.csv", b"nr,body\n1,x\n", "import_unreadable", "no column id"),
            ("what", b"id,text\n", "import_unreadable", "do not say what they are"),
        ],
    )
    def test_files_that_cannot_be_used(
        self, bench: Bench, imports: Path, name: str, content: bytes | None, code: str, says: str
    ) -> None:
        if content is not None:
            (imports / name).write_bytes(content)
        job = run(bench, name)
        assert job.state is JobState.FAILED
        assert job.error is not None
        assert job.error.code == code
        assert says in job.error.detail
        assert job.error.remedy

    def test_what_was_stored_before_stays_and_is_said(self, bench: Bench, imports: Path) -> None:
        content = gzip.compress(ndjson([line | {"text": os.urandom(200).hex()} for line in LINES]))
        (imports / "cut.ndjson.gz").write_bytes(content[: len(content) // 2])
        job = run(bench, "cut.ndjson.gz")
        assert job.error is not None
        assert job.error.code == "import_unreadable"
        assert f"{len(stored(bench))} rows were stored before, and stay" in job.error.detail
        assert 0 < len(stored(bench)) < 250

    def test_a_file_without_permission(
        self, bench: Bench, imports: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (imports / "mine.csv").write_bytes(csv(LINES))
        (imports / "mine.csv").chmod(0)
        if os.geteuid() == 0:  # who may read everything, and is refused as others are
            opened = os.open

            def refused(path: Any, *given: Any, **more: Any) -> int:
                if str(path).endswith("mine.csv"):
                    raise PermissionError(errno.EACCES, "Permission denied", str(path))
                return opened(path, *given, **more)

            monkeypatch.setattr("workers.importing.sources.os.open", refused)
        job = run(bench, "mine.csv")
        assert job.error is not None
        assert job.error.code == "import_unreadable"
        assert "Permission denied" in job.error.detail

    def test_a_file_that_changes_meanwhile(
        self, bench: Bench, imports: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = imports / "moving.ndjson"
        path.write_bytes(ndjson(LINES))

        def change(number: int) -> None:
            if number == 3:
                with path.open("ab") as file:
                    file.write(b"\n")

        at_each_batch(monkeypatch, change)
        job = run(bench, "moving.ndjson")
        assert job.error is not None
        assert job.error.code == "import_changed"
        assert len(stored(bench)) == 240


class TestPlaces:
    def test_links_out_of_the_folder(self, bench: Bench, imports: Path, tmp_path: Path) -> None:
        outside = tmp_path / "secret.csv"
        outside.write_bytes(csv(LINES))
        (imports / "link.csv").symlink_to(outside)
        (imports / "in").mkdir()
        (imports / "in" / "link.csv").symlink_to(outside)
        for url in ("link.csv", "in/../../secret.csv", str(outside), outside.as_uri()):
            with pytest.raises(Forbidden, match="may not be imported"):
                bench.queue(kind=JobKind.IMPORT, url=url)
        for url in ("in", "in/*.csv"):
            job = run(bench, url)
            assert job.error is not None
            assert job.error.code == "import_not_allowed"
        bench.settings = bench.settings.model_copy(update={"import_urls": (outside.parent.as_uri(),)})
        assert counts(run(bench, str(outside))) == (250, 250, 0, 0, 0)

    def test_a_link_that_is_put_there_later(self, bench: Bench, imports: Path, tmp_path: Path) -> None:
        (imports / "later.csv").write_bytes(csv(LINES))
        bench.queue(kind=JobKind.IMPORT, url="later.csv")
        (tmp_path / "secret.csv").write_bytes(csv(LINES))
        (imports / "later.csv").unlink()
        (imports / "later.csv").symlink_to(tmp_path / "secret.csv")
        claim = bench.claim()
        run_claimed(bench.state, bench.settings, claim)
        job = bench.state.jobs.get(claim.job.id)
        assert job.error is not None
        assert job.error.code == "import_not_allowed"

    def test_an_object_store(self, bench: Bench, imports: Path) -> None:
        """fsspec's own store in memory stands for one: the way to it is the same."""
        store = fsspec.filesystem("memory")
        for name in ("one.csv", "two.csv", "_started"):
            store.pipe(f"/bucket/new/{name}", csv(LINES[:120] if name == "one.csv" else LINES[100:]))
        store.pipe("/bucket/table.parquet", pq_bytes())
        bench.settings = bench.settings.model_copy(update={"import_urls": ("memory://bucket",)})
        try:
            assert counts(run(bench, "memory://bucket/new/")) == (270, 250, 0, 20, 0)
            assert counts(run(bench, "memory://bucket/new/o*.csv")) == (120, 0, 0, 120, 0)
            assert counts(run(bench, "memory://bucket/new/[a-o]?e.csv")) == (120, 0, 0, 120, 0)
            assert counts(run(bench, "memory://bucket/table.parquet")) == (250, 0, 0, 250, 0)
            numbered = {"ids": "rows", "columns": {"text": "text"}}
            assert counts(run(bench, "memory://bucket/new/", **numbered)) == (270, 270, 0, 0, 0)
            assert "one.csv-000120" in stored(bench)
            assert counts(run(bench, "memory://bucket/*/t*.csv", **numbered)) == (150, 150, 0, 0, 0)
            assert "new:two.csv-000150" in stored(bench)
            lost = run(bench, "memory://bucket/lost.csv")
            assert lost.error is not None
            assert lost.error.code == "import_not_found"
        finally:
            store.rm("/bucket", recursive=True)

    def test_a_kind_of_url_that_nothing_here_reads(self, bench: Bench, imports: Path) -> None:
        bench.settings = bench.settings.model_copy(update={"import_urls": ("nosuch://bucket",)})
        job = run(bench, "nosuch://bucket/a.csv")
        assert job.error is not None
        assert job.error.code == "import_not_installed"


def pq_bytes() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(LINES), sink)
    return bytes(sink.getvalue())


class _Web(BaseHTTPRequestHandler):
    pages: ClassVar[dict[str, bytes]] = {}
    leads: ClassVar[dict[str, str]] = {}
    busy: ClassVar[list[int]] = []

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if self.busy and path in self.pages:
            self.send_response(self.busy.pop())
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path in self.leads:
            self.send_response(302)
            self.send_header("Location", self.leads[path])
            self.end_headers()
        elif path in self.pages:
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.pages[path])))
            self.end_headers()
            self.wfile.write(self.pages[path])
        else:
            self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Web)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    _Web.leads, _Web.busy = {}, []
    _Web.pages = {"/data/a.csv": csv(LINES), "/data/a.parquet": pq_bytes(), "/inside/secret.csv": csv(LINES)}
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class TestWeb:
    @pytest.fixture
    def allowed(self, bench: Bench, imports: Path, web: str) -> str:
        bench.settings = bench.settings.model_copy(update={"import_urls": (f"{web}/data/",)})
        return web

    def test_files_and_redirects(self, bench: Bench, allowed: str) -> None:
        assert counts(run(bench, f"{allowed}/data/a.csv?key=1")) == (250, 250, 0, 0, 0)
        assert counts(run(bench, f"{allowed}/data/a.parquet")) == (250, 0, 0, 250, 0)
        _Web.leads = {
            "/data/moved.csv": "a.csv",
            "/data/out.csv": "/inside/secret.csv",
            "/data/x.csv": "x.csv",
        }
        assert counts(run(bench, f"{allowed}/data/moved.csv")) == (250, 0, 0, 250, 0)
        for name, code in (
            ("out", "import_not_allowed"),
            ("x", "import_unreadable"),
            ("y", "import_not_found"),
        ):
            job = run(bench, f"{allowed}/data/{name}.csv")
            assert job.error is not None
            assert job.error.code == code

    def test_a_place_that_is_away_for_a_while(
        self, bench: Bench, allowed: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("workers.runner.UNAVAILABLE_SECONDS", 0.0)
        _Web.busy = [503]
        job = run(bench, f"{allowed}/data/a.csv")
        assert job.state is JobState.QUEUED
        run_claimed(bench.state, bench.settings, bench.claim())
        job = bench.state.jobs.get(job.id)
        assert counts(job) == (250, 250, 0, 0, 0)
        assert job.attempt == 2
        _Web.busy = [503] * 50
        job = run(bench, f"{allowed}/data/a.csv")
        while job.state is JobState.QUEUED:
            run_claimed(bench.state, bench.settings, bench.claim())
            job = bench.state.jobs.get(job.id)
        assert job.error is not None
        assert (job.error.code, job.attempt) == ("import_unreadable", 5)


class Killed(BaseException):
    """The worker dies here."""


def at_each_batch(monkeypatch: pytest.MonkeyPatch, do: Callable[[int], None], *, after: bool = True) -> None:
    """Calls `do` with the number of the batch, from 1, before or after it is stored."""
    store, number = Ground.store, 0

    def watched(self: Ground, *arguments: Any) -> Any:
        nonlocal number
        number += 1
        if not after:
            do(number)
        answer = store(self, *arguments)
        if after:
            do(number)
        return answer

    monkeypatch.setattr(Ground, "store", watched)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("name", ["a.csv", "a.ndjson.gz", "a.parquet"])
def test_attempts_that_die_leave_the_counts_of_one(
    bench: Bench, imports: Path, monkeypatch: pytest.MonkeyPatch, name: str, after: bool
) -> None:
    """Whether the batch was stored when the worker died, or not."""
    lines = [dict(line) for line in LINES]
    lines[45]["text"] = lines[77]["text"] = ""
    others = [{"id": "r50", "text": "words of 50", "label": "a"}, {"id": "r51", "text": "another"}]
    bench.send(bench.state.datasets.get("d"), others)
    content = {"a.csv": csv(lines), "a.ndjson.gz": gzip.compress(ndjson(lines)), "a.parquet": b""}[name]
    (imports / name).write_bytes(content)
    if name == "a.parquet":
        pq.write_table(pa.Table.from_pylist(lines), imports / name, row_group_size=70)

    def die(number: int) -> None:
        if number in (3, 5, 9):
            raise Killed

    at_each_batch(monkeypatch, die, after=after)
    shop = json.dumps({"shop": LINES[50]["shop"]})
    job = bench.queue(kind=JobKind.IMPORT, url=name)
    for _ in range(3):
        with pytest.raises(Killed):
            run_claimed(bench.state, bench.settings, bench.claim())
        bench.state.client.zadd(bench.state.keys.jobs.leases, {job.id: 1})
        bench.state.jobs.reap(10)
    run_claimed(bench.state, bench.settings, bench.claim())
    job = bench.state.jobs.get(job.id)
    assert counts(job) == (250, 246, 2, 0, 2)
    assert job.attempt == 4
    assert job.result is not None
    assert [(one["row"], one["id"]) for one in job.result["rejected"]] == [(46, "r45"), (78, "r77")]
    assert stored(bench).keys() == {line["id"] for line in lines} - {"r45", "r77"}
    assert stored(bench)["r50"]["meta"] == shop


def test_cancel_stops_within_a_batch(bench: Bench, imports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (imports / "a.csv").write_bytes(csv(LINES))
    job = bench.queue(kind=JobKind.IMPORT, url="a.csv")

    def cancel(number: int) -> None:
        if number == 2:
            cancel_job(bench.state, bench.settings, job.id)

    at_each_batch(monkeypatch, cancel)
    monkeypatch.setattr("workers.lease.ASK_AGAIN_SECONDS", 0.0)
    run_claimed(bench.state, bench.settings, bench.claim())
    assert bench.state.jobs.get(job.id).state is JobState.CANCELLED
    assert len(stored(bench)) == 40


def test_a_store_that_is_away_puts_the_job_back(
    bench: Bench, imports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (imports / "a.csv").write_bytes(csv(LINES))
    monkeypatch.setattr("workers.runner.UNAVAILABLE_SECONDS", 0.0)

    def away(number: int) -> None:
        if number == 4:
            raise Unavailable("service_unavailable", "the store is away")

    at_each_batch(monkeypatch, away)
    job = run(bench, "a.csv")
    assert job.state is JobState.QUEUED
    run_claimed(bench.state, bench.settings, bench.claim())
    assert counts(bench.state.jobs.get(job.id)) == (250, 250, 0, 0, 0)
