"""A seeded random projection of the whole gradient, small enough to keep for every sample.

``response=vector`` asks for ``|mean over visits of g_i|``, so gradients themselves have to be added up. A
CountSketch keeps k numbers: every coordinate is added, with a random sign, to one of k buckets. It is linear
and keeps lengths: ``E |sketch(g)|^2 = |g|^2``, with variance at most ``2 |g|^4 / k``.

A weight's gradient is a sum of outer products ``b a^T``. With the bucket of entry (o, i) taken as
``h(o) + h'(i) mod k``, the sketch of an outer product is the circular convolution of the factors' sketches:
it comes from the factors, by FFT, without forming the product.

Source: Charikar, Chen, Farach-Colton, 2002 (CountSketch); Pham and Pagh, 2013 (TensorSketch).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from models.gradients.forms import LookupGradient, OuterGradient, SampleGradient, VectorGradient
from models.gradients.precision import widened


@dataclass(frozen=True, slots=True)
class _Axis:
    """Bucket and sign of every index of one axis."""

    buckets: Tensor
    signs: Tensor

    def sketch(self, values: Tensor, dim: int) -> Tensor:
        """``(..., size) -> (..., dim)``."""
        signed = widened(values) * self.signs.to(values.device)
        empty = signed.new_zeros(*signed.shape[:-1], dim)
        return empty.index_add_(-1, self.buckets.to(values.device), signed)


class SeededProjection:
    """The same linear map ``R^P -> R^dim`` for the same seed, parameter names and dimension."""

    def __init__(self, dim: int, seed: int) -> None:
        self.dim = dim
        self.seed = seed
        self._axes: dict[tuple[str, int], _Axis] = {}

    def sketch(self, name: str, shape: torch.Size, gradient: SampleGradient) -> Tensor:
        """``(batch, dim)``: what the parameter ``name`` of this shape adds to its samples' projections."""
        if isinstance(gradient, OuterGradient):
            return self._of_outer(name, shape, gradient)
        if isinstance(gradient, LookupGradient):
            return self._of_lookup(name, shape, gradient)
        if isinstance(gradient, VectorGradient):
            return self._of_values(name, shape, gradient.values)
        raise TypeError(f"No projection of {type(gradient).__name__}.")

    def _of_outer(self, name: str, shape: torch.Size, gradient: OuterGradient) -> Tensor:
        rows, columns = (gradient.a, gradient.b) if gradient.transposed else (gradient.b, gradient.a)
        left = torch.fft.rfft(self._axis(name, 0, shape[0]).sketch(rows, self.dim))
        right = torch.fft.rfft(self._axis(name, 1, shape[1:].numel()).sketch(columns, self.dim))
        sketch: Tensor = torch.fft.irfft((left * right).sum(1), n=self.dim)
        return sketch

    def _of_lookup(self, name: str, shape: torch.Size, gradient: LookupGradient) -> Tensor:
        rows, columns = self._axis(name, 0, shape[0]), self._axis(name, 1, shape[1])
        ids, device = gradient.ids, gradient.b.device
        buckets = rows.buckets.to(device)[ids].unsqueeze(2) + columns.buckets.to(device)
        signs = rows.signs.to(device)[ids].unsqueeze(2) * columns.signs.to(device)
        signed = widened(gradient.rows) * signs
        empty = signed.new_zeros(len(ids), self.dim)
        return empty.scatter_add_(1, (buckets % self.dim).flatten(1), signed.flatten(1))

    def _of_values(self, name: str, shape: torch.Size, values: Tensor) -> Tensor:
        if len(shape) < 2:
            return self._axis(name, 0, shape.numel()).sketch(values.flatten(1), self.dim)
        rows, columns = self._axis(name, 0, shape[0]), self._axis(name, 1, shape[1:].numel())
        buckets = ((rows.buckets.unsqueeze(1) + columns.buckets) % self.dim).flatten()
        signs = (rows.signs.unsqueeze(1) * columns.signs).flatten()
        return _Axis(buckets, signs).sketch(values.flatten(1), self.dim)

    def _axis(self, name: str, axis: int, size: int) -> _Axis:
        known = self._axes.get((name, axis))
        if known is None:
            digest = hashlib.sha256(f"{self.seed}/{axis}/{name}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
            buckets = torch.randint(0, self.dim, (size,), generator=generator)
            signs = torch.randint(0, 2, (size,), generator=generator).mul_(2).sub_(1).float()
            known = self._axes[name, axis] = _Axis(buckets, signs)
        return known
