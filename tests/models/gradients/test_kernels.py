"""The compiled kernels against their definitions in float64, and what happens where they cannot be had."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.gradients.native import Kernels, building, kernels_for, torch_alone
from models.gradients.native import kernels as kernels_module
from tests.models.gradients.checks import assert_close

CLOSE = 1e-5


@pytest.fixture(scope="module")
def kernels() -> Kernels:
    found = kernels_for(torch.zeros(1))
    if found is None:
        pytest.skip("there is no C compiler here")
    return found


@settings(max_examples=60, deadline=None)
@given(
    spans=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=4),
    inputs=st.sampled_from([1, 15, 16, 17, 255, 256, 300, 530]),
    outputs=st.sampled_from([1, 5, 6, 7, 95, 97, 200]),
    with_direction=st.booleans(),
    threads=st.sampled_from([1, 2, 3]),
)
def test_outer(
    kernels: Kernels,
    spans: list[tuple[int, int]],
    inputs: int,
    outputs: int,
    with_direction: bool,
    threads: int,
) -> None:
    generator = torch.Generator().manual_seed(inputs + outputs)
    a = torch.randn(len(spans), 40, inputs, generator=generator)
    b = torch.randn(len(spans), 40, outputs, generator=generator)
    direction = torch.randn(outputs, inputs, generator=generator) if with_direction else None
    starts = torch.tensor([min(span) for span in spans], dtype=torch.int32)
    ends = torch.tensor([max(span) for span in spans], dtype=torch.int32)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        total, norm_sq, dots = kernels.outer(a, b, direction, starts, ends)
    finally:
        torch.set_num_threads(before)
    rows = torch.arange(40)
    counted = (rows >= starts.unsqueeze(1)) & (rows < ends.unsqueeze(1))
    products = (b.double() * counted.unsqueeze(2)).mT @ a.double()
    assert_close(total.double(), products.sum(0), CLOSE, "total")
    assert_close(norm_sq.double(), products.square().sum((1, 2)), CLOSE, "norm_sq")
    if direction is None:
        assert dots is None
        return
    assert dots is not None
    scale = float(products.norm(dim=(1, 2)).max() * direction.double().norm()) or 1.0
    expected = (products * direction.double()).sum((1, 2))
    assert float((dots.double() - expected).abs().max()) <= CLOSE * scale


@pytest.mark.parametrize("width", [1, 7, 16, 33])
def test_rows(kernels: Kernels, width: int) -> None:
    values = torch.randn(4, 9, width)
    values[0] = 0.0
    values[1, :2] = 0.0
    values[1, 5:] = -0.0
    values[2, 3] = 0.0  # within the stretch
    values[3, :8] = 0.0
    values[3, 8] = torch.nan
    scan = kernels.rows(values)
    assert scan.starts.tolist() == [0, 2, 0, 8]
    assert scan.ends.tolist() == [0, 5, 9, 9]
    assert torch.allclose(scan.sums, values.sum(1), atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("width", [1, 8, 37])
@pytest.mark.parametrize("affine", [True, False])
def test_layer_norm(kernels: Kernels, width: int, affine: bool) -> None:
    torch.manual_seed(width)
    values, gradient = torch.randn(3, 5, width), torch.randn(3, 5, width)
    gradient[0] = 0.0
    gradient[1, 2:4] = 0.0
    weight = torch.randn(width) if affine else None
    _, mean, rstd = torch.native_layer_norm(values, [width], weight, None, 1e-5)
    found = kernels.layer_norm(gradient, values, mean, rstd, weight, (True, True, True))
    inputs = values.double().requires_grad_()
    normalised = torch.nn.functional.layer_norm(inputs, [width], None, None, 1e-5)
    output = normalised if weight is None else normalised * weight.double()
    (expected,) = torch.autograd.grad(output, inputs, gradient.double())
    wide = gradient.double()
    for got, want in zip(found, (expected, (wide * normalised).sum(1), wide.sum(1)), strict=True):
        assert got is not None
        assert torch.allclose(got.double(), want.detach(), atol=1e-4, rtol=1e-4)
    assert kernels.layer_norm(gradient, values, mean, rstd, weight, (False, False, False)) == (None,) * 3


def test_a_nan_stays_one(kernels: Kernels) -> None:
    a, b = torch.randn(2, 4, 20), torch.randn(2, 4, 20)
    b[1, 2, 3] = torch.nan
    starts, ends = torch.zeros(2, dtype=torch.int32), torch.full((2,), 4, dtype=torch.int32)
    total, norm_sq, _ = kernels.outer(a, b, None, starts, ends)
    assert norm_sq.isnan().tolist() == [False, True]
    assert total[3].isnan().all()
    assert not total[4].isnan().any()


def test_only_float32_on_the_processor_goes_to_the_kernels() -> None:
    assert kernels_for(torch.zeros(1), torch.zeros(1, dtype=torch.float64)) is None
    assert kernels_for(torch.zeros(1, dtype=torch.bfloat16)) is None
    with torch_alone():
        assert kernels_for(torch.zeros(1)) is None


def test_without_a_compiler_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert building.load_library() is None


def test_a_compiler_that_fails_is_told_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho no such target >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with caplog.at_level(logging.WARNING):
        assert building.load_library() is None
    assert "no such target" in caplog.text


def test_a_cache_that_others_may_write_to_is_not_used(
    kernels: Kernels, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "gradsift"
    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert building.load_library() is not None
    assert list(folder.iterdir()) == []
    folder.chmod(0o700)
    assert building.load_library() is not None
    assert [path.suffix for path in folder.iterdir()] == [".so"]


def test_kernels_that_compute_something_else_are_noticed(
    kernels: Kernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kernels_module.agrees_with_torch(kernels)
    right = Kernels.outer

    def wrong(*args: object) -> tuple[object, ...]:
        total, norm_sq, dots = right(*args)  # type: ignore[arg-type]
        return total, norm_sq * 1.01, dots

    monkeypatch.setattr(Kernels, "outer", wrong)
    assert not kernels_module.agrees_with_torch(kernels)
