"""Small compiled kernels for the processor: per-sample products in cache, rows, layer normalisation."""

from models.gradients.native.kernels import Kernels, RowScan, kernels_for, torch_alone, use_kernels

__all__ = ["Kernels", "RowScan", "kernels_for", "torch_alone", "use_kernels"]
