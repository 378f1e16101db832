"""One service for the whole module, with a tiny real model under its data directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.service import Service
from tests.models.tiny import build_tiny_bert


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_bert(tmp_path_factory.mktemp("e2e-model") / "tiny", dropout=0.1)


def new_service(root: Path, tiny_folder: Path) -> Service:
    data_dir = root / "data"
    (data_dir / "models" / "tiny").mkdir(parents=True)
    for file in tiny_folder.iterdir():
        (data_dir / "models" / "tiny" / file.name).write_bytes(file.read_bytes())
    return Service(data_dir, root / "log")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Iterator[Service]:
    service = new_service(tmp_path_factory.mktemp("up"), tiny_folder)
    service.start()
    try:
        yield service
    finally:
        if service.process is not None and service.process.poll() is None:
            service.kill_everything()
        service.http.close()
