"""What a stage changes in weights, optimisers and θ is decided once, recorded, and replayed by a resume to the bit."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import pytest
import torch
from torch import Tensor, nn

from sharewise.data import single_level
from sharewise.engine import (
    AdamOptimization,
    Constant,
    Event,
    Optimization,
    Recipe,
    SearchState,
    Stage,
    StageEntered,
    Stepped,
    Surgery,
    WeightOptimization,
    numerics,
    prepare,
    run,
    seeded_modules,
    stream,
)
from sharewise.errors import CheckpointError, ConfigurationError
from sharewise.methods import build
from sharewise.space import Architecture, Choice, Space
from sharewise.supernet import Gates, Shared, Supernet
from sharewise.testing import planted

SPACE = Space("tiny", (Choice("activation", ("tanh", "relu", "square")),))
FUNCTIONS: tuple[Callable[[Tensor], Tensor], ...] = (torch.tanh, torch.relu, torch.square)


class Body(nn.Module):
    """Hidden layer, norm, and output layer of any width, and further blocks of that width."""

    def __init__(self, width: int, blocks: int = 0) -> None:
        super().__init__()
        self.hidden, self.norm, self.output = nn.Linear(16, width), nn.BatchNorm1d(width), nn.Linear(width, 1)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))

    def forward(self, inputs: Tensor, weights: Sequence[Tensor | float]) -> Tensor:
        x = self.norm(self.hidden(inputs))
        mixed = sum((g * f(x) for g, f in zip(weights, FUNCTIONS, strict=True)), torch.zeros_like(x))
        for block in self.blocks:
            mixed = mixed + block(mixed)
        outputs: Tensor = self.output(mixed)
        return outputs


@final
class Chosen(nn.Module):
    """The plain network of one activation."""

    def __init__(self, body: Body, index: int) -> None:
        super().__init__()
        self.body, self.weights = body, [float(i == index) for i in range(len(FUNCTIONS))]

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.body(inputs, self.weights)
        return outputs


@final
class Tiny(Supernet, Shared):
    """One hidden layer whose activation is searched; it can be rebuilt with units in any order and number."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.space, self.relaxation = SPACE, SPACE.relaxation
        self.body = Body(width)

    def forward(self, inputs: Tensor, gates: Gates) -> Tensor:
        outputs: Tensor = self.body(inputs, list(gates["activation"].weights))
        return outputs

    def plain(self, architecture: Architecture) -> nn.Module:
        body = Body(self.body.hidden.out_features, len(self.body.blocks))
        return Chosen(body, SPACE.choices[0].options.index(architecture["activation"]))

    def inherited(self, gates: Gates) -> dict[str, Tensor]:
        return {f"body.{name}": value for name, value in self.body.state_dict().items()}

    def rebuild(self, units: Sequence[int]) -> None:
        """The present units `units`, in that order, perhaps some twice; the weights that read a copy are divided."""
        old, index = self.body, torch.tensor(units)
        copies = torch.bincount(index)[index]
        self.body = Body(len(units), len(old.blocks)).to(old.hidden.weight)  # before values are rounded
        with torch.no_grad():
            self.body.hidden.weight.copy_(old.hidden.weight[index])
            self.body.hidden.bias.copy_(old.hidden.bias[index])
            for name, value in old.norm.state_dict().items():
                self.body.norm.state_dict()[name].copy_(value[index] if value.ndim else value)
            self.body.output.weight.copy_(old.output.weight[:, index] / copies)
            self.body.output.bias.copy_(old.output.bias)


def moments(units: Sequence[int]) -> dict[str, Callable[[Tensor], Tensor]]:
    """Where the moments of a rebuilt supernet come from."""
    index = torch.tensor(units)
    rows = ("hidden.weight", "hidden.bias", "norm.weight", "norm.bias")
    return {
        **{f"body.{name}": lambda m: m[index] for name in rows},
        "body.output.weight": lambda m: m[:, index],
    }


@final
@dataclass(frozen=True)
class Sorting(Surgery):
    """Order the hidden units by the size of the weights that read them, the largest first."""

    def decide(self, state: SearchState, generator: torch.Generator) -> Mapping[str, Any]:
        assert isinstance(state.supernet, Tiny)
        size = state.supernet.body.output.weight.detach().abs().sum(0)
        return {"order": size.argsort(descending=True).tolist()}

    def apply(self, state: SearchState, record: Mapping[str, Any]) -> None:
        assert isinstance(state.supernet, Tiny)
        state.supernet.rebuild(record["order"])
        state.rebind_weights(moments(record["order"]))


