"""The identity of a run: what must agree before a checkpoint is loaded, and what may differ if it is said."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch

from sharewise.engine import SearchState
from sharewise.errors import shown
from sharewise.run.place import WHERE
from sharewise.supernet.native import enabled

__all__ = ["Identity", "difference", "fingerprint", "identity_of"]

_ELSEWHERE = ("data_path", "oracle", "teacher", "checkpoint_every")
"""Data and teachers may move, and their checksums tell whether they are the same; a table serves the report;
checkpoints may lie closer."""


@final
@dataclass(frozen=True)
class Identity:
    """What a checkpoint says of its run beside the state.

    Args:
        fingerprint: what shapes the numbers, in words.
        configuration: every setting by name, as plain values.
        place: device and number of threads of the present process, and whether it compiles.
        start: the first line of the history.
    """

    fingerprint: Mapping[str, str]
    configuration: Mapping[str, Any]
    place: Mapping[str, Any]
    start: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As a checkpoint stores it."""
        return {
            "fingerprint": dict(self.fingerprint),
            "configuration": dict(self.configuration),
            "place": dict(self.place),
        }

    def moved(self, content: Mapping[str, Any]) -> dict[str, Any] | None:
        """The line of the history that says where a run goes on, if that is not where its checkpoint was written.

        Args:
            content: of the checkpoint.
        """
        before = {"compile": False, "native": False, **content.get("place", self.place)}  # older folders do not say
        changed = {name: [before.get(name), now] for name, now in self.place.items() if before.get(name) != now}
        if not changed:
            return None
        words = " and ".join(f"{name} {now} instead of {was}" for name, (was, now) in changed.items())
        note = f"goes on with {words}: it no longer promises the bits of a run that was left alone"
        return {"event": "moved", "step": content["state"].get("step"), "changed": changed, "note": note}


def identity_of(state: SearchState, configuration: Mapping[str, Any]) -> Identity:
    """The identity of a run that is about to begin or to go on.

    Args:
        state: at step 0.
        configuration: as its folder stores it.
    """
    decisions = {d.name: list(d.options) for d in state.distribution.relaxation.decisions}
    place = {"device": str(state.numerics.device), "threads": torch.get_num_threads()}
    place |= {"compile": state.numerics.compile, "native": enabled()}
    start = {"event": "start", "decisions": decisions}
    if state.teacher is not None:
        start["teacher"] = state.teacher.to_json()
    return Identity(fingerprint(state), configuration, place, start)


def fingerprint(state: SearchState) -> dict[str, str]:
    """What must agree for a checkpoint to be loaded: everything in a state that shapes the numbers of a run."""
    dataset, supernet = state.data.dataset, state.supernet
    checksum = dataset.provenance.get("checksum")
    return {
        "space": supernet.space.name,
        "network": str({name: tuple(value.shape) for name, value in supernet.state_dict().items()}),
        "recipe": _stable(repr(state.recipe)),
        "data": f"{dataset.name}, {len(dataset.train)} of shape {dataset.input_shape}, {checksum}",
        "seed": str(state.seed),
        "precision": state.numerics.precision,
        "max_steps": str(state.max_steps),
        **({} if state.numerics.accumulate == 1 else {"accumulate": str(state.numerics.accumulate)}),
        **({} if state.teacher is None or state.teacher.made else {"teacher": state.teacher.describe()}),
    }


def _stable(text: str) -> str:
    """A recipe in words that are the same in every process, and in folders of before pieces that it does not have."""
    absent = r", operations=\(\)(?=\))|, perturbation=None(?=\))|, reactions=\(\)(?=, arguments=)"
    absent += r"|, edge_learning_rate=None(?=\))|, 'parts': \(\)"
    return re.sub(rf" at 0x[0-9a-f]+|{absent}", "", text)


def difference(there: Mapping[str, Any], here: Mapping[str, Any], *, edited: bool) -> str | None:
    """The first setting in which two configurations differ, in words.

    Args:
        there: of the checkpoint.
        here: of the file, or of what is about to run.
        edited: whether `here` is the file itself, which must be the same in every setting; else those that only one of
            them names are left out, and where it computes may differ.

    Example:
        >>> difference({"network": {"fused": True}}, {"network": {"fused": False}}, edited=True)
        'network.fused is True there and False here'
    """
    first, second = dict(_flat(there)), dict(_flat(here))
    skipped = _ELSEWHERE if edited else (*_ELSEWHERE, *WHERE, "origin")
    for name in dict.fromkeys([*first, *second]):
        if name in skipped or (not edited and not (name in first and name in second)):
            continue
        one, other = first.get(name), second.get(name)
        if type(one) is not type(other) or one != other:
            return f"{name} is {shown(one)} there and {shown(other)} here"
    return None


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and (value or not name):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value
