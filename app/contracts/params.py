"""What a client may ask of a job."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from app.contracts.base import ConfigValue, Count, Flag, Real, Strict, Text
from app.contracts.expressions import OF_IDS, read_set_expression


class PeftParams(Strict):
    """Adapters instead of the whole model. Names are those of peft's `LoraConfig`."""

    method: Literal["lora"] = "lora"
    r: Count = Field(default=8, ge=1, le=1024)
    lora_alpha: Real = Field(default=16, gt=0, le=65536)
    lora_dropout: Real = Field(default=0, ge=0, lt=1)
    target_modules: list[Text] | None = Field(
        default=None, min_length=1, max_length=100, description="Ends of module names; null: peft's choice."
    )


POLICIES_WITH_SHARE = ("seed", "ccs")
DEFAULT_NOISE_FRACTION = 0.1


class TrainingParams(Strict):
    """What every kind of job that trains may be told. Names are those of Hugging Face `TrainingArguments`
    where one exists."""

    num_train_epochs: Count = Field(default=3, ge=1, le=1000)
    learning_rate: Real = Field(default=5e-5, ge=0, le=1)
    per_device_train_batch_size: Count = Field(default=32, ge=1, le=4096)
    gradient_accumulation_steps: Count = Field(default=1, ge=1, le=1024)
    warmup_ratio: Real = Field(default=0.1, ge=0, le=1)
    weight_decay: Real = Field(default=0.01, ge=0, le=10)
    max_grad_norm: Real = Field(default=1.0, ge=0, description="0: gradients are not clipped.")
    optim: Literal["adamw_torch", "adafactor"] = "adamw_torch"
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    seed: Count = Field(default=42, ge=0, lt=2**32)
    bf16: Flag = False
    fp16: Flag = False
    max_length: Count = Field(default=128, ge=8, le=8192, description="Tokens; longer texts are cut.")
    model_config_: dict[Text, ConfigValue] = Field(
        default_factory=dict,
        alias="model_config",
        description='Overrides of the model\'s config, such as `{"num_hidden_layers": 2}`.',
    )
    peft: PeftParams | None = Field(
        default=None, description="Train adapters and the head alone; null: all parameters."
    )
    validation_fraction: Real | None = Field(
        default=None,
        ge=0,
        le=0.5,
        description="Share of the train split to hold out when the client sent no validation split. Null: "
        "0.1 where a validation split is needed (`grow`, early stopping, the best epoch's model), else 0. "
        "Held-out samples are neither trained on nor scored.",
    )

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), populate_by_name=True, serialize_by_alias=True
    )

    @model_validator(mode="after")
    def _one_precision(self) -> Self:
        if self.bf16 and self.fp16:
            raise ValueError("bf16 and fp16 exclude each other")
        return self


class SortingParams(TrainingParams):
    """What every kind of job that sorts samples into sets may be told, too."""

    optim: Literal["adamw_torch"] = "adamw_torch"
    policy: Literal["robust", "seed", "top_k", "ccs", "random"] = Field(
        default="robust",
        description="How samples are sorted into sets. `robust`: wrong labels out, the core spread over the "
        "texts; `seed`: the highest importance is core, the lowest noise.",
    )
    core_fraction: Real = Field(default=0.5, ge=0, le=1)
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
        if self.cross_fit is not None and self.policy != "robust":
            raise ValueError(f"policy {self.policy} does not judge labels: leave cross_fit out")
        return self


class GrowParams(SortingParams):
    """Parameters of a `grow` job. `core_fraction` is the most that the core may grow to, and
    `num_train_epochs` are those of a core of that size: every round takes as many steps."""

    policy: Literal["robust"] = "robust"
    initial_fraction: Real = Field(
        default=0.15, gt=0, le=1, description="Share of the samples that the core begins with."
    )
    max_rounds: Count = Field(default=5, ge=1, le=100)
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


class TrainParams(TrainingParams):
    """Parameters of a `train` job."""

    set: Text = Field(
        default="core",
        max_length=200,
        description="What to train on: `core`, `edge`, `noise` or `unscored`, or several (`core+edge`); "
        "`full`: all labelled train samples; `random:` before any of these: as many random samples of the "
        "train split, each label with its share.",
    )
    version: Count | None = Field(
        default=None, ge=1, description="Of the sets. Null: the current one as the job is sent."
    )
    ids: list[Text] | None = Field(
        default=None,
        min_length=1,
        max_length=100_000,
        description="Train on these samples; `set` is left out.",
    )
    max_steps: Count | None = Field(
        default=None, ge=1, le=10**9, description="Optimiser steps, in place of those of `num_train_epochs`."
    )
    label_smoothing_factor: Real = Field(default=0.0, ge=0, lt=1)
    early_stopping_patience: Count | None = Field(
        default=None, ge=1, le=1000, description="Epochs without a better validation loss; null: off."
    )
    load_best_model_at_end: Flag = Field(
        default=False,
        description="Keep the model of the epoch with the lowest validation loss, not the last.",
    )

    @field_validator("set")
    @classmethod
    def _known_sets(cls, text: str) -> str:
        read_set_expression(text)
        return text

    @model_validator(mode="before")
    @classmethod
    def _one_choice(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("ids") is not None:
            named = {name for name in ("set", "version") if given.get(name) is not None}
            if named - ({"set"} if given.get("set") == OF_IDS else set()):
                raise ValueError("ids says which samples to train on: leave set and version out")
            return given | {"set": OF_IDS}
        return given

    @model_validator(mode="after")
    def _chosen(self) -> Self:
        if self.set == OF_IDS and self.ids is None:
            raise ValueError("set is `ids`, but there are no ids")
        return self


JobParams = ScoreParams | GrowParams | TrainParams
