"""Named spaces made of a plain network and its choices, beside a supernet written by hand."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sharewise as sw
from sharewise.errors import ConfigurationError
from sharewise.run import build_supernet
from sharewise.space import Architecture, Choice, Condition, ConditionalRelaxation, Space, restricted, sample
from sharewise.spaces import load
from sharewise.spaces.conv_macro.supernet import ConvMacroOptions
from sharewise.supernet import Gate, Gates, discrete, extract, networks_of
from sharewise.supernet.elastic import elastic_networks
from sharewise.supernet.extract import inherited_state
from sharewise.testing import check_relaxation, check_supernet

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
try:
    from benchmarks.by_hand import ConvMacroByHand
finally:
    sys.path.remove(str(ROOT))

SHAPE = (3, 16, 16)


def twins(dtype: torch.dtype, **options: Any) -> tuple[nn.Module, nn.Module]:
    """Conv-macro by hand and as its space has it, from the same random numbers."""
    space, built = load("conv-macro"), []
    values = ConvMacroOptions(**options)
    for build in (ConvMacroByHand, networks_of(space).supernet):
        torch.manual_seed(0)
        built.append(build(space, SHAPE, 10, values).to(dtype))
    return built[0], built[1]


def drawn(execution: str, dtype: torch.dtype, seed: int) -> Gates:
    generator, gates = torch.Generator().manual_seed(seed), {}
    for d in load("conv-macro").relaxation.decisions:
        weights, option = torch.rand(d.size, generator=generator).to(dtype).softmax(0), seed % d.size
        if execution in ("sample", "slice"):
            weights = torch.eye(d.size, dtype=dtype)[option]
        active = {"all": (0, 1, 2), "two": tuple(sorted({option, (option + 1) % 3}))}.get(execution, (option,))
        gates[d.name] = Gate(weights.requires_grad_(execution != "slice"), active, unit=execution == "slice")
    return gates


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("execution", ["all", "two", "sample", "slice"])
@pytest.mark.parametrize("published", [False, True], ids=["corrected", "published"])
def test_conv_macro_is_the_supernet_by_hand_to_the_bit(execution: str, dtype: torch.dtype, published: bool) -> None:
    """In the published form a survival serves two layers at once here, so the gates' sums have another order there."""
    x = torch.randn(4, *SHAPE, dtype=dtype)
    found = []
    for network in twins(dtype, divisor=8, published=published):
        gates = drawn(execution, dtype, seed=4)
        torch.manual_seed(1)  # of dropout
        outputs = network.train()(x, gates)
        outputs.square().sum().backward()
        weights = [p.grad for p in network.parameters()]
        found.append((outputs, weights, [g.weights.grad for g in gates.values() if g.weights.requires_grad]))
    (outputs, weights, gates_), (others, other_weights, other_gates) = found
    assert torch.equal(outputs, others)
    assert all(torch.equal(a, b) for a, b in zip(weights, other_weights, strict=True))
    for a, b in zip(gates_, other_gates, strict=True):
        assert torch.allclose(a, b, rtol=1e-4 if dtype == torch.float32 else 1e-12) if published else torch.equal(a, b)


def test_conv_macro_has_the_weights_of_the_supernet_by_hand() -> None:
    """By name and value, so that a run from when it was written by hand is still opened; and slices of them."""
    by_hand, elastic = twins(torch.float32, divisor=8)
    mine, theirs = elastic.state_dict(), by_hand.state_dict()
    assert list(mine) == list(theirs) == [name for name, _ in elastic.named_parameters()]
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    with torch.no_grad():
        for p in by_hand.parameters():
            p.add_(1.0)
    elastic.load_state_dict(by_hand.state_dict())
    rng = np.random.default_rng(0)
    for _ in range(5):
        architecture = sample(elastic.space, rng)
        gates = discrete(elastic.relaxation.encode(architecture))
        state, expected = extract(elastic, architecture).state_dict(), inherited_state(by_hand, gates)
        assert state.keys() == expected.keys()
        assert all(torch.equal(value, expected[name]) for name, value in state.items())


def test_conv_macro_says_which_decisions_a_layer_reads() -> None:
    supernet = build_supernet(load("conv-macro"), SHAPE, 10, network={"divisor": 8})
    reads = supernet.reads()
    assert reads["convolutions.0"] == ("channels_1", "kernel_1")
    assert reads["convolutions.2"] == ("channels_2", "channels_3", "kernel_3")
    assert reads["closing"] == ("channels_4",)
    assert not any(path.startswith("classifier") for path in reads)


@dataclass(frozen=True)
class Width:
    features: int = 8
    published: bool = False


class Step(nn.Module):
    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.norm, self.enter, self.leave = nn.LayerNorm(features), nn.Linear(features, hidden), nn.BatchNorm1d(hidden)
        self.out = nn.Linear(hidden, features)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.out(self.leave(self.enter(self.norm(x))).relu())


