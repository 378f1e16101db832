"""The models of train jobs, as a predictor keeps them."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from app.contracts.predictions import TokenValue
from app.errors import Conflict, Unavailable
from app.logs import get_logger
from app.store.artifacts import Folder
from app.store.job_records import JobRecords
from app.store.results import MODEL, ResultStore
from models.batching import tokenize
from models.encoders import LoadedClassifier, load_classifier
from models.encoders.failures import quiet_transformers
from models.evaluation import predict_logits
from models.training import pick_device

MODELS_KEPT = 2
BATCH_SIZE = 32
Probabilities = NDArray[np.float64]
log = get_logger(__name__)


class KeptModel:
    """A classifier, ready to predict. max_length: the one that was stored with it."""

    def __init__(self, classifier: LoadedClassifier) -> None:
        self._model = classifier.model
        self._model.to(pick_device())  # type: ignore[arg-type]
        self._tokenizer = classifier.tokenizer
        self._max_length = classifier.clamp_length(int(classifier.tokenizer.model_max_length))

    def probabilities(
        self, texts: Sequence[str], pairs: Sequence[str | None], on_batch: Callable[[], object]
    ) -> Probabilities:
        """(n, classes), softmax of the logits. `on_batch()` is called after each batch."""
        tokens = tokenize(self._tokenizer, texts, pairs, self._max_length)
        logits = predict_logits(self._model, tokens, batch_size=BATCH_SIZE, on_batch=on_batch)
        found: Probabilities = softmax(logits.astype(np.float64), axis=1)
        return found

    def attributions(
        self, text: str, pair: str | None, target: int, on_steps: Callable[[], object]
    ) -> list[TokenValue]:
        """What each token adds to the logit of this class."""
        from models.attribution import attribute  # Captum, which most requests do without

        with quiet_transformers():
            found = attribute(
                self._model,
                self._tokenizer,
                text,
                pair,
                max_length=self._max_length,
                target=target,
                on_steps=on_steps,
            )
        return [TokenValue(*token) for token in found.tokens]


class KeptModels:
    """Those that were asked last. A job's model never changes, so one that is kept is good for ever."""

    def __init__(self, jobs: JobRecords, results: ResultStore) -> None:
        self._jobs = jobs
        self._results = results
        self._kept: dict[str, KeptModel] = {}

    def get(self, job_id: str) -> KeptModel:
        """The model of this job, which has succeeded.

        Raises:
            NotFound, Conflict: the job or its files are gone.
            Unavailable: the files cannot be read now.
            ModelError: they are no model.
        """
        model = self._kept.pop(job_id, None)
        if model is None:
            while len(self._kept) >= MODELS_KEPT:  # before the next one is loaded: memory for no more
                del self._kept[next(iter(self._kept))]
            model = self._load(job_id)
        self._kept[job_id] = model  # the last one asked is the last in order
        return model

    def _load(self, job_id: str) -> KeptModel:
        started = time.monotonic()
        job = self._jobs.get(job_id)
        if job.result is None:
            raise Conflict("model_gone", f"job {job_id} has no result")
        stored = self._results.of_job(self._jobs.dataset_uid(job_id), job_id)
        with tempfile.TemporaryDirectory(prefix="gradsift-") as folder:
            _copy(stored, job_id, Path(folder))
            classifier = load_classifier(folder, num_labels=len(job.result["labels"]), seed=0)
            model = KeptModel(classifier)
        log.info("model loaded", seconds=round(time.monotonic() - started, 2))
        return model


def _copy(stored: Folder, job_id: str, folder: Path) -> None:
    """The model's files; transformers reads a folder, and they may lie in an object store."""
    try:
        names = [name for name in stored.names() if name.startswith(f"{MODEL}/")]
        for name in names:
            target = folder / name.removeprefix(f"{MODEL}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            with stored.open(name) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy, 2**20)
    except FileNotFoundError:  # deleted between the two
        names = []
    except OSError as error:
        raise Unavailable("service_unavailable", f"the model's files cannot be read: {error}") from error
    if not names:
        raise Conflict("model_gone", f"the files that job {job_id} left are gone")
