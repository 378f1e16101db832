"""Label Studio's formats: the labelling configuration, tasks with a suggestion, tasks with a verdict.

https://labelstud.io/guide/task_format and https://labelstud.io/tags/choices
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree import ElementTree as ET

import msgspec

from app.contracts import Dataset, Label
from app.services.exports import Rows
from app.store.samples import StoredLabel
from app.store.state import State

CHOICES, SHOWN = "label", "text"
"""Names of what is chosen and of what it is about, in the configuration and in every result."""
_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def choices(state: State, dataset: Dataset) -> dict[str, Label]:
    """The label that each choice stands for, in the dataset's order; open labels are those in use.

    A choice is the label's text; a character that XML does not have is replaced.
    """
    if dataset.labels is None:
        rows = [row for row in state.samples.counts(dataset) if row["label"] is not None]
        used = {row["label"]: StoredLabel(row["label"], row["label_number"]) for row in rows}
        stored = sorted(used.values(), key=StoredLabel.order_key)
    else:
        stored = [StoredLabel.of(label) for label in dataset.labels]
    named: dict[str, Label] = {}
    for label in stored:
        name = _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", label.text)
        while name in named:
            name += "'"
        named[name] = label.value()
    return named


class ChoiceNames:
    """The choice of each label."""

    def __init__(self, named: Mapping[str, Label]) -> None:
        self._names = {StoredLabel.of(label).text: name for name, label in named.items()}

    def of(self, label: Label | None) -> str | None:
        return None if label is None else self._names.get(StoredLabel.of(label).text)


def labelling_config(named: Mapping[str, Label], *, pairs: bool) -> bytes:
    """Args: pairs: whether tasks have a second text."""
    view = ET.Element("View")
    ET.SubElement(view, "Header", value="Present label", size="5")
    ET.SubElement(view, "Header", value="$label", size="4")
    ET.SubElement(view, "Text", name=SHOWN, value="$text")
    if pairs:
        ET.SubElement(view, "Text", name="text_pair", value="$text_pair")
    chosen = ET.SubElement(view, "Choices", name=CHOICES, toName=SHOWN, choice="single", required="true")
    for name in named:
        ET.SubElement(chosen, "Choice", value=name)
    ET.indent(view)
    written: bytes = ET.tostring(view, encoding="utf-8", xml_declaration=False)
    return written


def queue_tasks(batches: Rows, names: ChoiceNames, version: int) -> Rows:
    """Rows of the review queue as tasks; the suggested label is a prediction."""
    for batch in batches:
        yield [_queue_task(row, names, version) for row in batch]


def _queue_task(row: Mapping[str, Any], names: ChoiceNames, version: int) -> dict[str, Any]:
    suggested = names.of(row["suggested_label"])
    prediction = {"model_version": f"gradsift sets {version}", "result": [_result(suggested)]}
    if row["noise_probability"] is not None:
        prediction["score"] = row["noise_probability"]
    data = _data(row, names.of(row["label"])) | {"suggested": suggested or ""}
    return {"data": data, "predictions": [] if suggested is None else [prediction]}


def verdict_tasks(batches: Rows, names: ChoiceNames) -> Rows:
    """Verdicts as annotated tasks; who is unsure has skipped the task, and where the right label is not known
    there is no annotation."""
    for batch in batches:
        yield [_verdict_task(row, names) for row in batch]


def _verdict_task(row: Mapping[str, Any], names: ChoiceNames) -> dict[str, Any]:
    right = row["label"] if row["verdict"] == "correct" else row["new_label"]
    chosen, skipped = names.of(right), row["verdict"] == "unsure"
    annotation = {
        "result": [] if skipped else [_result(chosen)],
        "was_cancelled": skipped,
        "created_at": row["created_at"],
    }
    known = skipped or chosen is not None
    return {"data": _data(row, names.of(row["label"])), "annotations": [annotation] if known else []}


def _data(row: Mapping[str, Any], label: str | None) -> dict[str, Any]:
    return {
        "id": row["id"],
        "text": row["text"],
        "text_pair": row["text_pair"] or "",
        "label": label or "",
    }


def _result(choice: str | None) -> dict[str, Any]:
    return {
        "id": CHOICES,
        "type": "choices",
        "from_name": CHOICES,
        "to_name": SHOWN,
        "value": {"choices": [choice]},
    }


def json_array(batches: Rows) -> Iterator[bytes]:
    """One JSON array, as Label Studio reads it."""
    yield b"["
    separator = b"\n"
    for batch in batches:
        for item in batch:
            yield separator + msgspec.json.encode(item)
            separator = b",\n"
    yield b"\n]\n"