@final
@dataclass(frozen=True)
class Widening(Surgery):
    """Copy random hidden units until there are `width`, with their statistics and moments."""

    width: int

    def decide(self, state: SearchState, generator: torch.Generator) -> Mapping[str, Any]:
        assert isinstance(state.supernet, Tiny)
        old = state.supernet.body.hidden.out_features
        extra = torch.randint(old, (self.width - old,), generator=generator)
        return {"units": [*range(old), *extra.tolist()]}

    def apply(self, state: SearchState, record: Mapping[str, Any]) -> None:
        assert isinstance(state.supernet, Tiny)
        state.supernet.rebuild(record["units"])
        state.rebind_weights(moments(record["units"]))


@final
@dataclass(frozen=True)
class Deepening(Surgery):
    """Append a block that computes zero at first."""

    def decide(self, state: SearchState, generator: torch.Generator) -> Mapping[str, Any]:
        return {}

    def apply(self, state: SearchState, record: Mapping[str, Any]) -> None:
        assert isinstance(state.supernet, Tiny)
        width = state.supernet.body.hidden.out_features
        block = nn.Linear(width, width)
        nn.init.zeros_(block.weight)
        nn.init.zeros_(block.bias)
        state.supernet.body.blocks.append(block)
        state.rebind_weights()


SGD = WeightOptimization(Constant(0.05), momentum=0.9)


def recipe_of(*stages: Stage, weights: Optimization = SGD) -> Recipe:
    arguments = {"epochs": 2 * len(stages), "batch_size": 16}
    return replace(build("darts", arguments), stages=stages, weights=weights, roles=single_level())


def fresh(recipe: Recipe, seed: int = 0) -> SearchState:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        supernet = Tiny(6)
    data = planted().dataset.limited(64, seed=0).assign(recipe.roles, generator=stream(0, "data"))
    return prepare(supernet, recipe, data, numerics=numerics("cpu", "float64"))


HALVES = (Stage(0.5),)
CHANGES: dict[str, tuple[Surgery, ...]] = {
    "sort": (Sorting(),),
    "widen": (Widening(10),),
    "widen, then sort": (Widening(9), Sorting()),
    "deepen": (Deepening(),),
}


@pytest.mark.parametrize("weights", [SGD, AdamOptimization(Constant(0.01))], ids=["momentum", "adam"])
@pytest.mark.parametrize("keep", [None, 2], ids=["all options", "pruned"])
@pytest.mark.parametrize("change", list(CHANGES))
def test_a_run_killed_in_the_stage_after_it_ends_with_the_same_bits(
    change: str, keep: int | None, weights: Optimization
) -> None:
    recipe = recipe_of(Stage(0.5), Stage(0.5, keep=keep, operations=CHANGES[change]), weights=weights)
    saved: list[dict[str, Any]] = []

    def save(state: SearchState, event: Event) -> None:
        if isinstance(event, Stepped) and state.stage == 1 and not saved:
            saved.append(copy.deepcopy(state.state_dict()))

    with seeded_modules(0, "modules"):
        whole = fresh(recipe)
        found = run(whole, (save,)).architecture
    with seeded_modules(7, "modules"):
        resumed = fresh(recipe, seed=3)  # other weights, and the shapes of the beginning
        resumed.load_state_dict(saved[0])
        assert run(resumed).architecture == found
    mine, theirs = whole.state_dict(), resumed.state_dict()
    for part in ("supernet", "distribution"):
        assert mine[part].keys() == theirs[part].keys()
        assert all(torch.equal(value, theirs[part][name]) for name, value in mine[part].items())
    for part in ("weight_optimizer", "architecture_optimizer"):
        for index, values in mine[part]["state"].items():
            for key, value in values.items():
                assert torch.equal(value, theirs[part]["state"][index][key]), (part, index, key)
        assert mine[part]["param_groups"] == theirs[part]["param_groups"]
    assert whole.costs.of({"activation": gate_of(whole)}) == resumed.costs.of({"activation": gate_of(resumed)})
    json.dumps([record for record in whole.history if record["event"] == "stage"])


def gate_of(state: SearchState) -> Any:
    [gates] = state.distribution.draw(torch.Generator(), state.phase("weights"))
    return gates["activation"]


def entered(change: tuple[Surgery, ...]) -> tuple[SearchState, SearchState]:
    """A search just before a change, and the same one just after it."""
    before: list[SearchState] = []
    recipe = recipe_of(Stage(0.5), Stage(0.5, operations=change))
    state = fresh(recipe)
    state.max_steps = state.steps_per_epoch * 2
    run(state)
    before.append(copy.deepcopy(state))
    state.max_steps += 1
    stopped = RuntimeError()

    def stop(state: SearchState, event: Event) -> None:
        if isinstance(event, StageEntered) and state.stage == 1:
            raise stopped

    with pytest.raises(RuntimeError):
        run(state, (stop,))
    return before[0], state


