"""Convolutions and their gradients by compiled kernels are torch's own."""

from __future__ import annotations

import copy
import pickle
import platform
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from sharewise.errors import ConfigurationError
from sharewise.run.threads import on_threads
from sharewise.supernet import native
from sharewise.supernet.convolution import convolve
from sharewise.supernet.depthwise_convolution import depthwise
from sharewise.supernet.native import convolution as small
from sharewise.supernet.native import library as kept
from sharewise.supernet.own_forms import by_kernels
from sharewise.supernet.slices.superposed import Window, superposed_convolution

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
            assert native.serves_depthwise(x, kernel)
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
    monkeypatch.setattr(native, "depthwise_gradient", lambda *given: called.append("kernel") or torch.zeros_like(w))
    monkeypatch.setattr(native, "depthwise_by_kernel", lambda *given: called.append("image") or torch.zeros_like(x))
    with native.native_kernels():
        convolve(x, w, None, (1, 1), (1, 1), (1, 1), 16).sum().backward()
    assert sorted(called) == ["image", "image", "kernel"]
    convolve(x, w, None, (1, 1), (1, 1), (1, 1), 16).sum().backward()
    assert len(called) == 3, "outside of the block it is torch"
    with native.native_kernels(), torch.no_grad():
        convolve(x, w, None, (1, 1), (1, 1), (1, 1), 16)
    assert called[3:] == ["image"], "what is evaluated, too"


@compiled
@pytest.mark.parametrize(("channels", "dilation"), [(4, 1), (16, 1), (16, 2)])
def test_gradients_in_float32_are_as_accurate_as_torch(channels: int, dilation: int) -> None:
    shape = (16, channels, 16, 16)
    x, w = leaves(shape, 5, torch.float32)
    dy = torch.randn(*shape, generator=torch.Generator().manual_seed(1)).contiguous(memory_format=torch.channels_last)
    with native.native_kernels():
        mine = native.depthwise_gradient(x, dy, 5, dilation)
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

    assert not native.serves_depthwise(image(1, 16, 4, 4), 3), "they are off"
    with native.native_kernels():
        assert native.serves_depthwise(image(1, 16, 4, 4), 3)
        assert not native.serves_depthwise(image(1, 12, 4, 4), 3), "12 channels fill no vectors"
        assert not native.serves_depthwise(image(1, 4, 4, 3), 3), "nor do rows of 12 numbers"
        assert not native.serves_depthwise(image(1, 16, 4, 4), 9)
        assert not native.serves_depthwise(image(1, 16, 4, 4, dtype=torch.bfloat16), 3)
        assert not native.serves_depthwise(image(0, 16, 4, 4), 3)
        with on_threads(2):
            assert not native.serves_depthwise(image(1, 16, 4, 4), 3), "torch shares the work among its threads"


@compiled
def test_what_writes_operations_down_sees_torch() -> None:
    x, w = leaves((1, 16, 4, 4), 3, torch.float32)
    with native.native_kernels(), FlopCounterMode(display=False) as counted:
        assert not native.serves_depthwise(x, 3)
        convolve(x, w, None, (1, 1), (1, 1), (1, 1), 16)
    assert counted.get_total_flops() > 0


