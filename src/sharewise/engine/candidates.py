"""Candidates of a selection, several at a time: the same scores in the same order, by forked processes.

Scores are made without gradients, each from the same weights, so that nothing has to be sent to a process but which
candidates are its own: a fork has the supernet and the examples already. A process is forked only where a run computes
on one thread of a CPU, since pools of threads do not survive it, and only where the first score took so long that the
others are worth it.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import torch

from sharewise.errors import ConfigurationError
from sharewise.supernet import Gates

if TYPE_CHECKING:
    from sharewise.engine.numerics import Numerics

__all__ = ["candidates_at_once", "scores_in_order"]

_Score = Callable[[Gates], dict[str, float]]

_AT_ONCE: ContextVar[int] = ContextVar("candidates at once", default=1)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_WORTH = 0.5
"""Seconds that scoring the others one after the other would take, below which no process is forked for them."""


@contextmanager
def candidates_at_once(jobs: int) -> Iterator[None]:
    """Within the block up to so many candidates are scored at a time, each in a process; results are the same.

    Where processes cannot be forked (on a CUDA device, beside several threads of torch, under torchrun, elsewhere than
    on Linux), candidates are scored one after the other, as outside of the block.

    Args:
        jobs: at least 1.

    Raises:
        ConfigurationError: when it is less.

    Example:
        >>> import sharewise as sw
        >>> with candidates_at_once(2):
        ...     found = sw.search(sw.spaces.toy_tied_width(), sw.methods.spos(candidates=4), sw.data.digits(),
        ...                       max_steps=2, device="cpu")
        >>> len(found.selected.candidates)
        4
    """
    if jobs < 1:
        raise ConfigurationError(f"candidates at once (--jobs) must be at least 1, got {jobs}")
    token = _AT_ONCE.set(jobs)
    try:
        yield
    finally:
        _AT_ONCE.reset(token)


def scores_in_order(score: _Score, candidates: Sequence[Gates], numerics: Numerics) -> Iterator[dict[str, float]]:
    """The scores of candidates, in their order.

    Args:
        score: which leaves everything as it was.
        candidates: their gates.
        numerics: of the search, which say whether a fork could score what this process could.
    """
    alone = numerics.device.type == "cpu" and numerics.ranks.alone
    possible = alone and sys.platform == "linux" and torch.get_num_threads() == 1
    possible = possible and not multiprocessing.current_process().daemon  # which may have no children
    jobs = min(_AT_ONCE.get(), len(candidates)) if possible else 1
    began, rest = time.perf_counter(), list(candidates)
    if jobs > 1:  # the first one tells whether the others are worth a process
        yield score(rest.pop(0))
        jobs = min(jobs, len(rest)) if (time.perf_counter() - began) * len(rest) > _WORTH else 1
    with _forked(score, [rest[number::jobs] for number in range(1, jobs)]) as ends:
        for index, candidate in enumerate(rest):
            number = index % jobs
            found = _received(ends[number - 1]) if 0 < number <= len(ends) else None
            yield score(candidate) if found is None else found  # None: our own, or of a process that has ended


@contextmanager
def _forked(score: _Score, shares: Sequence[Sequence[Gates]]) -> Iterator[list[Connection]]:
    """As many processes as there can be, which score a share each, and where their scores arrive."""
    context, ends, processes = multiprocessing.get_context("fork"), list[Connection](), list[Any]()
    try:
        for share in shares:
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_score_all, args=(score, share, theirs, [ours, *ends]), daemon=True)
            with warnings.catch_warnings():
                # Newer Pythons warn of locks of other threads: a child here takes none, and ends without cleaning up.
                warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
                started = _started(process)
            theirs.close()  # so that the end of the child is the end of the stream
            if not started:
                ours.close()
                break
            ends.append(ours)
            processes.append(process)
        yield ends
    finally:
        for end in ends:
            end.close()
        for process in processes:
            process.terminate()
            process.join()


def _started(process: Any) -> bool:
    """Fork, unless there is no memory or number for a further process; signals wait until the child can take them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        process.start()
    except OSError:
        return False
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return True


def _score_all(score: _Score, share: Sequence[Gates], end: Connection, others: Sequence[Connection]) -> None:
    """In a child: score, and send each as it comes, until nobody listens any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, which the parent hears too
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the parent's own answer would write its checkpoint
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    gc.freeze()  # or a collection would copy every page that it looks at
    for other in others:
        other.close()
    with suppress(Exception):  # the parent scores what is missing, and meets the error where it can be told
        for candidate in share:
            end.send(score(candidate))
    os._exit(0)


def _received(end: Connection) -> dict[str, float] | None:
    try:
        found: dict[str, float] = end.recv()  # of a child of our own
    except (EOFError, OSError):
        return None
    return found
