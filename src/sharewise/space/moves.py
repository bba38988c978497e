"""Moves in a space: sampling, mutation, crossover, neighbours, enumeration.

All are functions of a space and a random generator, so that strategies, tests and users share them; none keeps state.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sharewise.errors import ConfigurationError
from sharewise.space.architecture import Architecture
from sharewise.space.choice import Option
from sharewise.space.space import Space

__all__ = ["crossover", "enumerate_architectures", "mutate", "neighbours", "sample"]

_ATTEMPTS = 10_000  # bounds rejection sampling: a space that defeats it gets an error instead of an endless loop


def _listed(space: Space) -> bool:
    """Whether the space's own listing, not the product of its choices, says what its architectures are."""
    return space.listing_ is not None and not space.independent


def sample(space: Space, rng: np.random.Generator) -> Architecture:
    """Draw an architecture uniformly.

    A row of the listing where the space's choices depend on each other and it brings a listing of its own; one answer
    of each block where it falls apart into `Space.blocks`. Elsewhere from the product of the choices, rejecting illegal
    ones: uniform over architectures where choices are unconditional; with conditions, uniform over each active choice
    in order.

    Args:
        space: where to draw from.
        rng: source of randomness.

    Returns:
        A legal architecture.

    Raises:
        ConfigurationError: when 10,000 draws in a row are illegal.

    Example:
        >>> from sharewise.space import Choice
        >>> toy = Space("toy", (Choice("operation", ("a", "b")),))
        >>> sample(toy, np.random.default_rng(0))["operation"]
        'b'
    """
    if _listed(space):
        return space.listing.at(int(rng.integers(len(space.listing))))
    values: dict[str, Option] = {}
    if space.blocks is not None:
        for block in space.blocks:
            values |= block[int(rng.integers(len(block)))]
        return space.architecture(values)
    for _ in range(_ATTEMPTS):
        values = {}
        for choice in space.choices:
            if choice.condition is None or choice.condition.holds(values):
                values[choice.name] = choice.options[int(rng.integers(len(choice.options)))]
        if space.is_legal(values):
            return space.architecture(values)
    raise ConfigurationError(
        f"{_ATTEMPTS:,} random draws from space {space.name!r} were all illegal; check its constraints"
    )


def enumerate_architectures(space: Space) -> Iterator[Architecture]:
    """All architectures, lexicographically by option index, the first choice varying slowest.

    Where choices depend on each other and the space brings a listing of its own, in the order of that listing.

    Args:
        space: any space; the iterator is lazy.

    Returns:
        An iterator without repetition, of length `space.size`.

    Example:
        >>> from sharewise.space import Choice
        >>> toy = Space("toy", (Choice("operation", ("a", "b")), Choice("width", (4, 8))))
        >>> [tuple(a.values()) for a in enumerate_architectures(toy)]
        [('a', 4), ('a', 8), ('b', 4), ('b', 8)]
    """

    def extend(position: int, values: dict[str, Option]) -> Iterator[Architecture]:
        if position == len(space.choices):
            if space.is_legal(values) and (space.normalise is None or dict(space.normalise(values)) == values):
                yield space.architecture(values)
            return
        choice = space.choices[position]
        if choice.condition is not None and not choice.condition.holds(values):
            yield from extend(position + 1, values)
            return
        for option in choice.options:
            yield from extend(position + 1, {**values, choice.name: option})

    if _listed(space) or space.blocks is not None:
        return (space.listing.at(index) for index in range(space.size))
    return extend(0, {})


def _changed(space: Space, architecture: Architecture, name: str, option: Option) -> Architecture | None:
    """The architecture with one value changed; newly active choices take their first option; None if illegal."""
    values: dict[str, Option] = {}
    for choice in space.choices:
        if choice.condition is None or choice.condition.holds(values):
            values[choice.name] = option if choice.name == name else architecture.get(choice.name, choice.options[0])
    return space.architecture(values) if space.is_legal(values) else None


def neighbours(space: Space, architecture: Architecture) -> list[Architecture]:
    """All legal architectures that differ in the option of exactly one active choice.

    A choice that becomes active by the change takes its first option. Where the space has a normal form, it is applied
    after the change, so that a neighbour may differ from the centre in more places.

    Args:
        space: the space of the architecture.
        architecture: the centre, itself not part of the result.

    Returns:
        Architectures in the order of choices and options, without repetition.

    Example:
        >>> from sharewise.space import Choice
        >>> toy = Space("toy", (Choice("operation", ("a", "b", "c")), Choice("width", (4, 8))))
        >>> len(neighbours(toy, toy.architecture({"operation": "a", "width": 4})))
        3
    """
    architecture = space.own(architecture)
    candidates = (
        _changed(space, architecture, name, option)
        for name, current in architecture.items()
        for option in space[name].options
        if option != current
    )
    return [found for found in dict.fromkeys(candidates) if found is not None and found != architecture]


def mutate(space: Space, architecture: Architecture, rng: np.random.Generator) -> Architecture:
    """Change one active choice, chosen uniformly, to another option, chosen uniformly, until the result is legal.

    Args:
        space: the space of the architecture.
        architecture: the parent.
        rng: source of randomness.

    Returns:
        A legal architecture that differs from the parent.

    Raises:
        ConfigurationError: when the architecture has no legal neighbour.

    Example:
        >>> from sharewise.space import Choice
        >>> toy = Space("toy", (Choice("operation", ("a", "b")),))
        >>> mutate(toy, toy.architecture({"operation": "a"}), np.random.default_rng(0))["operation"]
        'b'
    """
    architecture = space.own(architecture)
    mutable = [name for name in architecture if len(space[name].options) > 1]
    for _ in range(_ATTEMPTS if mutable else 0):
        name = mutable[int(rng.integers(len(mutable)))]
        others = [option for option in space[name].options if option != architecture[name]]
        child = _changed(space, architecture, name, others[int(rng.integers(len(others)))])
        if child is not None and child != architecture:
            return child
    raise ConfigurationError(f"architecture {architecture} of space {space.name!r} has no legal neighbour")


def crossover(space: Space, first: Architecture, second: Architecture, rng: np.random.Generator) -> Architecture:
    """Take each choice from one of two parents with equal probability, until the result is legal.

    A choice that is active in the child but in neither parent takes its first option.

    Args:
        space: the space of both parents.
        first: one parent.
        second: the other parent.
        rng: source of randomness.

    Returns:
        A legal architecture.

    Raises:
        ConfigurationError: when 10,000 crossings in a row are illegal.

    Example:
        >>> from sharewise.space import Choice
        >>> toy = Space("toy", (Choice("operation", ("a", "b")),))
        >>> a = toy.architecture({"operation": "a"})
        >>> crossover(toy, a, a, np.random.default_rng(0)) == a
        True
    """
    first, second = space.own(first), space.own(second)
    for _ in range(_ATTEMPTS):
        values: dict[str, Option] = {}
        for choice in space.choices:
            parents = (first, second) if rng.random() < 0.5 else (second, first)
            if choice.condition is None or choice.condition.holds(values):
                options = [parent[choice.name] for parent in parents if choice.name in parent]
                values[choice.name] = options[0] if options else choice.options[0]
        if space.is_legal(values):
            return space.architecture(values)
    raise ConfigurationError(f"{_ATTEMPTS:,} crossings in space {space.name!r} were all illegal; check its constraints")
