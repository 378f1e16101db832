"""How probable it is that a sample's label is wrong, from what others say of it."""

from __future__ import annotations

from models.noise.discriminant import folds_of, temperature
from models.noise.estimate import NoiseEstimate, Reviewed, Trusted, estimate_noise
from models.noise.voices import Judged

__all__ = [
    "Judged",
    "NoiseEstimate",
    "Reviewed",
    "Trusted",
    "estimate_noise",
    "folds_of",
    "temperature",
]
