"""Networks that are built without values have the shapes of real ones, and leave random numbers alone."""

from __future__ import annotations

import torch
from torch import nn

from sharewise.supernet.without_values import without_values


def made() -> nn.Module:
    layer = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.MultiheadAttention(4, 2), nn.Embedding(5, 2))
    for parameter in layer.parameters():
        nn.init.trunc_normal_(parameter)
        if parameter.dim() > 1:
            nn.init.orthogonal_(nn.init.kaiming_normal_(parameter.flatten(1)))
    return layer


def test_shapes_are_those_of_a_real_network_and_nothing_is_drawn() -> None:
    before = torch.get_rng_state()
    with without_values():
        shaped = made()
        host = torch.zeros(4, device="cpu").normal_()
    assert all(tensor.is_meta for tensor in shaped.state_dict().values())
    assert {n: t.shape for n, t in shaped.state_dict().items()} == {n: t.shape for n, t in made().state_dict().items()}
    torch.set_rng_state(before)
    assert torch.equal(host, torch.zeros(4).normal_()), "what has values is drawn as ever, and nothing before it"
