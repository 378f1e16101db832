"""POST samples: what a row may be, and what becomes of one that is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.ingest.rows import MAX_LABEL_CHARS, MAX_NAME_CHARS
from tests.api.asking import Api, code


def row_code(api: Api, row: Any, name: str = "d") -> str:
    """The code that the one row is rejected with; nothing of it is stored."""
    response = api.http.post(f"/v1/datasets/{name}/samples", json={"samples": [row]})
    assert code(response, 422) == "all_rows_rejected"
    body = response.json()
    assert body["received"] == body["rejected_total"] == 1
    assert body["rejected"] == body["errors"]
    assert body["rejected"][0]["index"] == 0
    assert api.read(name=name)["samples"] == 0
    return str(body["rejected"][0]["code"])


def test_every_field_comes_back_as_it_was_sent(api: Api) -> None:
    sent = {
        "id": "a/b".replace("/", "\\"),
        "text": "  two\nlines, \"quotes\" 'n' \t tabs  ",
        "text_pair": "",
        "label": "yes",
        "group": "q1",
        "split": "validation",
        "weight": 0.1,
        "meta": {"n": 1, "f": 0.1, "s": "x", "b": True, "none": None, "big": 2**70, "": ""},
    }
    assert api.post(sent).json() == {
        "received": 1,
        "created": 1,
        "updated": 0,
        "unchanged": 0,
        "rejected_total": 0,
        "rejected": [],
        "masked": {},
    }
    held = api.read("/samples/a%5Cb")
    assert {name: held[name] for name in sent} == sent
    assert held["score"]["visits"] == 0
    assert held["membership"] == {"set": "unscored", "version": None, "reason": "unscored"}


def test_what_is_left_out_is_null_and_train(api: Api) -> None:
    api.post({"id": "1", "text": "t"})
    held = api.read("/samples/1")
    assert held["split"] == "train"
    assert [held[name] for name in ("text_pair", "label", "group", "weight", "meta")] == [None] * 5


@pytest.mark.parametrize(
    "sample_id",
    [
        "1",
        "x" * 128,
        "日本語",
        "é",
        "e\u0301",
        "😀" * 128,
        "a b",
        "a?b#c%d",
        "..",
        "'",
        '"',
        "{}",
        "*",
        "lookup",
    ],
)
def test_ids_that_are_allowed(api: Api, sample_id: str) -> None:
    assert api.post({"id": sample_id, "text": "t"}).status_code == 200
    lookup = api.http.post("/v1/datasets/d/scores/lookup", json={"ids": [sample_id]}).json()
    assert lookup["scores"][0]["id"] == sample_id
    assert [item["id"] for item in api.read("/samples")["items"]] == [sample_id]


@pytest.mark.parametrize(
    "sample_id", ["", "x" * 129, "a/b", "/", "a\nb", "a\x00", "\x7f", "\x85", "a\tb", "😀" * 129]
)
def test_ids_that_are_not(api: Api, sample_id: str) -> None:
    assert row_code(api, {"id": sample_id, "text": "t"}) == "invalid_id"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"id": "1"}, "missing_field"),
        ({"text": "t"}, "missing_field"),
        ({}, "missing_field"),
        ({"id": "1", "text": ""}, "missing_field"),
        ({"id": "1", "text": " \n\t\u3000"}, "missing_field"),
        ({"id": 1, "text": "t"}, "invalid_row"),
        ({"id": None, "text": "t"}, "invalid_row"),
        ({"id": "1", "text": None}, "invalid_row"),
        ({"id": "1", "text": 5}, "invalid_row"),
        ({"id": "1", "text": ["t"]}, "invalid_row"),
        ({"id": "1", "text": "t", "text_pair": 5}, "invalid_row"),
        ({"id": "1", "text": "t", "label": True}, "invalid_row"),
        ({"id": "1", "text": "t", "label": ["a"]}, "invalid_row"),
        ({"id": "1", "text": "t", "label": {"a": 1}}, "invalid_row"),
        ({"id": "1", "text": "t", "label": ""}, "invalid_label"),
        ({"id": "1", "text": "t", "label": "x" * (MAX_LABEL_CHARS + 1)}, "invalid_label"),
        ({"id": "1", "text": "t", "label": 10**18}, "invalid_label"),
        ({"id": "1", "text": "t", "label": -(10**400)}, "invalid_label"),
        ({"id": "1", "text": "t", "group": 1.5}, "invalid_row"),
        ({"id": "1", "text": "t", "group": True}, "invalid_row"),
        ({"id": "1", "text": "t", "group": "x" * (MAX_NAME_CHARS + 1)}, "invalid_row"),
        ({"id": "1", "text": "t", "split": "dev"}, "invalid_row"),
        ({"id": "1", "text": "t", "split": None}, "invalid_row"),
        ({"id": "1", "text": "t", "weight": -1}, "invalid_row"),
        ({"id": "1", "text": "t", "weight": "1"}, "invalid_row"),
        ({"id": "1", "text": "t", "weight": True}, "invalid_row"),
        ({"id": "1", "text": "t", "meta": []}, "invalid_row"),
        ({"id": "1", "text": "t", "meta": {"a": {}}}, "invalid_row"),
        ({"id": "1", "text": "t", "meta": {"a": [1]}}, "invalid_row"),
        ({"id": "1", "text": "t", "meta": "x"}, "invalid_row"),
        ({"id": "1", "text": "t", "texts": "x"}, "invalid_row"),
        ({"id": "1", "text": "t", "score": 1}, "invalid_row"),
        ({"id": "1", "text": "x" * 1_000_000}, "text_too_long"),
        ({"id": "1", "text": "t", "text_pair": "x" * 200_001}, "text_too_long"),
        ("row", "invalid_row"),
        (None, "invalid_row"),
        (7, "invalid_row"),
        ([], "invalid_row"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_rows_that_are_wrong(api: Api, row: Any, expected: str) -> None:
    assert row_code(api, row) == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ('{"id": "1", "text": "t", "label": NaN}', "invalid_json"),
        ('{"id": "1", "text": "t", "label": 1e400}', "all_rows_rejected"),
        ('{"id": "1", "text": "t", "weight": 1e400}', "all_rows_rejected"),
        ('{"id": "1", "text": "t", "weight": -Infinity}', "invalid_json"),
        (f'{{"id": "1", "text": "t", "group": {"9" * 5000}}}', "all_rows_rejected"),
        ('{"id": "\\ud800", "text": "t"}', "invalid_json"),
        ('{"id": "1", "text": "\\udc00 t"}', "invalid_json"),
        ('{"id": "1", "text": "t", "meta": ' + '{"a":' * 5000 + "1" + "}" * 5001, "invalid_json"),
        ("[" * 100_000 + "]" * 100_000, "invalid_json"),
        ('{"id": "1", "text": "t"', "invalid_json"),
        ('{"id": "1", "text": "t",}', "invalid_json"),
        ("{'id': '1', 'text': 't'}", "invalid_json"),
    ],
    ids=lambda value: value[:50],
)
def test_rows_that_json_or_its_reader_cannot_hold(api: Api, row: str, expected: str) -> None:
    status = 400 if expected == "invalid_json" else 422
    assert code(api.body(f'{{"samples": [{row}]}}'), status) == expected
    assert api.read()["samples"] == 0


@pytest.mark.parametrize(
    ("body", "expected", "status"),
    [
        ("", "invalid_json", 400),
        ("not json", "invalid_json", 400),
        (b"\xff\xfe", "invalid_json", 400),
        (b'{"samples": [{"id": "\xff", "text": "t"}]}', "all_rows_rejected", 422),
        ('{"samples": [{"id": "1", "text": "t"}]} trailing', "invalid_json", 400),
        ("[]", "invalid_request", 422),
        ('[{"id": "1", "text": "t"}]', "invalid_request", 422),
        ('{"id": "1", "text": "t"}', "invalid_request", 422),
        ("{}", "invalid_request", 422),
        ("null", "invalid_request", 422),
        ('{"samples": null}', "invalid_request", 422),
        ('{"samples": {}}', "invalid_request", 422),
        ('{"samples": "x"}', "invalid_request", 422),
        ('{"samples": [{"id": "1", "text": "t"}], "more": 1}', "invalid_request", 422),
        ('{"samples": []}', "empty_request", 422),
        ("[" * 100_000, "invalid_request", 422),
        ('{"a":' * 100_000, "invalid_request", 422),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bodies_that_hold_no_samples(api: Api, body: str | bytes, expected: str, status: int) -> None:
    assert code(api.body(body), status) == expected
    assert api.read()["samples"] == 0


def test_a_byte_order_mark_does_no_harm(api: Api) -> None:
    assert api.body('\ufeff{"samples": [{"id": "1", "text": "t"}]}').json()["created"] == 1


def test_good_rows_are_stored_though_others_are_rejected(api: Api) -> None:
    rows: list[Any] = [
        {"id": "1", "text": "a"},
        {"id": "2"},
        {"id": "3", "text": "c"},
        4,
        {"id": "5", "text": "e"},
    ]
    response = api.http.post("/v1/datasets/d/samples", json={"samples": rows})
    assert response.status_code == 207
    body = response.json()
    assert [body[name] for name in ("received", "created", "updated", "unchanged", "rejected_total")] == [
        5,
        3,
        0,
        0,
        2,
    ]
    assert [(one["index"], one["id"], one["code"]) for one in body["rejected"]] == [
        (1, "2", "missing_field"),
        (3, None, "invalid_row"),
    ]
    assert api.walk("/samples") == ["1", "3", "5"]


def test_the_first_good_row_of_an_id_counts(api: Api) -> None:
    response = api.post(
        {"id": "1", "text": "", "label": "x"}, {"id": "1", "text": "first"}, {"id": "1", "text": "second"}
    )
    assert [(one["index"], one["code"]) for one in response.json()["rejected"]] == [
        (0, "missing_field"),
        (2, "duplicate_id"),
    ]
    assert api.read("/samples/1")["text"] == "first"


def test_duplicates_are_found_across_the_batches_of_a_request(api: Api, serve: Any) -> None:
    small = serve(ingest_batch_rows=2)
    rows = [{"id": str(i % 5), "text": f"t{i}"} for i in range(10)]
    body = small.body("\n".join(json.dumps(row) for row in rows), "application/x-ndjson").json()
    assert (body["created"], body["rejected_total"]) == (5, 5)
    assert [small.read(f"/samples/{i}")["text"] for i in range(5)] == [f"t{i}" for i in range(5)]


def test_texts_up_to_the_limit_are_kept_whole(api: Api) -> None:
    text = "长" * 200_000
    assert api.post({"id": "1", "text": text}).status_code == 200
    assert api.read("/samples/1")["text"] == text


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (1, 1),
        (1.0, 1),
        ("1", "1"),
        ("1.0", "1.0"),
        (0.5, 0.5),
        (-0.0, 0),
        (-3, -3),
        (2**53 + 1, 2**53 + 1),
        (10**18 - 1, 10**18 - 1),
        (1e17, 10**17),
        (1e300, 1e300),
        ("日本", "日本"),
        (" a ", " a "),
        ("null", "null"),
        (None, None),
    ],
)
def test_labels_are_strings_or_numbers(api: Api, sent: Any, shown: Any) -> None:
    api.post({"id": "1", "text": "t", "label": sent})
    held = api.read("/samples/1")["label"]
    assert held == shown
    assert type(held) is type(shown)


def test_a_label_is_shown_as_the_dataset_has_it(api: Api) -> None:
    api.put("n", labels=[0, 1])
    for sent in (1, "1", 1.0):
        api.post({"id": "x", "text": "t", "label": sent}, name="n")
        assert api.read("/samples/x", name="n")["label"] == 1
    assert api.post({"id": "x", "text": "t", "label": "1"}, name="n").json()["unchanged"] == 1


def test_only_declared_labels_are_taken(api: Api) -> None:
    api.put("n", labels=["a", 1])
    response = api.post(
        {"id": "1", "text": "t", "label": "b"},
        {"id": "2", "text": "t", "label": 2},
        {"id": "3", "text": "t", "label": "A"},
        {"id": "4", "text": "t"},
        {"id": "5", "text": "t", "label": "a"},
        name="n",
    )
    assert [one["code"] for one in response.json()["rejected"]] == ["unknown_label"] * 3
    assert response.json()["created"] == 2


@pytest.mark.parametrize("grade", [0, 3, 0.5, "2", "1e-3"])
def test_relevance_grades(api: Api, grade: Any) -> None:
    api.put("r", task="relevance")
    assert api.post({"id": "1", "text": "t", "label": grade, "group": 7}, name="r").status_code == 200
    held = api.read("/samples/1", name="r")
    assert held["label"] == float(grade)
    assert held["group"] == "7"


@pytest.mark.parametrize("grade", [-1, "high", "", "nan", "inf", -0.5, 10**400])
def test_no_relevance_grades(api: Api, grade: Any) -> None:
    api.put("r", task="relevance")
    assert row_code(api, {"id": "1", "text": "t", "label": grade}, name="r") == "invalid_label"


def test_media_types_that_are_not_read(api: Api) -> None:
    for kind in ("application/xml", "text/plain", "multipart/form-data; boundary=x", "x", "application/gzip"):
        assert code(api.body("x", kind), 415) == "unsupported_media_type"


def test_media_types_are_read_in_any_case_and_with_parameters(api: Api) -> None:
    assert (
        api.body('{"samples": [{"id": "1", "text": "t"}]}', "Application/JSON; charset=utf-8").status_code
        == 200
    )


def test_samples_of_an_unknown_dataset_are_not_taken(api: Api) -> None:
    assert code(api.post({"id": "1", "text": "t"}, name="nobody"), 404) == "unknown_dataset"
