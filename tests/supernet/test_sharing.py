"""One-hot gates are the extracted network; inactive options do not exist."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sharewise.data import digits
from sharewise.engine import architecture_step, numerics, prepare, stream, weight_step
from sharewise.methods import METHODS, build
from sharewise.run import build_supernet
from sharewise.space import sample
from sharewise.spaces import SEARCHABLE, load
from sharewise.supernet import Gates, MixedOperation, Supernet, discrete, extract, networks_of
from sharewise.testing import check_supernet, planted_space, randomise_norms
from sharewise.testing.small import MACRO, small_supernet

NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("nasbench201", {"channels": 4, "cells": 1}),
    ("nasbench201", {"channels": 2, "cells": 2, "affine": True}),
    ("nasbench201", {"channels": 4, "cells": 1, "affine": True, "fused": False}),
    ("nasbench201", {"channels": 4, "cells": 1, "fused": False}),
    ("nasbench101", {"channels": 7, "cells": 1}),
    ("nasbench101", {"channels": 5, "cells": 2, "single_kernel": True}),
    ("nasbench101:A_1", {"channels": 5, "cells": 1}),
    ("nasbench101:A_2", {"channels": 5, "cells": 1, "single_kernel": True}),
    ("nasbench101:A_3", {"channels": 8, "cells": 1}),
    ("nasbench101:A_4", {"channels": 10, "cells": 1}),
    ("nasbench101:FULL", {"channels": 5, "cells": 1}),
    ("nasbench101:RES", {"channels": 6, "cells": 1}),
    ("nasbench101:NRES", {"channels": 6, "cells": 1}),
    *((f"nasbench1shot1:{name}", {"channels": 3, "cells": 1}) for name in "123"),
    ("nasbench1shot1:3", {"channels": 2, "cells": 1, "fused": False}),
    ("nasbench201", {"channels": 4, "cells": 1, "sharing": "entangled"}),
    ("nasbench201", {"channels": 4, "cells": 1, "sharing": "entangled", "affine": True, "published": True}),
    ("darts", {"channels": 2, "layers": 3}),
    ("darts", {"channels": 2, "layers": 4, "stem": "imagenet", "affine": True, "fused": False}),
    ("darts", {"channels": 2, "layers": 3, "sharing": "entangled"}),
    ("darts", {"channels": 2, "layers": 3, "sharing": "entangled", "affine": True, "published": True}),
    ("darts:fair", {"channels": 2, "layers": 3}),
    ("darts:S1", {"channels": 2, "layers": 3}),
    ("darts:S2", {"channels": 2, "layers": 3}),
    ("darts:S3", {"channels": 2, "layers": 3}),
    ("darts:S4", {"channels": 2, "layers": 3}),
    ("conv-macro", {"divisor": 8}),
    ("conv-macro", {"divisor": 4, "published": True}),
    ("toy-separable-cell", {"channels": 4}),
    ("toy-separable-cell", {"channels": 4, "affine": True, "published": True}),
    ("toy-separable-cell", {"channels": 4, "sharing": "disjoint"}),
    ("toy-separable-cell", {"channels": 4, "fused": False}),
    ("nasbench201", {"channels": 4, "cells": 1, "sharing": "entangled", "fused": False}),
    ("darts-rnn", {"width": 4}),
    ("toy-tied-width", {}),
    ("toy-two-inputs", {"width": 8}),
    ("planted", {}),
    *((name, {}) for name in MACRO),
]


SLOW = (
    "attentivenas",
    "darts:fair",
    *(f"darts:S{number}" for number in (1, 2, 3)),
    *(f"hw-gpt-bench:{size}" for size in "ML"),
    "mobilenetv3",
    "nasbench1shot1:2",
    "nasbench1shot1:3",
    "ofa-resnet50",
    "proxylessnas",
    "vision-transformer-base",
    "vision-transformer-small",
)
"""Large ones, and those whose layers are those of another space that is here."""


def _many(space: str, network: dict[str, Any]) -> bool:
    """Whether it is a network of 28 decisions."""
    return space == "darts"


def supernet_of(space: str, network: dict[str, Any]) -> tuple[Supernet, torch.Tensor]:
    if space in MACRO:
        return small_supernet(space)
    shapes: dict[str, tuple[int, ...]] = {
        "conv-macro": (3, 12, 12),
        "darts-rnn": (3,),
        "planted": (8,),
        "toy-separable-cell": (1, 8, 8),
    }
    shape = shapes.get(space, (3, 8, 8) if space.startswith(("nasbench", "darts")) else (2, 3))
    if network.get("stem") == "imagenet":
        shape = (3, 33, 32)
    named = planted_space() if space == "planted" else load(space)
    x = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0))
    if space == "darts-rnn":
        x = torch.randint(3, (4, *shape), generator=torch.Generator().manual_seed(0))
    return build_supernet(named, shape, 3, network=network), x


def test_every_registered_space_is_here() -> None:
    assert {name for name, _ in NETWORKS} >= set(SEARCHABLE)


@pytest.mark.sweep(3)
@pytest.mark.parametrize(
    ("space", "network"),
    [
        pytest.param(space, network, marks=pytest.mark.slow if space in SLOW or _many(space, network) else ())
        for space, network in NETWORKS
    ],
)
def test_supernet_contract(space: str, network: dict[str, Any]) -> None:
    supernet, x = supernet_of(space, network)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    check_supernet(supernet, x, samples=2 if space.startswith("darts") else 6)
    assert supernet.training
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())


@pytest.mark.sweep(2)
@pytest.mark.parametrize(("space", "network"), NETWORKS)
def test_one_hot_equals_extracted_bit_for_bit(space: str, network: dict[str, Any]) -> None:
    supernet, x = supernet_of(space, network)
    randomise_norms(supernet, torch.Generator().manual_seed(1))
    supernet.eval()
    rng = np.random.default_rng(0)
    different = set()
    for _ in range(10):
        a = sample(supernet.space, rng)
        with torch.no_grad():
            shared = supernet(x, discrete(supernet.relaxation.encode(a)))
            plain = extract(supernet, a)(x)
        assert torch.equal(shared, plain), str(a)
        different.add(tuple(plain.flatten().tolist()))
    assert len(different) > 3, "the comparison is vacuous if all networks compute the same"


@pytest.mark.parametrize("options", [{}, {"affine": True}, {"fused": False}])
def test_one_hot_equals_extracted_with_channels_last(options: dict[str, Any]) -> None:
    supernet, x = supernet_of("nasbench201", {"channels": 4, "cells": 1, **options})
    randomise_norms(supernet, torch.Generator().manual_seed(1))
    supernet.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    x = x.contiguous(memory_format=torch.channels_last)
    rng = np.random.default_rng(0)
    for _ in range(6):
        a = sample(supernet.space, rng)
        with torch.no_grad():
            assert torch.equal(supernet(x, discrete(supernet.relaxation.encode(a))), extract(supernet, a)(x)), str(a)


def test_extracted_network_stands_alone() -> None:
    supernet, x = supernet_of("nasbench201", {"channels": 4, "cells": 1})
    a = sample(supernet.space, np.random.default_rng(0))
    network = extract(supernet.train(), a)
    assert network.training
    assert all(p.requires_grad and p.is_leaf and not p.is_meta for p in network.parameters())
    before = network.eval()(x).detach()
    with torch.no_grad():
        for p in supernet.parameters():
            p.zero_()
    assert torch.equal(network(x), before)
    assert not extract(supernet.eval(), a).training


@pytest.mark.parametrize(
    ("space", "network", "part"),
    [
        ("nasbench201", {"channels": 4, "cells": 1}, "stem"),
        ("nasbench201", {"channels": 4, "cells": 1}, "stages.1.0"),
        ("conv-macro", {"divisor": 8}, ""),
    ],
)
def test_what_is_frozen_stays_frozen(space: str, network: dict[str, Any], part: str) -> None:
    supernet, _ = supernet_of(space, network)
    supernet.get_submodule(part).requires_grad_(False)
    a = sample(supernet.space, np.random.default_rng(3))
    frozen = {name for name, p in extract(supernet, a).named_parameters() if not p.requires_grad}
    assert frozen == {name for name, _ in supernet.plain(a).named_parameters() if name.startswith(part)}


def test_extraction_draws_no_random_numbers() -> None:
    supernet, _ = supernet_of("nasbench201", {"channels": 4, "cells": 1})
    state = torch.get_rng_state()
    extract(supernet, sample(supernet.space, np.random.default_rng(0)))
    assert torch.equal(torch.get_rng_state(), state)


def executions(supernet: Supernet) -> dict[nn.Module, int]:
    """How often each candidate operation's parts are called, counted by hooks from now on."""
    counts: dict[nn.Module, int] = {}
    for mixed in supernet.modules():
        if isinstance(mixed, MixedOperation):
            for operation in mixed.operations.values():
                for module in operation.modules():
                    counts[module] = 0
                    module.register_forward_hook(lambda m, i, o: counts.__setitem__(m, counts[m] + 1))
    return counts


