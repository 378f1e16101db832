"""Where numbers come from: which samples, model, code and machine a run worked with."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import msgspec
import torch

from app.contracts import SCORE_FORMULA, Label
from app.contracts.params import TrainingParams
from app.store.samples import StoredLabel
from models.encoders import LoadedClassifier, trainable_signature
from models.training import pick_device
from workers.score.data import JobData, Rows

LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "peft", "numpy", "scikit-learn")
_CODE = ("app", "models", "workers")
_SUFFIXES = (".py", ".lua", ".c", ".html")
_encode = msgspec.msgpack.Encoder().encode


def provenance(
    job: str, model: str, params: TrainingParams, version_: int, data: JobData, classifier: LoadedClassifier
) -> dict[str, Any]:
    """What another run must agree in to come to the same scores, up to rounding on another device."""
    return {
        "job": job,
        "data": {"version": version_, "sha256": data_digest(data), "samples": _sizes(data)},
        "model": {
            "name": model,
            "revision": classifier.revision,
            "trainable": trainable_signature(classifier.model),
        },
        "code": {"gradsift": _version("gradsift"), "sha256": code_digest(), "formula": SCORE_FORMULA},
        "seed": params.seed,
        "policy": getattr(params, "policy", None),
        "params": params.model_dump(mode="json"),
        "dtype": "bfloat16" if params.bf16 else "float16" if params.fp16 else "float32",
        "device": _device(),
        "libraries": {"python": platform.python_version(), **{name: _version(name) for name in LIBRARIES}},
    }


def data_digest(data: JobData) -> str:
    """SHA-256 over the samples of a run, whatever their order: id, texts, label, group, and the split that
    each had in the run. Samples that it did not read, weights and `meta` do not count."""
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    digests: list[bytes] = []
    for split, rows in parts.items():
        if rows is not None:
            digests += _row_digests(split, rows, data.classes)
    whole = hashlib.sha256()
    for digest in sorted(digests):
        whole.update(digest)
    return whole.hexdigest()


def _row_digests(split: str, rows: Rows, classes: Sequence[Label]) -> Iterable[bytes]:
    names = [StoredLabel.of(label).text for label in classes]
    pairs = rows.text_pairs or [None] * len(rows)
    fields = zip(rows.ids, rows.texts, pairs, rows.labels.tolist(), rows.groups, strict=True)
    for sample_id, text, pair, label, group in fields:
        content = _encode((split, sample_id, text, pair, names[label], group))
        yield hashlib.blake2b(content, digest_size=16).digest()


@cache
def code_digest() -> str:
    """16 hex digits over the source files of the service as it is installed."""
    digest = hashlib.sha256()
    for package in _CODE:
        for name, content in sorted(_sources(files(package), package)):
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def _sources(folder: Traversable, name: str) -> Iterable[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _sources(entry, f"{name}/{entry.name}")
        elif entry.name.endswith(_SUFFIXES):
            yield f"{name}/{entry.name}", entry.read_bytes()


def _sizes(data: JobData) -> dict[str, int]:
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    return {split: 0 if rows is None else len(rows) for split, rows in parts.items()}


def _device() -> dict[str, Any]:
    device = pick_device()
    if device.type == "cuda":
        return {"type": "cuda", "name": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return {"type": device.type, "name": platform.machine(), "threads": torch.get_num_threads()}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
