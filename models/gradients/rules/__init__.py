"""One rule per layer type, found by the module's own forward and not by the model's name."""

from __future__ import annotations

from torch import nn

from models.gradients.rules.base import Rule, Site
from models.gradients.rules.broadcast import BroadcastRule, RMSNormRule
from models.gradients.rules.convolution import ConvolutionRule
from models.gradients.rules.embedding import EmbeddingRule
from models.gradients.rules.linear import LinearRule
from models.gradients.rules.normalisation import LayerNormRule

__all__ = ["Rule", "Site", "find_rule", "register_rule"]

_RULES: list[Rule] = [
    BroadcastRule(),
    RMSNormRule(),
    ConvolutionRule(),
    LayerNormRule(),
    EmbeddingRule(),
    LinearRule(),
]


def find_rule(module: nn.Module) -> Rule | None:
    """The last registered rule that covers the module as it is configured."""
    return next((rule for rule in reversed(_RULES) if rule.covers(module)), None)


def register_rule(rule: Rule) -> None:
    """Add a rule, asked before those registered earlier."""
    _RULES.append(rule)
