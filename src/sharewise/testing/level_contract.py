"""The contract of a level: its two halves keep to their own side, go downhill, and remember nothing of their own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sharewise.data import Dataset, bilevel
from sharewise.distribution import (
    Blueprint,
    Expectation,
    Learned,
    ScoreFunction,
    SoftmaxLogits,
    Uniform,
)
from sharewise.engine import (
    Constant,
    Level,
    Mode,
    RankSampled,
    Recipe,
    SearchState,
    WeightOptimization,
    seeded_modules,
)
from sharewise.space import Space, enumerate_architectures
from sharewise.supernet import Gate, Gates, discrete, frozen_statistics
from sharewise.testing.ambient import without_ambient_randomness
from sharewise.testing.compare import same, values
from sharewise.testing.expect import expect
from sharewise.testing.planted import planted
from sharewise.testing.prepared import prepared

__all__ = ["check_level"]

_STEPS = 24
"""In which a level must have made some way."""


def check_level(
    level: Level,
    space: Space | None = None,
    dataset: Dataset | None = None,
    *,
    distribution: Blueprint | None = None,
    network: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> None:
    """Check a level on a small problem, half by half and as a whole.

    *Weight step*: w moves, θ does not, and the batch is one of the role `weights`. *Architecture step*, where there is
    one: θ moves; w, running statistics, the optimiser of w and its gradients do not; the batch is one of the role
    `architecture`, where the level declares it. *Whole step*: w moves in every one, θ only where architecture steps are
    allowed, but then it does. *Downhill*: after some steps the training loss is lower than at the start; and at the
    weights that were reached, the present θ has a lower loss (a better expected metric, for a score) than the first one
    on the examples of the last declared role. *Paid for*: both halves charge the ledger, and report finite, detached
    scalars. *No memory of its own*: a run that goes on from its state dictionary, with a copy of the level that never
    ran, equals the whole run to the bit; the global generators stay.

    Args:
        level: to be checked.
        space: to search; 256 architectures of four decisions, with batch norm, when absent.
        dataset: of examples; 64 of a regression that the space can learn when absent.
        distribution: that the level moves, of independent decisions; softmax logits under the estimator that fits when
            absent.
        network: options of the network.
        seed: of weights, data and θ.

    Raises:
        AssertionError: for the first law that is broken.

    Example:
        >>> from sharewise.engine import Alternating
        >>> check_level(Alternating())
    """
    problem = planted(seed)
    space = problem.space if space is None else space
    dataset = problem.dataset.limited(64, seed=seed) if dataset is None else dataset
    level, untouched = level.shortened(), copy.deepcopy(level.shortened())
    blueprint = _fitting(level) if distribution is None else distribution

    def fresh(whose: Level) -> SearchState:
        recipe = Recipe(
            name=type(level).__name__,
            distribution=blueprint,
            level=whose,
            roles=bilevel(),
            selection=Mode() if whose.learns else RankSampled(candidates=2),
            weights=WeightOptimization(Constant(0.03)),
            epochs=2 * _STEPS,
            batch_size=32,
        )
        return prepared(recipe, space, dataset, network=network, seed=seed)

    with seeded_modules(seed, "modules"):
        _check_weight_step(fresh(level))
    if level.learns:
        with seeded_modules(seed, "modules"):
            _check_architecture_step(fresh(level))
    with seeded_modules(seed, "modules"):
        whole = fresh(level)
        saved = _check_whole(whole)
    with seeded_modules(seed + 1, "modules"):
        resumed = fresh(untouched)
        resumed.load_state_dict(saved)
        for _ in range(resumed.step, whole.step):
            _advance(resumed, architecture=True)
    for part in ("supernet", "distribution", "weight_optimizer", "memory"):
        expect(
            same(_part(whole, part), _part(resumed, part)),
            f"a run of {_name(level)} and its continuation from a state dictionary differ in the "
            f"{part.replace('_', ' ')}: what a level remembers belongs in state.memory",
        )


def _fitting(level: Level) -> Blueprint:
    if level.gradient is None:
        return Uniform()
    geometry = SoftmaxLogits(learning_rate=0.05)
    return Learned(geometry, Expectation() if level.gradient == "path" else ScoreFunction())


def _check_weight_step(state: SearchState) -> None:
    level = state.recipe.level
    what = f"a weight step of {_name(level)}"
    w, theta = values(state.supernet), values(state.distribution)
    drawn, _ = _watched(state, lambda: level.weight_step(state), what)
    expect(same(theta, values(state.distribution)), f"{what} changes θ")
    expect(_moved(w, state.supernet), f"{what} leaves w as it was")
    expect(drawn == {"weights"}, f"{what} draws from the roles {sorted(drawn)}, not from 'weights' alone")
    expect(state.ledger.multiply_accumulates > 0, f"{what} charges nothing to the ledger")


def _check_architecture_step(state: SearchState) -> None:
    level = state.recipe.level
    what = f"an architecture step of {_name(level)}"
    level.weight_step(state)
    state.weight_optimizer.zero_grad(set_to_none=True)
    w, theta, moments = values(state.supernet), values(state.distribution), _part(state, "weight_optimizer")
    charged = state.ledger.multiply_accumulates
    for _ in range(3):  # a sampled step may draw operations that ignore the gates
        drawn, losses = _watched(state, lambda: level.architecture_step(state), what)
        if losses is None:
            expect(not drawn, f"{_name(level)} says that it has no architecture step, but draws {sorted(drawn)} for it")
            return
        changed = [name for name, value in state.supernet.state_dict().items() if not torch.equal(value, w[name])]
        expect(not changed, f"{what} changes w or running statistics: {changed}")
        left = [name for name, parameter in state.supernet.named_parameters() if parameter.grad is not None]
        expect(not left, f"{what} leaves gradients on w: {left}")
        expect(same(moments, _part(state, "weight_optimizer")), f"{what} changes the optimiser of w")
        expect(
            level.roles[-1] in drawn,
            f"{what} draws from the roles {sorted(drawn)}, but the level declares {level.roles[-1]!r} for it",
        )
    expect(not same(theta, values(state.distribution)), f"three architecture steps of {_name(level)} leave θ as it was")
    expect(state.ledger.multiply_accumulates > charged, f"{what} charges nothing to the ledger")


def _check_whole(state: SearchState) -> dict[str, Any]:
    """Steps of both halves; returns the state dictionary of a moment in between."""
    level, saved = state.recipe.level, {}
    theta = values(state.distribution)
    _advance(state, architecture=False)
    expect(same(theta, values(state.distribution)), f"a step of {_name(level)} without architecture steps changes θ")
    before = _objective(state, "weights")
    for step in range(_STEPS):
        w = values(state.supernet)
        _advance(state, architecture=True)
        expect(_moved(w, state.supernet), f"a step of {_name(level)} leaves w as it was")
        if step == _STEPS // 2:
            saved = copy.deepcopy(state.state_dict())
    after = _objective(state, "weights")
    expect(
        after < before,
        f"{_STEPS} steps of {_name(level)} took the training loss from {before:.4g} to {after:.4g}: w does not descend",
    )
    if level.learns:
        expect(not same(theta, values(state.distribution)), f"{_STEPS} steps of {_name(level)} leave θ as it was")
        _check_downhill(state, theta)
    return saved


def _check_downhill(state: SearchState, theta: Mapping[str, Tensor]) -> None:
    level, present = state.recipe.level, copy.deepcopy(state.distribution.state_dict())
    role = level.roles[-1]
    reached = _objective(state, role)
    state.distribution.load_state_dict(dict(theta))
    start = _objective(state, role)
    state.distribution.load_state_dict(present)
    expect(
        reached < start,
        f"at the same weights the θ that {_name(level)} has reached has a loss of {reached:.5g} on the role {role!r}, "
        f"and the first θ one of {start:.5g}: it climbs, or reads another role",
    )


def _advance(state: SearchState, *, architecture: bool) -> None:
    level = state.recipe.level
    try:
        with without_ambient_randomness(f"a step of {_name(level)}"):
            losses = level.step(state, architecture=architecture)
    except KeyError as error:
        raise AssertionError(f"{_name(level)} draws from a role that it does not declare: {error}") from error
    _check_scalars(losses, f"a step of {_name(level)}")
    state.step += 1


def _watched(state: SearchState, step: Callable[[], Any], what: str) -> tuple[set[str], Any]:
    """The roles from which a step draws, by where their streams stand, and what it returns."""
    before = {role: batches.state_dict() for role, batches in state.streams.items()}
    try:
        losses = step()
    except KeyError as error:
        raise AssertionError(f"{what} draws from a role that the level does not declare: {error}") from error
    if losses is not None:
        _check_scalars(losses, what)
    return {role for role, batches in state.streams.items() if not same(before[role], batches.state_dict())}, losses


def _check_scalars(losses: Mapping[str, Tensor], what: str) -> None:
    for name, value in losses.items():
        expect(
            value.shape == () and bool(value.isfinite()) and not value.requires_grad,
            f"{what} reports {name} = {value}; it should be a finite, detached scalar",
        )


def _objective(state: SearchState, role: Any) -> float:
    """The loss that the level descends: of the mixture, or expected over the architectures of a score or a sampler."""
    batches = state.evaluation_batches(role)
    if state.recipe.level.gradient == "path":
        rows = state.distribution.mixture()
        return _loss(state, {n: Gate(row, tuple(range(len(row)))) for n, row in rows.items()}, batches)
    relaxation, total = state.distribution.relaxation, 0.0
    for architecture in enumerate_architectures(relaxation.space):
        encoding = relaxation.encode(architecture)
        total += _chance(state, encoding) * _loss(state, discrete(encoding), batches)
    return total


def _chance(state: SearchState, encoding: Mapping[str, tuple[float, ...]]) -> float:
    rows = state.distribution.probabilities()
    if not rows:
        return 1.0 / state.distribution.relaxation.space.size
    chance = 1.0
    for name, weights in encoding.items():
        chance *= float(rows[name] @ torch.tensor(weights, dtype=rows[name].dtype))
    return chance


def _loss(state: SearchState, gates: Gates, batches: list[Any]) -> float:
    with torch.no_grad(), frozen_statistics(state.supernet):
        losses = [float(state.loss(state.supernet(batch.inputs, gates), batch.targets)) for batch in batches]
    return sum(losses) / len(losses)


def _moved(before: Mapping[str, Tensor], module: nn.Module) -> bool:
    """Parameters alone count: running statistics move in every forward pass."""
    return any(not torch.equal(value, before[name]) for name, value in module.named_parameters())


def _part(state: SearchState, part: str) -> Any:
    held = getattr(state, part)
    return copy.deepcopy(held.state_dict() if hasattr(held, "state_dict") else held)


def _name(level: Level) -> str:
    return type(level).__name__
