"""Skip connections: how much of an architecture hands its input on as it is, into which searches are known to flee."""

from __future__ import annotations

from sharewise.space.architecture import Architecture
from sharewise.space.choice import Option
from sharewise.space.space import Space

__all__ = ["is_skip", "skips"]

_NAMES = ("skip", "identity")


def is_skip(option: Option) -> bool:
    """Whether an operation is a skip connection, by the names that the field uses.

    Example:
        >>> is_skip("skip_connect"), is_skip("nor_conv_3x3")
        (True, False)
    """
    return isinstance(option, str) and any(name in option for name in _NAMES)


def skips(space: Space, architecture: Architecture) -> dict[str, float]:
    """The share of skip connections among the operations of each cell.

    What the space says itself (`Space.skips`), or else among all active choices that could be one.

    Args:
        space: of the architecture.
        architecture: a member.

    Returns:
        Shares in [0, 1] by the name of the cell, first of the one that is repeated most, to which alarms listen; empty
        where a space has no skip connections.

    Example:
        >>> from sharewise.spaces import load
        >>> cell = "|skip_connect~0|+|none~0|skip_connect~1|+|skip_connect~0|nor_conv_3x3~1|none~2|"
        >>> skips(load("nasbench201"), load("nasbench201").parse(cell))
        {'cell': 0.5}
    """
    if space.skips is not None:
        return dict(space.skips(architecture))
    able = [name for name in architecture if any(map(is_skip, space[name].options))]
    return {"cell": sum(is_skip(architecture[name]) for name in able) / len(able)} if able else {}
