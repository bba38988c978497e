"""Telling of a run: its history as plain columns, and what it has come to in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sharewise.alarm import standing

if TYPE_CHECKING:
    from sharewise.engine.state import SearchState
    from sharewise.space import Architecture

__all__ = ["columns", "facts", "recorded", "scalars"]


def scalars(record: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of a line of the history by one name each, as loggers and tables take them.

    Args:
        record: a line, such as that of `EpochEnded`.
        prefix: of every name.

    Returns:
        Numbers by names such as `ledger/search/seconds`; those of a list are counted. `epoch` and `step`, by which the
        others are drawn, are left out.

    Example:
        >>> scalars({"epoch": 1, "entropy": 0.5, "gap": {"loss": 2}, "probabilities": {"edge": [0.25, 0.75]}})
        {'entropy': 0.5, 'gap/loss': 2.0, 'probabilities/edge/0': 0.25, 'probabilities/edge/1': 0.75}
    """
    found: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            found |= scalars(value, f"{prefix}{name}/")
        elif isinstance(value, list):
            found |= {f"{prefix}{name}/{i}": float(v) for i, v in enumerate(value) if isinstance(v, int | float)}
        elif isinstance(value, int | float) and name not in ("step", "epoch"):
            found[prefix + name] = float(value)
    return found


def columns(history: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """A row of numbers for every epoch of a history that stands, as `pandas.DataFrame` takes them."""
    return [{"epoch": record["epoch"], "step": record["step"], **scalars(record)} for record in standing(history)]


def facts(state: SearchState) -> dict[str, str]:
    """What a state has come to, in words by what they tell of."""
    row = next(iter(columns(state.history)[-1:]), {})
    losses = ", ".join(f"{name} {value:.4g}" for name, value in row.items() if "loss" in name and "/" not in name)
    return {
        "recipe": state.recipe.describe(),
        "trained": f"{state.epoch:,} epochs, {state.step:,} steps, {state.ledger.seconds:,.1f} s",
        **({"last epoch": losses} if losses else {}),
    }


def recorded(state: SearchState, architecture: Architecture, kind: str) -> dict[str, Any]:
    """A run as plain values under the names of `result.json`, as far as its pictures need them.

    Args:
        state: at its end.
        architecture: that was found or trained.
        kind: `"search"` or `"train"`.
    """
    space = state.supernet.space
    searched = kind == "search"
    return {
        "kind": kind,
        "history": list(state.history),
        "architecture": str(architecture),
        "decisions": {d.name: list(d.options) for d in state.supernet.relaxation.decisions} if searched else {},
        "picture": asdict(space.draw(architecture)) if searched and space.draw is not None else None,
        "primary": state.task.primary,
    }
