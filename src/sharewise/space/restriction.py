"""Restriction: a part of a space in which one choice has fewer options, and a partition of a space into such parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import final

from sharewise.errors import ConfigurationError, unknown_name
from sharewise.space.architecture import Architecture
from sharewise.space.choice import Choice, Option, plain_option
from sharewise.space.listing import Listing, SubListing
from sharewise.space.relaxation import Encoding, Probabilities, Relaxation
from sharewise.space.space import Space

__all__ = ["RestrictedRelaxation", "groups_of", "restricted"]


def restricted(space: Space, choice: str, options: Sequence[Option]) -> Space:
    """The part of a space in which a choice takes one of some options; architectures keep the name of the whole.

    Args:
        space: the whole.
        choice: one that every architecture makes.
        options: of the choice.

    Returns:
        The part.

    Raises:
        ConfigurationError: when there is no such choice or option, the choice is conditional, or nothing is left.

    Example:
        >>> from sharewise.spaces import load
        >>> restricted(load("nasbench201"), "edge_0_1", ("none", "skip_connect")).size
        6250
        >>> restricted(load("nasbench101:A_4"), "vertices", (6,)).size
        2853
    """
    whole, listed = space[choice], space.listing_ is not None and not space.independent
    if whole.condition is not None and not (listed and _always_made(space, choice)):
        raise ConfigurationError(
            f"choice {choice!r} of space {space.name!r} is made under a condition, so that not every architecture "
            f"has it; restrict another one: {', '.join(c.name for c in space.choices if c.condition is None)}"
        )
    wanted = {whole.index(option) for option in options}
    kept = tuple(option for index, option in enumerate(whole.options) if index in wanted)
    if not kept:
        raise ConfigurationError(f"choice {choice!r} needs at least one option, got none")
    choices = tuple(_narrowed(other, choice, kept) for other in space.choices)
    if not listed:
        return space.part(choices, None)
    rows = [row for row in _rows(space) if space.listing.at(row)[choice] in kept]
    if not rows:
        raise ConfigurationError(f"no architecture of space {space.name!r} has {choice!r} in {kept}")
    return space.part(choices, partial(SubListing, space.name, space.listing, rows))


def _narrowed(choice: Choice, name: str, kept: tuple[Option, ...]) -> Choice:
    """A choice where the one called `name` has only the options `kept`."""
    condition = choice.condition
    if condition is not None and condition.choice == name:
        condition = replace(condition, options=tuple(option for option in condition.options if option in kept))
    return replace(choice, options=kept if choice.name == name else choice.options, condition=condition)


def _always_made(space: Space, choice: str) -> bool:
    return all(choice in architecture for architecture in map(space.listing.at, _rows(space)))


def _rows(space: Space) -> range:
    return range(len(space.listing))


def without(space: Space, options: Sequence[Option]) -> Space:
    """The part of a space in which no choice takes one of `options`: see `Space.without`."""
    left_out = tuple(map(plain_option, options))
    for option in left_out:
        if not any(option in choice.options for choice in space.choices):
            legal = {o for choice in space.choices for o in choice.options}
            raise unknown_name(f"option to exclude from space {space.name!r}:", option, legal)
    listed = space.listing_ is not None and not space.independent
    listing = partial(_rows_without, space, left_out) if listed else None
    return space.part(tuple(_lessened(space, choice, left_out) for choice in space.choices), listing)


def _lessened(space: Space, choice: Choice, left_out: tuple[Option, ...]) -> Choice:
    """A choice without some of its options, of which none may stand in its condition either."""
    condition = choice.condition
    if condition is not None:
        condition = replace(condition, options=tuple(o for o in condition.options if o not in left_out))
    kept = tuple(o for o in choice.options if o not in left_out)
    if not kept:
        raise ConfigurationError(
            f"choice {choice.name!r} has no options left in space {space.name!r} without "
            f"{', '.join(map(repr, left_out))}; keep one of {', '.join(map(repr, choice.options))}"
        )
    return replace(choice, options=kept, condition=condition)


def _rows_without(space: Space, options: tuple[Option, ...]) -> Listing:
    """The rows of a space's listing that hold none of the options; reads all of them once."""
    whole, excluded = space.listing, set(options)
    rows = [row for row in range(len(whole)) if excluded.isdisjoint(whole.at(row).values())]
    if not rows:
        raise ConfigurationError(f"no architecture of space {space.name!r} is left without {options}")
    return SubListing(space.name, whole, rows)


def groups_of(
    space: Space, choice: str, groups: Sequence[Sequence[Option]] | None = None
) -> tuple[tuple[Option, ...], ...]:
    """A partition of the options of a choice.

    Args:
        space: which has the choice.
        choice: its name.
        groups: of options; by default each option by itself.

    Returns:
        The groups.

    Raises:
        ConfigurationError: when groups overlap, leave an option out, or are fewer than two.

    Example:
        >>> from sharewise.spaces import load
        >>> groups_of(load("toy-tied-width"), "width", [(4, 8), (16, 32)])
        ((4, 8), (16, 32))
    """
    whole = space[choice]
    parts = tuple((option,) for option in whole.options) if groups is None else tuple(tuple(g) for g in groups)
    named = [whole.options[whole.index(option)] for part in parts for option in part]
    if sorted(map(whole.index, named)) != list(range(len(whole.options))) or not all(parts):
        raise ConfigurationError(
            f"groups must hold every option of choice {choice!r} once, {', '.join(map(repr, whole.options))}; "
            f"got {parts}"
        )
    if len(parts) < 2:
        raise ConfigurationError(f"a partition needs at least two groups of options of {choice!r}, got {parts}")
    return parts


@final
class RestrictedRelaxation(Relaxation):
    """The relaxation of a space, for architectures of a part of it: the decisions and their sizes stay as they are.

    Args:
        whole: the relaxation of the space.
        part: the part, as `restricted` returns it.

    Example:
        >>> from sharewise.spaces import load
        >>> space = load("toy-tied-width")
        >>> relaxation = RestrictedRelaxation(space.relaxation, restricted(space, "width", (32,)))
        >>> relaxation.space.size, relaxation.decisions == space.relaxation.decisions
        (3, True)
    """

    def __init__(self, whole: Relaxation, part: Space) -> None:
        self.whole, self.space = whole, part
        self.decisions, self.independent, self.joins = whole.decisions, whole.independent, whole.joins

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Those of the whole."""
        return self.whole.groups

    def encode(self, architecture: Architecture) -> Encoding:
        """That of the whole.

        Raises:
            ConfigurationError: when the part does not hold the architecture.
        """
        return self.whole.encode(self.space.own(architecture))

    def project(self, probabilities: Probabilities, exclude: tuple[Option, ...] = ()) -> Architecture:
        """That of the whole, which must lie in the part.

        Raises:
            ConfigurationError: when it does not.
        """
        return self.space.architecture(dict(self.whole.project(probabilities, exclude)))
