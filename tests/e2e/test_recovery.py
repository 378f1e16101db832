"""A disaster over HTTP: all processes killed, Redis gone; rebuilt, and backed up and restored elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import new_service
from tests.e2e.service import Service

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]
IDS = [f"r{n:04}" for n in range(60)]


def gradsift(*arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GRADSIFT_")}
    command = [sys.executable, "-m", "app.cli", *arguments]
    return subprocess.run(command, env=clean, capture_output=True, text=True, timeout=120, check=False)


def answers(service: Service) -> dict[str, Any]:
    """What a client sees."""
    sets = service.http.get("/v1/datasets/d/sets").json()
    pages = {name: list(service.walk("d", name)) for name in ("core", "edge", "noise")}
    return {
        "scores": service.scores("d", IDS),
        "sets": sets,
        "pages": pages,
        "dataset": service.http.get("/v1/datasets/d").json(),
        "jobs": service.http.get("/v1/jobs").json(),
    }


@pytest.fixture
def scored(tmp_path: Path, tiny_folder: Path) -> Iterator[Service]:
    service = new_service(tmp_path, tiny_folder)
    service.start()
    words = ("lovely soft dress", "awful rough coat")
    service.create("d", [{"id": i, "text": f"{words[n % 2]} {n}", "label": n % 2} for n, i in enumerate(IDS)])
    job = service.wait(service.score("d", num_train_epochs=3, max_length=16))
    assert job["state"] == "succeeded", job
    assert service.http.delete("/v1/datasets/d/samples/r0007").status_code == 204
    try:
        yield service
    finally:
        if service.process is not None and service.process.poll() is None:
            service.kill_everything()
        service.http.close()


def test_redis_is_lost_and_everything_is_as_before(scored: Service, tmp_path: Path) -> None:
    before = answers(scored)
    beside = gradsift("verify", "--data-dir", str(scored.data_dir))
    assert (beside.returncode, beside.stdout) == (0, ""), beside.stderr
    taken = gradsift("backup", str(tmp_path / "backup"), "--data-dir", str(scored.data_dir))
    assert taken.returncode == 0, taken.stderr
    refused = gradsift("rebuild", "--data-dir", str(scored.data_dir))
    assert (refused.returncode, "already_running" in refused.stderr) == (1, True)

    scored.kill_everything()
    shutil.rmtree(scored.data_dir / "redis")
    rebuilt = gradsift("rebuild", "--data-dir", str(scored.data_dir))
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert "d: 59 samples" in rebuilt.stdout
    scored.start()
    assert answers(scored) == before
    assert scored.stop() == 0

    elsewhere = tmp_path / "elsewhere"
    restored = gradsift("restore", str(tmp_path / "backup"), "--data-dir", str(elsewhere))
    assert restored.returncode == 0, restored.stderr
    shutil.copytree(scored.data_dir / "models", elsewhere / "models")
    second = Service(elsewhere, tmp_path / "second.log")
    second.start()
    try:
        assert answers(second) == before
    finally:
        assert second.stop() == 0
        second.http.close()


def test_what_verify_finds_and_cannot_check_are_exit_codes(scored: Service, tmp_path: Path) -> None:
    assert scored.stop() == 0
    manifest = next(scored.data_dir.glob("archive/datasets/d-*/manifest.json"))
    meta = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(meta | {"task": "relevance"}))
    found = gradsift("verify", "--json", "--data-dir", str(scored.data_dir))
    assert found.returncode == 1, found.stderr
    told = json.loads(found.stdout.splitlines()[0])
    assert (told["dataset"], told["check"]) == ("d", "meta")
    nowhere = gradsift("verify", "--data-dir", str(tmp_path / "nowhere"))
    assert nowhere.returncode == 2
    assert "data_dir_unusable" in nowhere.stderr
    assert not (tmp_path / "nowhere").exists()
