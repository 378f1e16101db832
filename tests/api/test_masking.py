"""Masking as rows come in."""

from __future__ import annotations

from tests.api.asking import Api

ROW = {
    "id": "1",
    "text": "write to ann@example.com or call 13812345678",
    "text_pair": "card 4111 1111 1111 1111",
    "meta": {"note": "bob@example.com", "price": 19.5},
}


def test_masked_before_it_is_stored(api: Api) -> None:
    assert api.put(settings={"mask_samples": True}).status_code == 200
    body = api.post(ROW).json()
    assert (body["created"], body["masked"]) == (1, {"email": 2, "phone": 1, "card": 1})
    sample = api.read("/samples/1")
    assert sample["text"] == "write to [EMAIL] or call [PHONE]"
    assert sample["text_pair"] == "card [CARD]"
    assert sample["meta"] == {"note": "[EMAIL]", "price": 19.5}


def test_the_same_row_again_changes_nothing(api: Api) -> None:
    api.put(settings={"mask_samples": True})
    api.post(ROW)
    assert api.post(ROW).json()["unchanged"] == 1
    masked = {name: value for name, value in api.read("/samples/1").items() if name in ROW}
    assert api.post(masked).json()["unchanged"] == 1


def test_off_unless_asked_for(api: Api) -> None:
    body = api.post(ROW).json()
    assert body["masked"] == {}
    assert api.read("/samples/1")["text"] == ROW["text"]


def test_turned_on_later_it_changes_what_is_sent_again(api: Api) -> None:
    api.post(ROW)
    api.put(settings={"mask_samples": True})
    assert api.read("/samples/1")["text"] == ROW["text"]
    assert api.post(ROW).json()["updated"] == 1
    assert api.read("/samples/1")["text"] == "write to [EMAIL] or call [PHONE]"


def test_streamed_rows_are_masked_too(api: Api) -> None:
    api.put(settings={"mask_samples": True})
    body = api.body("id,text,note\n1,call 13812345678,ann@example.com\n2,fine,\n", "text/csv").json()
    assert (body["created"], body["masked"]) == (2, {"phone": 1, "email": 1})
    assert api.read("/samples/1")["meta"] == {"note": "[EMAIL]"}
