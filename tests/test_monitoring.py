"""Alert rules and the dashboard ask for what the service tells, in words that Prometheus understands."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "monitoring"
DASHBOARD = FOLDER / "grafana" / "dashboards" / "gradsift.json"
PAGE = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
OF_PYTHON = {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"}


def rules() -> list[dict[str, Any]]:
    loaded = yaml.safe_load((FOLDER / "alerts.yaml").read_text(encoding="utf-8"))
    return [rule for group in loaded["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [
        panel
        for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
        if panel["type"] != "row"
    ]


def expressions() -> Iterator[tuple[str, str]]:
    """Where it stands, and the expression; Grafana's own variables as it fills them in."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "1m").replace("$job", ".*")


EXPRESSIONS = list(expressions())


def exported() -> set[str]:
    """What the page lists; tests/api/test_metrics.py holds it against /metrics itself."""
    names = set(re.findall(r"^\| `(gradsift_\w+)` \|", PAGE, re.M))
    seconds = "gradsift_request_seconds"
    return names | {f"{seconds}_{part}" for part in ("bucket", "count", "sum")} | OF_PYTHON | {"up"}


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS)
def test_an_expression_is_promql_over_metrics_that_there_are(where: str, expression: str) -> None:
    promql_parser.parse(expression)
    asked = set(re.findall(r"\b(?:gradsift|process|python)_\w+|\bup\b", expression))
    assert asked, where
    assert asked <= exported(), where


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS)
def test_what_every_api_process_tells_alike_is_not_added_up(where: str, expression: str) -> None:
    own = {"gradsift_request_seconds", "gradsift_requests_under_way", "gradsift_requests_refused_total"}
    for name in re.findall(r"gradsift_\w+", expression):
        if not name.startswith(tuple(own)) and name != "gradsift_rows_ingested_total":
            within = expression[: expression.index(name)]
            assert re.search(r"\b(max|min)\b[^)]*\(", within), f"{where}: {name}"


def test_every_alert_is_explained_and_tried() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    assert set(re.findall(r"^\| `(GradSift\w+)` \|", PAGE, re.M)) == set(names)
    tried = yaml.safe_load((FOLDER / "alerts_test.yaml").read_text(encoding="utf-8"))["tests"]
    for test in tried:
        assert {case["alertname"] for case in test["alert_rule_test"]} == set(names), test["name"]
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    ids = [panel["id"] for panel in panels()]
    assert len(ids) == len(set(ids)) > 20
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        across = range(place["x"], place["x"] + place["w"])
        cells = {(x, y) for x in across for y in range(place["y"], place["y"] + place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, f"{panel['title']} lies over another"
        taken |= cells
        assert panel["datasource"]["uid"] == "${datasource}"


PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(PROMTOOL is None, reason="promtool comes with Prometheus")
@pytest.mark.parametrize(
    "command", ["check rules alerts.yaml", "test rules alerts_test.yaml", "check config prometheus.yaml"]
)
def test_promtool_agrees(command: str) -> None:
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, *command.split()], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
