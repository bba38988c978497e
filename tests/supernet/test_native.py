"""Gradients of depthwise convolutions by compiled kernels are torch's own."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from sharewise.errors import ConfigurationError
from sharewise.run.threads import on_threads
from sharewise.supernet import native
from sharewise.supernet.convolution import convolve, depthwise
from sharewise.supernet.native import library as kept

pytestmark = pytest.mark.usefixtures("kernel_cache")
compiled = pytest.mark.usefixtures("compiler")
SHAPES = [(2, 2, 5, 8), (3, 4, 6, 4), (2, 8, 4, 6), (2, 16, 5, 7), (2, 32, 9, 3), (1, 48, 4, 4)]


def leaves(shape: tuple[int, ...], kernel: int, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(*shape, generator=generator, dtype=dtype).contiguous(memory_format=torch.channels_last)
    w = torch.randn(shape[1], 1, kernel, kernel, generator=generator, dtype=dtype)
    return [x.requires_grad_(), w.requires_grad_()]


@compiled
@pytest.mark.parametrize(("shape", "kernel", "dilation"), list(product(SHAPES, (3, 5, 7), (1, 2))))
def test_gradients_and_their_derivatives(shape: tuple[int, ...], kernel: int, dilation: int) -> None:
    x, w = leaves(shape, kernel, torch.float64)
    if shape[3] <= dilation * (kernel // 2):
        pytest.skip("a row is narrower than the kernel, which torch computes")
    found = []
    for make in (
        lambda: depthwise(x, w, dilation),
        lambda: F.conv2d(x, w, None, 1, dilation * (kernel // 2), dilation, shape[1]),
    ):
        with native.native_kernels():
            assert native.serves(x, kernel)
            plain = torch.autograd.grad(make().sin().sum(), [x, w])
            first = torch.autograd.grad(make().sin().sum(), [x, w], create_graph=True)
            second = torch.autograd.grad(torch.stack([g.cos().sum() for g in first]).sum(), [x, w])
        found.append([*plain, *first, *second])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


@compiled
def test_they_are_what_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = leaves((2, 16, 8, 8), 3, torch.float32)
    called = []
    monkeypatch.setattr(native, "kernel_gradient", lambda *given: called.append("kernel") or torch.zeros_like(w))
    monkeypatch.setattr(native, "depthwise_by_kernel", lambda *given: called.append("image") or torch.zeros_like(x))
    with native.native_kernels():
        convolve(x, w, None, (1, 1), (1, 1), (1, 1), 16).sum().backward()
    assert sorted(called) == ["image", "image", "kernel"]
    convolve(x, w, None, (1, 1), (1, 1), (1, 1), 16).sum().backward()
    assert len(called) == 3, "outside of the block it is torch"
    with native.native_kernels(), torch.no_grad():
        convolve(x, w, None, (1, 1), (1, 1), (1, 1), 16)
    assert len(called) == 3, "what is evaluated is torch's"


@compiled
@pytest.mark.parametrize(("channels", "dilation"), [(4, 1), (16, 1), (16, 2)])
def test_gradients_in_float32_are_as_accurate_as_torch(channels: int, dilation: int) -> None:
    shape = (16, channels, 16, 16)
    x, w = leaves(shape, 5, torch.float32)
    dy = torch.randn(*shape, generator=torch.Generator().manual_seed(1)).contiguous(memory_format=torch.channels_last)
    with native.native_kernels():
        mine = native.kernel_gradient(x, dy, 5, dilation)
    reach = 2 * dilation
    theirs, exact = (
        torch.nn.grad.conv2d_weight(x.to(dtype), w.shape, dy.to(dtype), 1, reach, dilation, channels)
        for dtype in (torch.float32, torch.float64)
    )
    assert (mine - exact).abs().max() <= 1.5 * (theirs - exact).abs().max()


@compiled
def test_what_they_serve() -> None:
    def image(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros(*shape, dtype=dtype)

    assert not native.serves(image(1, 16, 4, 4), 3), "they are off"
    with native.native_kernels():
        assert native.serves(image(1, 16, 4, 4), 3)
        assert not native.serves(image(1, 12, 4, 4), 3), "12 channels fill no vectors"
        assert not native.serves(image(1, 4, 4, 3), 3), "nor do rows of 12 numbers"
        assert not native.serves(image(1, 16, 4, 4), 9)
        assert not native.serves(image(1, 16, 4, 4, dtype=torch.bfloat16), 3)
        assert not native.serves(image(0, 16, 4, 4), 3)
        with on_threads(2):
            assert not native.serves(image(1, 16, 4, 4), 3), "torch shares the work among its threads"


@compiled
def test_what_writes_operations_down_sees_torch() -> None:
    x, w = leaves((1, 16, 4, 4), 3, torch.float32)
    with native.native_kernels(), FlopCounterMode(display=False) as counted:
        assert not native.serves(x, 3)
        convolve(x, w, None, (1, 1), (1, 1), (1, 1), 16)
    assert counted.get_total_flops() > 0


def test_a_folder_in_which_no_file_can_be_made_is_said_in_a_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(**named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept.tempfile, "mkstemp", full)
    assert "no file can be made (No space left on device)" in refused(monkeypatch, tmp_path)


def test_a_compiler_that_cannot_be_executed_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "compiler"
    broken.write_bytes(b"\x7fELF nothing")
    broken.chmod(0o700)
    monkeypatch.setenv("CC", str(broken))
    assert "cannot be compiled here" in refused(monkeypatch, tmp_path)


def test_a_user_without_a_home_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(kept.Path, "home", homeless)
    kept.library.cache_clear()
    with pytest.raises(ConfigurationError, match="no home here; set XDG_CACHE_HOME"):
        native.require_library()
    kept.library.cache_clear()


def refused(monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    kept.library.cache_clear()
    with pytest.raises(ConfigurationError) as found:
        native.require_library()
    kept.library.cache_clear()
    assert "\n" not in str(found.value)
    assert "--no-native" in str(found.value)
    return str(found.value)


def test_no_compiler_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert "need a C compiler" in refused(monkeypatch, tmp_path)


def test_a_compiler_that_fails_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "compiler"
    broken.write_text('#!/bin/sh\necho "error: cannot\nbe" >&2\nexit 1\n')
    broken.chmod(0o700)
    monkeypatch.setenv("CC", str(broken))
    assert "cannot be compiled here" in refused(monkeypatch, tmp_path)
    assert not list(tmp_path.rglob("*.so")), "nothing half made is left"


@compiled
def test_a_folder_that_others_may_write_to_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "sharewise/native"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert "that you alone can write to" in refused(monkeypatch, tmp_path)
    folder.rmdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    folder.symlink_to(elsewhere)
    assert "that you alone can write to" in refused(monkeypatch, tmp_path), "no link is followed"


@compiled
def test_a_damaged_library_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "whole"))
    kept.library.cache_clear()
    native.require_library()
    damaged = tmp_path / "damaged/sharewise/native"
    damaged.mkdir(parents=True, mode=0o700)
    for file in (tmp_path / "whole/sharewise/native").glob("*.so"):
        (damaged / file.name).write_bytes(b"no library")
    assert "cannot be loaded" in refused(monkeypatch, tmp_path / "damaged")
