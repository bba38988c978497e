"""The recurrent cells of DARTS against their equations, their published sizes and their notation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import sharewise as sw
from sharewise.cost import cost
from sharewise.cost.supernet import SupernetCost
from sharewise.errors import ConfigurationError
from sharewise.methods import build
from sharewise.space import sample
from sharewise.spaces import load
from sharewise.spaces.darts_rnn.network import Network
from sharewise.spaces.darts_rnn.supernet import RecurrentSupernet
from sharewise.supernet import Gate, Gates, discrete, extract
from sharewise.supernet.supernet import networks_of
from sharewise.testing import check_method, check_relaxation, check_space, check_supernet, small_arguments

SPACE = load("darts-rnn")
VOCABULARY, LENGTH, WIDTH = 11, 4, 3
FUNCTIONS = {"tanh": torch.tanh, "relu": F.relu, "sigmoid": torch.sigmoid, "identity": lambda h: h}
STILL = {f"{name}_dropout": 0.0 for name in ("output", "hidden", "input", "embedding", "word")}


def supernet_of(**options: Any) -> RecurrentSupernet:
    network = {"width": WIDTH, **STILL, **options}
    supernet = sw.build_supernet(SPACE, (LENGTH,), VOCABULARY, network=network).double()
    assert isinstance(supernet, RecurrentSupernet)
    return supernet


def tokens(n: int = 5) -> Tensor:
    return torch.randint(VOCABULARY, (n, LENGTH), generator=torch.Generator().manual_seed(0))


def gates_of(generator: torch.Generator, kept: float = 1.0) -> dict[str, Gate]:
    """Random weights, of which a random part is active."""
    gates = {}
    for decision in SPACE.relaxation.decisions:
        weights = torch.rand(5, generator=generator, dtype=torch.float64).requires_grad_()
        active = tuple(i for i in range(5) if float(torch.rand((), generator=generator)) < kept)
        gates[decision.name] = Gate(weights, active)
    return gates


def published(supernet: RecurrentSupernet, x: Tensor, gates: Gates) -> Tensor:
    """The search network of the authors, edge by edge, in training mode and without dropout."""
    table, cell = supernet.frame.embedding.weight, supernet.cell

    def norm(s: Tensor) -> Tensor:
        return (s - s.mean(0)) / torch.sqrt(s.var(0, unbiased=False) + 1e-5)

    h = torch.zeros(len(x), WIDTH, dtype=torch.float64)
    scores = []
    for step in range(LENGTH):
        c, t = torch.split(torch.cat([table[x[:, step]], h], 1) @ cell.input_weight, WIDTH, 1)
        states = [norm(h + torch.sigmoid(c) * (torch.tanh(t) - h))]
        for node in range(1, 9):
            total = torch.zeros_like(h)
            for source in range(node):
                gate = gates[f"edge_{source}_{node}"]
                c, t = torch.split(states[source] @ cell.weights[node - 1], WIDTH, 1)
                for index, name in enumerate(("none", *FUNCTIONS)):
                    if name != "none" and index in gate.active:
                        step_to = states[source] + torch.sigmoid(c) * (FUNCTIONS[name](t) - states[source])
                        total = total + gate.weights[index] * step_to
            states.append(norm(total))
        h = torch.stack(states[1:]).mean(0)
        scores.append(F.linear(h, table, supernet.frame.decoder.bias))
    return torch.stack(scores, 1)


@pytest.mark.parametrize("kept", [1.0, 0.4, 0.05])
def test_the_mixture_is_that_of_the_equations(kept: float) -> None:
    supernet, x = supernet_of(), tokens()
    torch.nn.init.normal_(supernet.cell.input_weight, generator=torch.Generator().manual_seed(1))
    for matrix in supernet.cell.weights:
        torch.nn.init.normal_(matrix, generator=torch.Generator().manual_seed(2))
    gates = gates_of(torch.Generator().manual_seed(3), kept)
    leaves = [supernet.frame.embedding.weight, supernet.cell.input_weight, *supernet.cell.weights]
    leaves += [gate.weights for gate in gates.values()]
    found, wanted = supernet(x, gates), published(supernet, x, gates)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    for a, b in zip(
        torch.autograd.grad(found.sin().sum(), leaves, allow_unused=True),
        torch.autograd.grad(wanted.sin().sum(), leaves, allow_unused=True),
        strict=True,
    ):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_contracts() -> None:
    check_space(SPACE)
    check_relaxation(SPACE, samples=20)
    check_supernet(sw.build_supernet(SPACE, (LENGTH,), VOCABULARY, network={"width": WIDTH}), tokens(4))


@pytest.mark.parametrize("method", ["darts", "gaea-gdas", "enas"])
def test_method_contract(method: str, tmp_path: Path) -> None:
    check_method(build(method), SPACE, _text(tmp_path), network={"width": WIDTH})


def _text(folder: Path) -> sw.data.Dataset:
    (folder / "some.txt").write_text("to be or not to be, that is the question; " * 40, encoding="utf-8")
    return sw.data.text(folder, length=LENGTH).limited(64, seed=0)


def test_published_sizes() -> None:
    networks = networks_of(SPACE)
    for width, vocabulary, size in ((850, 10_000, 22_960_000), (700, 33_278, 33_127_878)):
        with torch.device("meta"):
            model = networks.plain(SPACE.parse("DARTS_V2"), (35,), vocabulary, networks.configure({"width": width}))
        assert sum(p.numel() for p in model.parameters()) == size


def test_the_price_is_the_cost_of_the_extracted_network() -> None:
    supernet, rng = sw.build_supernet(SPACE, (LENGTH,), VOCABULARY, network={"width": WIDTH}), np.random.default_rng(0)
    costs = SupernetCost(supernet, (LENGTH,), integers=True)
    for _ in range(3):
        a = sample(SPACE, rng)
        plain = cost(extract(supernet, a), (LENGTH,), integers=True)
        assert costs.of(discrete(SPACE.relaxation.encode(a))) == plain.multiply_accumulates
        assert costs.multiply_accumulates(a) == plain.multiply_accumulates
        assert costs.parameters(a) == plain.parameters


def test_a_network_of_its_own_is_not_normalised() -> None:
    networks = networks_of(SPACE)
    plain = networks.plain(SPACE.parse("DARTS_V1"), (LENGTH,), VOCABULARY, networks.configure({"width": WIDTH}))
    assert isinstance(plain, Network)
    assert not any(isinstance(module, torch.nn.BatchNorm1d) for module in plain.modules())
    assert plain.frame.decoder.weight is plain.frame.embedding.weight


def test_a_single_cell_is_normalised_by_its_own_statistics() -> None:
    """In evaluation too: those of the mixture that was trained would let a cell grow from one time step to the next."""
    supernet = supernet_of().train()
    supernet(tokens(), gates_of(torch.Generator().manual_seed(0)))
    network = extract(supernet, "DARTS_V2")
    assert torch.equal(network.eval()(tokens()), network.train()(tokens()))
    assert not [name for name in network.state_dict() if "norm" in name]


def test_masks_are_the_same_at_all_times() -> None:
    """With every word the same and no other dropout, only the mask of the embedding tells examples apart."""
    supernet = supernet_of(output_dropout=0.5)
    network = extract(supernet, "DARTS_V2")
    assert isinstance(network, Network)
    seen: list[Tensor] = []
    network.frame.decoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    torch.manual_seed(0)
    network.train()(tokens())
    dropped = seen[0] == 0
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert 0 < int(dropped.sum()) < dropped.numel()


@pytest.mark.parametrize("name", ["DARTS_V1", "DARTS_V2"])
def test_genotypes_are_read_and_written(name: str) -> None:
    architecture = SPACE.parse(name)
    assert SPACE.parse(str(architecture)) == architecture
    assert SPACE.parse(str(architecture).replace("range(1, 9)", "[1, 2, 3, 4, 5, 6, 7, 8]")) == architecture
    assert str(architecture).startswith("Genotype(recurrent=[('")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Genotype(recurrent=[('tanh', 0)], concat=range(1, 9))", "8 pairs"),
        (str(SPACE.parse("DARTS_V1")).replace("'relu', 0", "'relu', 1"), "node 1 cannot read node 1"),
        (str(SPACE.parse("DARTS_V1")).replace("tanh", "elu"), "unknown activation 'elu'"),
        (str(SPACE.parse("DARTS_V1")).replace("('relu', 0)", "__import__('os').system('true')"), "8 pairs"),
        ("DARTS_V3", "did you mean 'DARTS_V2'"),
        ("Genotype(" + "(" * 100_000, "has not the form"),
    ],
)
def test_what_is_no_genotype_is_named(text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        SPACE.parse(text)


@pytest.mark.parametrize("options", [{"width": 0}, {"hidden_dropout": 1.0}])
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        networks_of(SPACE).configure(options)


@pytest.mark.slow
def test_a_search_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    data, recipe = _text(tmp_path), build("darts", small_arguments("darts"))
    whole = sw.search(SPACE, recipe, data, network={"width": WIDTH}, device="cpu", out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        sw.search(
            SPACE, recipe, data, network={"width": WIDTH}, device="cpu", out=tmp_path / "cut", callbacks=[_stop_at(3)]
        )
    again = sw.search(SPACE, recipe, data, network={"width": WIDTH}, device="cpu", out=tmp_path / "cut", resume=True)
    assert again.architecture == whole.architecture
    for name, value in whole.state.supernet.state_dict().items():
        assert torch.equal(value, again.state.supernet.state_dict()[name]), name


def _stop_at(step: int) -> Any:
    def stop(state: Any, event: Any) -> None:
        if type(event).__name__ == "Stepped" and state.step == step:
            raise KeyboardInterrupt

    return stop
