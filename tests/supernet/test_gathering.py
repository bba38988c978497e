"""Slices that are taken within blocks: what a supernet computes whose weights are whole there alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import sharewise as sw
from sharewise.engine.shards import blocks_of
from sharewise.supernet import Gates, Supernet, discrete
from sharewise.testing.small import small_supernet


class Twice(nn.Module):
    """Calls its blocks twice, with batch norms that are sliced."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.ModuleList([nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6))])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.rows:
            x = block(block(x))
        return x


def network(name: str) -> tuple[Supernet, torch.Tensor]:
    torch.manual_seed(0)
    if name == "twice":
        inputs = torch.randn(5, 6)
        return sw.elastic(Twice(), {"rows.0.0": sw.width([4, 8])}, example=inputs), inputs
    return small_supernet(name)


def computed(supernet: Supernet, inputs: torch.Tensor, gates: Gates) -> dict[str, torch.Tensor | None]:
    torch.manual_seed(1)
    outputs = supernet.train()(inputs, gates)
    outputs.square().mean().backward()
    gradients = {name: p.grad for name, p in supernet.named_parameters()}
    return {"": outputs, **gradients, **{f"state of {name}": v for name, v in supernet.state_dict().items()}}


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("mobilenetv3", "nats_size")]


@pytest.mark.parametrize("name", ["twice", "vision-transformer-tiny", "language-model", *SLOW])
@pytest.mark.parametrize("mixed", [False, True])
def test_slices_within_blocks_are_those_of_the_whole(name: str, mixed: bool) -> None:
    plain, inputs = network(name)
    plain, inputs = plain.double(), inputs.double() if inputs.is_floating_point() else inputs
    apart = copy.deepcopy(plain)
    apart.gathers(blocks_of(apart))
    decisions = plain.relaxation.decisions
    weights = {d.name: tuple((i + 1.0) / d.size for i in range(d.size)) for d in decisions}
    one = {d.name: tuple(float(i == 0) for i in range(d.size)) for d in decisions}
    gates = discrete(weights if mixed else one, dtype=torch.float64)
    first, second = computed(plain, inputs, gates), computed(apart, inputs, gates)
    assert len(blocks_of(apart)) > 1
    for key, value in first.items():
        other = second[key]
        assert (value is None) == (other is None), key
        if value is not None:
            torch.testing.assert_close(value, other, rtol=1e-12, atol=1e-14, msg=key)  # sums in another order
