"""Arguments that make any method short, for tests of what has nothing to do with how well it searches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sharewise.methods import parameters

__all__ = ["first_of_each", "small_arguments"]

_SMALL: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 16,
    "architecture_every": 1,
    "candidates": 4,
    "finalists": 2,
    "controller_steps": 2,
    "controller_samples": 2,
    "tuning_epochs": 1,
}


def small_arguments(method: str, **changes: Any) -> dict[str, Any]:
    """Arguments of a registered method for a run of seconds: two epochs, few candidates, few controller steps.

    Args:
        method: its name.
        changes: replace or add arguments.

    Returns:
        Arguments for `sharewise.methods.build`.

    Example:
        >>> small_arguments("spos", batch_size=8)
        {'epochs': 2, 'batch_size': 8, 'candidates': 4}
    """
    return {key: value for key, value in _SMALL.items() if key in parameters(method)} | changes


def first_of_each(spaces: Iterable[str]) -> tuple[str, ...]:
    """The first space of each family, by the part of its name before a colon, for sweeps that would repeat themselves.

    Args:
        spaces: names.

    Returns:
        Some of them, in their order.

    Example:
        >>> first_of_each(["nasbench1shot1:1", "nasbench1shot1:2", "nasbench201"])
        ('nasbench1shot1:1', 'nasbench201')
    """
    found: dict[str, str] = {}
    for name in spaces:
        found.setdefault(name.partition(":")[0], name)
    return tuple(found.values())
