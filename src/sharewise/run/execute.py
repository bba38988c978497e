"""Running a prepared state to its end, with a folder that keeps everything or without one."""

from __future__ import annotations

import numbers
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from typing import Any, final

from sharewise.allocation import passing_over
from sharewise.engine import Callback, Extension, SearchResult, SearchState, run
from sharewise.errors import SharewiseWarning
from sharewise.interruption import Interruption, interruptible
from sharewise.report import write_report
from sharewise.run.environment import environment
from sharewise.run.extending import begin, notes_of, wanted
from sharewise.run.fits import require_step_fits
from sharewise.run.folder import RunFolder
from sharewise.run.identity import Identity, identity_of
from sharewise.run.listeners import Silent, Writer, record_to
from sharewise.run.native import Native
from sharewise.run.place import Keep
from sharewise.run.precision import offered
from sharewise.run.threads import Threads, on_threads
from sharewise.supernet.own_forms import by_kernels

__all__ = ["Record", "described", "execute"]


@final
@dataclass(frozen=True)
class Record:
    """What a run writes beside its history and its checkpoints.

    Args:
        configuration: as its folder stores it.
        finish: makes the content of the result file from the outcome; called once in the life of a run.
        threads: with which it computes.
        native: whether by compiled kernels.
    """

    configuration: Mapping[str, Any]
    finish: Callable[[SearchResult], Mapping[str, Any]]
    threads: Threads
    native: Native


def described(command: str, configuration: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """A configuration as a folder stores it: what a user has in place of one is completed by what every folder says.

    Args:
        command: `"search"` or `"train"`.
        configuration: of a command line, words of the user's own, or `None`.
    """
    if not configuration or "command" in configuration:
        return configuration
    return {"command": command, "origin": "library", **configuration}


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
    require_step_fits(state)
    state.numerics = replace(state.numerics, native=record.native.on)
    kernels = by_kernels(state.supernet) if record.native.on else nullcontext()
    # Of a program of somebody's own there may be much that is to be found; of a command line there is not.
    own = nullcontext() if "origin" in record.configuration else passing_over()
    with on_threads(record.threads.count), kernels, own, state.numerics.ranks.reaching():
        if keep.folder is not None and not state.numerics.ranks.first:
            return _follow(state, keep, record)
        if keep.folder is not None:
            return _kept(state, RunFolder(keep.folder), keep, record, callbacks)
        result = run(state, callbacks)
        record.finish(result)
        return result


def _kept(
    state: SearchState, folder: RunFolder, keep: Keep, record: Record, callbacks: Sequence[Callback]
) -> SearchResult:
    """Run a state in its folder, as the one process that writes."""
    ranks = state.numerics.ranks
    asked = {**plain(record.configuration), "threads": record.threads.count, "native": record.native.on}
    file = asked["space"] if "space_checksum" in asked else None
    interruption = Interruption.of_run(folder.path, asked["command"], from_python="origin" in asked, file=file)
    with ExitStack() as opened:
        with ranks.leading():  # the others read what is checked by then
            if keep.resume:
                folder.read_config()
            else:
                folder.make()
            opened.enter_context(folder.locked())
            opened.enter_context(interruptible(interruption))
            if not keep.resume:
                folder.create(asked, _facts(state, record))
            identity = identity_of(state, folder.read_stored_config())
            ended = keep.resume and _resume(state, folder, identity, asked, keep.extension)
        listener = record_to(Writer(folder, identity), interruption, keep.every)
        result = run(state, (listener, *callbacks))
        together = record.finish(result) if _all_finish(state, ended) else None
        with ranks.leading():
            content = folder.read_result() if ended else _result(folder, state, together or record.finish(result))
            folder.finish(content)
            write_report(folder.path)
    return result


def _all_finish(state: SearchState, ended: bool) -> bool:
    """Whether the result is made by all processes at once, since none has all weights, and is not there yet."""
    return state.numerics.ranks.sharded and not state.numerics.ranks.any(ended)


def _facts(state: SearchState, record: Record) -> dict[str, Any]:
    """What a measurement of the run depends on."""
    return {
        **environment(state.numerics.device),
        "threads chosen": record.threads.why,
        "native": record.native.on,
        "native chosen": record.native.why,
        **offered(state),
        "processes": state.numerics.ranks.world,
        **{f"data {key}": value for key, value in state.data.dataset.provenance.items()},
    }


def _follow(state: SearchState, keep: Keep, record: Record) -> SearchResult:
    """Take part in a run that another process keeps: compute everything, write nothing."""
    assert keep.folder is not None
    folder, ranks = RunFolder(keep.folder), state.numerics.ranks
    interruption = Interruption.of_run(folder.path, "search", from_python=False)
    with interruptible(interruption):
        ranks.led()
        content = folder.read_checkpoint() if keep.resume else None
        if content is not None:
            folder.restore(state, content["state"])
        result = run(state, (record_to(Silent(), interruption, keep.every),))
        if _all_finish(state, False):
            record.finish(result)
        ranks.led()
    return result


def _result(folder: RunFolder, state: SearchState, content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The content of the result file; where a damaged one is made again, what it knew of the test set is lost."""
    notes = notes_of(state.history)
    before = list(notes["extended"][-1]["test_openings"]) if notes["extended"] else []
    if os.path.lexists(folder.result):
        before.append("an earlier result file was damaged: what it recorded is lost")
    return {**content, **notes, "test_openings": [*before, *content["test_openings"]]}


def _resume(
    state: SearchState, folder: RunFolder, identity: Identity, asked: Mapping[str, Any], extension: Extension | None
) -> bool:
    """Bring a state to where its folder stands, and say whether the run had ended and its result is whole."""
    content = folder.load(identity, asked)
    if content is not None:
        folder.restore(state, content["state"])
    more = wanted(state, folder, extension)
    if content is None:
        return False
    if more is None and state.step >= state.total_steps:
        return folder.has_result()
    moved = identity.moved(content)
    if moved is not None:
        state.history.append(moved)
        folder.append_metrics(moved)
        warnings.warn(f"{folder.path} {moved['note']}", SharewiseWarning, stacklevel=3)
    if more is not None:
        folder.append_metrics(begin(state, folder, more))
        folder.save(identity, {**content["state"], **state.progress()})
    folder.result.unlink(missing_ok=True)  # of before an extension, whose record keeps what is worth keeping
    return False


def plain(value: Any) -> Any:
    """Tuples as lists, mappings as dictionaries and numbers of other libraries as Python's, for YAML and JSON."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return value
    return int(value) if isinstance(value, numbers.Integral) else float(value)