@pytest.mark.parametrize("method", ["spos", "gdas"])
@pytest.mark.parametrize("space", ["nasbench201", "toy-two-inputs"])
def test_inactive_options_cost_nothing_and_get_no_gradient(method: str, space: str) -> None:
    recipe = build(method, {"batch_size": 8})
    dataset = digits().limited(32, seed=0)
    network = {"channels": 2, "cells": 1, "fused": False} if space == "nasbench201" else {}
    supernet = build_supernet(load(space), dataset.input_shape, 10, network=network)
    data = dataset.assign(recipe.roles, generator=stream(0, "data"))
    state = prepare(supernet, recipe, data, numerics=numerics("cpu"))
    seen: list[Gates] = []
    supernet.train().register_forward_pre_hook(lambda module, arguments: seen.append(arguments[1]))
    counts = executions(supernet)
    for _ in range(4):
        for module in counts:
            counts[module] = 0
        seen.clear()
        for p in supernet.parameters():
            p.grad = None
        weight_step(state)
        [gates] = seen
        executed = 0
        for mixed in supernet.modules():
            if not isinstance(mixed, MixedOperation):
                continue
            active = {str(mixed.decision.options[i]) for i in gates[mixed.decision.name].active}
            assert len(active) <= 1
            for option, operation in mixed.operations.items():
                if option in active:
                    assert counts[operation] == 1
                    executed += 1
                else:
                    assert all(counts[module] == 0 for module in operation.modules())
                    assert all(p.grad is None for p in operation.parameters())
        assert executed > 0
        if recipe.level.learns:
            for p in supernet.parameters():
                p.grad = None
            seen.clear()
            architecture_step(state)
            assert all(len(gate.active) == 1 for gate in seen[0].values())
            assert all(p.grad is None for p in supernet.parameters())


