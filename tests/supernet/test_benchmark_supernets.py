"""Supernets of spaces that benchmarks have tables of: NATS-Bench size and NAS-Bench-Macro."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import sharewise as sw
from sharewise.errors import ConfigurationError
from sharewise.run import build_network, build_supernet
from sharewise.space import restricted
from sharewise.spaces import load
from sharewise.spaces.nats_size.supernet import Shortcut
from sharewise.supernet import Dimension, Gate, Gates, discrete, extract
from sharewise.testing import check_supernet, small_arguments

SHAPE = (3, 9, 8)
SIZE, MACRO = load("nats_size"), load("nasbench_macro")


def gates_of(rows: dict[str, list[float]]) -> Gates:
    return {name: Gate(torch.tensor(row, dtype=torch.float64), tuple(range(len(row)))) for name, row in rows.items()}


def shortcut() -> Shortcut:
    torch.manual_seed(0)
    widths = [
        Dimension.over(decision, [2, 4])
        for decision in load("nats_size").without((24, *range(32, 65, 8))).relaxation.decisions[:2]
    ]
    return Shortcut(*widths).double().eval()


def test_a_skip_connection_is_the_identity_between_equal_widths_alone() -> None:
    layer, x = shortcut(), torch.randn(2, 4, 3, 3, dtype=torch.float64)
    small, large = [1.0, 0.0], [0.0, 1.0]
    assert torch.equal(layer(x, discrete({"channels_0": large, "channels_1": large})), x)
    assert torch.equal(layer(x[:, :2], discrete({"channels_0": small, "channels_1": small})), x[:, :2])
    widened = discrete({"channels_0": small, "channels_1": large}, dtype=torch.float64)
    convolution, norm = layer.project.layers
    expected = norm(torch.nn.functional.conv2d(x[:, :2], convolution.weight[:, :2]), widened)
    torch.testing.assert_close(layer(x[:, :2], widened), expected)
    assert set(layer.inherited(widened)) > {"0.weight", "1.weight"}
    assert not layer.inherited(discrete({"channels_0": large, "channels_1": large}))


def test_a_mixture_of_skip_connections_by_its_equation() -> None:
    layer, x = shortcut(), torch.randn(2, 4, 3, 3, dtype=torch.float64)
    g, h = torch.tensor([0.3, 0.7], dtype=torch.float64), torch.tensor([0.6, 0.4], dtype=torch.float64)
    gates = {"channels_0": Gate(g, (0, 1)), "channels_1": Gate(h, (0, 1))}
    survival = torch.tensor([1.0, 1.0, 0.7, 0.7], dtype=torch.float64)
    convolution, norm = layer.project.layers
    projected = norm(torch.nn.functional.conv2d(x * survival[:, None, None], convolution.weight), gates)
    expected = (0.3 * 0.6 + 0.7 * 0.4) * x + (0.3 * 0.4 + 0.7 * 0.6) * projected
    torch.testing.assert_close(layer(x, gates), expected)


def test_widths_of_other_sizes_are_slices_and_have_the_parameters_of_the_benchmark() -> None:
    supernet = build_supernet(SIZE, (3, 32, 32), 10)
    for text, parameters in (("8:8:8:8:8", 11_714), ("8:8:8:16:32", 49_202), ("8:8:40:32:40", 144_834)):
        assert sum(p.numel() for p in extract(supernet, text).parameters()) == parameters
    whole, part = supernet.state_dict(), extract(supernet, "8:16:24:8:16").state_dict()
    assert torch.equal(part["layers.2.edge_0_3.0.weight"], whole["layers.2.edge_0_3.project.layers.0.weight"][:24, :16])
    assert "layers.2.edge_0_3.0.weight" not in extract(supernet, "8:16:16:8:16").state_dict()


def test_a_part_of_the_size_space_has_a_smaller_supernet() -> None:
    part = restricted(SIZE, "channels_4", (8, 16))
    supernet = build_supernet(part, SHAPE, 4, network={"divisor": 4})
    assert supernet.state_dict()["head.layers.4.weight"].shape == (4, 4)
    check_supernet(supernet, torch.randn(4, *SHAPE), samples=3)
    with pytest.raises(ConfigurationError, match="divisor must be 1, 2, 4 or 8"):
        build_supernet(SIZE, SHAPE, 4, network={"divisor": 3})


def test_every_block_of_a_macro_layer_has_weights_of_its_own() -> None:
    supernet = build_supernet(MACRO, SHAPE, 4, network={"channels": 2})
    network = build_network(MACRO.parse("12012012"), MACRO, SHAPE, 4, network={"channels": 2})
    found = extract(supernet, "12012012")
    assert {n: p.shape for n, p in found.named_parameters()} == {n: p.shape for n, p in network.named_parameters()}
    state = supernet.state_dict()
    assert torch.equal(found.layers[0].layers[0].weight, state["layers.0.options.mb3_k3.layers.0.weight"])
    assert torch.equal(found.layers[1].layers[0].weight, state["layers.1.options.mb6_k5.layers.0.weight"])
    assert isinstance(found.layers[5], torch.nn.Sequential), "an identity that changes the channels"


def test_what_is_frozen_in_one_block_is_frozen_in_what_is_extracted() -> None:
    supernet = build_supernet(MACRO, SHAPE, 4, network={"channels": 2})
    frozen = "layers.1.options.mb3_k3.layers.0.weight"
    supernet.get_parameter(frozen).requires_grad_(False)
    for text, expected in (("11000000", ["layers.1.layers.0.weight"]), ("12000000", [])):
        network = extract(supernet, text)
        assert [name for name, p in network.named_parameters() if not p.requires_grad] == expected
        assert [n for n, p in supernet.plain(MACRO.parse(text)).named_parameters() if not p.requires_grad] == expected


def test_a_part_of_macro_has_fewer_blocks() -> None:
    part = MACRO.without("mb6_k5")
    supernet = build_supernet(part, SHAPE, 4, network={"channels": 2})
    assert not [name for name in supernet.state_dict() if "mb6_k5" in name]
    check_supernet(supernet, torch.randn(4, *SHAPE), samples=2)


@pytest.mark.parametrize(
    ("space", "method", "network"),
    [
        ("nasbench_macro", "fairnas", {"channels": 2}),
        ("nasbench_macro", "gdas", {"channels": 2}),
        ("nats_size", "tanglenas-gaea", {"divisor": 8}),
        ("nats_size", "spos", {"divisor": 8}),
    ],
)
def test_they_are_searched(space: str, method: str, network: dict[str, Any]) -> None:
    data = sw.data.digits().limited(64, seed=0)
    recipe = sw.methods.build(method, small_arguments(method))
    result = sw.search(load(space), recipe, data, network=network, max_steps=2, device="cpu")
    outputs: Tensor = extract(result.supernet, result.architecture).eval()(torch.zeros(2, 1, 8, 8))
    assert outputs.shape == (2, 10)
