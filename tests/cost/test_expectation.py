"""Expected costs where decisions are not choices: exact against enumeration, and their gradients."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sharewise.cost import ArchitectureCosts, Blocks, MultiplyAccumulates, Parameters, Quantity, SupernetCost
from sharewise.cost.expectation import expectation
from sharewise.data import digits
from sharewise.engine import CostTarget, SearchState, numerics, prepare, stream
from sharewise.errors import ConfigurationError
from sharewise.methods import build
from sharewise.run import build_supernet
from sharewise.space import Architecture, Choice, Decision, Relaxation, Space, enumerate_architectures
from sharewise.space.relaxation import one_hot
from sharewise.spaces import load

CELL = load("toy-two-inputs")


def probabilities(masked: tuple[int, ...] = (), seed: int = 0) -> tuple[Tensor, Tensor]:
    """θ and the probabilities of the decisions of the cell, of which some options may be masked in every one."""
    theta = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    return theta, theta.index_fill(1, torch.tensor(masked, dtype=torch.long), -torch.inf).softmax(-1)


def by_enumeration(price: Callable[[Architecture], float], p: Tensor, space: Space = CELL) -> Tensor:
    """Σ q(a) c(a) with q in proportion to the probabilities of what an architecture takes."""
    relaxation, weights, costs = CELL.relaxation, [], []
    for architecture in enumerate_architectures(space):
        encoding = relaxation.encode(CELL.own(architecture))
        taken = [
            p[i, row.index(1.0)] for i, row in enumerate(encoding[d.name] for d in relaxation.decisions) if 1.0 in row
        ]
        assert len(taken) == 4
        weights.append(torch.stack(taken).prod())
        costs.append(price(architecture))
    q = torch.stack(weights)
    return (q * torch.tensor(costs, dtype=q.dtype)).sum() / q.sum()


def interacting(a: Architecture) -> float:
    """Reads an operation together with the input that it reads, as a stride does, and two nodes together."""
    strided = 3.0 if a["inputs_3"] == (1, 2) else 1.0
    return 10.0 + strided * (a["first_3"] == "tanh") + 5.0 * (a["first_2"] == "tanh") * (a["inputs_3"] == (1, 2))


def weighed() -> tuple[SupernetCost, Tensor]:
    """The cell with weights of edges β: two more decisions, over the inputs of its nodes; and random probabilities."""
    costs = SupernetCost(build_supernet(CELL, (6,), 3, network={"edge_weights": True}), (6,))
    p = torch.zeros(7, 4, dtype=torch.float64)
    for row, size in zip(p, (4, 4, 4, 4, 4, 2, 3), strict=True):
        row[:size] = torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(size)).softmax(0)
    return costs, p


def test_a_step_is_expected_to_cost_what_the_mixture_weighs() -> None:
    """Σ_o Π_e p_{e,o_e} Σ_e β_e c_{e,o_e} over all operations on all edges: β scales what an edge costs."""
    costs, p = weighed()
    prices = SupernetCost(build_supernet(CELL, (6,), 3), (6,)).prices
    betas = [p[5, 0], p[5, 1], p[6, 0], p[6, 1], p[6, 2]]
    assert [d.name for d in CELL.relaxation.decisions] == list(prices)
    brute = torch.zeros((), dtype=torch.float64)
    for chosen in itertools.product(range(4), repeat=5):
        share = torch.stack([p[edge, option] for edge, option in enumerate(chosen)]).prod()
        parts = zip(betas, prices.values(), chosen, strict=True)
        brute += share * torch.stack([beta * row[option] for beta, row, option in parts]).sum()
    found = costs.paths.expected(p) - costs.paths.fixed
    assert float(brute) > 1
    assert float(found) == pytest.approx(float(brute), rel=1e-12)
    assert costs.paths.largest(p > 0) == sum(map(max, prices.values())), "nothing but edges counts beside them"


def test_an_architecture_is_drawn_by_the_weights_of_its_edges_as_well() -> None:
    """q(a) in proportion to Π β_e p_{e,o} over the two edges that each node keeps, which the projection compares."""
    costs, p = weighed()
    betas = {"edge_0_2": p[5, 0], "edge_1_2": p[5, 1], **{f"edge_{s}_3": p[6, s] for s in range(3)}}
    total, weight = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for architecture in enumerate_architectures(CELL):
        encoding = CELL.relaxation.encode(architecture)
        q = torch.ones((), dtype=torch.float64)
        for row, decision in enumerate(CELL.relaxation.decisions):
            if 1.0 in encoding[decision.name]:
                q = q * betas[decision.name] * p[row, encoding[decision.name].index(1.0)]
        total, weight = total + q * costs.parameters(architecture), weight + q
    assert float(costs.expected(Parameters(), p)) == pytest.approx(float(total / weight), rel=1e-12)


@pytest.mark.parametrize("quantity", [Parameters(), MultiplyAccumulates()], ids=lambda q: q.name)
def test_the_expected_cost_of_a_cell_is_that_of_enumeration_and_so_is_its_gradient(quantity: Quantity) -> None:
    costs = SupernetCost(build_supernet(CELL, (6,), 3), (6,))
    theta, p = probabilities()
    mine, brute = costs.expected(quantity, p), by_enumeration(costs.architectures(quantity).of, p)
    assert float(mine.detach()) == pytest.approx(float(brute.detach()), rel=1e-12)
    (a,), (b,) = (torch.autograd.grad(value, theta, retain_graph=True) for value in (mine, brute))
    assert float(b.abs().sum()) > 1
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_prices_that_read_several_nodes_are_summed_over_blocks_exactly() -> None:
    table = ArchitectureCosts(CELL, interacting)
    assert table.prices is not None
    assert not table.additive
    _, p = probabilities(seed=1)
    value = float(expectation(table, CELL.relaxation)(p).detach())
    assert value == pytest.approx(float(by_enumeration(interacting, p).detach()), rel=1e-12)


def test_architectures_that_take_masked_options_are_never_drawn() -> None:
    theta, p = probabilities(masked=(2,))
    value = expectation(ArchitectureCosts(CELL, interacting), CELL.relaxation)(p)
    part = CELL.without("linear")
    assert float(value.detach()) == pytest.approx(float(by_enumeration(interacting, p, part).detach()), rel=1e-12)
    assert torch.autograd.grad(value, theta)[0].isfinite().all()


def test_blocks_of_single_choices_draw_each_by_itself() -> None:
    relaxation = load("toy-tied-width").relaxation
    table = ArchitectureCosts(relaxation.space, lambda a: float(a["width"] * (2 if a["activation"] == "gelu" else 1)))  # type: ignore[operator]
    blocks = Blocks(relaxation)
    assert blocks.choices == ((0,), (1,))
    p = torch.rand(2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    p[1, 3] = 0
    p = p / p.sum(1, keepdim=True)
    torch.testing.assert_close(blocks.expectation(table.sums)(p), table.sums.expected(p))


def test_the_gradient_of_the_penalty_is_its_finite_difference() -> None:
    state = searched()
    penalty, phase = CostTarget(Parameters(), 2_500.0, 3.0), state.phase("architecture")
    theta = state.distribution.theta  # type: ignore[attr-defined]
    with torch.no_grad():
        theta.copy_(torch.rand(theta.shape, generator=torch.Generator().manual_seed(0), dtype=theta.dtype) + 0.1)

    def value() -> Tensor:
        return penalty(state.distribution, state.costs, phase)  # type: ignore[arg-type]

    (gradient,) = torch.autograd.grad(value(), theta)
    assert float(gradient.abs().sum()) > 0.1
    for place in range(theta.numel()):
        differences = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                theta.view(-1)[place] += step
                differences.append(float(value()))
                theta.view(-1)[place] -= step
        assert (differences[0] - differences[1]) / 2e-5 == pytest.approx(float(gradient.view(-1)[place]), abs=1e-7)


def searched() -> SearchState:
    data = digits().limited(64, seed=0)
    recipe = build("gaea-erm", {"epochs": 1, "batch_size": 16})
    roles = data.assign(recipe.roles, generator=stream(0, "data"))
    return prepare(build_supernet(CELL, data.input_shape, 10), recipe, roles, numerics=numerics("cpu", "float64"))


class Parity(Relaxation):
    """A decision that depends on all choices at once."""

    def __init__(self, choices: int) -> None:
        self.space = Space("parity", tuple(Choice(f"c{i}", (0, 1, 2)) for i in range(choices)), relax=lambda _: self)
        self.decisions = (Decision("sum", (0, 1, 2)),)

    def encode(self, architecture: Architecture) -> dict[str, tuple[float, ...]]:
        return {"sum": one_hot(self.decisions[0], sum(architecture.values()) % 3)}  # type: ignore[arg-type]

    def project(self, probabilities: object, exclude: tuple[object, ...] = ()) -> Architecture:
        raise NotImplementedError


def test_what_is_not_known_is_refused_in_a_line_that_says_what_to_do() -> None:
    Blocks(Parity(7))
    for relaxation, why in (
        (Parity(9), "more than 4,096"),
        (load("nasbench101:A_2").relaxation, "depend on each other"),
    ):
        with pytest.raises(ConfigurationError, match=f"{why}.*ExpectedCost") as caught:
            Blocks(relaxation)
        assert "\n" not in str(caught.value)
