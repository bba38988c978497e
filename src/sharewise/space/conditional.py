"""Spaces whose choices depend on earlier ones: counted and listed without enumeration, as layers depend on a depth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import final

from sharewise.space.architecture import Architecture
from sharewise.space.choice import Choice, Option
from sharewise.space.listing import Listing, checked_index, named_item, unknown_item

__all__ = ["ConditionalListing", "count_conditional"]


def _subtrees(choices: Sequence[Choice]) -> dict[str, int]:
    """The answers to every choice and all that depends on it, while it is active."""
    children: dict[str, list[Choice]] = {choice.name: [] for choice in choices}
    for choice in choices:
        if choice.condition is not None:
            children[choice.condition.choice].append(choice)
    found: dict[str, int] = {}
    for choice in reversed(choices):  # what depends on a choice stands behind it
        found[choice.name] = sum(
            math.prod(found[child.name] for child in children[choice.name] if _holds(child, {choice.name: option}))
            for option in choice.options
        )
    return found


def _holds(choice: Choice, values: Mapping[str, Option]) -> bool:
    return choice.condition is None or choice.condition.holds(values)


def count_conditional(choices: Sequence[Choice]) -> int:
    """How many architectures choices with conditions have, where nothing else ties them together.

    Every choice depends on at most one earlier one, so choices are the nodes of trees: the number of answers to a tree
    is Σ over the options of its root of Π over the subtrees that the option makes active.

    Args:
        choices: in order; conditions name earlier ones.

    Example:
        >>> from sharewise.space import Condition
        >>> layers = (Choice(f"layer_{i}", ("a", "b", "c"), condition=Condition("depth", (2,))) for i in (1, 2))
        >>> count_conditional((Choice("depth", (0, 2)), *layers))
        10
    """
    subtrees = _subtrees(choices)
    return math.prod(subtrees[choice.name] for choice in choices if choice.condition is None)


@final
class ConditionalListing(Listing):
    """Choices with conditions in mixed radix, lexicographically by option index, the first choice varying slowest.

    Args:
        name: of the space.
        choices: in order; conditions name earlier ones.
        architecture: builds an architecture of the space from values.
        parse: reads the standard string of the space.

    Example:
        >>> from sharewise.space import Condition, Space
        >>> second = Choice("second", ("a", "b"), condition=Condition("depth", (2,)))
        >>> space = Space("toy", (Choice("depth", (1, 2)), second))
        >>> [str(space.listing.at(i)) for i in range(3)]
        ['{"depth": 1}', '{"depth": 2, "second": "a"}', '{"depth": 2, "second": "b"}']
    """

    def __init__(
        self,
        name: str,
        choices: Sequence[Choice],
        architecture: Callable[[dict[str, Option]], Architecture],
        parse: Callable[[str], Architecture],
    ) -> None:
        self._name, self._choices, self._architecture, self._parse = name, tuple(choices), architecture, parse
        self._subtrees, self._length = _subtrees(choices), count_conditional(choices)

    def __len__(self) -> int:
        return self._length

    def _completions(self, position: int, values: Mapping[str, Option]) -> int:
        """How many architectures begin with `values` for the choices before `position`."""
        open_ = {choice.name for choice in self._choices[position:]}
        return math.prod(
            self._subtrees[choice.name]
            for choice in self._choices[position:]
            if choice.condition is None or (choice.condition.choice not in open_ and choice.condition.holds(values))
        )

    def at(self, index: int) -> Architecture:
        """See `Listing.at`."""
        rest, values = checked_index(index, self._length, self._name), dict[str, Option]()
        for position, choice in enumerate(self._choices, start=1):
            for option in choice.options if _holds(choice, values) else ():
                count = self._completions(position, {**values, choice.name: option})
                if rest < count:
                    values[choice.name] = option
                    break
                rest -= count
        return self._architecture(values)

    def index(self, architecture: Architecture) -> int:
        """See `Listing.index`."""
        given = dict(architecture.items_)
        names = sorted(choice.name for choice in self._choices if _holds(choice, given))
        if architecture.space != self._name or sorted(name for name, _ in architecture.items_) != names:
            raise unknown_item(architecture, self._name, "a legal one of that space")
        index, values = 0, dict[str, Option]()
        for position, choice in enumerate(self._choices, start=1):
            if choice.name in given:
                for option in choice.options[: choice.index(given[choice.name])]:
                    index += self._completions(position, {**values, choice.name: option})
                values[choice.name] = given[choice.name]
        return index

    def code(self, item: object) -> int:
        """The index: see `Listing.code`."""
        return self.index(named_item(item, self._name, self._parse))
