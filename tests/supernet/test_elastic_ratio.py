"""Hidden widths that are multiples of another searched width."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import sharewise as sw
from sharewise.errors import ConfigurationError
from sharewise.supernet import Gate
from sharewise.testing import check_relaxation, check_supernet


class Block(nn.Module):
    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.norm, self.enter, self.leave = nn.LayerNorm(features), nn.Linear(features, hidden), nn.Linear(hidden, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.enter(self.norm(x)).relu())


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), Block(8, 32))


CHOICES = {"0": sw.width([4, 6, 8], name="features"), "1": sw.ratio([2, 2.5, 4], of="features", name="ratio")}


def test_a_ratio_keeps_the_laws_and_follows_its_width() -> None:
    supernet = sw.elastic(model(), CHOICES, example=torch.zeros(2, 3))
    check_relaxation(supernet.space, samples=9)
    check_supernet(supernet, torch.randn(4, 3, generator=torch.Generator().manual_seed(1)))
    for features, ratio, hidden in ((6, 2.5, 15), (4, 2.5, 10), (8, 2, 16), (4, 4, 16)):
        network = supernet.plain(supernet.space.architecture({"features": features, "ratio": ratio}))
        assert network[1].enter.weight.shape == (hidden, features)
        assert network[1].leave.weight.shape == (2, hidden)


def test_a_mixture_survives_by_the_joint_weights() -> None:
    """What reads the hidden features is scaled by the weight of the combinations that keep them."""
    supernet = sw.elastic(model().double(), CHOICES, example=torch.zeros(2, 3, dtype=torch.float64))
    features = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    ratio = torch.tensor([0.1, 0.7, 0.2], dtype=torch.float64)
    gates = {"features": Gate(features, (0, 1, 2)), "ratio": Gate(ratio, (0, 1, 2))}
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    by_width = sum(g * (torch.arange(8) < o) for g, o in zip(features, (4, 6, 8), strict=True))
    by_both = sum(
        g * h * (torch.arange(32) < int(o * r))
        for g, o in zip(features, (4, 6, 8), strict=True)
        for h, r in zip(ratio, (2, 2.5, 4), strict=True)
    )
    block = supernet.model[1]
    z = supernet.model[0](x)
    p = (by_width / by_width.sum())[None]
    mean = (p * z).sum(1, keepdim=True)
    z = (z - mean) / ((p * (z - mean) ** 2).sum(1, keepdim=True) + block.norm.eps).sqrt()
    hidden = (z * block.norm.weight + block.norm.bias) @ (block.enter.weight * by_width).T + block.enter.bias
    expected = hidden.relu() @ (block.leave.weight * by_both).T + block.leave.bias
    assert torch.allclose(supernet(x, gates), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("ratio", "message"),
    [
        (sw.ratio([2, 4], of="width"), "'width' names none; widths: features"),
        (sw.ratio([2, 3], of="features"), "the largest ratio of '1' must be the model's own, 32, got 24"),
        (sw.ratio([0.1, 4], of="features"), "ratio 0.1 of width 4 at '1' would keep nothing"),
    ],
)
def test_ratios_that_do_not_fit_are_refused(ratio: sw.supernet.elastic.choices.Ratio, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        sw.elastic(model(), {**CHOICES, "1": ratio}, example=torch.zeros(2, 3))


def test_numbers_that_are_no_ratios_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="positive ascending numbers"):
        sw.ratio([4, 2], of="features")
    with pytest.raises(ConfigurationError, match="the name of the width"):
        sw.ratio([2, 4], of="")
