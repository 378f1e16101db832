"""Per-sample gradients of what a model computes once for the whole batch.

Tables of relative positions, position embeddings and class tokens have no batch dimension: the model expands
them, or what it made of them, to the batch later. At that *join* the gradient still has a row for every
sample; above it autograd has summed them. So the join is observed, and each sample's own gradient is carried
from there back to the parameters, beside the sum that autograd carries:

* ``BatchFreeTensor`` marks such values on their way through the model, and finds the joins.
* A ``Source`` is where they begin, a parameter or a module's output, and collects what its joins deliver.
* What lies between two of them (views, dropout, scaling) is autograd's own graph, run backward for all
  samples at once.

Nothing is taken on trust: what was delivered to a source must add up to the gradient that autograd brings to
it, or its parameters are given up to the exact fallback.
"""

from __future__ import annotations

from models.gradients.batch_free.calls import apply_batch_free, raw_parameter
from models.gradients.batch_free.operations import Operations
from models.gradients.batch_free.tensors import BatchFreeTensor

__all__ = ["BatchFreeTensor", "Operations", "apply_batch_free", "raw_parameter"]
