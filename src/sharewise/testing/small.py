"""Arguments that make any method short, for tests of what has nothing to do with how well it searches."""

from __future__ import annotations

from typing import Any

from sharewise.methods import parameters

__all__ = ["small_arguments"]

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
