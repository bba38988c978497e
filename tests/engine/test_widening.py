"""Operations widen by copies of random channels: weights, statistics and moments alike, in one order of all layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sharewise.engine import Widening
from sharewise.errors import ConfigurationError
from sharewise.methods import build
from sharewise.space import Decision
from sharewise.spaces import load
from sharewise.spaces.darts.network import operation
from sharewise.supernet import Gate, MixedOperation, PartialOperation
from sharewise.supernet.widening import widen
from sharewise.testing import check_surgery, randomise_norms

OPERATIONS = ("max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_5x5")


def edge(channels: int, parts: int, stride: int = 2) -> PartialOperation:
    operations = {name: operation(name, channels // parts, stride, True, normed_pools=True) for name in OPERATIONS}
    mixture = MixedOperation(Decision("edge", OPERATIONS), operations)
    return PartialOperation(mixture, parts, nn.MaxPool2d(2, 2))


def copies(wide: Tensor, narrow: Tensor) -> list[int]:
    """Which row of a tensor each row of the wider one is."""
    return [next(i for i, old in enumerate(narrow) if torch.equal(row, old)) for row in wide]


def test_layers_on_the_same_channels_copy_the_same_ones() -> None:
    narrow, wide = edge(12, 6), edge(12, 6)
    randomise_norms(narrow, torch.Generator().manual_seed(0))
    wide.load_state_dict(narrow.state_dict())
    moves = widen(wide, 3, torch.Generator().manual_seed(1))
    assert wide.parts == 3
    before, after = narrow.state_dict(), wide.state_dict()
    for name, value in after.items():
        if name.endswith(("running_mean", "running_var")) and ".skip_connect." not in name:
            assert (len(before[name]), len(value)) == (2, 4)
    separable = "edge.operations.sep_conv_3x3"
    for pointwise, norm in ((2, 3), (6, 7)):
        mean, weight = (f"{separable}.{norm}.{name}" for name in ("running_mean", "weight"))
        rows = copies(after[mean], before[mean])
        assert rows[:2] == [0, 1]
        assert copies(after[weight], before[weight]) == rows
        depth = copies(after[f"{separable}.{pointwise - 1}.weight"], before[f"{separable}.{pointwise - 1}.weight"])
        kernel = f"{separable}.{pointwise}.weight"
        assert torch.equal(after[kernel], before[kernel][rows][:, depth])
    first, second = (f"edge.operations.skip_connect.1.{half}.weight" for half in ("first", "second"))
    mean = "edge.operations.skip_connect.2.running_mean"
    inputs = [len(after[name]) for name in (first, second)]
    assert inputs == [2, 2]
    assert copies(after[mean], before[mean]) == [0, 0, 1, 1], "statistics follow their half"
    for name, move in moves.items():
        assert torch.equal(move(before[name]), after[name]), "moments go where their weights went"
    assert set(moves) == {name for name, _ in wide.named_parameters()}
    x = torch.randn(2, 12, 8, 8)
    gates: dict[str, Any] = {"edge": Gate(torch.full((4,), 0.25), (0, 1, 2, 3))}
    found = wide.alone(x, gates)
    assert found is not None
    assert found.shape == (2, 12, 4, 4)


def test_the_surgery_keeps_its_contract() -> None:
    network = {"channels": 8, "cells": 1, "partial": 4, "affine": True}
    check_surgery(Widening(2), load("nasbench201"), network=network)


@pytest.mark.parametrize(
    ("network", "parts", "message"),
    [
        ({"width": 8}, 2, "widens nothing, since they see all of them"),
        ({"width": 8, "partial": 2}, 4, "widens nothing, since they see 1/2 of them"),
        ({"width": 8, "partial": 4}, 3, "2 channels, 1/4 of 8, cannot become 1/3 of them"),
    ],
)
def test_what_cannot_widen_is_said_before_the_run(network: dict[str, Any], parts: int, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_surgery(Widening(parts), load("toy-two-inputs"), network=network)


def test_entangled_operations_keep_their_width() -> None:
    with pytest.raises(ConfigurationError, match="cannot be widened: operations that share weights keep their width"):
        check_surgery(Widening(2), load("toy-separable-cell"), network={"channels": 8, "partial": 4})


def test_progressive_stages_are_told_together() -> None:
    stages = build("drnas", {"keep": (3,), "parts": (4, 2), "warm_up": 0.2}).stages
    assert [(s.keep, s.operations, s.architecture_steps) for s in stages] == [
        (None, (), False),
        (None, (), True),
        (3, (Widening(2),), False),
        (None, (), True),
    ]
    with pytest.raises(ConfigurationError, match=r"parts \[4, 2\] do not fit 1 stages; give one K for each"):
        build("drnas", {"parts": (4, 2)})
    with pytest.raises(ConfigurationError, match="K at least 2, got 1"):
        Widening(1)
