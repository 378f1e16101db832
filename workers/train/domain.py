"""Pre-training on the texts of a dataset, within a job that may be killed at any step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from app.contracts import Dataset
from app.contracts.params import CompareParams, TrainParams
from app.logs import get_logger
from models.encoders.language import EncoderState, encoder_state
from models.losses import CROSS_ENTROPY
from models.training import PretrainingRun, TrainingConfig, pick_device
from workers.ground import TrainingGround
from workers.score.configuration import training_config
from workers.score.data import JobData, Rows, load_train_texts
from workers.score.pace import Pace
from workers.train.fitting import Fitting

ADAPTED = "adapted.pt"
PHASE = "domain pre-training"
log = get_logger(__name__)


@dataclass(frozen=True)
class Adapted:
    """encoder: as it came out. told: for the job's result."""

    encoder: EncoderState
    told: Mapping[str, Any]


class DomainPretraining:
    """Of the encoder that the job's classifiers begin with: language modelling on the train split's texts.

    Texts that are held out of it, and those of other splits, have no part. What came out is kept, so that a
    job that is killed goes on within it or behind it.
    """

    def __init__(self, ground: TrainingGround, params: TrainParams | CompareParams, texts: Rows) -> None:
        assert params.domain_pretraining is not None
        self._ground = ground
        self._asked = params.domain_pretraining
        self._texts = texts
        # What judges a classifier has no meaning here.
        self._config: TrainingConfig = replace(
            training_config(params),
            num_train_epochs=self._asked.num_train_epochs,
            max_steps=self._asked.max_steps,
            learning_rate=self._asked.learning_rate,
            loss=CROSS_ENTROPY,
            label_smoothing_factor=0.0,
            early_stopping_patience=None,
            load_best_model_at_end=False,
        )

    @classmethod
    def asked_for(
        cls,
        ground: TrainingGround,
        params: TrainParams | CompareParams,
        dataset: Dataset,
        version: int,
        data: JobData,
    ) -> DomainPretraining | None:
        if params.domain_pretraining is None:
            return None
        held_out = data.validation if data.validation_source == "cut" else None
        texts = load_train_texts(ground.state, dataset, version, held_out=held_out, exclusion=data.exclusion)
        return cls(ground, params, texts)

    @property
    def steps(self) -> int:
        return self._config.total_steps(len(self._texts))

    def adapted(self, pace: Pace) -> Adapted:
        """Trains to the end, or takes what an earlier attempt has kept.

        Raises what the lease raises, after a checkpoint; ModelError and JobFailed where the training does.
        """
        held = self._ground.checkpoints.read(ADAPTED)
        if held is None:
            phase, pace.phase = pace.phase, PHASE
            held = self._trained(pace)
            self._ground.keep(ADAPTED, held)
            log.info("encoder pre-trained", **held["told"])
            pace.phase = phase
        else:
            pace.go_to(pace.done + self.steps)
        return Adapted(held["encoder"], held["told"])

    def _trained(self, pace: Pace) -> dict[str, Any]:
        language = self._ground.load_language_model()
        tokens = self._ground.tokenized(language, self._texts).tokens
        share = self._asked.mlm_probability
        run = PretrainingRun(
            language,
            tokens,
            self._config,
            pick_device(),
            mlm_probability=share,
            micro_batch=self._ground.micro_batch,
        )
        course = Fitting(self._ground, pace).go(run, self._texts, name=PHASE)
        told = {
            "objective": "masked" if language.masked else "causal",
            "fresh_head": language.fresh_head,
            "texts": len(self._texts),
            "steps": course.step,
            "first_loss": course.points[0]["loss"],
            "last_loss": course.points[-1]["loss"],
            "seconds": round(course.seconds, 2),
        }
        return {"encoder": encoder_state(language.model), "told": told}
