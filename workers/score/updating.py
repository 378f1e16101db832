"""Scoring what is new without scoring all again (`params.update`): where the last model was left, and what it
is taught from there."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from app.contracts import SetName
from app.contracts.expressions import SetExpression
from app.contracts.params import ScoreParams
from app.errors import JobFailed
from app.logs import get_logger
from app.store.records import Records
from models.batching import LabelledTexts
from models.comparison import compare
from models.evaluation import classification_metrics, predict_logits
from models.selection import drawn, random_by_label
from workers.score.data import Rows
from workers.score.groundwork import Groundwork, Material
from workers.score.room import when_there_is_room
from workers.train.subset import members

WEIGHTS = "weights.safetensors"
CHOSEN, BEFORE = "chosen.pt", "before.pt"
Ints = NDArray[np.int64]
T = TypeVar("T", Rows, LabelledTexts)
log = get_logger(__name__)


@dataclass(frozen=True)
class Chosen:
    """What of the n train samples a job trains on. positions: (k,), rising. scored: (k,) whose visits count;
    the others are repeated so that they are not forgotten."""

    positions: Ints
    scored: NDArray[np.bool_]

    @classmethod
    def everything(cls, count: int) -> Chosen:
        return cls(np.arange(count), np.ones(count, dtype=bool))

    def of(self, samples: T) -> T:
        """The chosen ones of all, without a copy where that is all."""
        return samples if len(self.positions) == len(samples) else samples.take(self.positions)


def choose(ground: Groundwork, material: Material, records: Records, params: ScoreParams) -> Chosen:
    """All; with `update`, samples without a visit to their present content, and some of the core.

    Kept by the first attempt: the later ones find visits of this very job. records: as the job found them.

    Raises:
        JobFailed: `nothing_new`.
    """
    train = material.data.train
    if not params.update:
        return Chosen.everything(len(train))
    held = ground.checkpoints.read(CHOSEN)
    if held is not None:
        return Chosen(held["positions"].numpy(), held["scored"].numpy())
    mine = records[train.ordinals]
    new = (mine["visits"] == 0) | (mine["generation"] != train.generations)
    if not new.any():
        raise JobFailed("nothing_new", f"each of the {len(train)} labelled train samples has a score")
    replayed = _replayed(ground, material, new, params)
    positions = np.union1d(np.flatnonzero(new), replayed)
    chosen = Chosen(positions, new[positions])
    held = {"positions": torch.from_numpy(chosen.positions), "scored": torch.from_numpy(chosen.scored)}
    ground.keep(CHOSEN, held)
    return chosen


def _replayed(ground: Groundwork, material: Material, new: NDArray[np.bool_], params: ScoreParams) -> Ints:
    """As many of the core as are new, times the ratio, each label with its share."""
    dataset, train = ground.dataset(), material.data.train
    wanted = round(params.replay_ratio * int(new.sum()))
    if not dataset.set_version or not wanted:
        return np.zeros(0, dtype=np.int64)
    core = SetExpression(frozenset({SetName.CORE.value}), version=dataset.set_version)
    inside = np.setdiff1d(members(ground.state, dataset, train, core), np.flatnonzero(new))
    numbers = drawn([train.ids[i] for i in inside.tolist()], params.seed)
    return inside[random_by_label(train.labels[inside], min(wanted, len(inside)), numbers)]


# -- the model that goes on ----------------------------------------------------------------------------------
def keep_weights(ground: Groundwork, model: PreTrainedModel) -> None:
    """All that has been learned, adapters included, as one of the job's files."""
    content = safetensors.torch.save({name: one.detach().cpu().clone() for name, one in _tensors(model)})
    when_there_is_room(ground.lease, lambda: ground.results.write(WEIGHTS, content))


def go_on_from_the_last(ground: Groundwork, material: Material) -> str:
    """Puts the weights of the lineage's last job that kept them into the model; answers that job's id.

    Raises:
        JobFailed: `no_model_to_continue`.
    """
    deltas = ground.state.archive.of_dataset(material.dataset).deltas(material.lineage.id)
    for run in reversed(deltas.runs()):
        if run.job is None or run.number >= material.run:
            continue
        content = ground.state.results.of_job(material.dataset.uid, run.job).read(WEIGHTS)
        if content is not None:
            held = safetensors.torch.load(content)
            with torch.no_grad():
                for name, tensor in _tensors(material.classifier.model):
                    tensor.copy_(held[name])
            log.info("goes on from an earlier model", job=run.job)
            return run.job
    raise JobFailed("no_model_to_continue", "no job of this lineage has kept its model")


def _tensors(model: PreTrainedModel) -> list[tuple[str, torch.Tensor]]:
    """Each once, also what several modules share."""
    return [*model.named_parameters(), *model.named_buffers()]


# -- what it has forgotten -----------------------------------------------------------------------------------
class Update:
    """Goes on with an earlier model, and watches its accuracy on a split that it was not taught: test, else
    validation.

    Raises:
        JobFailed: `no_model_to_continue`.
    """

    def __init__(self, ground: Groundwork, material: Material, chosen: Chosen) -> None:
        self._ground = ground
        self._chosen = chosen
        self._model = material.classifier.model
        self._earlier = go_on_from_the_last(ground, material)
        self._name, self._split = "validation", material.validation
        if material.data.test is not None:
            self._name, self._split = "test", ground.tokenized(material.classifier, material.data.test)
        if self._split is not None and ground.checkpoints.read(BEFORE) is None:
            ground.keep(BEFORE, {"logits": torch.from_numpy(self._say(self._split))})

    def told(self) -> dict[str, Any]:
        """For the job's result, at its end."""
        scored = int(self._chosen.scored.sum())
        replayed = len(self._chosen.positions) - scored
        return {"new": scored, "replayed": replayed, "from_job": self._earlier, "memory": self._memory()}

    def _memory(self) -> dict[str, Any] | None:
        """None without a split. `warning`: the accuracy fell, and not by chance."""
        held = self._ground.checkpoints.read(BEFORE)
        if self._split is None or held is None:
            return None
        labels, logits = self._split.labels, (held["logits"].numpy(), self._say(self._split))
        before, after = (asdict(classification_metrics(one, labels)) for one in logits)
        told = {"split": self._name, "before": before, "after": after}
        if len(labels) < 2:
            return {**told, "difference": None, "low": None, "high": None, "warning": False}
        right = [(one.argmax(axis=1) == labels).astype(np.float64)[None] for one in logits]
        found = compare(right[1], right[0], margin=0.0, seed=self._ground.params.seed, sign_flips=False)
        interval = {"difference": found.difference, "low": found.low, "high": found.high}
        return {**told, **interval, "warning": found.high < 0}

    def _say(self, split: LabelledTexts) -> NDArray[np.float32]:
        size = self._ground.params.per_device_train_batch_size
        return predict_logits(self._model, split.tokens, batch_size=size, on_batch=self._ground.lease.check)
