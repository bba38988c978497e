"""The contract of a space and of its relaxation; no torch is needed to check it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from itertools import islice

import numpy as np

from sharewise.errors import ConfigurationError
from sharewise.space import (
    Architecture,
    Decision,
    Space,
    crossover,
    enumerate_architectures,
    features,
    mutate,
    neighbours,
    sample,
)
from sharewise.testing.expect import expect

__all__ = ["check_relaxation", "check_space"]


def check_space(space: Space, *, samples: int = 50, seed: int = 0, enumerate_up_to: int = 20_000) -> None:
    """Check that a space keeps the laws on which strategies, run folders and tables rely.

    Sampling, mutation, crossover and neighbours yield legal architectures, the same ones for the same seed; strings and
    JSON carry every architecture there and back; equality and hash depend on active choices alone; canonical forms are
    idempotent; the enumeration is as long as `size` says and has no repetition; the listing finds every architecture
    where it has put it; features have the same names for all; a drawing names its nodes.

    Args:
        space: any space.
        samples: how many random architectures to look at.
        seed: of the random architectures.
        enumerate_up_to: spaces of at most this size are enumerated, larger ones only begun.

    Raises:
        AssertionError: for the first law that is broken, naming the architecture.

    Example:
        >>> from sharewise.space import Choice
        >>> check_space(Space("mine", (Choice("width", (4, 8), ordered=True), Choice("operation", ("a", "b")))))
    """
    first, second = np.random.default_rng(seed), np.random.default_rng(seed)
    drawn = [sample(space, first) for _ in range(samples)]
    expect(
        drawn == [sample(space, second) for _ in range(samples)],
        f"sampling from space {space.name!r} is not a function of its random generator",
    )
    for architecture in drawn:
        _legal(space, architecture, "sampling")
    rng, named = np.random.default_rng(seed + 1), tuple(features(space, drawn[0]))
    for architecture in drawn:
        _check_value(space, architecture)
        _check_inactive(space, architecture)
        _check_canonical(space, architecture)
        _check_described(space, architecture, named, enumerate_up_to)
        _check_moves(space, architecture, drawn[int(rng.integers(len(drawn)))], rng)
        if space.draw is not None:
            picture = space.draw(architecture)
            unknown = {end for edge in picture.edges for end in edge[:2]} - set(picture.nodes)
            expect(not unknown, f"the drawing of {architecture} has edges to nodes that it does not list: {unknown}")
    _check_enumeration(space, drawn, enumerate_up_to)


def _legal(space: Space, architecture: Architecture, origin: str) -> None:
    try:
        rebuilt = space.architecture(dict(architecture))
    except ConfigurationError as error:
        raise AssertionError(f"{origin} gave an illegal architecture of {space.name!r}: {error}") from None
    expect(rebuilt == architecture, f"{origin} gave {architecture}, which is not in its plain form {rebuilt}")
    expect(architecture.space == space.name, f"{origin} gave an architecture of space {architecture.space!r}")


def _check_value(space: Space, architecture: Architecture) -> None:
    copies: Mapping[str, Architecture] = {
        "its string": space.parse(str(architecture)),
        "JSON": Architecture.from_json(json.loads(json.dumps(architecture.to_json()))),
        "JSON through the space": space.from_json(json.loads(json.dumps(architecture.to_json()))),
        "its choices in another order": Architecture(space.name, architecture.items_[::-1]),
        "its values in another order": space.architecture(dict(reversed(architecture.items_))),
    }
    for way, copy in copies.items():
        expect(copy == architecture, f"{architecture} came back from {way} as {copy}")
        expect(hash(copy) == hash(architecture), f"{architecture} came back from {way} with another hash")
    expect(str(copies["its string"]) == str(architecture), f"the string of {architecture} is not stable")
    expect(architecture != object(), f"{architecture} equals something that is no architecture")


def _check_inactive(space: Space, architecture: Architecture) -> None:
    for choice in space.choices:
        if choice.name not in architecture:
            for option in choice.options:
                padded = space.architecture({**architecture, choice.name: option})
                expect(
                    padded == architecture and hash(padded) == hash(architecture),
                    f"the inactive choice {choice.name!r} changes the identity of {architecture}",
                )


def _check_canonical(space: Space, architecture: Architecture) -> None:
    expect(space.canonical(architecture) == architecture, f"the plain canonical form changes {architecture}")
    for level in space.levels:
        canonical = space.canonical(architecture, level)
        _legal(space, canonical, f"canonical level {level!r}")
        again = space.canonical(canonical, level)
        expect(
            again == canonical, f"canonical level {level!r} is not idempotent: {architecture} → {canonical} → {again}"
        )


def _check_described(space: Space, architecture: Architecture, named: tuple[str, ...], listed: int) -> None:
    found = features(space, architecture)
    expect(
        tuple(found) == named, f"the features of {architecture} are called {list(found)}, and of others {list(named)}"
    )
    broken = [name for name, value in found.items() if not math.isfinite(value)]
    expect(not broken, f"the features {broken} of {architecture} are not finite")
    if space.listing_ is None and not space.independent and space.blocks is None and space.size > listed:
        return  # would be enumerated
    row = space.listing.index(architecture)
    expect(
        0 <= row < space.size and space.listing.at(row) == architecture,
        f"the listing has {architecture} in row {row}, where it holds {_at(space, row)}",
    )


def _at(space: Space, row: int) -> object:
    return space.listing.at(row) if 0 <= row < space.size else "nothing"


def _check_moves(space: Space, architecture: Architecture, partner: Architecture, rng: np.random.Generator) -> None:
    around = neighbours(space, architecture)
    for neighbour in around:
        _legal(space, neighbour, "neighbours")
        if space.normalise is not None:
            continue  # the normal form may move what the change left alone
        common = [name for name in architecture if name in neighbour]
        changed = [name for name in common if neighbour[name] != architecture[name]]
        expect(
            len(changed) == 1, f"the neighbour {neighbour} of {architecture} differs in {changed}, not in one choice"
        )
    expect(architecture not in around, f"{architecture} is its own neighbour")
    expect(len(set(around)) == len(around), f"the neighbours of {architecture} repeat")
    if around:
        mutant = mutate(space, architecture, rng)
        _legal(space, mutant, "mutation")
        expect(mutant != architecture, f"mutation returned its parent {architecture}")
        expect(mutant in around, f"mutation took {architecture} to {mutant}, which is no neighbour")
    child = crossover(space, architecture, partner, rng)
    _legal(space, child, "crossover")
    for name, option in child.items() if space.normalise is None else ():
        legal = {parent[name] for parent in (architecture, partner) if name in parent}
        expect(not legal or option in legal, f"crossover gave {name}={option!r}, which neither parent has")


def _check_enumeration(space: Space, drawn: list[Architecture], enumerate_up_to: int) -> None:
    listed = list(islice(enumerate_architectures(space), enumerate_up_to + 1))
    expect(len(set(listed)) == len(listed), f"the enumeration of space {space.name!r} repeats an architecture")
    if len(listed) <= enumerate_up_to:
        expect(len(listed) == space.size, f"space {space.name!r} lists {len(listed)} architectures of {space.size}")
        missing = set(drawn) - set(listed)
        expect(not missing, f"the enumeration of space {space.name!r} lacks {missing}")
    else:
        expect(space.size > enumerate_up_to, f"space {space.name!r} lists more than its size of {space.size}")


def check_relaxation(space: Space, *, samples: int = 50, seed: int = 0) -> None:
    """Check the bridge from a space to the decisions of its supernet.

    `project(encode(a))` is `a`; every projection of probabilities is legal, whether they come from inside the simplex,
    from its corners, from ties, or do not sum to one; an excluded option is never part of the result.

    Args:
        space: whose `relaxation` is checked.
        samples: how many architectures and how many random probabilities to try.
        seed: of both.

    Raises:
        AssertionError: for the first law that is broken.

    Example:
        >>> from sharewise.spaces import load
        >>> check_relaxation(load("toy-two-inputs"))
    """
    relaxation, rng = space.relaxation, np.random.default_rng(seed)
    decisions = relaxation.decisions
    names = [decision.name for decision in decisions]
    expect(len(set(names)) == len(names), f"two decisions of space {space.name!r} share a name: {names}")
    expect(relaxation.space.name == space.name, f"the relaxation belongs to space {relaxation.space.name!r}")
    for decision in decisions:
        expect(decision.size >= 1, f"decision {decision.name!r} has no options")
        expect(len(set(decision.options)) == decision.size, f"decision {decision.name!r} repeats an option")
    for _ in range(samples):
        architecture = sample(space, rng)
        encoding = relaxation.encode(architecture)
        expect(set(encoding) == set(names), f"the encoding of {architecture} covers {sorted(encoding)}, not {names}")
        for decision in decisions:
            weights = encoding[decision.name]
            expect(
                len(weights) == decision.size and min(weights) >= 0,
                f"the encoding of {architecture} gives {decision.name!r} the weights {weights}",
            )
        back = relaxation.project(encoding)
        expect(back == architecture, f"project(encode(a)) is {back} for a = {architecture}")
    for _ in range(samples):
        for probabilities in _probabilities(decisions, rng):
            projected = relaxation.project(probabilities)
            _legal(space, projected, "projection")
            expect(projected == relaxation.project(probabilities), "projection is not a function of the probabilities")
            for option in {option for decision in decisions for option in decision.options}:
                if all(set(decision.options) - {option} for decision in decisions):
                    without = relaxation.project(probabilities, (option,))
                    _legal(space, without, f"projection without {option!r}")
                    expect(option not in without.values(), f"{option!r} was excluded, but the projection is {without}")


def _probabilities(decisions: tuple[Decision, ...], rng: np.random.Generator) -> list[dict[str, list[float]]]:
    """Probabilities of every kind that a search may end with."""
    inside = {d.name: rng.dirichlet(np.ones(d.size)).tolist() for d in decisions}
    corner = {d.name: np.eye(d.size)[rng.integers(d.size)].tolist() for d in decisions}
    return [
        inside,
        corner,
        {d.name: [1 / d.size] * d.size for d in decisions},
        {name: [3 * value for value in row] for name, row in inside.items()},
    ]
