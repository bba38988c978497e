"""The contract of a surgery: it decides by looking, writes down what it does, and does only what is written down."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from sharewise.data import Dataset, bilevel, digits
from sharewise.distribution import Blueprint, Expectation, Learned, SoftmaxLogits
from sharewise.engine import (
    Alternating,
    Constant,
    Mode,
    RankSampled,
    Recipe,
    SearchState,
    Stage,
    Surgery,
    WeightOptimization,
    WeightsOnly,
    seeded_modules,
)
from sharewise.space import Space
from sharewise.spaces import load
from sharewise.testing.ambient import without_ambient_randomness
from sharewise.testing.compare import same, values
from sharewise.testing.expect import expect
from sharewise.testing.prepared import prepared

__all__ = ["check_surgery"]


def check_surgery(
    surgery: Surgery,
    space: Space | None = None,
    dataset: Dataset | None = None,
    *,
    distribution: Blueprint | None = None,
    network: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> None:
    """Check a change of (w, optimiser, θ) between two stages, after a few steps of a search.

    *Looking*: `decide` changes nothing, is a function of the state and its generator, and returns plain values that
    JSON carries there and back. *Doing*: `apply` changes something, the same for the same record; applied to a fresh
    state it makes the shapes into which the tensors of the changed one can be loaded, which is how a resume works.
    *Whole*: the number of options of every decision stays, the optimiser of w holds exactly the parameters that the
    supernet now has, and training goes on. The global generators stay where they are.

    Args:
        surgery: to be checked.
        space: whose supernet it operates on; four decisions of a small network when absent.
        dataset: of examples; 64 digits when absent.
        distribution: independent softmax logits, mixed, when absent; a sampler for a surgery that says what is drawn.
        network: options of the network.
        seed: of weights, data and decisions.

    Raises:
        AssertionError: for the first law that is broken.

    Example:
        >>> from sharewise.engine import Pruning
        >>> check_surgery(Pruning(2))
    """
    space = load("toy-two-inputs") if space is None else space
    dataset = digits().limited(64, seed=seed) if dataset is None else dataset
    blueprint = Learned(SoftmaxLogits(0.05, scale=0.5), Expectation()) if distribution is None else distribution
    recipe = Recipe(
        name=_name(surgery),
        distribution=blueprint,
        level=Alternating() if blueprint.learns else WeightsOnly(),
        roles=bilevel(),
        selection=Mode() if blueprint.learns else RankSampled(candidates=2),
        weights=WeightOptimization(Constant(0.05)),
        epochs=2,
        batch_size=16,
        stages=(Stage(0.5), Stage(0.5, operations=(surgery,))),
    )

    def trained() -> SearchState:
        with seeded_modules(seed, "modules"):
            state = prepared(recipe, space, dataset, network=network, seed=seed)
            for _ in range(3):
                recipe.level.step(state, architecture=True)
        return state

    state, twin, fresh = trained(), trained(), prepared(recipe, space, dataset, network=network, seed=seed)
    record = _decided(surgery, state)
    _check_applied(surgery, record, state, twin, fresh)
    w = values(state.supernet)
    with seeded_modules(seed, "modules"):
        recipe.level.weight_step(state)
    moved = any(not same(value, w[name]) for name, value in state.supernet.named_parameters())
    expect(moved, f"after {_name(surgery)} a weight step leaves w as it was")


def _check_applied(
    surgery: Surgery, record: Mapping[str, Any], state: SearchState, twin: SearchState, fresh: SearchState
) -> None:
    """On a trained state, an equal one, and one that has just begun."""
    sizes = {decision.name: decision.size for decision in state.distribution.relaxation.decisions}
    before = _content(state)
    for one in (state, twin, fresh):
        with without_ambient_randomness(f"{_name(surgery)} applies its record and"):
            surgery.apply(one, record)
    after = _content(state)
    expect(not same(before, after), f"{_name(surgery)} changes nothing: neither weights, nor θ, nor an optimiser")
    expect(
        same(after, _content(twin)),
        f"{_name(surgery)} does different things by the same record: what is drawn belongs into `decide`",
    )
    _check_whole(surgery, state, sizes)
    try:
        fresh.supernet.load_state_dict(state.supernet.state_dict())
        fresh.distribution.load_state_dict(state.distribution.state_dict())
        fresh.weight_optimizer.load_state_dict(state.weight_optimizer.state_dict())
    except (RuntimeError, ValueError, KeyError) as error:
        raise AssertionError(
            f"{_name(surgery)} gives a fresh search other shapes than a trained one by the same record, so that no "
            f"checkpoint could be loaded: {error}"
        ) from error


def _decided(surgery: Surgery, state: SearchState) -> Mapping[str, Any]:
    before = _content(state)
    with without_ambient_randomness(f"{_name(surgery)} decides and"):
        record = surgery.decide(state, state.fresh_generator("surgery"))
    expect(same(before, _content(state)), f"{_name(surgery)} changes the search while it decides; that is for `apply`")
    again = surgery.decide(state, state.fresh_generator("surgery"))
    expect(record == again, f"{_name(surgery)} decides {record}, and with an equal generator {again}")
    try:
        carried = json.loads(json.dumps(record))
    except (TypeError, ValueError) as error:
        raise AssertionError(f"the record of {_name(surgery)} holds more than plain values: {error}") from error
    expect(carried == record, f"the record of {_name(surgery)} comes back from JSON as {carried}")
    return record


def _check_whole(surgery: Surgery, state: SearchState, sizes: Mapping[str, int]) -> None:
    now = {decision.name: decision.size for decision in state.distribution.relaxation.decisions}
    rows = {name: len(row) for name, row in state.distribution.probabilities().items()}
    expect(
        now == sizes and all(sizes[name] == size for name, size in rows.items()),
        f"{_name(surgery)} changes the number of options of a decision from {sizes} to {rows}; a mask does not",
    )
    held = {id(parameter) for group in state.weight_optimizer.param_groups for parameter in group["params"]}
    owned = {id(parameter): name for name, parameter in state.supernet.named_parameters()}
    missing = [name for key, name in owned.items() if key not in held]
    expect(
        not missing and len(held) == len(owned),
        f"after {_name(surgery)} the optimiser does not hold the parameters of the supernet (it lacks {missing}, and "
        f"holds {len(held - owned.keys())} others); end with SearchState.rebind_weights",
    )


def _content(state: SearchState) -> dict[str, Any]:
    optimizer = state.architecture_optimizer
    return copy.deepcopy(
        {
            "supernet": dict(state.supernet.state_dict()),
            "distribution": dict(state.distribution.state_dict()),
            "weights": state.weight_optimizer.state_dict(),
            "architecture": None if optimizer is None else optimizer.state_dict(),
            "teacher": None if state.teacher is None else dict(state.teacher.network.state_dict()),
        }
    )


def _name(surgery: Surgery) -> str:
    return type(surgery).__name__
