"""What a score job's result says of the run."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from app.contracts import Lineage, SetVersion
from models.encoders import LoadedClassifier
from models.encoders.adapters import adapter_values
from models.training import ScoringRun
from workers.score.data import JobData
from workers.score.history import EpochHistory


def described(
    data: JobData,
    classifier: LoadedClassifier,
    run: ScoringRun,
    sets: SetVersion,
    lineage: Lineage,
    history: EpochHistory,
) -> dict[str, Any]:
    return {
        "set_version": sets.version,
        "sets": sets.sizes,
        "scored": sum(sets.sizes.values()),
        "labels": list(data.classes),
        "train_samples": len(data.train),
        "validation_samples": 0 if data.validation is None else len(data.validation),
        "validation_source": data.validation_source,
        "skipped_unlabelled": data.skipped_unlabelled,
        "epochs": history.epochs,
        "lineage": lineage.id,
        "model_revision": lineage.revision,
        "coverage": _coverage(classifier, run),
    }


def _coverage(classifier: LoadedClassifier, run: ScoringRun) -> dict[str, Any]:
    """What the gradient norms are over: every trainable parameter, by rule, and what does not train."""
    covered = sum(math.prod(parameter.shape) for parameter in run.coverage)
    return {
        "parameters": len(run.coverage),
        "values": covered,
        "frozen_values": sum(parameter.numel() for parameter in classifier.model.parameters()) - covered,
        "adapter_values": adapter_values(classifier.model),
        "rules": dict(Counter(parameter.rule for parameter in run.coverage)),
    }
