"""`gradsift events`, `items` and `label` against a real API."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from app.cli import pieces
from tests.test_cli import Service, service

__all__ = ["service"]
pytestmark = pytest.mark.timeout(60)


def test_a_log_its_catalogue_and_a_job(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE_ROWS", 2)
    path = tmp_path / "log.csv.gz"
    rows = ["who,item_id,action,ts,note"]
    rows += [f'u{n},i{n},购买,2024-05-01 10:0{n}:00,"two\nlines of ann@shop.example"' for n in range(5)]
    rows += ["u1,i1,stare,2024-05-01 10:00:00,"]
    path.write_bytes(gzip.compress("\n".join(rows).encode()))
    code, output, errors = service.cli("events", str(path), "--dataset", "shop", "--column", "user=who")
    assert code == 3, errors
    assert output == "6 received, 5 created, 0 updated, 0 unchanged, 1 rejected\nmasked: 5 email\n"
    assert errors.startswith("row 6 rejected: behaviour 'stare' is none of view")
    code, output, _ = service.cli("events", str(path), "--dataset", "shop", "--column", "user=who")
    assert output.startswith("6 received, 0 created, 0 updated, 5 unchanged, 1 rejected")
    catalogue = tmp_path / "items.ndjson"
    catalogue.write_text(
        "".join(json.dumps({"sku": f"i{n}", "title": f"item {n}"}) + "\n\n" for n in range(5))
    )
    assert service.cli("items", str(catalogue), "--dataset", "shop")[:2] == (
        0,
        "5 received, 5 created, 0 updated, 0 unchanged, 0 rejected\n",
    )
    code, output, errors = service.cli("label", "shop", "--param", "history_length=2")
    assert code == 0, errors
    assert service.state.jobs.get(output.strip()).kind == "label"


def test_files_and_columns_that_are_none(service: Service, tmp_path: Path) -> None:
    assert "[unreadable_file]" in service.cli("events", str(tmp_path / "none.csv"), "--dataset", "x")[2]
    assert service.cli("events", "none.csv", "--dataset", "x", "--column", "user")[0] == 2
    empty = tmp_path / "empty.csv"
    empty.write_text("user,item\n")
    code, _, errors = service.cli("events", str(empty), "--dataset", "x")
    assert (code, "holds no rows" in errors) == (1, True)


def test_a_dataset_keeps_its_task(service: Service, tmp_path: Path) -> None:
    service.submitted("classes")
    path = tmp_path / "log.csv"
    path.write_text("user,item,behavior,timestamp\nu,i,buy,5\n")
    assert service.cli("events", str(path), "--dataset", "classes")[0] == 0
    code, _, errors = service.cli("events", str(path), "--dataset", "classes", "--task", "relevance")
    assert (code, "[dataset_exists]" in errors) == (1, True)
