"""The contract of a method: its two steps keep to their own side, and a run is a function of its seed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sharewise.data import Dataset, digits
from sharewise.engine import (
    Event,
    Recipe,
    SearchState,
    Stepped,
    run,
    seeded_modules,
    stream,
)
from sharewise.errors import ConfigurationError
from sharewise.space import Space
from sharewise.spaces import nasbench201
from sharewise.testing.compare import values
from sharewise.testing.distribution_contract import check_gates
from sharewise.testing.expect import expect
from sharewise.testing.prepared import prepared

__all__ = ["check_method"]


def check_method(
    recipe: Recipe,
    space: Space | None = None,
    dataset: Dataset | None = None,
    *,
    network: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> None:
    """Check a recipe on a tiny problem.

    A weight step changes w and leaves θ untouched bit for bit; an architecture step changes θ and leaves w and running
    statistics untouched bit for bit; the same holds for the whole step of the level while θ rests. Gates are legal, and
    the architecture that is found is a legal one without excluded options. Two runs of one seed are equal to the bit,
    and so is a run that is continued from its state dictionary.

    Args:
        recipe: of any method; it is run in the short form that its pieces state (`Recipe.shortened`).
        space: to search; NAS-Bench-201 when absent.
        dataset: to search on; 96 of the built-in digits when absent.
        network: options of the network by name; the smallest network of NAS-Bench-201 when `space` is absent.
        seed: of all streams.

    Raises:
        AssertionError: for the first law that is broken.

    Example:
        >>> from sharewise.methods import darts
        >>> check_method(darts(batch_size=16))
    """
    network = {"channels": 2, "cells": 1} if space is None and network is None else network
    space = nasbench201() if space is None else space
    dataset = digits().limited(96, seed=0) if dataset is None else dataset
    recipe = recipe.shortened()

    def fresh() -> SearchState:
        return prepared(recipe, space, dataset, network=network, seed=seed)

    with seeded_modules(seed, "modules"):
        _check_steps(fresh())
    saved: dict[str, Any] = {}

    def interrupt(state: SearchState, event: Event) -> None:
        if isinstance(event, Stepped) and state.step == min(state.steps_per_epoch + 1, state.total_steps - 1):
            saved.update(copy.deepcopy(state.state_dict()))

    with seeded_modules(seed, "modules"):
        whole = fresh()
        found = run(whole, (interrupt,)).architecture
    try:
        legal = space.architecture(dict(found))
    except ConfigurationError as error:
        raise AssertionError(f"{recipe.name} found an illegal architecture: {error}") from None
    expect(legal == found, f"{recipe.name} found {found}, which is not in its plain form {legal}")
    absence = recipe.selection.absence  # a result may lack what a mixture cannot
    forbidden = [option for option in recipe.exclude if option in found.values() and option != absence]
    expect(not forbidden, f"{recipe.name} excludes {forbidden}, but found {found}")
    with seeded_modules(seed, "modules"):
        again = fresh()
        second = run(again).architecture
    _same(whole, again, f"two runs of {recipe.name} with the same seed")
    expect(second == found, f"two runs of {recipe.name} with the same seed found {found} and {second}")
    with seeded_modules(seed + 1, "modules"):
        resumed = fresh()
        resumed.load_state_dict(saved)
        third = run(resumed).architecture
    _same(whole, resumed, f"a run of {recipe.name} and its continuation in the second epoch")
    expect(third == found, f"{recipe.name} found {found}, but {third} when it was continued in the second epoch")


def _check_steps(state: SearchState) -> None:
    recipe = state.recipe
    supernet, distribution = state.supernet.train(), state.distribution
    allowed = {
        d.name: torch.tensor([option not in recipe.exclude for option in d.options])
        for d in distribution.relaxation.decisions
    }
    generator = stream(state.seed, "contract")
    for _ in range(5):
        for gates in distribution.draw(generator, state.phase("weights")):
            check_gates(gates, distribution, allowed, learned=recipe.distribution.learns)
    weights, theta = values(supernet), values(distribution)
    recipe.level.weight_step(state)
    _unchanged(theta, distribution, f"a weight step of {recipe.name} changes θ")
    _changed(weights, supernet, f"a weight step of {recipe.name} leaves w as it was")
    recipe.level.step(state, architecture=False)
    _unchanged(theta, distribution, f"a step of {recipe.name} during a warm-up changes θ")
    if recipe.level.learns:
        weights = values(supernet)
        moved = False
        state.weight_optimizer.zero_grad(set_to_none=True)
        for _ in range(3):  # a sampled step may draw operations that ignore the gates
            if recipe.level.architecture_step(state) is None:
                recipe.level.step(state, architecture=True)
            else:
                _unchanged(weights, supernet, f"an architecture step of {recipe.name} changes w or running statistics")
                left = [name for name, parameter in supernet.named_parameters() if parameter.grad is not None]
                expect(not left, f"an architecture step of {recipe.name} leaves gradients on w: {left}")
            moved = moved or not all(torch.equal(v, theta[n]) for n, v in distribution.state_dict().items())
        expect(moved, f"three architecture steps of {recipe.name} leave θ as it was")
    for gates in distribution.draw(generator, state.phase("architecture")):
        check_gates(gates, distribution, allowed, learned=recipe.distribution.learns)


def _unchanged(before: Mapping[str, Tensor], module: torch.nn.Module, message: str) -> None:
    different = [name for name, value in module.state_dict().items() if not torch.equal(value, before[name])]
    expect(not different, f"{message}: {different}")


def _changed(before: Mapping[str, Tensor], module: torch.nn.Module, message: str) -> None:
    """Parameters alone count: running statistics move in every forward pass."""
    expect(any(not torch.equal(value, before[name]) for name, value in module.named_parameters()), message)


def _same(first: SearchState, second: SearchState, what: str) -> None:
    for part in ("supernet", "distribution"):
        mine, theirs = getattr(first, part).state_dict(), getattr(second, part).state_dict()
        different = [name for name, value in mine.items() if not torch.equal(value, theirs[name])]
        expect(not different, f"{what} differ in the {part}: {different}")
    expect(
        first.memory.keys() == second.memory.keys()
        and all(torch.equal(value, second.memory[name]) for name, value in first.memory.items()),
        f"{what} differ in what the level remembers: {first.memory} and {second.memory}",
    )
    for mine, theirs in zip(map(_timeless, first.history), map(_timeless, second.history), strict=True):
        different = [key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key)]
        expect(not different, f"{what} differ in their history, in {sorted(different)}")
    expect(
        first.ledger.multiply_accumulates == second.ledger.multiply_accumulates,
        f"{what} differ in what they cost: {first.ledger.to_json()} and {second.ledger.to_json()}",
    )


def _timeless(record: Any) -> Any:
    """A record without measured seconds, which no seed decides."""
    if isinstance(record, Mapping):
        return {key: _timeless(value) for key, value in record.items() if key != "seconds"}
    return record
