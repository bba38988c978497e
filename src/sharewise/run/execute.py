"""Running a prepared state to its end, with a folder that keeps everything or without one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from sharewise.engine import Callback, SearchResult, SearchState, run
from sharewise.report import write_report
from sharewise.run.environment import environment
from sharewise.run.folder import RunFolder
from sharewise.run.listeners import record_to
from sharewise.run.place import Keep

__all__ = ["Record", "execute", "fingerprint"]


@final
@dataclass(frozen=True)
class Record:
    """What a run writes beside its history and its checkpoints.

    Args:
        configuration: as its folder stores it.
        finish: makes the content of the result file from the outcome; called once in the life of a run.
    """

    configuration: Mapping[str, Any]
    finish: Callable[[SearchResult], Mapping[str, Any]]


def execute(state: SearchState, keep: Keep, record: Record, callbacks: Sequence[Callback] = ()) -> SearchResult:
    """Run a state to its end, from where its folder says that it stands.

    Args:
        state: at step 0.
        keep: where everything is kept.
        record: what is written.
        callbacks: told of every event.

    Raises:
        CheckpointError: when the folder holds a run already, or one that does not fit.
    """
    if keep.folder is None:
        result = run(state, callbacks)
        record.finish(result)
        return result
    folder, identity = RunFolder(keep.folder), fingerprint(state)
    listener = record_to(folder, identity, keep.every)
    if keep.resume:
        folder.read_config()
    else:
        facts_of_data = {f"data {key}": value for key, value in state.data.dataset.provenance.items()}
        folder.create(_plain(record.configuration), {**environment(state.numerics.device), **facts_of_data})
    with folder.locked():
        saved = folder.load(identity) if keep.resume else None
        if saved is not None:
            folder.restore(state, saved)
        ended = saved is not None and state.step >= state.total_steps and folder.result.exists()
        result = run(state, (listener, *callbacks))
        if not ended:
            folder.write_json(folder.result, record.finish(result))
        write_report(folder.path)
    return result


def fingerprint(state: SearchState) -> dict[str, str]:
    """What must agree for a checkpoint to be loaded: everything that shapes the numbers of a run."""
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
    }


def _stable(text: str) -> str:
    """A recipe in words that are the same in every process, and in folders of before a stage could hold operations."""
    return re.sub(r" at 0x[0-9a-f]+|, operations=\(\)(?=\))", "", text)


def _plain(value: Any) -> Any:
    """Tuples as lists and mappings as dictionaries, for YAML and JSON."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
