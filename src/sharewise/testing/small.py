"""Arguments that make any method short, for tests of what has nothing to do with how well it searches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sharewise.errors import ConfigurationError
from sharewise.methods import METHODS, build, parameters
from sharewise.run.networks import asked_network
from sharewise.space import Space

__all__ = ["first_of_each", "methods_of", "small_arguments"]

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


def methods_of(space: Space) -> list[str]:
    """The registered methods whose wishes the networks of a space know; all of them for a cell space.

    Args:
        space: that is to be searched.

    Example:
        >>> from sharewise.spaces import load
        >>> set(methods_of(load("nasbench201"))) - set(methods_of(load("toy-tied-width"))) >= {"pc-darts"}
        True
    """
    return [method for method in METHODS if _known(space, method)]


def _known(space: Space, method: str) -> bool:
    try:
        asked_network(space, build(method))
    except ConfigurationError:
        return False
    return True


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
