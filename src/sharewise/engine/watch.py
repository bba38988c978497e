"""What a search sees of itself at the end of an epoch: how far it has decided, and whether an alarm begins."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from sharewise.alarm import alarms
from sharewise.distribution import entropy_of
from sharewise.space import skips

if TYPE_CHECKING:
    from sharewise.engine.state import SearchState

__all__ = ["blind_loss", "measure", "watch"]


def watch(state: SearchState, record: dict[str, Any]) -> None:
    """Add to the line of an epoch what the search sees of itself, what is measured, and the alarms that begin with it.

    Args:
        state: at the end of the epoch, with the history before it.
        record: of the epoch so far, with the means of its losses.
    """
    record |= _seen(state, record)
    measure(state, record)
    if not state.distribution.relaxation.decisions:
        return
    begun = [alarm for alarm in alarms([*state.history, record]) if alarm.epoch == record["epoch"]]
    if begun:
        record["alarms"] = {alarm.kind: alarm.to_json() for alarm in begun}


def measure(state: SearchState, record: dict[str, Any]) -> None:
    """Add to the line of an epoch what somebody wants to be measured, and what the search itself will answer to."""
    if state.measure is not None:
        record |= state.measure(state)
    for reaction in state.recipe.reactions:
        record |= reaction.observe(state, record)
    if state.measure is not None or state.recipe.reactions:
        state.spend("measurement")


def _seen(state: SearchState, record: Mapping[str, Any]) -> dict[str, Any]:
    """What costs nothing to know: nothing is evaluated.

    How far each decision is made (θ, and its entropy in nats), the architecture that would be picked now and its share
    of skip connections by cell, the loss on examples that do not train the weights, and that of one answer for all.
    """
    distribution, found = state.distribution, dict[str, Any]()
    rows = distribution.probabilities()
    if rows:
        found["entropy"] = distribution.entropy()
        found["entropies"] = {name: float(entropy_of(row)) for name, row in rows.items()}
        found["probabilities"] = {name: row.tolist() for name, row in rows.items()}
        projected = state.recipe.selection.projected(state)
        if projected is not None:
            found["architecture"] = str(projected)
            found["skips"] = skips(distribution.relaxation.space, projected)
    if "architecture_loss" in record and state.recipe.roles.is_disjoint("weights", "architecture"):
        found["held_out_loss"] = record["architecture_loss"]
    if distribution.relaxation.decisions and state.blind_loss is not None:
        found["blind_loss"] = state.blind_loss
    return found


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
    entropy = float(entropy_of(shares))
    return entropy if math.isfinite(entropy) and entropy > 0 else None
