"""The compiled CPU kernels as functions of tensors, beside the torch forms that they are faster than.

They take contiguous float32 on the CPU; ``kernels_for`` says whether they can be had for given tensors.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from models.gradients.native.building import load_library

_P, _L, _I = ctypes.c_void_p, ctypes.c_long, ctypes.c_int
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RowScan:
    """The rows ``starts[i]:ends[i]`` hold all that are not zero.

    starts, ends: int32 ``(batch,)``; sums: ``(batch, width)``.
    """

    starts: Tensor
    ends: Tensor
    sums: Tensor


class Kernels:
    """Raises AttributeError if the library lacks one of them."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._outer = library.gradsift_outer
        self._outer.argtypes = [_P] * 5 + [_L] * 4 + [_P] * 3 + [_I]
        self._outer.restype = _I
        self._rows = library.gradsift_rows
        self._rows.argtypes = [_P] + [_L] * 3 + [_P] * 3 + [_I]
        self._rows.restype = None
        self._layer_norm = library.gradsift_layer_norm
        self._layer_norm.argtypes = [_P] * 5 + [_L] * 3 + [_P] * 3 + [_I]
        self._layer_norm.restype = None

    def outer(
        self, a: Tensor, b: Tensor, direction: Tensor | None, starts: Tensor, ends: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """``sum_i G_i`` ``(out, in)``, ``|G_i|^2`` and ``<G_i, direction>`` ``(batch,)``.

        ``G_i = b_i^T a_i`` of a: ``(batch, rows, in)`` and b: ``(batch, rows, out)``; direction: ``(out,
        in)`` or None; starts, ends: int32 ``(batch,)``, the rows of sample i that count. Raises MemoryError.
        """
        batch, rows, width = a.shape
        a, b = a.contiguous(), b.contiguous()
        direction = None if direction is None else direction.contiguous()
        total = a.new_empty(b.shape[2], width)
        norm_sq = a.new_empty(batch)
        dots = None if direction is None else a.new_empty(batch)
        shape = (batch, rows, width, b.shape[2])
        inputs = (_address(a), _address(b), _address(direction), _address(starts), _address(ends))
        results = (_address(total), _address(norm_sq), _address(dots))
        if self._outer(*inputs, *shape, *results, torch.get_num_threads()):
            raise MemoryError("no memory for the buffers of a weight gradient")
        return total, norm_sq, dots

    def rows(self, values: Tensor) -> RowScan:
        """Of ``(batch, rows, width)``."""
        values = values.contiguous()
        starts, ends = torch.empty(2, len(values), dtype=torch.int32).unbind(0)
        sums = values.new_empty(len(values), values.shape[2])
        addresses = (_address(starts), _address(ends), _address(sums))
        self._rows(_address(values), *values.shape, *addresses, torch.get_num_threads())
        return RowScan(starts, ends, sums)

    def layer_norm(
        self,
        gradient: Tensor,
        values: Tensor,
        mean: Tensor,
        rstd: Tensor,
        weight: Tensor | None,
        needed: Sequence[bool],
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Gradients of the values and, per sample, of scale and shift; None for what is not ``needed``.

        gradient, values: ``(batch, ..., width)``; mean, rstd: ``(batch, ..., 1)``; weight: ``(width,)`` or
        None.
        """
        batch, width = len(values), values.shape[-1]
        gradient, values = gradient.contiguous(), values.contiguous()
        grad_values = torch.empty_like(values) if needed[0] else None
        scales = values.new_empty(batch, width) if needed[1] else None
        shifts = values.new_empty(batch, width) if needed[2] else None
        inputs = (gradient, values, mean, rstd, weight)
        shape = (batch, values[0].numel() // width, width)
        results = (_address(grad_values), _address(scales), _address(shifts))
        self._layer_norm(*map(_address, inputs), *shape, *results, torch.get_num_threads())
        return grad_values, scales, shifts


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


class _Provider:
    """Loads the kernels when they are first asked for."""

    def __init__(self) -> None:
        self.enabled = True

    @cached_property
    def loaded(self) -> Kernels | None:
        library = load_library()
        if library is None:
            return None
        kernels = Kernels(library)
        if not agrees_with_torch(kernels):
            log.warning("The CPU kernels compute something else than torch here; they are not used.")
            return None
        return kernels


_provider = _Provider()


def kernels_for(*tensors: Tensor) -> Kernels | None:
    """The kernels, if these tensors are such as they take and the machine has them."""
    if not _provider.enabled or not all(t.is_cpu and t.dtype == torch.float32 for t in tensors):
        return None
    return _provider.loaded


def use_kernels(wanted: bool) -> None:
    """Whether this process is to use the kernels where it has them; it is, unless told otherwise."""
    _provider.enabled = wanted


@contextmanager
def torch_alone() -> Iterator[None]:
    """Without the kernels for a while: for tests and benchmarks of the torch forms."""
    before = _provider.enabled
    use_kernels(False)
    try:
        yield
    finally:
        use_kernels(before)


def agrees_with_torch(kernels: Kernels) -> bool:
    """One small case of each kernel, against its definition; sizes that leave every remainder."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 5, 37, generator=generator), torch.randn(2, 5, 23, generator=generator)
    b[0, 3:] = 0.0
    scan = kernels.rows(b)
    total, norm_sq, _ = kernels.outer(a, b, None, scan.starts, scan.ends)
    products = b.mT @ a
    normalised, mean, rstd = torch.native_layer_norm(a, [37], None, None, 1e-5)
    scales = kernels.layer_norm(a, a, mean, rstd, None, (True, True, True))[1]
    pairs = (
        (scan.ends.float(), torch.tensor([3.0, 5.0])),
        (scan.sums, b.sum(1)),
        (total, products.sum(0)),
        (norm_sq, products.square().sum((1, 2))),
        (scales, (a * normalised).sum(1)),
    )
    return all(got is not None and torch.allclose(got, want, rtol=1e-4, atol=1e-4) for got, want in pairs)
