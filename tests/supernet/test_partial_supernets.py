"""Supernets with partial channels and edge weights keep the laws, and say what cannot be inherited."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sharewise.cost import SupernetCost, cost
from sharewise.engine import SearchResult
from sharewise.errors import InheritanceError
from sharewise.run import build_supernet, from_mapping, restore
from sharewise.run.folder import RunFolder
from sharewise.space import Space
from sharewise.spaces import load
from sharewise.supernet import Gate, discrete, extract
from sharewise.testing import check_supernet, planted_space

CASES: dict[str, tuple[Any, tuple[int, ...], dict[str, Any]]] = {
    "nasbench201": ("nasbench201", (3, 8, 8), {"channels": 4, "cells": 1}),
    "toy-two-inputs": ("toy-two-inputs", (4,), {"width": 8}),
    "toy-separable-cell": ("toy-separable-cell", (3, 8, 8), {"channels": 16}),
    "planted": (planted_space(), (16,), {}),
    **{f"nasbench1shot1:{name}": (f"nasbench1shot1:{name}", (3, 8, 8), {"channels": 4, "cells": 1}) for name in "13"},
}
FORMS = ({"edge_weights": True}, {"edge_weights": True, "partial": 4}, {"partial": 2})


@pytest.mark.sweep(4)
@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("name", list(CASES))
def test_the_contract(name: str, form: dict[str, Any]) -> None:
    space, shape, network = CASES[name]
    supernet = build_supernet(space, shape, 3, network={**network, **form})
    inputs = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    check_supernet(supernet, inputs, samples=3)


def sample_of(space: Space) -> Any:
    return space.parse("|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|")


def test_steps_cost_what_they_execute_and_architectures_what_is_built() -> None:
    space = load("nasbench201")
    whole, part = (
        build_supernet(space, (3, 8, 8), 3, network={"channels": 8, "cells": 1, "partial": k}) for k in (1, 4)
    )
    costs, found = SupernetCost(part, (3, 8, 8)), sample_of(space)
    built = cost(part.plain(found), (3, 8, 8))
    assert costs.multiply_accumulates(found) == built.multiply_accumulates
    assert costs.parameters(found) == built.parameters == SupernetCost(whole, (3, 8, 8)).parameters(found)
    assert costs.of(discrete(part.relaxation.encode(found))) < built.multiply_accumulates
    assert costs.gate_passes == SupernetCost(whole, (3, 8, 8)).gate_passes == 2


def test_what_cannot_be_inherited_is_said_in_one_line(tmp_path: Path) -> None:
    values = {"method": "pc-darts", "network": {"channels": 4, "cells": 1}, "recipe": {"epochs": 2}, "max_steps": 2}
    configuration = from_mapping("search", {**values, "train_examples": 64, "gap_examples": 8, "device": "cpu"})
    found = configuration.execute(tmp_path / "run")
    assert isinstance(found, SearchResult)
    with pytest.raises(InheritanceError, match=r"partial channels \(K = 4\).*Train the architecture on its own"):
        extract(found.supernet, found.architecture)
    with pytest.raises(InheritanceError, match="no network can inherit"):
        restore(RunFolder(tmp_path / "run"), device="cpu")
    result = RunFolder(tmp_path / "run").read_result()
    assert [remark["kind"] for remark in result["remarks"]].count("partial") == 1
    assert result["cost"]["parameters"] > 0
    config = RunFolder(tmp_path / "run").read_config()
    assert {name: config["network"][name] for name in ("partial", "edge_weights")} == {
        "partial": 4,
        "edge_weights": True,
    }


def test_edge_weights_alone_are_inherited() -> None:
    space = load("nasbench201")
    supernet = build_supernet(space, (3, 8, 8), 3, network={"channels": 4, "cells": 1, "edge_weights": True}).eval()
    inputs, found = torch.randn(2, 3, 8, 8), sample_of(space)
    gates = discrete(supernet.relaxation.encode(found))
    assert gates["inputs_of_3"].active == (0, 1, 2)
    assert torch.equal(supernet(inputs, gates), extract(supernet, found)(inputs))


def test_entangled_cells_of_darts_under_a_sixth_of_the_channels() -> None:
    """As TangleNAS searches: fused cells equal edges one by one, in outputs, gates and every weight."""
    options = {"channels": 6, "layers": 3, "sharing": "entangled", "partial": 6, "edge_weights": True}
    fused, plain = (
        build_supernet(load("darts"), (3, 8, 8), 3, network={**options, "fused": word}, seed=0).double()
        for word in (True, False)
    )
    inputs = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = []
    for supernet in (fused, plain):
        generator, gates = torch.Generator().manual_seed(1), {}
        for decision in supernet.relaxation.decisions:
            weights = torch.rand(decision.size, generator=generator, dtype=torch.float64).requires_grad_()
            gates[decision.name] = Gate(weights, tuple(range(decision.size)))
        outputs = supernet(inputs, gates)
        of_gates = [gate.weights for gate in gates.values()]
        gradients = torch.autograd.grad(outputs.square().sum(), [*of_gates, *supernet.parameters()])
        found.append([outputs, *gradients])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-10)
