"""What a search says against its own result: that it has not decided, never learned, or fled to skip connections.

What an alarm saw while the search ran is said again at its end, unless the end itself says more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import final

import torch
from torch import Tensor

from sharewise.alarm import UNLEARNED, standing
from sharewise.distribution import Distribution, entropy_of
from sharewise.engine import SearchState
from sharewise.space import Architecture, skips
from sharewise.supernet.widening import partial_operations

__all__ = ["Remark", "remarks"]

_UNDECIDED = 0.9
"""Of the entropy of uniform θ: above it the largest option of a decision leads by little more than chance."""


@final
@dataclass(frozen=True)
class Remark:
    """A reason for which a result may not be what it seems.

    Args:
        kind: one word for programs.
        sentence: what was seen, with its figures.
        advice: what to try.
    """

    kind: str
    sentence: str
    advice: str

    def to_json(self) -> dict[str, str]:
        """As a result file holds it."""
        return asdict(self)


def remarks(state: SearchState, architecture: Architecture) -> list[Remark]:
    """What the end of a search gives reason to say.

    Args:
        state: at the end.
        architecture: what was found.

    Returns:
        None, or up to one of each kind.

    Example:
        >>> import sharewise as sw
        >>> found = sw.search("nasbench201", "gaea-erm", "digits", network={"channels": 2, "cells": 1}, max_steps=1,
        ...                   gap_examples=0, device="cpu")
        >>> [remark.kind for remark in remarks(found.state, found.architecture)][0]
        'undecided'
    """
    shape = list(_collapsing(state)) or _skipping(state, architecture)
    return [*_undecided(state), *_unlearned(state), *shape, *_partial(state)]


def _undecided(state: SearchState) -> Iterator[Remark]:
    rows = _decided_apart(state.distribution)
    if not rows:
        return
    entropy = float(torch.stack([entropy_of(row) for row in rows]).mean())
    open_options = [max(int((row > 0).sum()), 1) for row in rows]  # of a removed edge none is left
    most = sum(math.log(count) for count in open_options) / len(open_options)
    if most > 0 and entropy > _UNDECIDED * most:
        yield Remark(
            "undecided",
            f"the search has not decided: the mean entropy of θ is {entropy:.3f} of at most {most:.3f} nats, so that "
            "what was found is little better than drawn by lot",
            "search longer (--epochs), or with a larger --architecture-learning-rate",
        )


def _decided_apart(distribution: Distribution) -> list[Tensor]:
    """What θ decides one by one: which option of a decision or, where options do not compete, each of them or not."""
    if distribution.competing:
        return list(distribution.probabilities().values())
    weights = torch.cat(list(distribution.mixture().values()))
    return [torch.stack([weight, 1 - weight]) for weight in weights[weights > 0]]


def _unlearned(state: SearchState) -> Iterator[Remark]:
    losses = [record["weights_loss"] for record in state.history if record.get("weights_loss") is not None]
    blind = state.blind_loss
    if losses and blind is not None and losses[-1] > UNLEARNED * blind:
        yield Remark(
            "unlearned",
            f"the shared weights have learned nothing: their loss is {losses[-1]:.3f}, that of one answer for all "
            f"examples is {blind:.3f}",
            "search longer (--epochs), try another --learning-rate, or look at the labels of the data",
        )


def _collapsing(state: SearchState) -> Iterator[Remark]:
    """The alarm, if it began in an epoch that was not taken back."""
    for record in standing(state.history):
        alarm = record.get("alarms", {}).get("collapse")
        if alarm is not None:
            yield Remark("collapse", f"after epoch {record['epoch'] + 1}, {alarm['sentence']}", alarm["advice"])


def _skipping(state: SearchState, architecture: Architecture) -> Iterator[Remark]:
    shares = skips(state.distribution.relaxation.space, architecture)
    most = max(shares, key=lambda cell: shares[cell], default=None)
    if most is not None and shares[most] > 0.5:
        yield Remark(
            "skipping",
            f"{shares[most]:.0%} of the operations of what was found ({most}) are skip connections, into which "
            "gradient-based searches are known to collapse",
            "search for fewer --epochs, with --warm-up or by sampling (--method spos), and retrain what was found",
        )


def _partial(state: SearchState) -> Iterator[Remark]:
    parts = max((edge.parts for edge in partial_operations(state.supernet).values()), default=1)
    if parts > 1:
        yield Remark(
            "partial",
            f"the operations of this search have seen 1/{parts} of the channels: scores with inherited weights are not "
            "those of the found network, which cannot inherit them",
            "train what was found on its own (sharewise train)",
        )
