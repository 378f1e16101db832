"""The command line against a real API on a real Redis; jobs are moved on through the store, as workers do."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import numpy as np
import pytest

from app.cli import main
from app.cli.files import place_within
from app.contracts import Claim, JobError, JobState, Progress, SetVersion, now
from app.errors import GradSiftError
from app.settings import Settings
from app.store.embedded import EmbeddedRedis
from app.store.sets import Placement
from app.store.state import State, open_state
from tests.processes import wait_until

pytestmark = pytest.mark.timeout(60)
KEY = "the-key-of-the-tests"


def cli_process(*arguments: str, **env: str) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GRADSIFT_")}
    return subprocess.Popen(
        [sys.executable, "-m", "app.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**inherited, "COLUMNS": "200", **env},
    )


def cli(*arguments: str, **env: str) -> tuple[int, str, str]:
    process = cli_process(*arguments, **env)
    output, errors = process.communicate(timeout=50)
    assert "Traceback" not in errors, errors
    return process.returncode, output, errors


@dataclass
class Service:
    url: str
    process: subprocess.Popen[str]
    state: State
    directory: Path

    def cli(self, *arguments: str) -> tuple[int, str, str]:
        """In this process, where a hundred starts of an interpreter would take too long."""
        output, errors = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
        with (
            patch.dict(os.environ, self.env),
            patch.object(sys, "argv", ["gradsift", *arguments]),
            redirect_stdout(output),
            redirect_stderr(errors),
            pytest.raises(SystemExit) as ended,
        ):
            main()
        for stream in (output, errors):
            stream.seek(0)
        assert isinstance(ended.value.code, int)
        return ended.value.code, output.read(), errors.read()

    def sample(self, dataset: str, sample_id: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {KEY}"}
        url = f"{self.url}/v1/datasets/{dataset}/samples/{sample_id}"
        answer = httpx.get(url, headers=headers, trust_env=False)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    @property
    def env(self) -> dict[str, str]:
        nowhere = "http://127.0.0.1:9"  # a proxy of the environment must not come between
        return {
            "GRADSIFT_URL": self.url,
            "GRADSIFT_API_KEY": KEY,
            "GRADSIFT_STATE_DIR": str(self.directory / "state"),
            "http_proxy": nowhere,
            "no_proxy": "",
        }

    def file(self, name: str, content: str) -> str:
        path = self.directory / name
        path.write_text(content, encoding="utf-8")
        return str(path)

    def submitted(self, dataset: str, rows: int = 6) -> str:
        content = "body,sort\n" + "".join(f"words of {row},{'ab'[row % 2]}\n" for row in range(rows))
        path = self.file(f"{dataset}.csv", content)
        code, output, errors = self.cli(
            "submit", path, "--dataset", dataset, "--text", "body", "--label", "sort"
        )
        assert code == 0, errors
        assert output == f"{rows} received, {rows} created, 0 updated, 0 unchanged, 0 rejected\n"
        return path

    def job(self, dataset: str, *options: str) -> str:
        code, output, errors = self.cli("score", dataset, *options)
        assert code == 0, errors
        return output.strip()

    def claim(self) -> Claim:
        claim = self.state.jobs.claim("tests", 60.0)
        assert claim is not None
        return claim

    def publish(self, dataset_name: str) -> list[str]:
        """A set version as a job would publish it: two of each set; the ids, most important first."""
        dataset = self.state.datasets.get(dataset_name)
        ids = [f"row-{number:06d}" for number in range(1, 7)]
        entries = [self.state.ids.find(dataset, sample_id) for sample_id in ids]
        placement = Placement(
            ordinals=np.array([entry.ordinal for entry in entries if entry is not None]),
            generations=np.array(
                [entry.generation for entry in entries if entry is not None], dtype=np.uint32
            ),
            importance=np.linspace(6.0, 1.0, 6),
            noise=np.full(6, np.nan),
            sets=np.array([1, 1, 2, 2, 3, 3], dtype=np.uint8),
            reasons=np.ones(6, dtype=np.uint8),
            suggested=np.full(6, -1, dtype=np.int32),
        )
        version = SetVersion(
            version=1,
            policy="seed",
            params={},
            job="job_of_tests",
            lineage="lin_of_tests",
            created_at=now(),
            sizes={"core": 2, "edge": 2, "noise": 2},
        )
        self.state.datasets.take_fence(dataset.uid, 1)
        self.state.sets.publish(dataset.uid, version, placement, token=1)
        return ids


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with tempfile.TemporaryDirectory(prefix="gs-") as name:
        directory = Path(name)
        with (
            EmbeddedRedis(directory) as server,
            socket.create_server(("127.0.0.1", 0)) as listener,
            (directory / "api.log").open("wb") as log,
        ):
            where = {"GRADSIFT_REDIS_URL": server.url, "GRADSIFT_DATA_URL": str(directory)}
            fd = str(listener.fileno())
            process = subprocess.Popen(
                [sys.executable, "-m", "app.cli", "serve", "--fd", fd],
                stderr=log,
                text=True,
                pass_fds=(listener.fileno(),),
                env={**os.environ, **where, "GRADSIFT_API_KEYS": KEY},
            )
            state = open_state(Settings(redis_url=server.url, data_url=str(directory)))
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            try:
                yield Service(url, process, state, directory)
            finally:
                process.terminate()
                assert process.wait(timeout=60) == 0
                state.close()
                assert KEY not in (directory / "api.log").read_text()


class TestHelp:
    COMMANDS = (
        *("up", "serve", "worker", "predictor", "submit", "score", "grow", "train", "compare", "watch"),
        *("split", "cancel", "jobs", "import", "usage", "download", "predict", "sets", "export", "version"),
        *("clean", "cleaning", "audit", "keys create", "keys list", "keys revoke"),
    )

    def test_starts_fast_and_names_every_command(self) -> None:
        started = time.monotonic()
        code, output, _ = cli("--help")
        assert time.monotonic() - started < 5  # a second on a quiet machine; torch alone would take longer
        assert code == 0
        assert all(command.partition(" ")[0] in output for command in self.COMMANDS)

    def test_imports_stay_light(self) -> None:
        heavy = ("torch", "fastapi", "httpx", "redis", "pyarrow", "lance", "celery", "pydantic", "numpy")
        code = f"import sys, app.cli; print([name for name in {heavy} if name in sys.modules])"
        assert subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60) == "[]\n"

    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_has_an_example(self, service: Service, command: str) -> None:
        code, output, _ = service.cli(*command.split(), "--help")
        assert code == 0
        assert f"gradsift {command}" in output.partition("Example: ")[2]

    def test_an_unknown_command_is_a_usage_error(self, service: Service) -> None:
        code, _, errors = service.cli("sumbit")
        assert code == 2
        assert "sumbit" in errors

    def test_version(self) -> None:
        code, output, _ = cli("version")
        assert code == 0
        assert output.strip()


class TestSubmit:
    def test_csv_under_other_names_is_mapped(self, service: Service) -> None:
        path = service.file(
            "pairs.csv",
            "nr,query,passage,grade,part,topic\n"
            'a1,"with, comma","two\nlines ""quoted""",2,train,q1\n'
            "a2,naïve 目录,other,0.5,test,q2\n",
        )
        columns = ("--id", "nr", "--text", "query", "--text-pair", "passage", "--label", "grade")
        code, output, _ = service.cli(
            *("submit", path, "--dataset", "pairs", "--task", "relevance"),
            *(*columns, "--split", "part", "--group", "topic"),
        )
        assert code == 0
        assert output.startswith("2 received, 2 created")
        assert service.state.datasets.get("pairs").task.value == "relevance"
        first, second = service.sample("pairs", "a1"), service.sample("pairs", "a2")
        assert first["text"] == "with, comma"
        assert first["text_pair"] == 'two\nlines "quoted"'
        assert (first["label"], first["group"]) == (2, "q1")
        assert (second["text"], second["label"], second["split"]) == ("naïve 目录", 0.5, "test")

    def test_again_changes_nothing_also_packed(self, service: Service) -> None:
        path = Path(service.submitted("again"))
        packed = path.with_suffix(".csv.gz")
        packed.write_bytes(gzip.compress(path.read_bytes()))
        code, output, _ = service.cli(
            "submit", str(packed), "--dataset", "again", "--text", "body", "--label", "sort"
        )
        assert code == 0
        assert output == "6 received, 0 created, 0 updated, 6 unchanged, 0 rejected\n"

    def test_more_rows_than_a_batch(self, service: Service) -> None:
        service.submitted("long", rows=4500)
        assert service.state.datasets.next_ordinal(service.state.datasets.get("long")) == 4500

    def test_ndjson_and_rejected_rows(self, service: Service) -> None:
        lines = [
            {"body": "good", "sort": "a"},
            {"body": "", "sort": "a"},
            {"other": 1},
            {"body": "also good", "sort": 5},
        ]
        text = "\n".join(json.dumps(line) for line in lines) + "\nnot json\n[1]\n"
        path = service.file("mixed.ndjson", text)
        code, output, errors = service.cli(
            "submit", path, "--dataset", "mixed", "--text", "body", "--label", "sort"
        )
        assert code == 3
        assert output.startswith("6 received, 2 created")
        assert "4 rejected" in output
        assert [line.split()[1] for line in errors.splitlines()] == ["2", "3", "5", "6"]

    def test_nothing_stored_is_a_failure(self, service: Service) -> None:
        path = service.file("bad.csv", "body,sort\n" + ",a\n" * 9)
        code, output, errors = service.cli(
            "submit", path, "--dataset", "bad", "--text", "body", "--label", "sort"
        )
        assert code == 1
        assert "9 rejected" in output
        assert "and 4 more rejected rows" in errors
        assert "no row was stored" in errors

    def test_files_that_cannot_be_read(self, service: Service) -> None:
        cases = {
            "unreadable_file": str(service.directory / "missing.csv"),
            "missing_column": service.file("columns.csv", "a,b\n1,2\n"),
            "invalid_csv": service.file("quote.csv", 'body\n"never closed\n'),
        }
        latin = service.directory / "latin.csv"
        latin.write_bytes("body\ncafé\n".encode("latin-1"))
        cut = service.directory / "cut.csv.gz"
        cut.write_bytes(gzip.compress(b"body\n" + os.urandom(20_000).hex().encode())[:-2000])
        found = list(cases.items())
        found += [("unreadable_file", str(latin)), ("unreadable_file", str(cut))]
        for error_code, path in found:
            code, _, errors = service.cli("submit", path, "--dataset", "unread", "--text", "body")
            assert code == 1
            assert f"[{error_code}]" in errors
            assert "remedy: " in errors
        code, _, errors = service.cli("jobs", "--dataset", "unread")
        assert code != 0 or "unread" not in errors, "no dataset is made for a file that cannot be read"

    def test_an_empty_file(self, service: Service) -> None:
        code, _, errors = service.cli(
            "submit", service.file("empty.csv", "body\n"), "--dataset", "e", "--text", "body"
        )
        assert code == 1
        assert "holds no rows" in errors

    def test_a_dry_run_says_how_long_and_starts_nothing(self, service: Service) -> None:
        path = service.submitted("dry")
        assert service.cli("submit", path, "--dataset", "dry", "--text", "body", "--label", "sort")[0] == 0
        code, output, errors = service.cli("score", "dry", "--param", "num_train_epochs=2", "--dry-run")
        assert code == 0, errors
        assert "steps at most, on" in output
        assert "time: " in output
        assert "before it: " in output
        assert service.state.jobs.unfinished_of(service.state.datasets.get("dry").uid) == []
        assert service.cli("score", "dry", "--param", "num_train_epochs=0", "--dry-run")[0] == 1

    def test_score_starts_a_job_with_its_parameters(self, service: Service) -> None:
        path = service.submitted("scored")
        code, output, _ = service.cli(
            *("submit", path, "--dataset", "scored", "--text", "body", "--label", "sort", "--score"),
            *("--param", "num_train_epochs=2", "--param", 'model_config={"num_hidden_layers": 2}'),
        )
        assert code == 0
        job = service.state.jobs.get(output.splitlines()[-1])
        assert job.params["num_train_epochs"] == 2
        assert job.params["model_config"] == {"num_hidden_layers": 2}
        assert service.cli("cancel", job.id)[0] == 0


