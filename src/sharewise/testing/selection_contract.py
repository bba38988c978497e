"""The contract of a selection: it looks, compares fairly, picks something legal, and touches nothing."""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sharewise.cost import Parameters
from sharewise.data import Dataset, bilevel, digits, held_out
from sharewise.distribution import Expectation, Learned, SoftmaxLogits, Uniform
from sharewise.engine import (
    Alternating,
    Constant,
    Limit,
    Recipe,
    SearchState,
    Selected,
    Selection,
    WeightOptimization,
    WeightsOnly,
    seeded_modules,
)
from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Option, Space, sample
from sharewise.spaces import load
from sharewise.supernet import Gates
from sharewise.testing.ambient import without_ambient_randomness
from sharewise.testing.compare import same
from sharewise.testing.expect import expect
from sharewise.testing.planted import planted
from sharewise.testing.prepared import prepared

__all__ = ["check_selection"]


def check_selection(
    selection: Selection,
    space: Space | None = None,
    dataset: Dataset | None = None,
    *,
    network: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> None:
    """Check a rule that picks an architecture, on a supernet that was trained for a moment.

    *Touches nothing*: weights, running statistics, modes, θ, optimisers, streams and the global generators are what
    they were, and a second selection gives the same. *Legal*: what is picked is an architecture of the space in its
    plain form, without excluded options, within a budget of parameters, and the same as `projected` says where that
    costs no evaluation. *Fair*: whatever is compared was run on the same examples, those of the role `selection`, and
    is paid for; no candidate that saw as many examples has a better score than the one that is picked, whether higher
    or lower is better; the test examples stay sealed. *Obedient*: where a rule reads probabilities, runs nothing, and
    these have settled on an architecture, it picks that.

    Args:
        selection: the rule; let it compare few candidates.
        space: to search; two small ones when absent.
        dataset: of examples; 64 digits, and 64 of a regression, when absent.
        network: options of the network.
        seed: of weights, data and θ.

    Raises:
        AssertionError: for the first law that is broken.

    Example:
        >>> from sharewise.engine import Mode, RankSampled
        >>> check_selection(Mode())
        >>> check_selection(RankSampled(candidates=3))
    """
    if space is not None and dataset is not None:
        _check_on(selection, space, dataset, network, seed)
        return
    problem = planted(seed)  # whose networks have running statistics, and all of one size
    _check_on(selection, problem.space, problem.dataset.limited(64, seed=seed), None, seed)
    _check_on(selection, space or load("toy-two-inputs"), digits().limited(64, seed=seed), network, seed)


def _check_on(
    selection: Selection, space: Space, dataset: Dataset, network: Mapping[str, Any] | None, seed: int
) -> None:
    lower = replace(dataset, task=replace(dataset.task, primary="loss", higher_is_better=False))
    exclude = _excludable(space)
    for data in (dataset, lower) if dataset.task.higher_is_better else (dataset,):
        state = _trained(selection, space, data, network, seed, (), exclude)
        _check_selected(state, selection, space, _selected(state, selection), exclude)
    most = _median_parameters(state, seed)
    state = _trained(selection, space, dataset, network, seed, (Limit(Parameters(), most),), ())
    found = _selected(state, selection).architecture
    spent = _parameters(state, found)
    expect(spent <= most, f"{_name(selection)} picked {found} with {spent:,} parameters, beyond the budget of {most:,}")
    with _watched(state.supernet) as seen:
        selection.select(state)
    if selection.reads_probabilities and not seen:
        _check_settled(selection, space, dataset, network, seed)


def _trained(
    selection: Selection,
    space: Space,
    dataset: Dataset,
    network: Mapping[str, Any] | None,
    seed: int,
    limits: tuple[Limit, ...],
    exclude: tuple[Option, ...],
) -> SearchState:
    """A search after a few steps."""
    learns = selection.reads_probabilities
    recipe = Recipe(
        name=_name(selection),
        distribution=Learned(SoftmaxLogits(scale=1.0), Expectation()) if learns else Uniform(),
        level=Alternating() if learns else WeightsOnly(),
        roles=bilevel() if learns else held_out(),
        selection=selection,
        weights=WeightOptimization(Constant(0.05)),
        epochs=1,
        batch_size=16,
        limits=limits,
        exclude=exclude,
    )
    with seeded_modules(seed, "modules"):
        state = prepared(recipe, space, dataset, network=network, seed=seed)
        for _ in range(4):
            recipe.level.step(state, architecture=learns)
            state.step += 1
    return state


def _selected(state: SearchState, selection: Selection) -> Selected:
    """Select twice, and compare everything before and after."""
    name, before, modes = _name(selection), _snapshot(state), _modes(state.supernet)
    openings, charged = state.data.dataset.openings, state.ledger.multiply_accumulates
    with without_ambient_randomness(f"the selection {name}"), _watched(state.supernet) as seen:
        selected = selection.select(state)
    for part, value in _snapshot(state).items():
        expect(same(value, before[part]), f"{name} changes {part.replace('_', ' ')}: a selection only looks")
    expect(_modes(state.supernet) == modes, f"{name} leaves modules in another mode, training or evaluation")
    expect(state.data.dataset.openings == openings, f"{name} opened the test examples")
    if seen:
        _check_fair(state, name, seen)
        expect(
            state.ledger.multiply_accumulates > charged,
            f"{name} ran the supernet {sum(map(len, seen.values()))} times and charged nothing to the ledger",
        )
    again = selection.select(state)
    expect(
        again.architecture == selected.architecture and len(again.candidates) == len(selected.candidates),
        f"{name} picked {selected.architecture}, and asked again {again.architecture}",
    )
    return selected


def _check_selected(
    state: SearchState, selection: Selection, space: Space, selected: Selected, exclude: tuple[Option, ...]
) -> None:
    name, found = _name(selection), selected.architecture
    try:
        legal = space.own(found)
    except ConfigurationError as error:
        raise AssertionError(f"{name} picked an illegal architecture: {error}") from None
    expect(legal == found, f"{name} picked {found}, which is not in its plain form {legal}")
    barred = [option for option in (*exclude, *selection.exclude) if option != selection.absence]
    forbidden = [option for option in barred if option in found.values()]
    expect(not forbidden, f"{name} picked {found}, but {forbidden} are excluded")
    projected = selection.projected(state)
    expect(projected is None or projected == found, f"{name} picked {found}, but says that it would pick {projected}")
    if not selected.candidates:
        return
    architectures = [architecture for architecture, _ in selected.candidates]
    expect(len(set(architectures)) == len(architectures), f"{name} compared an architecture with itself")
    expect(
        architectures[0] == found, f"{name} picked {found}, but names {architectures[0]} as the best of its candidates"
    )
    primary, own = state.task.primary, selected.candidates[0][1]
    sign = 1 if state.task.higher_is_better else -1
    rivals = [(a, s) for a, s in selected.candidates[1:] if s.get("examples") == own.get("examples")]
    better = [a for a, s in rivals if math.isfinite(s[primary]) and sign * s[primary] > sign * own[primary]]
    expect(
        not better,
        f"{name} picked {found} with {primary} {own[primary]:.4g}, but {better[:1]} has a better one "
        f"(higher_is_better={state.task.higher_is_better})",
    )


Seen = Mapping[tuple[Any, ...], list[Tensor]]
"""For every set of gates the inputs on which it was run, in order."""


@contextmanager
def _watched(supernet: nn.Module) -> Iterator[Seen]:
    seen: dict[tuple[Any, ...], list[Tensor]] = defaultdict(list)

    def note(module: nn.Module, arguments: tuple[Tensor, Gates]) -> None:
        inputs, gates = arguments
        seen[tuple((name, *gate.weights.tolist()) for name, gate in sorted(gates.items()))].append(inputs.detach())

    handle = supernet.register_forward_pre_hook(note)
    try:
        yield seen
    finally:
        handle.remove()


def _check_fair(state: SearchState, name: str, seen: Seen) -> None:
    by_length: dict[int, list[bytes]] = {}
    allowed = {bytes(row) for batch in state.evaluation_batches("selection") for row in _rows(batch.inputs)}
    for inputs in seen.values():
        content = [b"".join(map(bytes, _rows(batch))) for batch in inputs]
        known = by_length.setdefault(len(inputs), content)
        expect(content == known, f"{name} compares candidates on different examples")
        strangers = sum(bytes(row) not in allowed for row in _rows(inputs[-1]))
        expect(
            not strangers,
            f"{name} scores a candidate on {strangers} examples that are not of the role 'selection'",
        )


def _rows(inputs: Tensor) -> Any:
    return inputs.flatten(1).contiguous().numpy()


def _check_settled(
    selection: Selection, space: Space, dataset: Dataset, network: Mapping[str, Any] | None, seed: int
) -> None:
    state, rng = _trained(selection, space, dataset, network, seed, (), ()), np.random.default_rng(seed)
    relaxation = state.distribution.relaxation
    for _ in range(3):
        target = next(a for a in iter(lambda: sample(space, rng), None) if not _takes(a, selection.exclude))
        encoding = relaxation.encode(target)
        (theta,) = state.distribution.parameters()
        with torch.no_grad():
            for row, decision in zip(theta, relaxation.decisions, strict=True):
                row[: decision.size] = 8.0 * torch.tensor(encoding[decision.name])
        found = selection.select(state).architecture
        expect(
            found == target,
            f"the distribution has settled on {target}, but {_name(selection)} picked {found}",
        )


def _takes(architecture: Architecture, options: tuple[Option, ...]) -> bool:
    return bool(set(options) & set(architecture.values()))


def _excludable(space: Space) -> tuple[Option, ...]:
    """An option that a recipe may exclude: the first one that leaves every choice another."""
    for option in (option for choice in space.choices for option in choice.options):
        if all(set(choice.options) - {option} for choice in space.choices):
            return (option,)
    return ()


def _median_parameters(state: SearchState, seed: int) -> int:
    rng = np.random.default_rng(seed)
    return sorted(_parameters(state, sample(state.supernet.space, rng)) for _ in range(21))[10]


def _parameters(state: SearchState, architecture: Architecture) -> int:
    return sum(p.numel() for p in state.supernet.plain(architecture).parameters())


def _snapshot(state: SearchState) -> dict[str, Any]:
    """Everything that a resume needs; the ledger is charged by whoever looks."""
    parts: dict[str, Any] = copy.deepcopy(state.state_dict())
    del parts["ledger"]
    return parts


def _modes(module: nn.Module) -> dict[str, bool]:
    return {name: part.training for name, part in module.named_modules()}


def _name(selection: Selection) -> str:
    return type(selection).__name__
