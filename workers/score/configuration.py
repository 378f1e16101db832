"""From a job's parameters to those of its training."""

from __future__ import annotations

from dataclasses import replace

from app.contracts.params import CompareParams, ScoreParams, TrainingParams, TrainParams
from models.training import TrainingConfig

SEEDS = 2**32


def training_config(params: TrainingParams, *, epochs: int | None = None) -> TrainingConfig:
    """epochs: in place of the parameter's."""
    config = TrainingConfig(
        num_train_epochs=params.num_train_epochs if epochs is None else epochs,
        learning_rate=params.learning_rate,
        per_device_train_batch_size=params.per_device_train_batch_size,
        gradient_accumulation_steps=params.gradient_accumulation_steps,
        warmup_ratio=params.warmup_ratio,
        weight_decay=params.weight_decay,
        optim=params.optim,
        lr_scheduler_type=params.lr_scheduler_type,
        max_grad_norm=params.max_grad_norm or None,
        seed=params.seed,
        bf16=params.bf16,
        fp16=params.fp16,
        max_length=params.max_length,
    )
    if isinstance(params, CompareParams):
        return replace(config, loss=params.loss, label_smoothing_factor=params.label_smoothing_factor)
    if isinstance(params, TrainParams):
        return replace(
            config,
            early_stopping_patience=params.early_stopping_patience,
            max_steps=params.max_steps,
            label_smoothing_factor=params.label_smoothing_factor,
            load_best_model_at_end=params.load_best_model_at_end,
            loss=params.loss,
        )
    if not isinstance(params, ScoreParams):
        return config
    return replace(
        config,
        early_stopping_patience=params.early_stopping_patience,
        alignment_steps=params.alignment_steps,
        projection_dim=params.projection_dim if params.response == "vector" else None,
    )


def with_seed(config: TrainingConfig, number: int, *, max_steps: int | None = None) -> TrainingConfig:
    """Of the job's training of this number, from 0: each has the seed after the one before."""
    return replace(config, seed=(config.seed + number) % SEEDS, max_steps=max_steps)
