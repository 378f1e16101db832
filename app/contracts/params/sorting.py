"""What a client may ask of a job that sorts samples into sets: `score` and `grow`."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from app.contracts.base import Count, Flag, Real
from app.contracts.params.training import PeftParams, TrainingParams

POLICIES_WITH_SHARE = ("seed", "ccs")
DEFAULT_NOISE_FRACTION = 0.1


class SortingParams(TrainingParams):
    """What every kind of job that sorts samples into sets may be told, too."""

    optim: Literal["adamw_torch"] = Field(
        default="adamw_torch", description="Optimiser; there is one where samples are scored."
    )
    peft: PeftParams | None = Field(
        default=None, description="Train adapters and the head alone; null: all parameters."
    )
    policy: Literal["robust", "seed", "top_k", "ccs", "random"] = Field(
        default="robust",
        description="How samples are sorted into sets. `robust`: wrong labels out, the core spread over the "
        "texts; `seed`: the highest importance is core, the lowest noise.",
    )
    core_fraction: Real = Field(
        default=0.5, ge=0, le=1, description="Share of the scored samples that become core."
    )
    noise_fraction: Real | None = Field(
        default=None,
        ge=0,
        le=1,
        description="`seed` and `ccs`: the share that is noise, null: 0.1. `robust`: at most so much; null: "
        "as much as is more probably wrong than right. `top_k` and `random` have no noise.",
    )
    trusted_validation: Flag = Field(
        default=False,
        description="The labels of the client's validation split are right: `robust` then judges by them.",
    )
    fresh: Flag = Field(
        default=False, description="Start a new lineage instead of continuing the present one."
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.core_fraction + (self.noise_fraction or 0.0) > 1 + 1e-9:
            raise ValueError("core_fraction + noise_fraction must not be over 1")
        return self


class ScoreParams(SortingParams):
    """Parameters of a `score` job."""

    early_stopping_patience: Count | None = Field(
        default=None, ge=1, le=1000, description="Epochs without a better validation loss; null: off."
    )
    alignment_steps: Count | None = Field(
        default=50,
        ge=1,
        description="Steps between two takes of the validation gradient that samples are aligned with; "
        "null: no alignment. Without a validation split there is none.",
    )
    seeds: Count = Field(
        default=1,
        ge=1,
        le=20,
        description="Runs of the whole training, with `seed`, `seed` + 1, …: the scores are their average, "
        "and the result says how far they agree.",
    )
    cross_fit: Count | None = Field(
        default=None,
        ge=2,
        le=10,
        description="Folds. As many more models are trained, each on all other folds, and `robust` hears what"
        " they say of the fold that did not teach them. Null: none.",
    )
    keep_model: Flag = Field(
        default=False,
        description="Leave the trained weights among the job's files, for a later job with `update`.",
    )
    update: Flag = Field(
        default=False,
        description="Train on samples that are new or have changed since they were scored, and on some of "
        "the core again, from where the lineage's last job with `keep_model` left the model. Only the new "
        "are scored. Keeps its model, too.",
    )
    replay_ratio: Real = Field(
        default=1.0, ge=0, le=1000, description="Core samples repeated for each new one; `update` only."
    )
    response: Literal["mean_norm", "vector"] = Field(
        default="mean_norm",
        description="`vector`: also keep each sample's mean gradient, projected, which tells whether it "
        "always pulls the same way; the result names the file.",
    )
    projection_dim: Count = Field(
        default=256, ge=16, le=8192, description="Numbers kept of each sample's gradient; `vector` only."
    )

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, given: Any) -> Any:
        """The share of noise that a policy takes when none is asked for."""
        if not isinstance(given, dict) or given.get("policy") not in POLICIES_WITH_SHARE:
            return given
        asked = given.get("noise_fraction")
        return given | {"noise_fraction": DEFAULT_NOISE_FRACTION if asked is None else asked}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.noise_fraction is not None and self.policy in ("top_k", "random"):
            raise ValueError(f"policy {self.policy} has no noise: leave noise_fraction out")
        if self.trusted_validation and self.policy != "robust":
            raise ValueError(
                f"policy {self.policy} does not judge by validation: leave trusted_validation out"
            )
        if self.update and (self.fresh or self.seeds > 1 or self.cross_fit is not None):
            raise ValueError("update goes on with one model: leave fresh, seeds and cross_fit out")
        if self.cross_fit is not None and self.policy != "robust":
            raise ValueError(f"policy {self.policy} does not judge labels: leave cross_fit out")
        return self


class GrowParams(SortingParams):
    """Parameters of a `grow` job. `core_fraction` is the most that the core may grow to, and
    `num_train_epochs` are those of a core of that size: every round takes as many steps."""

    policy: Literal["robust"] = Field(
        default="robust", description="How samples are sorted into sets; there is one where the core grows."
    )
    initial_fraction: Real = Field(
        default=0.15, gt=0, le=1, description="Share of the samples that the core begins with."
    )
    max_rounds: Count = Field(default=5, ge=1, le=100, description="Rounds after which the job stops.")
    round_patience: Count = Field(
        default=2, ge=1, le=100, description="Rounds in a row without a gain after which the job stops."
    )
    min_gain: Real = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Validation accuracy by which a round must pass the best before it to count as a gain.",
    )
    max_minutes: Real | None = Field(
        default=None, gt=0, description="No round begins later than that after the job began; null: no limit."
    )
    max_visits: Count | None = Field(
        default=None,
        ge=1,
        description="No round begins that would bring the samples trained on and measured, the random "
        "control's included, above this; null: no limit.",
    )

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.initial_fraction > self.core_fraction:
            raise ValueError("initial_fraction must not be over core_fraction")
        return self
