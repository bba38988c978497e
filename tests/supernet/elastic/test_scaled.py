"""Layers whose inputs alone are scaled: gradients are those of the superposed weights, and cost less."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

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
        monkeypatch.setattr(
            layer,
            "parameter_gradients",
            lambda *given, plain=plain, name=layer.__name__: asked.append(name) or plain(*given),
        )
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
        assert asked == ([] if plainly else forms * (len(asked) // max(len(forms), 1)))
        assert bool(asked) == bool(forms and not plainly)
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
