"""The contract of a reaction: it looks, decides by the history alone, and a run that it interferes with resumes."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sharewise.data import Dataset, digits
from sharewise.engine import EpochEnded, Event, Reaction, Recipe, SearchState, Stepped, run, seeded_modules
from sharewise.methods import darts
from sharewise.space import Space
from sharewise.spaces import load
from sharewise.testing.ambient import without_ambient_randomness
from sharewise.testing.compare import same, timeless
from sharewise.testing.expect import expect
from sharewise.testing.prepared import prepared

__all__ = ["check_reaction"]


def check_reaction(
    reaction: Reaction,
    recipe: Recipe | None = None,
    space: Space | None = None,
    dataset: Dataset | None = None,
    *,
    network: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> None:
    """Check an answer of a search to its own history, in a short search that it answers to.

    *Looking*: `observe` leaves w, θ, running statistics and generators as they were. *Deciding*: `decide` changes
    nothing, says the same when asked again and of a search that was loaded from a checkpoint, and returns plain values
    that JSON carries there and back. *Whole*: the search ends, and a run that is continued from any epoch's end, or
    from within an epoch, ends with the same bits and the same history.

    Args:
        reaction: to be checked, so sensitive that it answers within the epochs of the recipe.
        recipe: to which it is added; DARTS of 5 epochs when absent.
        space: to search; four decisions of a small network when absent.
        dataset: to search on; 64 digits when absent.
        network: options of the network.
        seed: of all streams.

    Raises:
        AssertionError: for the first law that is broken.

    Example:
        >>> from sharewise.alarm import EigenvalueRise
        >>> from sharewise.engine import EarlyStop
        >>> check_reaction(EarlyStop(EigenvalueRise(every=1, window=1, delta=1, factor=0.01, start=0), examples=16))
    """
    name = type(reaction).__name__
    recipe = darts(epochs=5, batch_size=16) if recipe is None else recipe
    recipe = replace(recipe, reactions=(*recipe.reactions, reaction))
    space = load("toy-two-inputs") if space is None else space
    dataset = digits().limited(64, seed=seed) if dataset is None else dataset

    def fresh() -> SearchState:
        return prepared(recipe, space, dataset, network=network, seed=seed)

    saved: list[dict[str, Any]] = []

    def listen(state: SearchState, event: Event) -> None:
        if isinstance(event, EpochEnded):
            _check_looking(reaction, state)
        within = isinstance(event, Stepped) and state.step % state.steps_per_epoch == 1  # not where an epoch ends
        if isinstance(event, EpochEnded) or (within and state.steps_per_epoch > 1):
            saved.append(copy.deepcopy(state.state_dict()))
            expect(len(saved) < 1000, f"a search with {name} does not end")

    with seeded_modules(seed, "modules"):
        whole = fresh()
        found = run(whole, (listen,)).architecture
    answers = [record for record in whole.history if record["event"] == "back"]
    expect(bool(answers), f"{name} never answers in {recipe.epochs} epochs, so that nothing of it was checked")
    for record in answers:
        _check_plain(name, record)
    for content in saved:
        with seeded_modules(seed + 1, "modules"):
            resumed = fresh()
            resumed.load_state_dict(copy.deepcopy(content))
            again = run(resumed).architecture
        where = f"step {content['step']} of {len(content['history'])} lines"
        for part in ("supernet", "distribution"):
            mine, theirs = getattr(whole, part).state_dict(), getattr(resumed, part).state_dict()
            expect(same(dict(mine), dict(theirs)), f"a run of {name} continued at {where} differs in the {part}")
        expect(
            timeless(whole.history) == timeless(resumed.history) and again == found,
            f"a run of {name} continued at {where} has another history, or finds another architecture",
        )


def _check_looking(reaction: Reaction, state: SearchState) -> None:
    """At the end of an epoch, whose line is the last one of the history."""
    name = type(reaction).__name__
    epoch, aside, ledger = state.epoch, state.aside, state.ledger
    state.epoch = state.history[-1]["epoch"]  # as it stood when the epoch ended
    state.aside, state.ledger = dict(aside), copy.deepcopy(ledger)  # measuring again is charged to nobody
    before = _content(state)
    line = {key: value for key, value in state.history[-1].items() if "eigenvalue" not in key}
    with without_ambient_randomness(f"{name} observes and"):
        reaction.observe(state, line)
    expect(same(before, _content(state)), f"{name} changes the search while it observes")
    state.epoch, state.aside, state.ledger = epoch, aside, ledger
    before = _content(state)
    with without_ambient_randomness(f"{name} decides and"):
        first, second = reaction.decide(state), reaction.decide(state)
    expect(same(before, _content(state)), f"{name} changes the search while it decides; that is for `apply`")
    expect(first == second, f"{name} decides {first}, and asked again {second}")


def _check_plain(name: str, record: Mapping[str, Any]) -> None:
    try:
        carried = json.loads(json.dumps(record))
    except (TypeError, ValueError) as error:
        raise AssertionError(f"the record of {name} holds more than plain values: {error}") from error
    expect(carried == record, f"the record of {name} comes back from JSON as {carried}")
    expect(isinstance(record.get("note"), str), f"the record of {name} has no `note` that says in words what was done")
    expect(isinstance(record.get("to"), int), f"the record of {name} does not say to which epoch it went back (`to`)")


def _content(state: SearchState) -> dict[str, Any]:
    """All that a checkpoint holds but what measuring costs."""
    held = state.state_dict()
    return copy.deepcopy({name: value for name, value in held.items() if name not in ("ledger", "aside")})
