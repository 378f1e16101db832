"""The data map: its columns agree with the scores; what a selection is, and what stands behind it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from app.services.data_map import map_source
from tests.api.asking import Api, code
from tests.api.test_reviews import give
from tests.playing import LINEAGE

NORMS = {f"s{i:02}": [float(20 - i), float(20 - i) / 2] for i in range(20)}


@pytest.fixture
def scored(api: Api) -> Api:
    """Twenty scored samples, s00 the most important: 10 core, 6 edge, 4 noise; one unscored before them."""
    api.post(
        {"id": "u", "text": "nobody's", "label": 1},
        *({"id": i, "text": f"Text {i}", "label": n % 2, "group": f"g{n % 5}"} for n, i in enumerate(NORMS)),
    )
    api.player.score(NORMS)
    return api


def read_map(body: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """As docs/dashboard-api.md says."""
    assert body[:4] == b"GSMP"
    start = 8 + int.from_bytes(body[4:8], "little")
    head = json.loads(body[8:start])
    assert start % 8 == 0
    columns = {}
    for one in head["columns"]:
        assert one["offset"] % 8 == 0
        columns[one["name"]] = np.frombuffer(body, one["dtype"], head["count"], start + one["offset"])
    return head, columns


def drawn(api: Api, **params: Any) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    response = api.get("/map", **params)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/vnd.gradsift.map"
    assert int(response.headers["content-length"]) == len(response.content)
    return read_map(response.content)


def ids_of(api: Api, ordinals: Any) -> list[str]:
    answer = api.http.post("/v1/datasets/d/map/ids", json={"ordinals": [int(one) for one in ordinals]})
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


def selected(api: Api, **params: Any) -> list[str]:
    response = api.get("/map/select", **params)
    assert response.status_code == 200, response.text
    return ids_of(api, np.frombuffer(response.content, "<u4"))


def test_a_point_is_the_score_of_its_sample(scored: Api) -> None:
    head, columns = drawn(scored)
    assert (head["count"], head["total"], head["version"], head["lineage"]) == (20, 20, 1, LINEAGE)
    assert (head["dataset"], head["labels"]) == ("d", [0, 1])
    scale = {one["name"]: one.get("scale", 1) for one in head["columns"]}
    ids = ids_of(scored, columns["ordinal"])
    assert ids == list(NORMS)
    assert (np.diff(columns["ordinal"]) > 0).all()
    asked = scored.http.post("/v1/datasets/d/scores/lookup", json={"ids": ids}).json()["scores"]
    for row, score in enumerate(asked):
        signals = score["signals"]
        for name in ("confidence", "variability"):
            assert columns[name][row] * scale[name] == pytest.approx(signals[name], abs=scale[name]), name
        assert columns["importance"][row] == pytest.approx(score["importance"], rel=1e-6)
        assert head["sets"][columns["set"][row]] == score["set"]
        assert head["reasons"][columns["reason"][row]] == score["reason"]
        missing = columns["noise_probability"][row] == 65_535
        assert missing is np.bool_(score["noise_probability"] is None)
        if not missing:
            shown = columns["noise_probability"][row] * scale["noise_probability"]
            assert shown == pytest.approx(score["noise_probability"], abs=1e-3)
        assert head["labels"][columns["label"][row]] == row % 2
        assert head["splits"][columns["split"][row]] == "train"
    assert not columns["reviewed"].any()


def test_the_columns_are_those_that_are_promised(scored: Api) -> None:
    head, _ = drawn(scored)
    assert {one["name"]: one["dtype"] for one in head["columns"]} == {
        "ordinal": "uint32",
        "importance": "float32",
        "confidence": "uint16",
        "variability": "uint16",
        "noise_probability": "uint16",
        "label": "uint16",
        "set": "uint8",
        "reason": "uint8",
        "split": "uint8",
        "reviewed": "uint8",
    }


def test_what_has_changed_or_is_gone_is_not_drawn(scored: Api) -> None:
    scored.post({"id": "s03", "text": "another text", "label": 1})
    scored.http.delete("/v1/datasets/d/samples/s04")
    head, columns = drawn(scored)
    assert head["total"] == 18
    assert ids_of(scored, columns["ordinal"]) == [one for one in NORMS if one not in ("s03", "s04")]


def test_a_confirmed_label_shows(scored: Api) -> None:
    give(scored, "s05", "correct")
    give(scored, "s06", "unsure")
    head, columns = drawn(scored)
    told = {i: head["verdicts"][one] for i, one in zip(NORMS, columns["reviewed"], strict=True) if one}
    assert told == {"s05": "correct", "s06": "unsure"}


def test_labels_by_name_in_the_order_of_the_dataset(api: Api) -> None:
    api.put("w", labels=["no", "yes", "never used"])
    api.post({"id": "a", "text": "t", "label": "yes"}, {"id": "b", "text": "t", "label": "no"}, name="w")
    api.player.score({"a": [1.0], "b": [2.0]}, name="w")
    head, columns = read_map(api.get("/map", "w").content)
    assert head["labels"] == ["no", "yes", "never used"]
    assert columns["label"].tolist() == [1, 0]


def test_an_older_version_is_drawn_with_its_sets(scored: Api) -> None:
    scored.player.score({i: [1.0 + n] for n, i in enumerate(NORMS)})
    head, columns = drawn(scored, version=1)
    assert head["version"] == 1
    assert columns["set"].tolist() == [1] * 10 + [2] * 6 + [3] * 4
    assert drawn(scored)[1]["set"].tolist() == [3] * 4 + [2] * 6 + [1] * 10
    assert code(scored.get("/map", version=9), 404) == "unknown_version"


def test_a_dataset_without_scores_has_an_empty_map(api: Api) -> None:
    api.post({"id": "a", "text": "t", "label": "x"})
    head, columns = drawn(api)
    assert (head["count"], head["total"], head["version"], head["lineage"]) == (0, 0, None, None)
    assert all(len(column) == 0 for column in columns.values())
    assert code(api.get("/map", "nobody"), 404) == "unknown_dataset"


def test_of_more_than_the_limit_always_the_same(scored: Api) -> None:
    head, columns = drawn(scored, limit=7)
    assert (head["count"], head["total"]) == (7, 20)
    again = drawn(scored, limit=7)[1]
    assert (
        columns["ordinal"].tolist() == again["ordinal"].tolist() == sorted(set(columns["ordinal"].tolist()))
    )
    fewer = drawn(scored, limit=3)[1]["ordinal"].tolist()
    assert set(fewer) < set(columns["ordinal"].tolist()), "a smaller sample is part of a larger one"
    assert code(scored.get("/map", limit=1_000_001), 422) == "invalid_request"


def test_the_same_map_is_not_sent_twice(scored: Api) -> None:
    def tag() -> str:
        return str(scored.get("/map").headers["etag"])

    first = tag()
    held = scored.http.get("/v1/datasets/d/map", headers={"If-None-Match": f'"other", W/{first}'})
    assert (held.status_code, held.content, held.headers["etag"]) == (304, b"", first)
    assert scored.get("/map", limit=5).headers["etag"] != first
    tags = [first]
    give(scored, "s01", "correct")
    tags.append(tag())
    scored.post({"id": "s02", "text": "changed", "label": 0})
    tags.append(tag())
    scored.player.score({"s07": [3.0]})
    tags.append(tag())
    assert len(set(tags)) == 4, "verdicts, samples and scores all show"
    assert scored.http.get("/v1/datasets/d/map", headers={"If-None-Match": first}).status_code == 200


def test_scores_that_a_running_job_writes_show(scored: Api) -> None:
    dataset = scored.state.datasets.get("d")
    before = map_source(scored.state, dataset, None).mark
    assert map_source(scored.state, dataset, None).mark == before
    scored.player.queue()
    claim = scored.player.claim()
    scored.player.write(dataset, {"s00": [9.0]}, claim.token, run=2)
    assert map_source(scored.state, dataset, None).mark != before
    scored.player.end(claim)


def test_a_selection_by_each_filter_and_by_all(scored: Api) -> None:
    names = list(NORMS)
    assert selected(scored) == ["u", *names]
    assert selected(scored, label=1) == ["u", *names[1::2]]
    assert selected(scored, group="g2") == names[2::5]
    assert selected(scored, q="TEXT S1") == names[10:]
    assert selected(scored, set="noise") == names[16:]
    assert selected(scored, set="unscored") == ["u"]
    assert selected(scored, set="edge", label=0, q="s1") == names[10:16:2]
    assert selected(scored, split="test") == []
    assert selected(scored, group="g2'--") == []
    assert code(scored.get("/map/select", set="nothing"), 422) == "invalid_request"
    assert scored.walk("/samples", group="g2") == names[2::5]


def test_a_selection_in_an_older_version(scored: Api) -> None:
    scored.player.score({i: [1.0 + n] for n, i in enumerate(NORMS)})
    assert selected(scored, set="noise", version=1) == list(NORMS)[16:]
    assert selected(scored, set="noise") == list(NORMS)[:4]
    scored.post({"id": "s00", "text": "changed", "label": 0})
    assert selected(scored, set="unscored") == ["u", "s00"]
    assert code(scored.get("/map/select", set="noise", version=9), 404) == "unknown_version"


def test_what_stands_behind_points(scored: Api) -> None:
    scored.post({"id": "long", "text": "é" * 300 + "<script>", "label": 0, "split": "test"})
    ordinals = np.frombuffer(scored.get("/map/select").content, "<u4").tolist()
    asked = [ordinals[-1], 4_000_000_000, ordinals[1]]
    answer = scored.http.post("/v1/datasets/d/map/ids", json={"ordinals": asked}).json()
    assert answer == scored.read("/map/ids", ordinals=",".join(map(str, asked)))
    assert answer["items"] == [
        {
            "ordinal": ordinals[-1],
            "id": "long",
            "text": "é" * 200,
            "label": 0,
            "split": "test",
            "set": "unscored",
            "reason": "unscored",
        },
        {
            "ordinal": ordinals[1],
            "id": "s00",
            "text": "Text s00",
            "label": 0,
            "split": "train",
            "set": "core",
            "reason": "important",
        },
    ]


@pytest.mark.parametrize("ordinals", ["", "1,x", "-1", "1,,2", "99999999999", "٣"])
def test_ordinals_that_are_none(scored: Api, ordinals: str) -> None:
    assert code(scored.get("/map/ids", ordinals=ordinals), 422) == "invalid_request"


def test_more_points_than_are_told(scored: Api) -> None:
    answer = scored.http.post("/v1/datasets/d/map/ids", json={"ordinals": [0] * 10_001})
    assert code(answer, 422) == "invalid_request"
    assert ids_of(scored, []) == []
