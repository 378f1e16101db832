"""What a job's result says of its material and its sets."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from app.contracts import SetVersion
from models.encoders import LoadedClassifier
from models.encoders.adapters import adapter_values
from models.gradients import ParameterCoverage
from workers.score.groundwork import Material


def described(material: Material, coverage: Mapping[str, Any], sets: SetVersion) -> dict[str, Any]:
    """The part of a result that tells what the job worked on and where its samples went."""
    data, lineage = material.data, material.lineage
    return {
        "set_version": sets.version,
        "sets": sets.sizes,
        "scored": sum(sets.sizes.values()),
        "labels": list(data.classes),
        "train_samples": len(data.train),
        "validation_samples": 0 if data.validation is None else len(data.validation),
        "validation_source": data.validation_source,
        "skipped_unlabelled": data.skipped_unlabelled,
        "excluded": data.excluded,
        "lineage": lineage.id,
        "model_revision": lineage.revision,
        "data_version": material.version,
        "provenance": dict(material.provenance),
        "coverage": coverage,
    }


def coverage_told(classifier: LoadedClassifier, coverage: Sequence[ParameterCoverage]) -> dict[str, Any]:
    """What the gradient norms are over: every trainable parameter, by rule, and what does not train."""
    covered = sum(math.prod(parameter.shape) for parameter in coverage)
    return {
        "parameters": len(coverage),
        "values": covered,
        "frozen_values": sum(parameter.numel() for parameter in classifier.model.parameters()) - covered,
        "adapter_values": adapter_values(classifier.model),
        "rules": dict(Counter(parameter.rule for parameter in coverage)),
    }