def outputs(state: SearchState) -> Tensor:
    inputs = state.data.dataset.train.inputs[:32].double()
    with torch.no_grad():
        found: Tensor = state.supernet.eval()(inputs, {"activation": gate_of(state)})
    return found


@pytest.mark.parametrize("change", list(CHANGES))
def test_the_function_is_preserved(change: str) -> None:
    before, after = entered(CHANGES[change])
    torch.testing.assert_close(outputs(after), outputs(before), rtol=1e-12, atol=1e-13)
    assert float(outputs(before).std()) > 0.01


def test_sorted_units_train_on_as_if_nothing_had_happened() -> None:
    """A permutation with its momentum commutes with every step, so that the functions stay the same."""
    sorted_run, plain_run = (fresh(recipe_of(Stage(0.5), Stage(0.5, operations=c))) for c in ((Sorting(),), ()))
    run(sorted_run)
    run(plain_run)
    order = next(r["order"] for r in sorted_run.history if "order" in r)
    assert order != sorted(order)
    torch.testing.assert_close(outputs(sorted_run), outputs(plain_run), rtol=1e-9, atol=1e-11)


def test_moments_are_carried_along() -> None:
    before, after = entered((Widening(10),))
    units = next(r["units"] for r in after.history if "units" in r)
    assert units[:6] == list(range(6))
    assert len(units) == 10
    old = dict(before.supernet.named_parameters())["body.hidden.weight"]
    new = dict(after.supernet.named_parameters())["body.hidden.weight"]
    assert new.shape == (10, 16)
    buffers = [s.weight_optimizer.state[p]["momentum_buffer"] for s, p in ((before, old), (after, new))]
    assert torch.equal(buffers[0][units], buffers[1])
    assert float(buffers[0].abs().max()) > 0
    assert {id(p) for g in after.weight_optimizer.param_groups for p in g["params"]} == {
        id(p) for p in after.supernet.parameters()
    }
    assert after.costs.of({"activation": gate_of(after)}) > before.costs.of({"activation": gate_of(before)})


def test_a_new_block_begins_without_moments() -> None:
    _, after = entered((Deepening(),))
    named = dict(after.supernet.named_parameters())
    assert named["body.blocks.0.weight"] not in after.weight_optimizer.state
    assert named["body.hidden.weight"] in after.weight_optimizer.state


@final
@dataclass(frozen=True)
class Careless(Surgery):
    """Widens, and forgets a moment."""

    def decide(self, state: SearchState, generator: torch.Generator) -> Mapping[str, Any]:
        return {"units": [0, 1, 2, 3, 4, 5, 0]}

    def apply(self, state: SearchState, record: Mapping[str, Any]) -> None:
        assert isinstance(state.supernet, Tiny)
        state.supernet.rebuild(record["units"])
        known = moments(record["units"])
        state.rebind_weights({name: move for name, move in known.items() if name != "body.hidden.weight"})


def test_a_forgotten_moment_is_named() -> None:
    with pytest.raises(
        ConfigurationError, match=r"shape \(7, 16\), but the momentum_buffer of body.hidden.weight has \(6, 16"
    ):
        entered((Careless(),))
    state = fresh(recipe_of(Stage()))
    with pytest.raises(ConfigurationError, match="'nothing', which the supernet has not"):
        state.rebind_weights({"nothing": lambda m: m})


@final
@dataclass(frozen=True)
class Intruding(Surgery):
    """Writes over what the record already holds."""

    def decide(self, state: SearchState, generator: torch.Generator) -> Mapping[str, Any]:
        return {"epoch": 7}

    def apply(self, state: SearchState, record: Mapping[str, Any]) -> None:
        """Nothing."""


def test_two_surgeries_may_not_write_the_same_entry() -> None:
    with pytest.raises(ConfigurationError, match="Intruding records 'epoch', which the stage has already"):
        run(fresh(recipe_of(Stage(operations=(Intruding(),)))))


@pytest.mark.parametrize("record", [{"stage": 5}, {"stage": 1}, {"stage": 1, "units": [0, 99]}])
def test_a_record_that_does_not_fit_is_named(record: dict[str, Any]) -> None:
    recipe = recipe_of(Stage(0.5), Stage(0.5, operations=(Widening(10),)))
    content = {**fresh(recipe).state_dict(), "history": [{"event": "stage", **record}]}
    with pytest.raises(CheckpointError, match=f"the record of stage {record['stage']} in the checkpoint does not fit"):
        fresh(recipe).load_state_dict(content)
