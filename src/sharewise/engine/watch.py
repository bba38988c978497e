"""What a search sees of itself at the end of an epoch: how far it has decided, and whether an alarm begins."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from sharewise.alarm import alarms
from sharewise.space import Architecture, skips

if TYPE_CHECKING:
    from sharewise.engine.state import SearchState

__all__ = ["begun", "blind_loss", "observed"]


def observed(state: SearchState, record: Mapping[str, Any], projected: Architecture | None) -> dict[str, Any]:
    """What joins the line of an epoch at no cost: nothing is evaluated.

    Args:
        state: at the end of the epoch.
        record: of the epoch so far.
        projected: the architecture that would be picked now.

    Returns:
        Entropy by decision in nats, the share of skip connections by cell, the loss on examples that do not train the
        weights, and the loss of one answer for all; each where there is one.
    """
    rows = state.distribution.probabilities()
    found: dict[str, Any] = {}
    if rows:
        found["entropies"] = {n: float(-torch.special.xlogy(row, row).sum()) for n, row in rows.items()}
    if projected is not None:
        found["skips"] = skips(state.distribution.relaxation.space, projected)
    held_out = record.get("architecture_loss")
    if held_out is not None and state.recipe.roles.is_disjoint("weights", "architecture"):
        found["held_out_loss"] = held_out
    if state.blind_loss is not None and state.distribution.relaxation.decisions:
        found["blind_loss"] = state.blind_loss
    return found


def begun(state: SearchState, record: Mapping[str, Any]) -> dict[str, Any]:
    """The alarms that begin with an epoch, as its line holds them: by kind.

    Args:
        state: with the history before the epoch.
        record: of the epoch.
    """
    if not state.distribution.relaxation.decisions:
        return {}
    found = {
        alarm.kind: alarm.to_json() for alarm in alarms([*state.history, record]) if alarm.epoch == record["epoch"]
    }
    return {"alarms": found} if found else {}


def blind_loss(state: SearchState) -> float | None:
    """The training loss of whoever gives every example the same best answer: the entropy of the labels, in nats.

    `None` where targets are no classes.
    """
    task, targets = state.task, state.data.dataset.train.targets
    if "accuracy" not in task.metrics or targets.is_floating_point():
        return None
    labels = targets.flatten()
    counts = torch.bincount(labels[(labels >= 0) & (labels < task.outputs)], minlength=task.outputs).double()
    shares = counts / counts.sum()
    entropy = float(-torch.special.xlogy(shares, shares).sum())
    return entropy if math.isfinite(entropy) and entropy > 0 else None