def test_momentum_does_not_move_options_that_were_not_active() -> None:
    recipe = build("spos", {"batch_size": 8, "weight_decay": 0.1})
    dataset = digits().limited(32, seed=0)
    supernet = build_supernet(load("toy-two-inputs"), dataset.input_shape, 10, network={"width": 4})
    data = dataset.assign(recipe.roles, generator=stream(0, "data"))
    state = prepare(supernet, recipe, data, numerics=numerics("cpu"))
    seen: list[Gates] = []
    supernet.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[1]))
    for _ in range(6):
        before = {name: p.detach().clone() for name, p in supernet.edges.named_parameters()}
        weight_step(state)
        for name, p in supernet.edges.named_parameters():
            edge, _, option = name.split(".")[:3]
            decision = next(d for d in supernet.relaxation.decisions if d.name == edge)
            if decision.options.index(option) not in seen[-1][edge].active:
                assert torch.equal(p, before[name])


@pytest.mark.parametrize("method", list(METHODS))
def test_weights_and_architecture_parameters_are_kept_apart(method: str) -> None:
    supernet, _ = supernet_of("nasbench201", {"channels": 2, "cells": 1})
    distribution = build(method).distribution.build(supernet.relaxation, torch.Generator())
    assert not {id(p) for p in supernet.parameters()} & {id(p) for p in distribution.parameters()}
    optimized = {id(p) for g in build(method).weights.build(supernet.parameters()).param_groups for p in g["params"]}
    assert optimized == {id(p) for p in supernet.parameters()}


def test_options_of_networks() -> None:
    networks = networks_of(load("nasbench201"))
    with pytest.raises(ValueError, match="unknown network option 'chanels'; did you mean 'channels'"):
        networks.configure({"chanels": 8})
    with pytest.raises(ValueError, match="channels must be at least 1, got 0"):
        networks.configure({"channels": 0})
    with pytest.raises(ValueError, match="width must be at least 1"):
        networks_of(load("toy-two-inputs")).configure({"width": 0})
    with pytest.raises(ValueError, match=r"images of shape \(channels, height, width\), got \(5,\)"):
        build_supernet(load("nasbench201"), (5,), 3)


def test_constants_that_no_state_holds_are_where_the_supernet_is() -> None:
    supernet, tokens = small_supernet("hw-gpt-bench:S")
    supernet.double().eval()
    architecture = sample(supernet.space, np.random.default_rng(0))
    network = extract(supernet, architecture)
    constants = {name: b for name, b in network.named_buffers() if name not in network.state_dict()}
    assert constants
    assert {b.dtype for b in constants.values() if b.is_floating_point()} == {torch.float64}
    gates = discrete(supernet.relaxation.encode(architecture), dtype=torch.float64)
    assert torch.equal(network(tokens), supernet(tokens, gates))
