"""One executor for any cell: a cell of DARTS is operations made of parts, and a wiring."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any, final

import pytest
import torch
from torch import Tensor, nn

from sharewise.errors import ConfigurationError
from sharewise.space import Decision
from sharewise.spaces import load
from sharewise.spaces.darts.supernet import DartsOptions
from sharewise.spaces.darts.supernet import SharedCell as SharedDartsCell
from sharewise.spaces.nasbench201.supernet import NasBench201Options
from sharewise.spaces.nasbench201.supernet import SharedCell as NasBench201Cell
from sharewise.spaces.toy_separable_cell.supernet import SeparableCellOptions
from sharewise.spaces.toy_separable_cell.supernet import SharedCell as SeparableCell
from sharewise.supernet import (
    Gate,
    GatedOperation,
    Gates,
    MixedOperation,
    Mixture,
    PartialOperation,
    Term,
    Wiring,
    cell_edge,
    execute,
    frozen_statistics,
    term,
)
from sharewise.testing import randomise_norms

# --- A cell of DARTS: eight operations by their parts, two inputs, four nodes, fourteen edges, and nothing else

OPERATIONS = ("none", "max_pool", "avg_pool", "skip_connect", "sep_conv_3", "sep_conv_5", "dil_conv_3", "dil_conv_5")


class Halves(nn.Module):
    """Two strided 1×1 convolutions, the second of the image shifted by one pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels // 2, 1, 2, bias=False) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.first(x), self.second(x[:, :, 1:, 1:])], dim=1)


def depthwise(channels: int, kernel: int, stride: int, dilation: int = 1) -> nn.Conv2d:
    padding = dilation * (kernel - 1) // 2
    return nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False)


def pointwise(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 1, bias=False)


def darts_operation(name: str, c: int, stride: int, affine: bool) -> nn.Module:
    norm = partial(nn.BatchNorm2d, c, affine=affine)
    kernel = int(name[-1]) if name[-1].isdigit() else 0
    parts: dict[str, Callable[[], list[nn.Module]]] = {
        "max_pool": lambda: [nn.MaxPool2d(3, stride, 1), norm()],
        "avg_pool": lambda: [nn.AvgPool2d(3, stride, 1, count_include_pad=False), norm()],
        "skip_connect": lambda: [nn.Identity()] if stride == 1 else [nn.ReLU(), Halves(c), norm()],
        "sep_conv": lambda: [
            *(nn.ReLU(), depthwise(c, kernel, stride), pointwise(c), norm()),
            *(nn.ReLU(), depthwise(c, kernel, 1), pointwise(c), norm()),
        ],
        "dil_conv": lambda: [nn.ReLU(), depthwise(c, kernel, stride, 2), pointwise(c), norm()],
    }
    return nn.Sequential(*parts[name.rstrip("_35")]())


def mixture_of(decision: Decision, channels: int, stride: int, affine: bool) -> MixedOperation:
    operations = {o: darts_operation(o, channels, stride, affine) for o in OPERATIONS if o != "none"}
    return MixedOperation(decision, operations)


PLACES = [(source, target) for target in range(2, 6) for source in range(target)]


class DartsCell(nn.Module):
    """Edges, which may be weighed against each other, and see 1/K of the channels."""

    def __init__(self, channels: int, reduction: bool, affine: bool, parts: int = 1, gated: bool = False) -> None:
        super().__init__()
        edges: dict[str, nn.Module] = {}
        self.decisions: list[Decision] = []
        for source, target in PLACES:
            name, stride = f"{source}_{target}", 2 if reduction and source < 2 else 1
            decision = Decision(name, OPERATIONS)
            self.decisions.append(decision)
            weight = (self.inputs_of(target), source) if gated else None
            make = partial(mixture_of, decision, stride=stride, affine=affine)
            edges[name] = cell_edge(make, channels, stride=stride, partial=parts, weight=weight)
        self.decisions += [self.inputs_of(target) for target in range(2, 6)] if gated else []
        self.edges = nn.ModuleDict(edges)
        places = {f"{source}_{target}": (source, target) for source, target in PLACES}
        self.wiring = Wiring(2, places, outputs=(2, 3, 4, 5), stride=2 if reduction else 1)
        self.parts, self.fused = parts, True

    @staticmethod
    def inputs_of(target: int) -> Decision:
        return Decision(f"inputs of {target}", tuple(range(target)))

    def forward(self, x: Sequence[Tensor], gates: Gates) -> Tensor:
        return execute(self.wiring, self.edges, x, gates, fused=self.fused)


