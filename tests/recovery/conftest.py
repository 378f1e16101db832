"""Real jobs on a tiny model, as in the tests of the workers; then what a disaster leaves of them."""

from __future__ import annotations

from tests.workers.conftest import bench, make_rows, redis_url, settings, short_lease, state, tiny_model

__all__ = ["bench", "make_rows", "redis_url", "settings", "short_lease", "state", "tiny_model"]
