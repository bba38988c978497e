"""Work that is spread over processes, one per core, whose results come back in any order."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar, final

import torch

from sharewise.errors import ConfigurationError, SharewiseError
from sharewise.run.threads import on_threads

__all__ = ["HERE", "Failure", "Progress", "Workers", "attempt", "cores", "one_thread", "silent", "spread"]

Task = TypeVar("Task")
Result = TypeVar("Result")
Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is finished, and how much there is."""


def silent(what: str, done: int, of: int) -> None:
    """Tell nobody."""


@final
@dataclass(frozen=True)
class Workers:
    """Who does the work, and who is told how far it is.

    Args:
        jobs: processes, at least 1; results do not depend on their number.
        progress: told how much is finished.

    Raises:
        ConfigurationError: when `jobs` is less than 1.

    Example:
        >>> sorted(Workers().do("squared", abs, [-2, 1]))
        [(-2, 2), (1, 1)]
    """

    jobs: int = 1
    progress: Progress = silent

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ConfigurationError(f"jobs must be at least 1, got {self.jobs}")

    def at_most(self, jobs: int | None) -> Workers:
        """The same with no more processes than so many; `None` sets no limit."""
        return self if jobs is None else replace(self, jobs=min(jobs, self.jobs))

    def do(
        self,
        title: str,
        work: Callable[[Task], Result],
        tasks: Sequence[Task],
        *,
        done: int = 0,
        begin: Callable[[], None] | None = None,
    ) -> Iterator[tuple[Task, Result]]:
        """Do tasks as `spread` does, and tell how many are finished whenever the caller has taken one.

        Args:
            title: what is told.
            work: a function of a module.
            tasks: what to do.
            done: how many were finished before.
            begin: called once in each new process.
        """
        of = done + len(tasks)
        self.progress(title, done, of)
        for pair in spread(work, tasks, min(self.jobs, len(tasks)) or 1, begin):
            yield pair
            done += 1
            self.progress(title, done, of)


HERE = Workers()
"""This process, which tells nobody."""


def cores() -> int:
    """The cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread within the block, since sums depend on their number in the last bits."""
    with on_threads(1):
        yield


def spread(
    work: Callable[[Task], Result],
    tasks: Sequence[Task],
    jobs: int,
    begin: Callable[[], None] | None = None,
) -> Iterator[tuple[Task, Result]]:
    """Do tasks in fresh processes, or in this one where a single job is asked for.

    Every process computes on one thread. What is not finished when the caller stops listening is given up.

    Args:
        work: a function of a module, since other processes import it.
        tasks: what to do.
        jobs: processes, at least 1.
        begin: called once in each new process before its first task; not called where there is a single job.

    Returns:
        Tasks with their results, as they come.

    Raises:
        ConfigurationError: when `jobs` is less than 1.
        SharewiseError: what a task raises, or when a process was killed.

    Example:
        >>> sorted(spread(abs, [-2, 1], jobs=1))
        [(-2, 2), (1, 1)]
    """
    if jobs < 1:
        raise ConfigurationError(f"jobs must be at least 1, got {jobs}")
    if jobs == 1 or not tasks:
        with one_thread():
            for task in tasks:
                yield task, work(task)
        return
    # Fresh processes: a fork would copy torch's locked thread pools, and CUDA not at all.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(jobs, len(tasks)), mp_context=context, initializer=_begin, initargs=(begin,))
    try:
        with _children_told():
            futures = {pool.submit(_until_told, work, task): task for task in tasks}
            for future in as_completed(futures):
                yield futures[future], future.result()
    except BrokenProcessPool:
        raise SharewiseError(
            "a process of the pool died, perhaps for want of memory; what is finished is kept. Go on with fewer --jobs"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@final
@dataclass(frozen=True)
class Failure:
    """Why a task came to nothing, in one line."""

    reason: str


def attempt(
    work: Callable[[Task], Result], tasks: Sequence[Task], jobs: int
) -> Iterator[tuple[Task, Result | Failure]]:
    """Do tasks as `spread` does, but let none stop the others: what fails comes back as its failure.

    Every process does one task after another, so that one which is killed takes nothing but its own task with it.

    Args:
        work: a function of a module.
        tasks: what to do.
        jobs: processes, at least 1.

    Returns:
        Tasks with their results, or why they have none, as they come.

    Example:
        >>> list(attempt(int, ["1", "x"], jobs=1))
        [('1', 1), ('x', Failure(reason="ValueError: invalid literal for int() with base 10: 'x'"))]
    """
    if jobs == 1 or not tasks:
        with one_thread():
            for task in tasks:
                yield task, _attempted(work, task)
        return
    own = threading.local()
    pools: list[ProcessPoolExecutor] = []

    def do(task: Task) -> Result | Failure:
        if getattr(own, "pool", None) is None:
            context = multiprocessing.get_context("spawn")
            own.pool = ProcessPoolExecutor(1, mp_context=context, initializer=_begin, initargs=(None,))
            pools.append(own.pool)
        try:
            found: Result | Failure = own.pool.submit(_until_told, partial(_attempted, work), task).result()
        except BrokenProcessPool:
            own.pool.shutdown(wait=False)
            own.pool = None
            return Failure("its process was killed, perhaps for want of memory")
        return found

    with ThreadPoolExecutor(min(jobs, len(tasks))) as threads:
        try:
            with _children_told():
                futures = {threads.submit(do, task): task for task in tasks}
                for future in as_completed(futures):
                    yield futures[future], future.result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            for pool in pools:
                pool.shutdown(wait=False, cancel_futures=True)


def _attempted(work: Callable[[Task], Result], task: Task) -> Result | Failure:
    try:
        return work(task)
    except SharewiseError as error:
        return Failure(str(error).splitlines()[0])
    except Exception as error:  # a task of a stranger's method may raise anything, and must not stop the others
        return Failure(f"{type(error).__name__}: {error}".splitlines()[0])


@contextmanager
def _children_told() -> Iterator[None]:
    """Hand an interruption on to the processes that began within the block, so that their runs write checkpoints."""
    before = set(multiprocessing.active_children())
    try:
        yield
    except KeyboardInterrupt:
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise


def _until_told(work: Callable[[Task], Result], task: Task) -> Result:
    """Do a task in a process of a pool, which ends with an interruption instead of taking the next task."""
    try:
        return work(task)
    except KeyboardInterrupt:
        os._exit(1)


def _begin(begin: Callable[[], None] | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal; the parent hears it too, and hands it on once
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    if begin is not None:
        begin()


def _end_with_parent() -> None:
    """A parent that was killed can tell nobody; without this its workers would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