class OneInput(nn.Module):
    """A cell of the house, called as the others are here."""

    def __init__(self, cell: Any, decisions: Sequence[Decision]) -> None:
        super().__init__()
        self.cell, self.decisions = cell, decisions

    @property
    def fused(self) -> bool:
        return bool(self.cell.fused)

    @fused.setter
    def fused(self, value: bool) -> None:
        self.cell.fused = value

    def forward(self, x: Sequence[Tensor], gates: Gates) -> Tensor:
        y: Tensor = self.cell(x[0], gates)
        return y


class BlocksCell(nn.Module):
    """As in NAS-Bench-1Shot1: every block weighs its inputs and then applies its operations; so does the output."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.decisions: list[Decision] = []
        places: dict[str, tuple[int, int]] = {}
        edges: dict[str, nn.Module] = {}

        def read(nodes: Sequence[int], target: int) -> None:
            choice = Decision(f"inputs of {target}", tuple(nodes))
            self.decisions.append(choice)
            for node in nodes:
                places[f"{node}_{target}"] = (node, target)
                edges[f"{node}_{target}"] = GatedOperation(nn.Identity(), choice, node)

        for block in range(2):
            summed, result = 2 * block + 1, 2 * block + 2
            read(range(0, summed, 2), summed)
            operations = {o: darts_operation(o, channels, 1, True) for o in ("sep_conv_3", "dil_conv_3")}
            choice = Decision(f"operation of {block}", ("max", "sep_conv_3", "dil_conv_3"))
            self.decisions.append(choice)
            places[f"block {block}"] = (summed, result)
            edges[f"block {block}"] = MixedOperation(choice, {"max": nn.MaxPool2d(3, 1, 1), **operations})
        read((2, 4), 5)
        self.wiring, self.edges, self.fused = Wiring(1, places, outputs=(5,)), nn.ModuleDict(edges), True

    def forward(self, x: Sequence[Tensor], gates: Gates) -> Tensor:
        return execute(self.wiring, self.edges, x[:1], gates, fused=self.fused)


def nasbench201_cell(channels: int, **options: Any) -> OneInput:
    decisions = load("nasbench201").relaxation.decisions
    return OneInput(NasBench201Cell(decisions, channels, NasBench201Options(**options)), decisions)


class TwoOfTheHouse(nn.Module):
    """A cell of the space of DARTS, called as the others are here."""

    def __init__(self, reduction: bool, **options: Any) -> None:
        super().__init__()
        kind = "reduce" if reduction else "normal"
        space = load("darts")
        self.decisions = [d for d in space.relaxation.decisions if d.name.startswith(kind)]
        named = {d.name.removeprefix(f"{kind}_"): d for d in self.decisions}
        self.cell = SharedDartsCell(named, (4, 4), 4, reduction, False, DartsOptions(**options))

    @property
    def fused(self) -> bool:
        return self.cell.fused

    @fused.setter
    def fused(self, value: bool) -> None:
        self.cell.fused = value

    def forward(self, x: Sequence[Tensor], gates: Gates) -> Tensor:
        y: Tensor = self.cell(x[0], x[1], gates)
        return y


def separable_cell(channels: int, reduction: bool, **options: Any) -> OneInput:
    decisions = load("toy-separable-cell").relaxation.decisions[:3]
    edges = {d.name[-3:]: d for d in decisions}
    cell = SeparableCell(edges, channels, channels, reduction, SeparableCellOptions(**options))
    return OneInput(cell, decisions)


CELLS: dict[str, Callable[[], Any]] = {
    "darts": lambda: DartsCell(4, False, False),
    "darts, reduction": lambda: DartsCell(4, True, True),
    "pc-darts": lambda: DartsCell(8, False, False, parts=4, gated=True),
    "pc-darts, reduction": lambda: DartsCell(8, True, False, parts=4, gated=True),
    "1shot1": lambda: BlocksCell(4),
    "nasbench201": lambda: nasbench201_cell(4, affine=True),
    "nasbench201, entangled": lambda: nasbench201_cell(4, sharing="entangled"),
    "nasbench201, published": lambda: nasbench201_cell(4, sharing="entangled", affine=True, published=True),
    "darts of the house": lambda: TwoOfTheHouse(False),
    "darts of the house, entangled": lambda: TwoOfTheHouse(True, sharing="entangled", affine=True),
    "toy, entangled": lambda: separable_cell(4, False),
    "toy, reduction": lambda: separable_cell(4, True, published=True, affine=True),
    "toy, disjoint": lambda: separable_cell(4, True, sharing="disjoint"),
}

# --- Gates


def mixture(decision: Decision, generator: torch.Generator) -> Gate:
    weights = torch.softmax(2 * torch.randn(decision.size, generator=generator, dtype=torch.float64), -1)
    return Gate(weights, tuple(range(decision.size)))


def few(decision: Decision, generator: torch.Generator) -> Gate:
    """Few active options, often none: nodes are zero, and edges lead nowhere."""
    active = (torch.rand(decision.size, generator=generator) < 0.2).nonzero().flatten()
    return Gate(mixture(decision, generator).weights, tuple(active.tolist()))


def single(decision: Decision, generator: torch.Generator) -> Gate:
    """A sampled path, `none` and skipping more often than not, so that there are nodes of zero."""
    index = int(torch.randint(decision.size, (), generator=generator))
    if decision.size > 3 and torch.rand((), generator=generator) < 0.6:
        index = int(torch.randint(2, (), generator=generator))
    return Gate(torch.eye(decision.size, dtype=torch.float64)[index], (index,), unit=True)


# --- Everything that a step leaves behind


def outcome(cell: Any, x: Sequence[Tensor], gates: Gates, *, frozen: bool, twice: bool) -> dict[str, Tensor | None]:
    inputs = [value.clone().requires_grad_() for value in x]
    leaves = {
        name: gate if gate.unit else Gate(gate.weights.detach().clone().requires_grad_(), gate.active)
        for name, gate in gates.items()
    }
    if frozen:
        with frozen_statistics(cell):
            y = cell(inputs, leaves)
    else:
        y = cell(inputs, leaves)
    found: dict[str, Tensor | None] = {"output": y.detach()}
    wanted = {f"weight {name}": p for name, p in cell.named_parameters()}
    wanted |= {f"gate {name}": gate.weights for name, gate in leaves.items() if not gate.unit}
    wanted |= {f"input {i}": value for i, value in enumerate(inputs)}
    if y.requires_grad:
        first = torch.autograd.grad(y.sin().sum(), list(wanted.values()), create_graph=twice, allow_unused=True)
        found |= dict(zip(wanted, first, strict=True))
        known = [g for g in first if g is not None and g.requires_grad]
        if twice and known:
            loss = torch.stack([g.cos().sum() for g in known]).sum()
            second = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True, materialize_grads=True)
            found |= {f"second of {name}": g for name, g in zip(wanted, second, strict=True)}
    return found | {f"buffer {name}": value.clone() for name, value in cell.named_buffers()}


def same(a: dict[str, Tensor | None], b: dict[str, Tensor | None]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        other = b[name]
        assert (value is None) == (other is None), f"{name}: only one form has it"
        if value is not None:
            torch.testing.assert_close(value, other, rtol=1e-10, atol=1e-10, msg=lambda m, name=name: f"{name}: {m}")


def images(cell: Any, generator: torch.Generator) -> list[Tensor]:
    channels = 8 if isinstance(cell, DartsCell) and cell.parts > 1 else 4
    return [torch.randn(3, channels, 8, 8, generator=generator, dtype=torch.float64) for _ in range(2)]


@pytest.mark.sweep(2)
@pytest.mark.parametrize("mode", ["training", "evaluation", "frozen"])
@pytest.mark.parametrize("draw", [mixture, few, single])
@pytest.mark.parametrize("name", list(CELLS))
def test_fused_equals_edge_by_edge(name: str, draw: Callable[..., Gate], mode: str) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fused = CELLS[name]().double()
    randomise_norms(fused, generator)
    plain = copy.deepcopy(fused)
    plain.fused = False
    for number in range(1 if draw is mixture else 3):
        x, gates = images(fused, generator), {d.name: draw(d, generator) for d in fused.decisions}
        found = [
            outcome(
                cell.train(mode != "evaluation"),
                x,
                gates,
                frozen=mode == "frozen",
                twice=number == 0 and draw is not single,
            )
            for cell in (fused, plain)
        ]
        same(*found)


def test_the_comparison_meets_what_it_is_about() -> None:
    """Nodes of zero that are read, and edges into nodes that are not, occur among the gates above."""
    generator = torch.Generator().manual_seed(0)
    cell = CELLS["nasbench201"]().double().eval()
    counts = [convolutions(cell, {d.name: single(d, generator) for d in cell.decisions}) for _ in range(40)]
    assert sum(left_out > 0 for _, left_out in counts) > 3


def convolutions(cell: Any, gates: Gates) -> tuple[int, int]:
    """How many convolutions the fused form executes, and how many fewer than the other."""
    found = []
    for fused in (True, False):
        cell.fused = fused
        with torch.no_grad(), torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            cell([torch.ones(2, 4, 4, 4, dtype=torch.float64)] * 2, gates)
        found.append(sum(event.count for event in profile.key_averages() if event.key == "aten::conv2d"))
    cell.fused = True
    return found[0], found[1] - found[0]


def unit(decisions: Sequence[Decision], **options: str) -> dict[str, Gate]:
    gates = {}
    for d in decisions:
        index = d.options.index(options.get(d.name, "none"))
        gates[d.name] = Gate(torch.eye(d.size, dtype=torch.float64)[index], (index,), unit=True)
    return gates


def test_what_cannot_reach_the_output_is_executed_for_its_statistics_only() -> None:
    cell = CELLS["nasbench201"]().double()
    dead = {"edge_0_1": "nor_conv_3x3", "edge_1_2": "nor_conv_1x1", "edge_0_3": "nor_conv_3x3"}
    gates = unit(cell.decisions, **dead)  # node 2 leads nowhere, and so node 1 does not either
    assert convolutions(cell.train(), gates) == (3, 0)
    with frozen_statistics(cell):
        assert convolutions(cell.train(), gates) == (1, 2)
    assert convolutions(cell.eval(), gates) == (1, 2)
    gates = unit(cell.decisions, **dead, edge_2_3="skip_connect")
    assert convolutions(cell.eval(), gates) == (3, 0)


def test_a_node_of_zero_is_skipped_and_pooled_for_nothing_but_normalised() -> None:
    cell = CELLS["nasbench201"]().double().eval()
    randomise_norms(cell, torch.Generator().manual_seed(0))
    x = [torch.ones(2, 4, 4, 4, dtype=torch.float64)] * 2
    zero = unit(cell.decisions, edge_1_2="avg_pool_3x3", edge_2_3="skip_connect")  # node 1 is zero, node 2 then too
    pools = [m for m in cell.modules() if isinstance(m, nn.AvgPool2d)]
    calls: list[nn.Module] = []
    for pool in pools:
        pool.register_forward_hook(lambda m, *_: calls.append(m))
    assert not cell(x, zero).any()
    assert not calls
    norm = unit(cell.decisions, edge_1_2="nor_conv_3x3", edge_2_3="skip_connect")
    y = cell(x, norm)
    assert bool(y.all()), "the norm of zero is a constant that is not zero"
    cell.fused = False
    assert torch.equal(y, cell(x, norm))


def test_dropout_is_executed_where_it_leads_nowhere() -> None:
    """Its random numbers would else be missing from the stream."""
    edges = nn.ModuleDict({"a": nn.Dropout(0.5), "b": nn.Dropout(0.5)})
    wiring = Wiring(1, {"a": (0, 1), "b": (0, 2)}, outputs=(2,))
    states = []
    for fused in (True, False):
        torch.manual_seed(0)
        execute(wiring, edges, [torch.ones(2, 3)], {}, fused=fused)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_prefixes_are_shared_by_their_settings() -> None:
    """Two edges that pool alike pool once; another padding rule, or another stride, is another prefix."""
    pools = [
        nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        nn.AvgPool2d(3, 1, 1),
        nn.MaxPool2d(3, 1, 1),
        nn.MaxPool2d(3, 1, 1, 1),
    ]
    calls: list[int] = []
    for index, pool in enumerate(pools):
        pool.register_forward_hook(lambda *_, index=index: calls.append(index))
    edges = nn.ModuleDict({str(i): pool for i, pool in enumerate(pools)})
    wiring = Wiring(1, {str(i): (0, 1) for i in range(len(pools))}, outputs=(1,))
    x = torch.randn(1, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    y = execute(wiring, edges, [x], {})
    assert calls == [0, 2, 3]
    torch.testing.assert_close(y, execute(wiring, edges, [x], {}, fused=False))


def test_rectifying_in_place_is_not_shared() -> None:
    assert not term(nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(1, 1, 1))).prefix


def test_parts_follow_layers_that_are_replaced() -> None:
    operation = nn.Sequential(nn.ReLU(), nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    operation[2] = nn.SyncBatchNorm(1)
    parts = term(operation)
    assert parts.norm is None, "a norm that others must be told of is called as the module it is"
    assert parts.body == (operation[1], operation[2])


@pytest.mark.parametrize("reduction", [False, True])
def test_a_reduction_knows_the_shape_of_nodes_that_nothing_reaches(reduction: bool) -> None:
    cell = DartsCell(4, reduction, False)
    x = [torch.ones(2, 4, 7, 5)] * 2
    some = unit(cell.decisions, **{"0_2": "max_pool"})
    assert cell(x, some).shape == (2, 16, 4, 3) if reduction else (2, 16, 7, 5)
    assert cell(x, some).shape == cell(x, unit(cell.decisions)).shape


def test_pooled_and_rectified_inputs_of_a_darts_cell_are_computed_once_a_node() -> None:
    cell = DartsCell(4, False, False)
    counts: dict[type[nn.Module], int] = {nn.MaxPool2d: 0, nn.AvgPool2d: 0}
    for module in cell.modules():
        if type(module) in counts:
            module.register_forward_hook(lambda m, *_: counts.__setitem__(type(m), counts[type(m)] + 1))
    gates = {d.name: mixture(d, torch.Generator().manual_seed(0)) for d in cell.decisions}
    cell([torch.ones(2, 4, 6, 6)] * 2, {name: Gate(g.weights.float(), g.active) for name, g in gates.items()})
    assert set(counts.values()) == {5}, "five nodes have outgoing edges, of which there are fourteen"


def test_inactive_inputs_of_a_block_are_not_executed() -> None:
    cell = DartsCell(4, False, False, gated=True)
    gates = {d.name: Gate(torch.full((d.size,), 1 / d.size), tuple(range(d.size))) for d in cell.decisions}
    gates["inputs of 2"] = Gate(torch.tensor([0.0, 1.0]), (1,))
    cell([torch.ones(2, 4, 6, 6)] * 2, gates).sum().backward()
    assert all(p.grad is None for p in cell.edges["0_2"].parameters())
    assert all(p.grad is not None for p in cell.edges["1_2"].parameters())


def test_partial_channels_are_the_published_form() -> None:
    """Concatenate, then interleave K groups, as the authors' `channel_shuffle` does."""
    edge = PartialOperation(nn.Conv2d(2, 2, 1), 4, nn.Identity()).double()
    x = torch.randn(3, 8, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = torch.cat([edge.edge(x[:, :2]), x[:, 2:]], dim=1)
    expected = whole.view(3, 4, 2, 5, 5).transpose(1, 2).contiguous().view(3, 8, 5, 5)
    found = edge.alone(x, {})
    assert found is not None
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Wiring(1, {"a": (1, 1)}, (1,)), "edge 'a' leads from node 1 to node 1"),
        (lambda: Wiring(2, {"a": (0, 1)}, (1,)), r"from 2 \(the number of inputs\) on"),
        (lambda: Wiring(1, {"a": (0, 2), "b": (0, 1)}, (1,)), "in the order of their targets"),
        (lambda: Wiring(1, {"a": (0, 1)}, ()), "name at least one"),
        (lambda: Wiring(1, {"a": (0, 1)}, (2,)), r"output nodes \(2,\) of a cell with 2 nodes"),
        (lambda: PartialOperation(nn.Identity(), 1, nn.Identity()), "at least 2 parts, got 1"),
        (lambda: GatedOperation(nn.Identity(), Decision("inputs", (0, 1)), 2), "input 2 is not an option"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make()


@final
class Astray(Mixture):
    """Puts its term into a lane that it does not join."""

    def terms(self, gates: Gates) -> list[Term]:
        return [term(nn.Identity())._replace(lane=1)]

    def alone(self, x: Tensor, gates: Gates) -> Tensor:
        return x

    def inherited(self, gates: Gates) -> dict[str, Tensor]:
        return {}


def test_lanes_need_somebody_who_joins_them() -> None:
    wiring = Wiring(1, {"a": (0, 1)}, outputs=(1,))
    with pytest.raises(ConfigurationError, match=r"lanes \[1\] meet at a node, which a Astray does not join"):
        execute(wiring, nn.ModuleDict({"a": Astray()}), [torch.ones(1, 4, 2, 2)], {})


def test_a_plain_edge_beside_partial_channels_is_no_sum() -> None:
    """The plain edge comes last and knows one lane; its broadcast sum would be silently wrong."""
    wiring = Wiring(1, {"a": (0, 1), "b": (0, 1)}, outputs=(1,))
    edges = nn.ModuleDict({"a": Astray(), "b": nn.Conv2d(4, 4, 1)})
    with pytest.raises(ConfigurationError, match=r"lanes \[0, 1\] meet at a node, which a Conv2d does not join"):
        execute(wiring, edges, [torch.ones(1, 4, 2, 2)], {})


def test_partial_channels_need_a_divisor() -> None:
    with pytest.raises(ConfigurationError, match=r"1/4 need a number of channels that 4 divides, got 6"):
        cell_edge(lambda channels: nn.Conv2d(channels, channels, 1), 6, partial=4)


def test_the_rest_is_pooled_as_the_operations_round() -> None:
    """Operations of stride 2 make ⌈h/2⌉ of h."""
    edge = cell_edge(lambda channels: nn.MaxPool2d(3, 2, 1), 4, stride=2, partial=2)
    assert isinstance(edge, PartialOperation)
    found = edge.alone(torch.ones(1, 4, 7, 5), {})
    assert found is not None
    assert found.shape == (1, 4, 4, 3)


def test_every_path_of_a_small_cell() -> None:
    """All 4^3 sampled paths of a cell without norms on two of its operations, in training and in evaluation."""
    names = ("none", "skip", "pool", "conv")
    decisions = [Decision(name, names) for name in ("a", "b", "c")]
    wiring = Wiring(1, {"a": (0, 1), "b": (0, 2), "c": (1, 2)}, outputs=(2,))

    def edge(decision: Decision) -> MixedOperation:
        conv = nn.Sequential(nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2))
        return MixedOperation(decision, {"skip": nn.Identity(), "pool": nn.MaxPool2d(3, 1, 1), "conv": conv})

    edges = nn.ModuleDict({d.name: edge(d) for d in decisions}).double()
    randomise_norms(edges, torch.Generator().manual_seed(0))
    other = copy.deepcopy(edges)
    x = torch.randn(3, 2, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for training, options in product((True, False), product(names, repeat=3)):
        gates = unit(decisions, **dict(zip("abc", options, strict=True)))
        a = execute(wiring, edges.train(training), [x], gates)
        b = execute(wiring, other.train(training), [x], gates, fused=False)
        assert torch.equal(a, b), options
    assert all(torch.equal(p, q) for p, q in zip(edges.state_dict().values(), other.state_dict().values(), strict=True))


def test_cells_are_copied_with_their_weights() -> None:
    cell = DartsCell(8, False, False, parts=4, gated=True).double()
    twin = copy.deepcopy(cell)
    with torch.no_grad():
        for p in twin.parameters():
            p.zero_()
    generator = torch.Generator().manual_seed(0)
    gates = {d.name: mixture(d, generator) for d in cell.decisions}
    x = images(cell, generator)
    assert not torch.allclose(cell(x, gates), twin(x, gates))
