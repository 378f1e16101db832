"""What a client may ask of a job that trains on sets: `train` and `compare`."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from app.contracts.base import Count, Flag, Real, Strict, Text
from app.contracts.expressions import FULL, OF_IDS, as_many_at_random, read_set_expression
from app.contracts.params.training import FittingPeftParams, TrainingParams
from app.contracts.slices import GROUP_SIZE, LABEL, check_slice


class DomainPretrainingParams(Strict):
    """Language modelling on the dataset's own texts, before the labels are learned from."""

    num_train_epochs: Count = Field(
        default=1, ge=1, le=1000, description="How often the model sees each text."
    )
    max_steps: Count | None = Field(
        default=None, ge=1, le=10**9, description="Optimiser steps, in place of those of `num_train_epochs`."
    )
    learning_rate: Real = Field(
        default=5e-5, ge=0, le=1, description="Size of a training step at its highest."
    )
    mlm_probability: Real = Field(
        default=0.15, gt=0, le=1, description="Share of the tokens to fill in; a GPT says every next one."
    )


class FittingParams(TrainingParams):
    """What every kind of job that trains on sets may be told, too."""

    peft: FittingPeftParams | None = Field(
        default=None, description="Train adapters and the head alone; null: all parameters."
    )
    loss: Literal["cross_entropy", "ordinal", "mse", "pairwise", "listwise"] = Field(
        default="cross_entropy",
        description="What training minimises. All but `cross_entropy` are for datasets of task `relevance`: "
        "`ordinal` and `mse` of each sample's grade, `pairwise` and `listwise` of the order within a query "
        "(`group`).",
    )
    label_smoothing_factor: Real = Field(default=0.0, ge=0, lt=1, description="Of `cross_entropy` only.")

    domain_pretraining: DomainPretrainingParams | None = Field(
        default=None,
        description="Train the encoder first as a language model, on all texts of the train split, labelled "
        "or not; null: not. Batch sizes, schedule and precision are the job's own.",
    )

    @model_validator(mode="after")
    def _fits_its_loss(self) -> Self:
        if self.label_smoothing_factor and self.loss != "cross_entropy":
            raise ValueError(f"loss {self.loss} has no labels to smooth: leave label_smoothing_factor out")
        if self.loss in ("pairwise", "listwise") and self.per_device_train_batch_size == 1:
            raise ValueError(f"{self.loss} compares samples of a batch: per_device_train_batch_size is 1")
        return self


class TrainParams(FittingParams):
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
        max_length=10_000,
        description="Train on these samples; `set` is left out.",
    )
    max_steps: Count | None = Field(
        default=None, ge=1, le=10**9, description="Optimiser steps, in place of those of `num_train_epochs`."
    )
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
        if read_set_expression(text).version is not None:
            raise ValueError("name the version of the sets in `version`")
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


class CompareParams(FittingParams):
    """Parameters of a `compare` job."""

    subsets: list[Text] = Field(
        default=["core"],
        validate_default=True,
        min_length=1,
        max_length=20,
        description="What models are trained on and compared: as `set` of a train job, with the version "
        "behind it where it is not the current one (`core@3`). `full`, and `random:` of each, join them.",
    )
    seeds: Count = Field(
        default=3, ge=1, le=20, description="Trainings of each subset, with `seed`, `seed` + 1, …"
    )
    equal: Literal["steps", "epochs"] = Field(
        default="steps",
        description="What all trainings have as many of. `steps`: `max_steps`, or those of "
        "`num_train_epochs` over the largest subset.",
    )
    max_steps: Count | None = Field(
        default=None, ge=1, le=10**9, description="Optimiser steps of each training."
    )
    margin: Real = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Differences of accuracy (NDCG@10 for `relevance`) up to this do not matter: `as_good`.",
    )
    slices: list[Text] = Field(
        default=[LABEL, GROUP_SIZE],
        max_length=10,
        description="What the test split is sliced by: `label`, `group_size` (test samples of a sample's "
        "group), `meta.` and a field of the samples' meta (`meta.brand`). For `relevance` slices are of "
        "queries, and not by label.",
    )

    @field_validator("slices")
    @classmethod
    def _known_slices(cls, slices: list[str]) -> list[str]:
        return [check_slice(text) for text in dict.fromkeys(slices)]

    @field_validator("subsets")
    @classmethod
    def _with_controls(cls, subsets: list[str]) -> list[str]:
        """`full` first, and behind each subset as many samples at random."""
        wanted = [FULL]
        for text in subsets:
            expression = read_set_expression(text)
            if expression.of_ids:
                raise ValueError("a comparison is of sets, not of ids")
            plain = expression.random or text == FULL
            wanted += [text] if plain else [text, as_many_at_random(text)]
        return list(dict.fromkeys(wanted))

    @model_validator(mode="after")
    def _equal_in_one_way(self) -> Self:
        if self.equal == "epochs" and self.max_steps is not None:
            raise ValueError("trainings are to be equal in epochs: leave max_steps out")
        return self
