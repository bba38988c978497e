"""A history as readings: what an alarm may know of each epoch, whoever wrote the history down."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, final

__all__ = ["Reading", "readings", "standing"]


@final
@dataclass(frozen=True)
class Reading:
    """What is known of a search at the end of an epoch; `None` for what its history does not hold.

    Args:
        epoch: from 0.
        skips: share of skip connections among the operations of the cell that is repeated most, in [0, 1].
        training_loss: of the shared weights on the examples that train them, mean over the epoch.
        held_out_loss: on examples that do not train the weights.
        blind_loss: of whoever gives every example the same best answer: the entropy of the labels.
        eigenvalue: the largest one of ∂²L_val/∂θ².
        step: of training, counted over all epochs so far.

    Example:
        >>> Reading(0, training_loss=1.0, held_out_loss=1.5).excess
        1.5
    """

    epoch: int
    skips: float | None = None
    training_loss: float | None = None
    held_out_loss: float | None = None
    blind_loss: float | None = None
    eigenvalue: float | None = None
    step: float | None = None

    @property
    def excess(self) -> float | None:
        """Held-out loss over training loss; `None` where one is unknown."""
        if self.held_out_loss is None or not self.training_loss:
            return None
        return self.held_out_loss / self.training_loss


def standing(history: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The epochs of a history as they stand: without those that a search has taken back.

    Args:
        history: lines as a run writes them. A line `{"event": "back", "to": e}` takes back all epochs after e.

    Example:
        >>> lines = [{"event": "epoch", "epoch": e} for e in range(3)] + [{"event": "back", "to": 1}]
        >>> [line["epoch"] for line in standing(lines)]
        [0, 1]
    """
    found: list[Mapping[str, Any]] = []
    for line in history:
        epoch, to = _number(line.get("epoch")), _number(line.get("to"))
        if line.get("event") == "epoch" and epoch is not None:
            found.append(line)
        elif line.get("event") == "back" and to is not None:
            found = [kept for kept in found if kept["epoch"] <= to]
    return found


def readings(history: Iterable[Mapping[str, Any]]) -> tuple[Reading, ...]:
    """The readings of a history that a search of sharewise wrote; older ones hold less.

    Args:
        history: `state.history`, or the lines of `metrics.jsonl`.

    Example:
        >>> (reading,) = readings([{"event": "epoch", "epoch": 0, "weights_loss": 2.0, "skips": {"cell": 0.5}}])
        >>> reading.training_loss, reading.skips, reading.eigenvalue
        (2.0, 0.5, None)
    """
    return tuple(
        Reading(
            int(line["epoch"]),
            _first(line.get("skips")),
            _number(line.get("weights_loss")),
            _number(line.get("held_out_loss")),
            _number(line.get("blind_loss")),
            _number(line.get("eigenvalue")),
            _number(line.get("step")),
        )
        for line in standing(history)
    )


def _first(shares: object) -> float | None:
    """Of the cell that its space names first."""
    return _number(next(iter(shares.values()), None)) if isinstance(shares, Mapping) else None


def _number(value: object) -> float | None:
    """A finite number, or nothing."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
