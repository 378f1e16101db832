"""What a client may ask of every job that trains."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from app.contracts.base import ConfigValue, Count, Flag, Real, Strict, Text


class AdapterParams(Strict):
    """Adapters instead of the whole model. Names are those of peft's `LoraConfig`."""

    r: Count = Field(default=8, ge=1, le=1024, description="Rank: how much an adapter can learn.")
    lora_alpha: Real = Field(
        default=16, gt=0, le=65536, description="What an adapter adds is scaled by this over its rank."
    )
    lora_dropout: Real = Field(
        default=0, ge=0, lt=1, description="Share of an adapter's inputs that is dropped in training."
    )
    target_modules: list[Text] | None = Field(
        default=None, min_length=1, max_length=100, description="Ends of module names; null: peft's choice."
    )


class PeftParams(AdapterParams):
    """Of jobs that measure single samples."""

    method: Literal["lora"] = Field(default="lora", description="Which adapters; there is one kind here.")


class FittingPeftParams(AdapterParams):
    """Of other jobs: also `adalora`, adapters whose ranks go to where they matter."""

    method: Literal["lora", "adalora"] = Field(
        default="lora", description="`lora`: one rank for all adapters; `adalora`: ranks that adapt."
    )
    r: Count = Field(
        default=8, ge=1, le=1024, description="Rank; of `adalora` on average and in the end (`target_r`)."
    )
    init_r: Count | None = Field(
        default=None,
        ge=2,
        le=2048,
        description="`adalora`: rank to begin with; null: 1.5 times `r`.",
    )
    orth_reg_weight: Real | None = Field(
        default=None, ge=0, le=1000, description="`adalora`: null: 0.5, as in peft."
    )

    @model_validator(mode="after")
    def _of_its_method(self) -> Self:
        if self.method != "adalora" and not (self.init_r is None and self.orth_reg_weight is None):
            raise ValueError("init_r and orth_reg_weight are of method adalora")
        if self.init_r is not None and self.init_r <= self.r:
            raise ValueError("init_r must be over r: ranks fall")
        return self


class TrainingParams(Strict):
    """What every kind of job that trains may be told. Names are those of Hugging Face `TrainingArguments`
    where one exists."""

    num_train_epochs: Count = Field(
        default=3, ge=1, le=1000, description="How often the model sees each sample."
    )
    learning_rate: Real = Field(
        default=5e-5, ge=0, le=1, description="Size of a training step at its highest; 0 changes no weight."
    )
    per_device_train_batch_size: Count = Field(
        default=32, ge=1, le=4096, description="Samples that go through the model at a time."
    )
    gradient_accumulation_steps: Count = Field(
        default=1, ge=1, le=1024, description="Batches that make one training step."
    )
    warmup_ratio: Real = Field(
        default=0.1, ge=0, le=1, description="Share of the steps in which the learning rate rises from 0."
    )
    weight_decay: Real = Field(
        default=0.01, ge=0, le=10, description="How strongly weights are pulled towards 0."
    )
    max_grad_norm: Real = Field(default=1.0, ge=0, description="0: gradients are not clipped.")
    optim: Literal["adamw_torch", "adafactor"] = Field(
        default="adamw_torch", description="Optimiser; `adafactor` needs less memory."
    )
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = Field(
        default="linear", description="How the learning rate falls after the warm-up."
    )
    seed: Count = Field(
        default=42, ge=0, lt=2**32, description="Of all that is random: the same seed gives the same run."
    )
    bf16: Flag = Field(default=False, description="Compute in bfloat16, for graphics cards that have it.")
    fp16: Flag = Field(
        default=False, description="Compute in float16 with scaled losses, for older graphics cards."
    )
    max_length: Count = Field(default=128, ge=8, le=8192, description="Tokens; longer texts are cut.")
    model_config_: dict[Text, ConfigValue] = Field(
        default_factory=dict,
        alias="model_config",
        description='Overrides of the model\'s config, such as `{"num_hidden_layers": 2}`.',
    )
    peft: FittingPeftParams | PeftParams | None = Field(
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
