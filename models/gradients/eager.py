"""Observed code is not compiled: ``torch.compile`` works around it, and compiles what lies between."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import torch

P = ParamSpec("P")
R = TypeVar("R")


def eager(function: Callable[P, R]) -> Callable[P, R]:
    """A graph break: what it records of a pass must happen in every pass, not once while it is traced."""
    return cast("Callable[P, R]", torch.compiler.disable(function))
