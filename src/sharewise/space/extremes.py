"""The two ends of a space: its largest and its smallest architecture, where its choices have an order."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from sharewise.errors import ConfigurationError
from sharewise.space.choice import Choice, Option

if TYPE_CHECKING:
    from sharewise.space.architecture import Architecture
    from sharewise.space.space import Space

__all__ = ["EXTREMES", "largest", "smallest"]


def largest(space: Space) -> Architecture:
    """The architecture in which every choice takes its greatest option; inactive choices drop out.

    The greatest option is the greatest number where all options are numbers, the last one where the choice is
    `ordered`, and the only one where there is no other. Nothing is counted: in a space of widths, depths and kernels it
    is the architecture that all others are parts of.

    Args:
        space: whose choices all have an order.

    Raises:
        ConfigurationError: when a choice has none, such as between operations; or when the space has a constraint that
            the greatest options break.

    Example:
        >>> from sharewise.spaces import load
        >>> str(largest(load("nats_size")))
        '64:64:64:64:64'
        >>> largest(load("nasbench201"))
        Traceback (most recent call last):
        sharewise.errors.ConfigurationError: space 'nasbench201' has no largest architecture: the options of ...
    """
    return _extreme(space, "largest", max, -1)


def smallest(space: Space) -> Architecture:
    """The architecture in which every choice takes its least option; see `largest`.

    Example:
        >>> from sharewise.spaces import load
        >>> str(smallest(load("nats_size")))
        '8:8:8:8:8'
    """
    return _extreme(space, "smallest", min, 0)


EXTREMES = {"largest": largest, "smallest": smallest}
"""Words that stand for an architecture of any space whose choices have an order."""


def _extreme(space: Space, word: str, of_numbers: Callable[[tuple[Option, ...]], Option], place: int) -> Architecture:
    values: dict[str, Option] = {}
    without: list[Choice] = []
    for choice in space.choices:
        if all(isinstance(option, int | float) for option in choice.options):
            values[choice.name] = of_numbers(choice.options)
        else:
            values[choice.name] = choice.options[place]
            without += [] if choice.ordered or len(choice.options) == 1 else [choice]
    if not without:
        return space.architecture(values)
    first = without[0]
    more = f" (and of {len(without) - 1} more)" if len(without) > 1 else ""
    some = len(without) < min(len(space.choices), 4)  # of a whole cell an example would be no help
    example = f"; write it out, such as {json.dumps(values)}" if some else ""
    raise ConfigurationError(
        f"space {space.name!r} has no {word} architecture: the options of choice {first.name!r}{more} have no order "
        f"({', '.join(map(str, first.options))}){example}"
    )