@pytest.fixture
def however_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels for small convolutions serve images of any size, so that tests may be quick."""
    monkeypatch.setattr(small, "_PIXELS", 1)


DENSE = [
    (2, 16, 16, 8, 8),
    (1, 32, 16, 5, 7),
    (3, 16, 48, 1, 1),
    (2, 128, 16, 2, 3),
    (1, 16, 128, 4, 1),
    (5, 16, 16, 6, 34),  # more tiles than are transformed at a time
    (1, 64, 32, 3, 8),
]
"""Images, inputs, outputs, height and width."""

SAME = ((1, 1), (1, 1), (1, 1), 1)
"""Stride, padding, dilation and groups, for kernels of 3×3."""

SIZES = (1, 3)
"""Of kernels."""


def same(size: int) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int], int]:
    """Stride, padding, dilation and groups, for kernels of a size."""
    return (1, 1), (size // 2, size // 2), (1, 1), 1


def dense_leaves(shape: tuple[int, ...], dtype: torch.dtype, *, last: bool = True, size: int = 3) -> list[Tensor]:
    n, inputs, outputs, height, width = shape
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, inputs, height, width, generator=generator, dtype=dtype) / 4
    w = torch.randn(outputs, inputs, size, size, generator=generator, dtype=dtype) / (inputs * outputs) ** 0.5
    layout = torch.channels_last if last else torch.contiguous_format
    return [
        x.contiguous(memory_format=torch.channels_last).requires_grad_(),
        w.contiguous(memory_format=layout).requires_grad_(),
    ]


@compiled
@pytest.mark.usefixtures("however_few")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("shape", "last"), [(shape, index % 2 == 0) for index, shape in enumerate(DENSE)])
def test_derivatives_of_all_orders(shape: tuple[int, ...], last: bool, size: int) -> None:
    x, w = dense_leaves(shape, torch.float64, last=last, size=size)
    found = []
    for make in (lambda: convolve(x, w, None, *same(size)), lambda: F.conv2d(x, w, None, 1, size // 2)):
        with native.native_kernels():
            assert native.serves_convolution(x, w)
            y = make()
            plain = torch.autograd.grad(make().sin().sum(), [x, w])
            first = torch.autograd.grad(y.sin().sum(), [x, w], create_graph=True)
            loss = torch.stack([g.cos().mean() for g in first]).sum()
            second = torch.autograd.grad(loss, [x, w], create_graph=True)
            loss = torch.stack([g.sin().mean() for g in second]).sum()
            third = torch.autograd.grad(loss, [x, w])
        found.append([y, *plain, *first, *second, *third])
    for mine, theirs in zip(*found, strict=True):
        assert (mine - theirs).norm() <= 1e-10 * theirs.norm()
    assert found[0][2].stride() == w.stride(), "an optimiser meets a gradient in the order of its weight"


@compiled
@pytest.mark.skipif(platform.machine() != "x86_64", reason="vectors have one length on other processors")
@pytest.mark.usefixtures("however_few")
@pytest.mark.parametrize("size", SIZES)
def test_shorter_vectors_compute_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: int) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(kept, "_FLAGS", (*kept._FLAGS, "-mno-avx512f"))
    kept.library.cache_clear()
    for dense, each in zip(DENSE, SHAPES, strict=False):
        x, w = dense_leaves(dense, torch.float64, size=size)
        z, kernel = leaves(each, 3, torch.float64)
        with native.native_kernels():
            pairs = [
                (convolve(x, w, None, *same(size)), F.conv2d(x, w, None, 1, size // 2), [x, w]),
                (depthwise(z, kernel, 1), F.conv2d(z, kernel, None, 1, 1, 1, len(kernel)), [z, kernel]),
            ]
            for mine, theirs, inputs in pairs:
                found, expected = (torch.autograd.grad(y.sin().sum(), inputs) for y in (mine, theirs))
                for a, b in zip([mine, *found], [theirs, *expected], strict=True):
                    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    kept.library.cache_clear()


@compiled
@pytest.mark.usefixtures("however_few")
@pytest.mark.parametrize("size", SIZES)
def test_any_strides_of_a_weight(size: int) -> None:
    x, w = dense_leaves((2, 32, 16, 6, 6), torch.float64, size=size)
    wide = torch.randn(2, 64, 32, size, size, dtype=torch.float64)
    with native.native_kernels():
        turned = torch.complex(w.detach(), w.detach()).conj().imag
        assert turned.is_neg()
        expanded = wide[0, 16:32, :, :1, :1].expand(-1, -1, size, size)
        for weight in (w.detach(), wide[1, 16:48:2, :], expanded, w.detach().mT, turned):
            y = convolve(x, weight, None, *same(size))
            assert type(y.grad_fn).__name__ == "_ImageBackward"
            expected = F.conv2d(x, weight, None, 1, size // 2)
            torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-10)
            dy = torch._neg_view(torch.randn_like(expected))
            mine, theirs = (torch.autograd.grad(value, x, dy) for value in (y, expected))
            torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


@compiled
def test_what_torch_refuses_is_refused() -> None:
    x, w = dense_leaves((2, 32, 16, 16, 16), torch.float32)
    with native.native_kernels():
        for images in (x[:, :16], torch.cat([x, x, x, x], 1)):
            with pytest.raises(RuntimeError, match="channels"):
                convolve(images.contiguous(memory_format=torch.channels_last), w, None, *SAME)
        assert convolve(x[0], w, None, *SAME).shape == (16, 16, 16), "one image without a batch"
        assert not native.serves_convolution(x, torch.empty(16, 32, 3, 3, device="meta"))


@compiled
def test_transforms_of_functions_are_torch_s() -> None:
    x, w = dense_leaves((2, 16, 16, 16, 16), torch.float64)
    x, w = x.detach(), w.detach()
    with native.native_kernels():
        mine = torch.func.grad(lambda w: convolve(x, w, None, *SAME).sin().sum())(w)
        each = torch.func.vmap(lambda image: convolve(image[None], w, None, *SAME)[0])(x)
    theirs = torch.func.grad(lambda w: F.conv2d(x, w, None, 1, 1).sin().sum())(w)
    torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(each, F.conv2d(x, w, None, 1, 1))


@compiled
def test_a_device_that_is_set_elsewhere_stays_there() -> None:
    x, w = leaves((2, 16, 8, 8), 5, torch.float32)
    settings = (None, (1, 1), (2, 2), (1, 1), 16)
    with torch.device("meta"):
        convolve(x, w, *settings).sum().backward()
    convolve(x, w, *settings).sum().backward()
    assert w.grad is not None


@compiled
def test_networks_that_compute_parts_again() -> None:
    layer = nn.Conv2d(16, 16, 3, padding=1, bias=False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(2, 16, 16, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
    found = []
    for again in (True, False):
        with by_kernels(layer):
            y = checkpoint(layer, x, use_reentrant=False) if again else layer(x)
            found.append(torch.autograd.grad(y.sin().sum(), [x, layer.weight]))
    assert all(map(torch.equal, *found))


@compiled
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", [(32, 16, 16, 32, 32), (32, 32, 64, 16, 16), (32, 64, 64, 8, 8)])
def test_convolutions_in_float32_are_as_accurate_as_torch(shape: tuple[int, ...], size: int) -> None:
    x, w = dense_leaves(shape, torch.float32, size=size)
    dy = torch.randn(shape[0], shape[2], *shape[3:], generator=torch.Generator().manual_seed(1))
    dy = dy.contiguous(memory_format=torch.channels_last)

    def computed(dtype: torch.dtype) -> list[Tensor]:
        leaves = [value.detach().to(dtype).requires_grad_() for value in (x, w)]
        y = convolve(leaves[0], leaves[1], None, *same(size))
        return [y.detach(), *torch.autograd.grad(y, leaves, dy.to(dtype))]

    with native.native_kernels():
        mine = computed(torch.float32)
    for own, theirs, exact in zip(mine, computed(torch.float32), computed(torch.float64), strict=True):
        assert (own - exact).norm() <= 1.5 * (theirs - exact).norm()


@compiled
def test_they_are_what_computes_small_convolutions(kernel_calls: list[str]) -> None:
    x, w = dense_leaves((2, 16, 16, 16, 16), torch.float32)
    with native.native_kernels():
        torch.autograd.grad(convolve(x, w, None, *SAME).sum(), [x])
        assert kernel_calls == ["convolution_by_kernel", "transposed_by_kernel"], "nobody asks for that of the kernel"
        torch.autograd.grad(convolve(x, w, None, *SAME).sum(), [w])
        assert kernel_calls[-1] == "convolution_gradient"
        y = convolve(x, w, None, *SAME)
    kernel_calls.clear()
    counts = []
    for made in (y, F.conv2d(x, w, None, 1, 1)):
        with FlopCounterMode(display=False) as counted_flops:
            first = torch.autograd.grad(made.sin().sum(), [x, w], create_graph=True)
            torch.autograd.grad(torch.stack([g.cos().sum() for g in first]).sum(), [x, w])
        counts.append(counted_flops.get_total_flops())
    assert not kernel_calls, "what writes operations down sees torch in both backward passes, too"
    assert all(counts)
    with native.native_kernels(), torch.no_grad():
        convolve(x, w, None, *SAME)
    assert kernel_calls == ["convolution_by_kernel"], "what is evaluated meets them, too"
    kernel_calls.clear()
    with native.native_kernels():
        convolve(x, w, torch.zeros(16), *SAME)
        convolve(x, w, None, (2, 2), *SAME[1:])
        convolve(x, w, None, (1, 1), (0, 0), (1, 1), 1)
        convolve(x, w, None, (1, 1), (2, 2), (2, 2), 1)
        convolve(x, w[:, :8].repeat(1, 1, 1, 1), None, (1, 1), (1, 1), (1, 1), 2)
        convolve(x.contiguous(), w, None, *SAME)
    assert not kernel_calls, "what they do not know is torch's"


@compiled
def test_what_they_serve_of_small_convolutions() -> None:
    def serves(inputs: int = 16, outputs: int = 16, size: int = 3, dtype: torch.dtype = torch.float32) -> bool:
        x = torch.zeros(2, inputs, 16, 8, dtype=dtype)
        return native.serves_convolution(x, torch.zeros(outputs, inputs, size, size, dtype=dtype))

    assert not serves(), "they are off"
    with native.native_kernels():
        assert serves()
        assert serves(128, 32)
        assert serves(size=1)
        assert not serves(3)
        assert not serves(16, 10)
        assert not serves(16, 144)
        assert not serves(size=5)
        assert not serves(size=2)
        assert not serves(dtype=torch.bfloat16)
        weight = torch.zeros(16, 16, 3, 3)
        assert not native.serves_convolution(torch.zeros(2, 16, 16, 8).double(), weight)
        assert not native.serves_convolution(torch.zeros(2, 16, 16, 7), weight), "few pixels gain nothing"
        with on_threads(2):
            assert not serves()


@compiled
def test_layers_of_plain_networks_meet_them_within_a_block() -> None:
    x, w = dense_leaves((2, 16, 16, 16, 16), torch.float64)
    layer = nn.Conv2d(16, 16, 3, padding=1, bias=False).double()
    layer.weight = nn.Parameter(w.detach())

    def node(made: Tensor) -> str:
        return type(made.grad_fn).__name__

    with by_kernels(layer):
        other = copy.deepcopy(layer)
        with native.native_kernels(False):
            assert node(layer(x)) == "ConvolutionBackward0"
        assert node(layer(x)) == "_ImageBackward"
        torch.testing.assert_close(layer(x), F.conv2d(x.detach(), w.detach(), None, 1, 1), rtol=1e-10, atol=1e-10)
        other = copy.deepcopy(layer)
        assert pickle.loads(pickle.dumps(other.requires_grad_(False)))(x).equal(other(x))
        with torch.no_grad():
            other.weight.zero_()
        assert not other(x).any(), "a copy has its own weight"
    assert "forward" not in vars(layer)
    assert node(other.requires_grad_()(x)) == "ConvolutionBackward0", "a copy that outlives the block is torch's"
    with pytest.raises(KeyError), by_kernels(layer):
        raise KeyError
    assert "forward" not in vars(layer)
    with by_kernels(layer):
        own = layer.forward = lambda x: x  # type: ignore[method-assign]
    assert layer.forward is own, "what somebody has set meanwhile stays"


@compiled
def test_superposed_weights_meet_them() -> None:
    x, w = dense_leaves((2, 16, 16, 16, 16), torch.float64)
    mask = torch.rand(16, 16, 1, 1, dtype=torch.float64).requires_grad_()
    found = []
    for on in (True, False):
        with native.native_kernels(on):
            y = superposed_convolution(x, w, mask, None, Window(1, 1, 1, 1))
            assert (type(y.grad_fn).__name__ == "_ImageBackward") is on
            found.append([y, *torch.autograd.grad(y.sin().sum(), [x, w, mask])])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


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