class TestProblems:
    def test_a_problem_shows_detail_code_and_remedy(self, service: Service) -> None:
        code, output, errors = service.cli("sets", "no-such-dataset")
        assert code == 1
        assert output == ""
        assert "no-such-dataset" in errors
        assert "[unknown_dataset]" in errors
        assert "remedy: Create it first" in errors

    def test_fields_that_are_wrong_are_listed(self, service: Service) -> None:
        service.submitted("fields")
        code, _, errors = service.cli("score", "fields", "--param", "epochs=1", "--param", "seed=x")
        assert code == 1
        assert "epochs" in errors
        assert "seed" in errors

    def test_a_parameter_without_a_value_is_a_usage_error(self, service: Service) -> None:
        code, _, errors = service.cli("score", "d", "--param", "epochs")
        assert code == 2
        assert "NAME=VALUE" in errors

    def test_a_wrong_key(self, service: Service) -> None:
        code, _, errors = service.cli("jobs", "--api-key", "wrong")
        assert code == 1
        assert "[unauthorized]" in errors

    def test_nobody_there_says_how_to_start(self, service: Service) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        code, _, errors = service.cli("jobs", "--url", f"http://127.0.0.1:{port}")
        assert code == 1
        assert "[unreachable]" in errors
        assert "gradsift up" in errors

    @pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://127.0.0.1", "http://[broken"])
    def test_an_address_that_is_none(self, service: Service, url: str) -> None:
        code, _, errors = service.cli("jobs", "--url", url)
        assert code == 1
        assert "[wrong_address]" in errors or "[unreachable]" in errors
        assert "remedy: " in errors

    def test_wrong_settings_are_named_without_their_value(self) -> None:
        code, _, errors = cli("serve", GRADSIFT_LEASE_SECONDS="soon", GRADSIFT_API_KEYS_FILE="")
        assert code == 1
        assert "GRADSIFT_LEASE_SECONDS" in errors
        code, _, errors = cli("serve", GRADSIFT_API_KEYS_FILE="/no/such/keys")
        assert code == 1
        assert "/no/such/keys" in errors

    def test_serve_refuses_an_open_address_without_keys(self) -> None:
        code, _, errors = cli("serve", "--host", "0.0.0.0", "--port", "0")
        assert code == 1
        assert "[unsafe_bind]" in errors

    def test_serve_names_a_taken_port(self, service: Service) -> None:
        code, _, errors = cli("serve", "--port", service.url.rpartition(":")[2])
        assert code == 1
        assert "[port_in_use]" in errors

    def test_a_worker_without_its_packages_says_what_to_install(self, tmp_path: Path) -> None:
        """In an interpreter that finds only what the service itself needs."""
        code = (
            "import importlib.util, sys\n"
            "find = importlib.util.find_spec\n"
            "import app.up.everything as up\n"
            "up.find_spec = lambda name: None if name in ('torch', 'transformers') else find(name)\n"
            "sys.argv = ['gradsift', *sys.argv[1:]]\n"
            "from app.cli import main\nmain()"
        )
        for command in (
            ["worker"],
            ["predictor"],
            ["up", "--data-dir", str(tmp_path / "data"), "--port", "0"],
        ):
            done = subprocess.run(
                [sys.executable, "-c", code, *command],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 1
            assert 'pip install "gradsift[worker]"' in done.stderr
            assert "Traceback" not in done.stderr
        assert not (tmp_path / "data").exists()

    def test_serve_has_no_torch(self, service: Service) -> None:
        service.cli("jobs")
        maps = Path(f"/proc/{service.process.pid}/maps")
        if not maps.exists():
            pytest.skip("no /proc here")
        assert "torch" not in maps.read_text()


class TestAudit:
    def test_export(self, service: Service, tmp_path: Path) -> None:
        service.submitted("audited")
        file = tmp_path / "audit.ndjson"
        code, _, errors = service.cli("audit", "export", "--dataset", "audited", "--output", str(file))
        assert (code, "entries" in errors) == (0, True)
        entries = [json.loads(line) for line in file.read_text().splitlines()]
        assert {"dataset.write", "samples.write"} <= {one["action"] for one in entries}
        code, output, _ = service.cli("audit", "export", "--action", "nothing.*")
        assert (code, output) == (0, "")

    def test_a_time_that_is_none(self, service: Service) -> None:
        code, _, errors = service.cli("audit", "export", "--since", "yesterday")
        assert (code, "invalid_request" in errors) == (1, True)


class TestJobs:
    def test_watch_follows_a_job_to_its_success(self, service: Service) -> None:
        service.submitted("succeeds")
        job_id = service.job("succeeds")
        watch = cli_process("watch", job_id, **service.env)
        claim = service.claim()
        assert claim.job.id == job_id
        assert watch.stderr is not None
        assert watch.stderr.readline() in ("queued 0%\n", "loading 0%\n", "training 0%\n")
        at = Progress(
            phase="training", step=5, total_steps=10, fraction=0.5, eta_seconds=65.2, samples_per_second=123.4
        )
        service.state.jobs.renew(claim, 60.0, at)
        while "training 50% 123 samples/s, 0:01:05 left" not in (line := watch.stderr.readline()):
            assert line, "the progress never came"
        sizes = {"core": 3, "edge": 2, "noise": 1}
        service.state.jobs.end(claim, JobState.SUCCEEDED, progress=at, result={"sets": sizes})
        output, _ = watch.communicate(timeout=60)
        assert watch.returncode == 0
        assert output == f"{job_id} succeeded\n3 core, 2 edge, 1 noise\n"

    def test_grow_starts_a_job_of_its_kind_and_watches_it(self, service: Service) -> None:
        service.submitted("grows")
        options = ("--param", "initial_fraction=0.2", "--param", "max_rounds=3", "--model", "demo", "--watch")
        grow = cli_process("grow", "grows", *options, **service.env)
        assert grow.stdout is not None
        job_id = grow.stdout.readline().strip()
        claim = service.claim()
        assert (claim.job.id, claim.job.kind, claim.job.model) == (job_id, "grow", "demo")
        asked = {name: claim.job.params[name] for name in ("initial_fraction", "max_rounds")}
        assert asked == {"initial_fraction": 0.2, "max_rounds": 3}
        service.state.jobs.end(claim, JobState.SUCCEEDED, progress=Progress(fraction=1.0))
        output, _ = grow.communicate(timeout=60)
        assert grow.returncode == 0
        assert output == f"{job_id} succeeded\n"
        _, output, _ = service.cli("jobs", "--dataset", "grows")
        assert output.splitlines()[1].split("\t")[:2] == [job_id, "grow"]

    def test_grow_knows_no_parameters_of_score(self, service: Service) -> None:
        service.submitted("grows-not")
        code, output, errors = service.cli("grow", "grows-not", "--param", "alignment_steps=5")
        assert (code, output) == (1, "")
        assert "/params/alignment_steps" in errors

    def test_train_on_a_set_and_how_well_it_does(self, service: Service) -> None:
        service.submitted("trains")
        code, output, errors = service.cli("train", "trains")
        assert (code, output) == (1, "")
        assert "[no_sets_yet]" in errors
        code, output, _ = service.cli("train", "trains", "--set", "random:full", "--param", "max_steps=4")
        assert code == 0
        claim = service.claim()
        assert {name: claim.job.params[name] for name in ("set", "max_steps")} == {
            "set": "random:full",
            "max_steps": 4,
        }
        metrics = {"accuracy": 0.8125, "macro_f1": 0.8, "loss": 0.4, "count": 16}
        result = {"test": metrics, "validation": None, "set": "random:full"}
        service.state.jobs.end(claim, JobState.SUCCEEDED, progress=Progress(), result=result)
        code, output, _ = service.cli("watch", claim.job.id)
        assert output == f"{claim.job.id} succeeded\ntest: accuracy 0.8125, macro-F1 0.8000\n"

    def test_a_failed_job_says_why(self, service: Service) -> None:
        service.submitted("fails")
        job_id = service.job("fails")
        error = JobError(code="too_few_classes", detail="only one label", remedy="Send another.")
        service.state.jobs.end(service.claim(), JobState.FAILED, progress=Progress(), error=error)
        code, output, errors = service.cli("watch", job_id)
        assert code == 1
        assert output == f"{job_id} failed\n"
        assert "only one label [too_few_classes]\nremedy: Send another." in errors

    def test_cancelled(self, service: Service) -> None:
        service.submitted("cancelled")
        job_id = service.job("cancelled")
        code, output, _ = service.cli("cancel", job_id)
        assert (code, output) == (0, f"{job_id} is cancelled\n")
        assert service.cli("watch", job_id)[0] == 2
        code, output, _ = service.cli("jobs", "--dataset", "cancelled")
        assert code == 0
        header, row = [line.split("\t") for line in output.splitlines()]
        assert header[:4] == ["job", "kind", "dataset", "state"]
        assert row[:4] == [job_id, "score", "cancelled", "cancelled"]

    def test_ctrl_c_leaves_the_job_running(self, service: Service) -> None:
        service.submitted("interrupted")
        job_id = service.job("interrupted")
        watch = cli_process("watch", job_id, **service.env)
        assert watch.stderr is not None
        assert watch.stderr.readline() == "queued 0%\n"
        watch.send_signal(signal.SIGINT)
        _, errors = watch.communicate(timeout=60)
        assert watch.returncode == 130
        assert f"gradsift cancel {job_id}" in errors
        assert service.state.jobs.get(job_id).state is JobState.QUEUED
        assert service.cli("cancel", job_id)[0] == 0

    def test_an_unknown_job(self, service: Service) -> None:
        for command in ("watch", "cancel"):
            code, _, errors = service.cli(command, "no-such-job")
            assert code == 1
            assert "[unknown_job]" in errors

    def test_watching_outlives_a_restart_of_the_api(self, service: Service, tmp_path: Path) -> None:
        """An API of its own is killed while a job is watched, and started again on the same socket."""
        service.submitted("outage")
        job_id = service.job("outage")
        env = {
            **os.environ,
            "GRADSIFT_REDIS_URL": str(_redis_url(service)),
            "GRADSIFT_DATA_URL": str(service.directory),
        }
        with socket.create_server(("127.0.0.1", 0)) as listener, (tmp_path / "log").open("wb") as log:
            fd = listener.fileno()

            def start() -> subprocess.Popen[bytes]:
                command = [sys.executable, "-m", "app.cli", "serve", "--fd", str(fd)]
                return subprocess.Popen(command, env=env, pass_fds=(fd,), stderr=log)

            api = start()
            watch = cli_process("watch", job_id, "--url", f"http://127.0.0.1:{listener.getsockname()[1]}")
            assert watch.stderr is not None
            assert watch.stderr.readline() == "queued 0%\n"
            api.kill()
            api.wait()
            api = start()
            try:
                service.state.jobs.end(service.claim(), JobState.SUCCEEDED, progress=Progress(fraction=1.0))
                output, _ = watch.communicate(timeout=60)
            finally:
                api.kill()
                api.wait()
        assert watch.returncode == 0
        assert output == f"{job_id} succeeded\n"


def _redis_url(service: Service) -> str:
    path = service.state.client.connection_pool.connection_kwargs["path"]
    return f"unix://{path}?db=0"


@pytest.fixture(scope="module")
def ids(service: Service) -> list[str]:
    service.submitted("sorted")
    return service.publish("sorted")


class TestSets:
    def test_versions_and_members(self, service: Service, ids: list[str]) -> None:
        code, output, _ = service.cli("sets", "sorted")
        assert code == 0
        header, row = [line.split("\t") for line in output.splitlines()]
        assert header == ["version", "core", "edge", "noise", "policy", "job", "created"]
        assert row[:6] == ["1", "2", "2", "2", "seed", "job_of_tests"]
        code, output, errors = service.cli("sets", "sorted", "--set", "edge", "--limit", "1")
        assert code == 0
        assert output.splitlines()[1].split("\t") == [ids[2], "4", "", "important"]
        assert "1 of 2 in edge, version 1" in errors

    def test_before_any_version(self, service: Service) -> None:
        service.submitted("unsorted")
        code, output, _ = service.cli("sets", "unsorted")
        assert (code, len(output.splitlines())) == (0, 1)
        code, _, errors = service.cli("sets", "unsorted", "--set", "core")
        assert code == 1
        assert "[no_sets_yet]" in errors

    def test_export_to_a_file(self, service: Service, ids: list[str]) -> None:
        path = service.directory / "core.csv"
        path.write_text("older")
        code, output, _ = service.cli(
            *("export", "sorted", "core", "--format", "csv", "--include", "text,label"),
            *("--include", "score", "--output", str(path)),
        )
        assert (code, output) == (0, "")
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["id"] for row in rows] == ids[:2]
        assert rows[0]["text"] == "words of 0"
        assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()

    def test_export_to_standard_output(self, service: Service, ids: list[str]) -> None:
        code, output, _ = service.cli("export", "sorted", "noise")
        assert code == 0
        assert [json.loads(line)["id"] for line in output.splitlines()] == ids[4:]

    def test_a_failed_export_leaves_no_file(self, service: Service, ids: list[str]) -> None:
        path = service.directory / "exports" / "core.csv"
        path.parent.mkdir()
        code, _, errors = service.cli(
            "export", "sorted", "core", "--include", "nonsense", "--output", str(path)
        )
        assert code == 1
        assert "nonsense" in errors
        assert list(path.parent.iterdir()) == []
        code, _, errors = service.cli("export", "sorted", "core", "-o", str(service.directory / "no" / "x"))
        assert code == 1
        assert "[unwritable_file]" in errors

    def test_an_export_that_breaks_off_leaves_the_old_file(self, tmp_path: Path) -> None:
        """A server that promises more than it sends, as one that is killed does."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            url = f"http://127.0.0.1:{server.getsockname()[1]}"
            path = tmp_path / "core.ndjson"
            path.write_text("old")
            export = cli_process("export", "d", "core", "-o", str(path), "--url", url)
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
                wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
            _, errors = export.communicate(timeout=60)
        assert export.returncode == 1
        assert "[unreachable]" in errors
        assert [file.name for file in tmp_path.iterdir()] == ["core.ndjson"]
        assert path.read_text() == "old"


class TestDownload:
    def test_all_files_of_a_job(self, service: Service, tmp_path: Path) -> None:
        service.submitted("filed")
        job_id = service.job("filed")
        claim = service.claim()
        folder = service.state.results.of_job(claim.dataset_uid, job_id)
        folder.write("model/weights.bin", bytes(range(256)) * 1000)
        folder.write("report ä.html", b"<p>")
        service.state.jobs.end(claim, JobState.SUCCEEDED, progress=Progress(fraction=1.0))
        code, output, errors = service.cli("download", job_id, "--to", str(tmp_path / "a" / "b"))
        assert (code, output) == (0, ""), errors
        assert (tmp_path / "a/b/model/weights.bin").read_bytes() == bytes(range(256)) * 1000
        assert (tmp_path / "a/b/report ä.html").read_bytes() == b"<p>"
        assert len(list((tmp_path / "a/b").rglob("*"))) == 3

    def test_a_job_without_files_and_a_place_that_cannot_be_written(
        self, service: Service, tmp_path: Path
    ) -> None:
        service.submitted("unfiled")
        job_id = service.job("unfiled")
        code, _, errors = service.cli("download", job_id, "--to", str(tmp_path / "none"))
        assert (code, errors) == (0, f"{job_id} has left no files\n")
        assert not (tmp_path / "none").exists()
        service.state.jobs.cancel(job_id)
        code, _, errors = service.cli("download", "job_x")
        assert code == 1
        assert "[unknown_job]" in errors

    @pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x"])
    def test_files_stay_within_the_folder(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(GradSiftError, match="outside"):
            place_within(tmp_path / "to", name)
        assert list(tmp_path.iterdir()) == []


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