class Deep(nn.Module):
    """Its own training mode matters, not only those of its parts."""

    def __init__(self, inputs: int, outputs: int, features: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, features)
        self.blocks = nn.Sequential(*[Step(features, size) for size in hidden])
        self.leave = nn.Linear(features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(nn.functional.dropout(self.blocks(self.enter(x.flatten(1))), 0.5, self.training))


def deep(architecture: Architecture, input_shape: Sequence[int], outputs: int, options: Width) -> nn.Module:
    numbers = range(int(str(architecture["depth"])))
    sizes = [int(str(architecture[f"hidden_{i}"])) * options.features for i in numbers]
    return Deep(int(torch.Size(input_shape).numel()), outputs, options.features, sizes)


def deep_choices(space: Space, options: Width) -> dict[str, Any]:
    ratios = {f"blocks.{i}": [int(str(o)) * options.features for o in space[f"hidden_{i}"].options] for i in range(2)}
    chosen = {path: sw.width(sizes, name=f"hidden_{path[-1]}") for path, sizes in ratios.items()}
    return {"blocks.*": sw.depth(list(space["depth"].options), name="depth"), **chosen}


NETWORKS = elastic_networks(deep, deep_choices, options=Width, input_kinds=("image", "table"))
DEEP = Space(
    "deep",
    (
        Choice("depth", (1, 2), ordered=True),
        Choice("hidden_0", (1, 2, 4), ordered=True),
        Choice("hidden_1", (1, 2), ordered=True, condition=Condition("depth", (2,))),
    ),
    relax=ConditionalRelaxation,
    networks=NETWORKS,
)


@pytest.mark.parametrize("published", [False, True])
def test_a_space_with_depth_keeps_the_laws(published: bool) -> None:
    check_relaxation(DEEP, samples=6)
    supernet = build_supernet(DEEP, (5,), 3, network={"published": published})
    check_supernet(supernet, torch.randn(6, 5))


def test_a_space_with_depth_is_searched_and_restricted() -> None:
    found = sw.search(DEEP, sw.methods.tanglenas_drnas(epochs=1), sw.data.digits().limited(64, seed=0), device="cpu")
    network = extract(found.supernet, found.architecture)
    assert type(network) is Deep
    assert len(network.blocks) == found.architecture["depth"]
    part = restricted(DEEP, "hidden_0", (1, 2))
    supernet = build_supernet(part, (5,), 3)
    assert supernet.state_dict()["blocks.0.enter.weight"].shape == (16, 8)
    check_supernet(supernet, torch.randn(6, 5))


def test_building_draws_what_the_network_draws_and_nothing_else() -> None:
    options = Width(features=6)
    for _ in range(2):  # examined, and remembered
        torch.manual_seed(0)
        supernet = NETWORKS.supernet(DEEP, (5,), 3, options)
        after = torch.get_rng_state()
        torch.manual_seed(0)
        largest = DEEP.architecture({"depth": 2, "hidden_0": 4, "hidden_1": 2})
        network = deep(largest, (5,), 3, options)
        assert torch.equal(torch.get_rng_state(), after)
        for name, value in network.state_dict().items():
            assert torch.equal(value, supernet.state_dict()[name])


def test_a_copy_shares_nothing_and_modes_reach_the_network() -> None:
    supernet = build_supernet(DEEP, (5,), 3)
    gates = discrete(supernet.relaxation.encode(DEEP.architecture({"depth": 1, "hidden_0": 2})), dtype=torch.float64)
    x = torch.randn(4, 5, dtype=torch.float64)
    twin = copy.deepcopy(supernet).double().eval()
    before = twin(x, gates)
    sent = pickle.loads(pickle.dumps(twin))  # as to another process
    with torch.no_grad():
        for p in sent.parameters():
            p.mul_(1.0)
        assert torch.equal(before, sent(x, gates))
        for p in sent.parameters():
            p.zero_()
        assert not sent(x, gates).any()
        for p in supernet.parameters():
            p.zero_()
    assert torch.equal(before, twin(x, gates))
    twin.train()
    assert not torch.equal(twin(x, gates), twin(x, gates)), "dropout of the network itself"
    assert {m.training for m in twin.eval().modules()} == {False}
    with torch.no_grad():
        for p in twin.parameters():
            p.zero_()
    assert not twin(x, gates).any()


def test_choices_that_are_none_of_the_space_are_refused() -> None:
    def build(chosen: dict[str, Any], space: Space = DEEP) -> None:
        networks = elastic_networks(deep, lambda space, options: chosen, options=Width)
        networks.supernet(space, (5,), 3, Width())

    everything = deep_choices(DEEP, Width())
    with pytest.raises(ConfigurationError, match=r"choices that act nowhere in its network: \['hidden_1'\]"):
        build({name: chosen for name, chosen in everything.items() if name != "blocks.1"})
    with pytest.raises(ConfigurationError, match=r"'blocks_0_width' at 'blocks.0' has the sizes .* no choice of that"):
        build({**everything, "blocks.0": [sw.width([8, 32]), sw.width([8, 16, 32], name="hidden_0")]})
    with pytest.raises(ConfigurationError, match=r"space 'deep' has the options \(1, 2, 4\)"):
        build({**everything, "blocks.0": sw.width([8, 32], name="hidden_0")})
