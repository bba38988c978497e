"""A convolution that rectifies what it reads by itself is one of rectified images."""

from __future__ import annotations

import copy
import gc
from contextlib import nullcontext
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from sharewise.supernet import Wiring, execute, native, term
from sharewise.supernet.again import forgetting
from sharewise.supernet.compiled_norm import compiled_batch_norm
from sharewise.supernet.convolution import convolve_rectified, rectifies
from sharewise.supernet.depthwise_convolution import _Depthwise
from sharewise.supernet.native import convolution as small
from sharewise.supernet.slices.norms import scaled_batch_norm
from sharewise.supernet.twice import differentiated_twice
from sharewise.testing import randomise_norms

pytestmark = pytest.mark.usefixtures("kernel_cache", "compiler")
SHAPES = [(2, 16, 16, 8, 8), (1, 32, 16, 5, 7), (3, 16, 48, 1, 1), (1, 128, 16, 2, 9), (5, 16, 16, 6, 34)]
"""Images, inputs, outputs, height and width."""


@pytest.fixture(autouse=True)
def nobody_listens() -> None:
    """A loop of an earlier test's own, which listens to all layers until Python finds that nobody holds it, is gone."""
    gc.collect()


@pytest.fixture
def however_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels serve images of any size, so that tests may be quick."""
    monkeypatch.setattr(small, "_PIXELS", 1)


def layer_and_images(shape: tuple[int, ...], size: int) -> tuple[nn.Conv2d, Tensor]:
    n, inputs, outputs, height, width = shape
    layer = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False).double()
    x = torch.randn(n, inputs, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[..., 0] = 0  # where a rectification has no derivative, torch takes zero
    return layer, x.contiguous(memory_format=torch.channels_last).requires_grad_()


@pytest.mark.usefixtures("however_few")
@pytest.mark.parametrize(("shape", "size"), list(product(SHAPES, (1, 3))))
def test_derivatives_of_all_orders(shape: tuple[int, ...], size: int) -> None:
    layer, x = layer_and_images(shape, size)
    w, found = layer.weight, []
    for make in (lambda: convolve_rectified(layer, x), lambda: F.conv2d(x.relu(), w, None, 1, size // 2)):
        with native.native_kernels():
            assert rectifies(layer, x)
            plain = torch.autograd.grad(make().sin().sum(), [x, w])
            images = torch.autograd.grad(make().sin().sum(), [x])
            kernel = torch.autograd.grad(make().sin().sum(), [w])
            first = torch.autograd.grad(make().sin().sum(), [x, w], create_graph=True)
            loss = torch.stack([g.cos().mean() for g in first]).sum()
            second = torch.autograd.grad(loss, [x, w], create_graph=True)
            third = torch.autograd.grad(torch.stack([g.sin().mean() for g in second]).sum(), [x, w])
        found.append([make(), *plain, *images, *kernel, *first, *second, *third])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("however_few")
@pytest.mark.parametrize("size", [1, 3])
def test_what_is_no_number_stays_none(size: int) -> None:
    layer, x = layer_and_images((1, 16, 16, 4, 4), size)
    with torch.no_grad():
        x[0, 3, 1, 1] = torch.nan
    with native.native_kernels():
        mine = convolve_rectified(layer, x)
    theirs = F.conv2d(x.relu(), layer.weight, None, 1, size // 2)
    torch.testing.assert_close(mine, theirs, equal_nan=True)
    dy = torch.ones_like(theirs)
    with native.native_kernels():
        found = torch.autograd.grad(mine, [x, layer.weight], dy)
    for own, expected in zip(found, torch.autograd.grad(theirs, [x, layer.weight], dy), strict=True):
        torch.testing.assert_close(own, expected, equal_nan=True)


def test_kernels_rectify_in_passing(kernel_calls: list[str]) -> None:
    layer, x = layer_and_images((2, 16, 16, 16, 16), 3)
    with native.native_kernels():
        y = convolve_rectified(layer, x)
        torch.autograd.grad(y.sum(), [x])
    assert kernel_calls == ["convolution_by_kernel", "transposed_by_kernel"], "nobody asks for that of the kernel"


def test_other_forms_rectify_first() -> None:
    x = torch.randn(2, 16, 8, 8).contiguous(memory_format=torch.channels_last).requires_grad_()
    w = torch.randn(16, 1, 3, 3, requires_grad=True)
    forms = _Depthwise(1, 1, x.shape)(x, w, rectified=True), F.conv2d(x.relu(), w, None, 1, 1, 1, 16)
    found = [[y, *torch.autograd.grad(y.sin().sum(), [x, w])] for y in forms]
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_what_watches_both_passes_sees_torch(kernel_calls: list[str]) -> None:
    layer, x = layer_and_images((2, 16, 16, 16, 16), 3)
    counts = []
    with native.native_kernels():
        assert rectifies(layer, x)
        made = convolve_rectified(layer, x)
        kernel_calls.clear()
        for y in (made, F.conv2d(x.relu(), layer.weight, None, 1, 1)):
            with FlopCounterMode(display=False) as counted:
                found = torch.autograd.grad(y.sin().sum(), [x, layer.weight])
            counts.append((counted.get_total_flops(), *found))
    assert not kernel_calls
    assert counts[0][0] == counts[1][0] > 0
    for mine, theirs in zip(counts[0][1:], counts[1][1:], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


def test_which_convolutions_rectify() -> None:
    x = torch.zeros(2, 16, 16, 16).contiguous(memory_format=torch.channels_last)

    def conv(**settings: object) -> nn.Conv2d:
        return nn.Conv2d(16, 16, **{"kernel_size": 3, "padding": 1, "bias": False, **settings})  # type: ignore[arg-type]

    assert not rectifies(conv(), x), "kernels are off"
    with native.native_kernels():
        assert rectifies(conv(), x)
        assert rectifies(conv(kernel_size=1, padding=0), x)
        assert not rectifies(conv(bias=True), x)
        assert not rectifies(conv(stride=2), x)
        assert not rectifies(conv(padding=0), x)
        assert not rectifies(conv(padding="same"), x)
        assert not rectifies(conv(padding_mode="circular"), x)
        assert not rectifies(conv(groups=2), x)
        assert not rectifies(conv(), x.contiguous())
        assert not rectifies(nn.Identity(), x)
        listened = conv()
        listened.register_forward_hook(lambda *call: None)
        assert not rectifies(listened, x)
        with differentiated_twice():
            assert not rectifies(conv(), x), "a second derivative would rectify once more"


class Counted(nn.ReLU):
    """No rectification of torch's own class."""


