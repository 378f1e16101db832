"""What a training may minimise."""

from __future__ import annotations

CROSS_ENTROPY = "cross_entropy"
BY_QUERY = ("pairwise", "listwise")
"""Of the order within a query, so that a batch must hold queries whole."""
LOSSES = (CROSS_ENTROPY, "ordinal", "mse", *BY_QUERY)
