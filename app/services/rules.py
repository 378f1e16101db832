"""The rule that gave a sample its place, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.contracts import UNSCORED

_BY_POLICY = {
    ("seed", "important"): "its importance is among the highest {core_fraction:.0%}",
    ("seed", "easy"): "its importance is among the lowest {noise_fraction:.0%}",
    ("seed", "uncertain"): "its importance is neither among the highest {core_fraction:.0%} nor among the "
    "lowest {noise_fraction:.0%}",
    ("top_k", "important"): "its importance is among the highest {core_fraction:.0%} of its label",
    ("top_k", "easy"): "its importance is not among the highest {core_fraction:.0%} of its label",
    ("ccs", "coverage"): "it was drawn for its part of the range of importance, which the core covers evenly",
    ("ccs", "redundant"): "others were drawn for its part of the range of importance",
    ("ccs", "outlier"): "its importance is among the highest {noise_fraction:.0%}, which are cut off",
    ("random", "coverage"): "it was drawn at random",
    ("random", "redundant"): "others were drawn at random",
}
_OF_ROBUST = {
    "coverage": "its label is credible, and it is one of those that cover where its label's texts lie, or "
    "one of the most ambiguous of a label that has plenty",
    "protected": "its label is credible, and without it the label would not be in the core",
    "redundant": "its label is credible, but others of its label cover where it lies",
    "uncertain": "its label is not credible enough for the core, and not wrong enough for noise",
    "mislabelled": "its label is more probably wrong than right, by the evidence or by a reviewer's word",
    "duplicate": "another sample has the same text: one copy of a label stands for all, and labels that are "
    "outvoted are noise",
}
_UNKNOWN = "the policy gave it the reason `{reason}`"


def rule(policy: str, reason: str, known: Mapping[str, Any]) -> str:
    """A sentence. known: the version's parameters, and the sample's `noise_probability`."""
    if reason == UNSCORED:
        return "It has no place in the present sets: no job has scored it as it is."
    by_robust = _OF_ROBUST.get(reason) if policy == "robust" else None
    words = _BY_POLICY.get((policy, reason)) or by_robust or _UNKNOWN
    said = words.format(**{"reason": reason, **known})
    probability = known.get("noise_probability")
    judged = "" if probability is None else f" (probability that its label is wrong: {probability:.0%})"
    return f"{said[0].upper()}{said[1:]}{judged}."
