"""What a client may ask of a `clean` job."""

from __future__ import annotations

from pydantic import Field

from app.contracts.base import Count, Real
from app.contracts.params.budget import BudgetParams


class CleanParams(BudgetParams):
    """Parameters of a `clean` job."""

    near_duplicate_threshold: Real = Field(
        default=0.8,
        ge=0.5,
        le=1.0,
        description="Texts are near-duplicates from this Jaccard similarity of their shingles on.",
    )
    word_shingle: Count = Field(default=3, ge=1, le=10, description="Words in a row that make a shingle.")
    character_shingle: Count = Field(
        default=3, ge=1, le=20, description="Characters in a row that make a shingle, of short texts."
    )
    num_perm: Count = Field(
        default=128,
        ge=16,
        le=1024,
        description="Hash functions of MinHash: the more of them, the fewer false candidates to compare.",
    )
    min_chars: Count = Field(
        default=2, ge=0, le=10_000, description="A text with fewer visible characters is short."
    )
    min_words: Count = Field(
        default=1,
        ge=0,
        le=10_000,
        description="A text with fewer words is short; where a script has no spaces, a character is one.",
    )
    examples: Count = Field(default=5, ge=0, le=100, description="Samples to show of each flag.")
