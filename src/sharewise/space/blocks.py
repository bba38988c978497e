"""Blocks: groups of choices that constraints tie together, in a space that is a product of such groups."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import final

from sharewise.errors import ConfigurationError
from sharewise.space.architecture import Architecture
from sharewise.space.choice import Choice, Option
from sharewise.space.listing import Listing, checked_index, named_item, unknown_item
from sharewise.space.traits import Constraint

__all__ = ["Block", "BlockListing", "blocks_of"]

Block = Sequence[Mapping[str, Option]]
"""The legal answers to a group of choices."""


def blocks_of(choices: Sequence[Choice], constraints: Sequence[Constraint]) -> tuple[Block, ...]:
    """The legal answers to every group of choices that some constraints tie together, in the order of the choices.

    Args:
        choices: without conditions.
        constraints: each of which names the choices that it reads.

    Raises:
        ConfigurationError: when a group has no legal answer.

    Example:
        >>> rule = Constraint("a and b differ", lambda v: v["a"] != v["b"], reads=("a", "b"))
        >>> [len(block) for block in blocks_of([Choice(name, (0, 1, 2)) for name in "acb"], [rule])]
        [6, 3]
    """
    order = [choice.name for choice in choices]
    groups = [{name} for name in order]
    for constraint in constraints:
        joined = [group for group in groups if not group.isdisjoint(constraint.reads)]
        groups = [group for group in groups if group.isdisjoint(constraint.reads)] + [set().union(*joined)]
    groups.sort(key=lambda group: min(map(order.index, group)))
    return tuple(
        _answers(
            [choice for choice in choices if choice.name in group],
            [constraint for constraint in constraints if group.issuperset(constraint.reads)],
        )
        for group in groups
    )


def _answers(choices: Sequence[Choice], constraints: Sequence[Constraint]) -> Block:
    """Every legal answer to some choices, on which no other choice depends."""
    names = [choice.name for choice in choices]
    answers = (dict(zip(names, options, strict=True)) for options in product(*(choice.options for choice in choices)))
    found = tuple(answer for answer in answers if all(constraint.holds(answer) for constraint in constraints))
    if not found:
        rules = "; ".join(constraint.description for constraint in constraints)
        raise ConfigurationError(f"no options of {', '.join(names)} are legal together: {rules}")
    return found


@final
class BlockListing(Listing):
    """The product of independent groups of choices in mixed radix, the first group varying slowest.

    Args:
        name: of the space.
        blocks: the legal answers to each group.
        architecture: builds an architecture of the space from values.
        parse: reads the standard string of the space.

    Example:
        >>> from sharewise.space import Choice, Constraint, Space
        >>> rule = Constraint("a and b differ", lambda v: v["a"] != v["b"], reads=("a", "b"))
        >>> space = Space("toy", tuple(Choice(name, (0, 1, 2)) for name in "abc"), (rule,))
        >>> len(space.listing), str(space.listing.at(17))
        (18, '{"a": 2, "b": 1, "c": 2}')
    """

    def __init__(
        self,
        name: str,
        blocks: Sequence[Block],
        architecture: Callable[[dict[str, Option]], Architecture],
        parse: Callable[[str], Architecture],
    ) -> None:
        self._name, self._blocks, self._architecture, self._parse = name, tuple(blocks), architecture, parse
        self._digit = [{tuple(values.items()): digit for digit, values in enumerate(block)} for block in blocks]
        self._length = math.prod(map(len, self._blocks))

    def __len__(self) -> int:
        return self._length

    def at(self, index: int) -> Architecture:
        """See `Listing.at`."""
        rest = checked_index(index, self._length, self._name)
        values: dict[str, Option] = {}
        for block in reversed(self._blocks):
            rest, digit = divmod(rest, len(block))
            values |= block[digit]
        return self._architecture(values)

    def index(self, architecture: Architecture) -> int:
        """See `Listing.index`."""
        values, index = dict(architecture.items_), 0
        choices = sum(len(block[0]) for block in self._blocks)
        if architecture.space != self._name or not len(values) == len(architecture.items_) == choices:
            raise unknown_item(architecture, self._name, "one of that space")
        for block, digit in zip(self._blocks, self._digit, strict=True):
            answer = tuple((name, values.get(name)) for name in block[0])
            if answer not in digit:
                raise unknown_item(architecture, self._name, f"legal options, not {dict(answer)}")
            index = index * len(block) + digit[answer]  # type: ignore[index]
        return index

    def code(self, item: object) -> int:
        """The index: see `Listing.code`."""
        return self.index(named_item(item, self._name, self._parse))
