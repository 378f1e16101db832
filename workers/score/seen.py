"""What the job sees of its samples before training: where their texts lie."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.contracts import Label, Progress
from app.contracts.params import SortingParams
from app.logs import get_logger
from app.store.artifacts import ArtifactStore
from models.batching import LabelledTexts
from models.encoders import LoadedClassifier
from models.encoders.embedding import mean_embeddings
from models.training import pick_device
from workers.lease import JobLease
from workers.score.data import JobData
from workers.score.judging import Validation

Embedding = NDArray[np.float32]
log = get_logger(__name__)


@dataclass(frozen=True)
class Seen:
    """Arrays (n,), and (n, dim), of the job's train samples; `embedding` and `validation` are None where the
    policy does not ask for them, or there is no validation split."""

    classes: tuple[Label, ...]
    ordinals: NDArray[np.int64]
    embedding: Embedding | None = None
    validation: Validation | None = None


def look(
    params: SortingParams,
    classifier: LoadedClassifier,
    data: JobData,
    train: LabelledTexts,
    validation: LabelledTexts | None,
    artifacts: ArtifactStore,
    lease: JobLease,
) -> Seen:
    """By the model as it was loaded: what it learns of the labels must not colour what is said of them.

    Computed once, and kept until the job has ended. Raises what the lease raises.
    """
    ordinals = data.train.ordinals
    if params.policy != "robust":
        return Seen(data.classes, ordinals)
    classifier.model.to(pick_device())  # type: ignore[arg-type]
    total = len(train) + (0 if validation is None else len(validation))

    def embedding(name: str, texts: LabelledTexts, before: int) -> Embedding:
        kept = _read(artifacts, name, len(texts))
        if kept is not None:
            return kept

        def tell(done: int) -> None:
            at = Progress(phase="embedding", step=before + done, total_steps=total)
            lease.step(at, preparing=True)

        size = params.per_device_train_batch_size
        found = mean_embeddings(classifier.model, texts.tokens, batch_size=size, on_batch=tell)
        _keep(artifacts, name, found)
        return found

    of_train = embedding("embedding-train.npy", train, 0)
    if data.validation is None or validation is None:
        return Seen(data.classes, ordinals, of_train)
    of_validation = embedding("embedding-validation.npy", validation, len(train))
    trusted = params.trusted_validation and data.validation_source == "client"
    checks = Validation(data.validation.ids, of_validation, data.validation.labels, trusted)
    return Seen(data.classes, ordinals, of_train, checks)


def _read(artifacts: ArtifactStore, name: str, count: int) -> Embedding | None:
    blob = artifacts.read(name)
    if blob is None:
        return None
    try:
        held: Embedding = np.load(io.BytesIO(blob), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        log.warning("the kept embedding cannot be read; it is computed again", error=str(error))
        return None
    return held if len(held) == count else None


def _keep(artifacts: ArtifactStore, name: str, embedding: Embedding) -> None:
    """Saves a resumed attempt the pass; nothing depends on it."""
    buffer = io.BytesIO()
    np.save(buffer, embedding, allow_pickle=False)
    try:
        artifacts.write(name, buffer.getbuffer())
    except OSError as error:
        log.warning("the embedding could not be kept", error=str(error))
