"""Layers whose inputs alone are scaled: gradients are those of the superposed weights, and cost less."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import dual_level, make_dual, unpack_dual

from sharewise.supernet import Gate, Gates, Shared
from sharewise.supernet.elastic import elastic, sliced_execution, width
from sharewise.supernet.slices import superposed


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4), nn.Linear(4, 2))


def convolutions(padding: int | tuple[int, int] | str = 1, mode: str = "zeros") -> nn.Module:
    second = nn.Conv2d(8, 4, 3, padding=padding, padding_mode=mode)
    return nn.Sequential(nn.Conv2d(3, 8, 1), nn.Tanh(), second, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def shared(model: nn.Module, example: Tensor, searched: str) -> tuple[Shared, Gates]:
    supernet = elastic(model.double(), {searched: width([2, 4, 8], name="width")}, example=example)
    g = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64, requires_grad=True)
    return supernet, {"width": Gate(g, (0, 1, 2))}


def asked_for(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The layers whose weights are differentiated from now on, by forms of this package."""
    asked: list[str] = []
    for layer in (superposed._Matrix, superposed._Kernels):
        plain = layer.parameter_gradients

        def told(*given: Any, plain: Any = plain, name: str = layer.__name__) -> Any:
            asked.extend([name] * given[-1][0])
            return plain(*given)

        monkeypatch.setattr(layer, "parameter_gradients", told)
    return asked


IMAGES, ROWS = (2, 3, 6, 5), (2, 3)


@pytest.mark.parametrize(
    ("make", "shape", "searched", "forms"),
    [
        (perceptron, ROWS, "0", ["_Matrix"]),
        (convolutions, IMAGES, "0", ["_Kernels"]),
        (lambda: convolutions((1, 0)), IMAGES, "0", []),
        (lambda: convolutions("same"), IMAGES, "0", []),
        (lambda: convolutions(mode="reflect"), IMAGES, "0", []),
    ],
)
@pytest.mark.parametrize("last", [False, True])
def test_they_have_the_gradients_of_superposed_weights(
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[], nn.Module],
    shape: tuple[int, ...],
    searched: str,
    forms: list[str],
    last: bool,
) -> None:
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64)
    model, asked = make(), asked_for(monkeypatch)
    if last and x.dim() == 4:
        x, model = (part.to(memory_format=torch.channels_last) for part in (x, model))  # type: ignore[call-overload]
    supernet, gates = shared(model, x, searched)
    found = []
    for plainly in (False, True):
        if plainly:
            monkeypatch.setattr(sliced_execution, "scaled_form", lambda *given: None)
        leaves = [gates["width"].weights, *supernet.parameters()]
        [of_gate] = torch.autograd.grad(supernet(x, gates).sin().sum(), leaves[:1])
        assert not asked
        y = supernet(x, gates)
        made = torch.autograd.grad(y.sin().sum(), leaves, create_graph=True)
        second = torch.autograd.grad(torch.stack([g.cos().sum() for g in made]).sum(), leaves)
        assert set(asked) == (set() if plainly else set(forms))
        asked.clear()
        found.append([of_gate, y, *made, *second])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


def test_a_layer_with_a_form_of_its_own_keeps_it() -> None:
    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    torch.manual_seed(0)
    x, model = torch.randn(ROWS, dtype=torch.float64), perceptron()
    model[2] = Doubled(8, 4)  # type: ignore[index]
    supernet, gates = shared(model, x, "0")
    s = torch.tensor([1.0, 1.0, 0.8, 0.8, 0.5, 0.5, 0.5, 0.5], dtype=torch.float64)
    first, _, second, third = supernet.model  # type: ignore[union-attr]
    h = 2 * nn.functional.linear(first(x).tanh() * s, second.weight, second.bias)
    torch.testing.assert_close(supernet(x, gates), third(h))


def _clamped(layer: nn.Module, inputs: object) -> None:
    with torch.no_grad():
        layer.weight.clamp_(-0.1, 0.1)  # type: ignore[union-attr]


def _standardised(layer: nn.Module, inputs: object) -> None:
    weight = layer._parameters["weight"]
    assert weight is not None
    layer._parameters["weight"] = (weight - weight.mean()) / weight.std()  # type: ignore[assignment]


@pytest.mark.parametrize("hook", [_clamped, _standardised])
def test_what_hooks_make_of_a_weight_is_what_is_computed(hook: Callable[[nn.Module, object], None]) -> None:
    torch.manual_seed(0)
    x, model = torch.randn(ROWS, dtype=torch.float64), perceptron()
    supernet, gates = shared(model, x, "0")
    supernet.model[2].register_forward_pre_hook(hook)  # type: ignore[index, operator, union-attr]
    gate = gates["width"]
    constant = {"width": Gate(gate.weights.detach(), gate.active)}
    torch.testing.assert_close(supernet(x, gates).detach(), supernet(x, constant).detach(), rtol=0, atol=0)


class Swept(nn.Module):
    """Calls one convolution twice, with other settings; and changes what layers wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.layer = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.before(x).relu_()
        y = self.layer(h)
        y += 1
        self.layer.dilation = self.layer.padding = (2, 2)
        y = y + self.layer(h)
        self.layer.dilation = self.layer.padding = (1, 1)
        return y.mean((2, 3))


def test_settings_are_those_of_the_call() -> None:
    torch.manual_seed(0)
    x = torch.randn(IMAGES, dtype=torch.float64)
    supernet, gates = shared(Swept(), x, "before")
    gate = gates["width"]
    constant = {"width": Gate(gate.weights.detach(), gate.active)}
    torch.testing.assert_close(supernet(x, gates).detach(), supernet(x, constant).detach(), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's own, of dual numbers
def test_forward_mode_knows_them() -> None:
    torch.manual_seed(0)
    x, model = torch.randn(ROWS, dtype=torch.float64), perceptron()
    supernet, gates = shared(model, x, "0")
    with dual_level():
        tangent = unpack_dual(supernet(make_dual(x, torch.ones_like(x)), gates)).tangent
    step = 1e-6
    torch.testing.assert_close(tangent, (supernet(x + step, gates) - supernet(x - step, gates)) / (2 * step))