def edge(size: int, relu: nn.Module | None = None, *, norm: bool = True) -> nn.Sequential:
    layers = [relu or nn.ReLU(), nn.Conv2d(16, 16, size, padding=size // 2, bias=False)]
    return nn.Sequential(*layers, *[nn.BatchNorm2d(16)] * norm)


WIRING = Wiring(1, {"a": (0, 1), "b": (0, 1), "c": (0, 2), "d": (1, 2), "e": (1, 2)}, outputs=(2,))


def cell() -> nn.ModuleDict:
    made = nn.ModuleDict(
        {"a": edge(3), "b": nn.Identity(), "c": edge(1), "d": edge(3, norm=False), "e": nn.AvgPool2d(3, 1, 1)}
    )
    randomise_norms(made, torch.Generator().manual_seed(0))
    return made.double().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


@pytest.mark.usefixtures("however_few")
@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_cells_of_such_edges(recorded: bool, training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(2, 16, 6, 6, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    before, ours = x.clone(), cell().train(training)
    theirs = copy.deepcopy(ours)
    found = []
    for edges, fused in ((ours, True), (theirs, False)):
        given = x.clone().requires_grad_(recorded)
        with native.native_kernels(fused), torch.set_grad_enabled(recorded):
            if fused:
                monkeypatch.setattr(torch, "relu", lambda *given: pytest.fail("rectified by itself"))
                monkeypatch.setattr(F, "relu", lambda *given, **named: pytest.fail("rectified by itself"))
            y = execute(WIRING, edges, [given], {}, fused=fused)
            monkeypatch.undo()
            gradients = torch.autograd.grad(y.sin().sum(), [given, *edges.parameters()]) if recorded else []
        assert given.equal(before), "what a cell reads is nobody's to write to"
        found.append([y, *gradients, *edges.buffers()])
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("however_few")
def test_who_listens_hears_every_layer() -> None:
    x, heard = torch.randn(2, 16, 6, 6).contiguous(memory_format=torch.channels_last), []

    for listened, recorded in product(range(3), (True, False)):
        edges = nn.ModuleDict({"a": edge(3), "b": edge(1)})
        wiring = Wiring(1, {"a": (0, 1), "b": (0, 1)}, outputs=(1,))
        layer = edges["a"][listened]  # type: ignore[index]
        layer.register_forward_hook(lambda layer, given, made: heard.append((made, made.detach().clone())))
        with native.native_kernels(), torch.set_grad_enabled(recorded):
            execute(wiring, edges.to(memory_format=torch.channels_last), [x], {})  # type: ignore[call-overload]
    assert len(heard) == 6
    for made, at_the_time in heard:
        assert made.equal(at_the_time), "what was heard of is not written over"


def test_a_rectification_of_another_class_is_called() -> None:
    x = torch.randn(2, 16, 16, 16).contiguous(memory_format=torch.channels_last)
    with native.native_kernels():
        assert term(edge(3)).rectifying(x).rectified
        assert not term(edge(3, Counted())).rectifying(x).rectified
        assert not term(edge(3, nn.ReLU(inplace=True))).rectifying(x).rectified
        assert not term(nn.Sequential(nn.AvgPool2d(3, 1, 1), *edge(3))).rectifying(x).rectified
        assert not term(nn.Sequential(nn.ReLU())).rectifying(x).rectified


def test_a_norm_that_does_not_fit_is_refused() -> None:
    edges = nn.ModuleDict({"a": nn.Sequential(*edge(3, norm=False), nn.BatchNorm2d(32))})
    x = torch.randn(2, 16, 16, 16).contiguous(memory_format=torch.channels_last)
    for recorded in (True, False):
        with (
            native.native_kernels(),
            torch.set_grad_enabled(recorded),
            pytest.raises(RuntimeError, match="running_mean"),
        ):
            execute(Wiring(1, {"a": (0, 1)}, outputs=(1,)), edges, [x], {})


@pytest.mark.usefixtures("however_few")
@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # by torch itself
def test_tangents_are_torch_s(recorded: bool, kernel_calls: list[str]) -> None:
    x, tangent = (torch.randn(2, 16, 6, 6, dtype=torch.float64) for _ in range(2))
    x = x.contiguous(memory_format=torch.channels_last)
    edges, found = cell(), []
    for on in (True, False):
        with native.native_kernels(on), torch.set_grad_enabled(recorded), forward_ad.dual_level():
            y = execute(WIRING, edges, [forward_ad.make_dual(x, tangent)], {})
            found.append([part.detach() for part in forward_ad.unpack_dual(y)])
    assert all(map(torch.equal, *found))
    assert not kernel_calls


@pytest.mark.usefixtures("however_few")
@pytest.mark.parametrize("size", [1, 3])
def test_what_a_product_with_a_matrix_made_is_not_kept(size: int) -> None:
    layer, x = layer_and_images((2, 16, 16, 8, 8), size)
    found, gone = [], []
    for forget in (True, False):
        with native.native_kernels(), forgetting() if forget else nullcontext():
            y = convolve_rectified(layer, x)
            held = StorageWeakRef(y.untyped_storage())
            normed = compiled_batch_norm(y, None, None, None, None, 0.1, 1e-5)
            del y
            gone.append(held.expired())
            found.append(torch.autograd.grad(normed.sin().sum(), [x, layer.weight]))
    assert all(map(torch.equal, *found))
    assert gone == [size == 1, False]


def test_what_is_only_evaluated_is_written_over_and_not_kept_for_later() -> None:
    layer, x = layer_and_images((2, 16, 16, 16, 16), 1)
    with native.native_kernels(), torch.no_grad(), forgetting():
        y = convolve_rectified(layer, x)
        z = scaled_batch_norm(nn.BatchNorm2d(16).double(), y, None, overwrite=True)
        assert z is y
        with torch.enable_grad():
            scale = torch.ones((), dtype=torch.float64, requires_grad=True)
            [kept] = torch.autograd.grad((scale * z).sum(), scale)
        torch.testing.assert_close(kept, z.sum())


def test_a_kernel_dispatches_nothing_but_the_room_for_its_result() -> None:
    layer, x = layer_and_images((2, 16, 16, 16, 16), 3)
    with native.native_kernels(), torch.no_grad():
        convolve_rectified(layer, x)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            convolve_rectified(layer, x)
    assert {event.key for event in profile.key_averages() if event.key.startswith("aten::")} == {"aten::empty"}
