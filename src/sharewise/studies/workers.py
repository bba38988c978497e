"""Work that is spread over workers, whose results come back in any order."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar, final

from sharewise.errors import ConfigurationError, SharewiseError
from sharewise.given import text
from sharewise.run.threads import on_threads
from sharewise.studies.executors import PROCESSES, WorkerDied, opened, require_executor

__all__ = ["HERE", "Failure", "Progress", "Workers", "attempt", "cores", "one_thread", "silent", "spread"]

Task = TypeVar("Task")
Result = TypeVar("Result")
Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is finished, and how much there is."""

_TRIES = 5
"""How often a task is begun whose worker died: it goes on where its folder stands."""


def silent(what: str, done: int, of: int) -> None:
    """Tell nobody."""


@final
@dataclass(frozen=True)
class Workers:
    """Who does the work, and who is told how far it is.

    Args:
        jobs: workers, at least 1; results do not depend on their number.
        progress: told how much is finished.
        executor: `"processes"`, or an engine of `sharewise.studies.executors`, with its address after `://`.
        side_by_side: small networks that a worker trains at once, where that is faster, at least 1; their weights
            depend on it in the last bits.

    Raises:
        ConfigurationError: when `jobs` or `side_by_side` is less than 1, or the executor is unknown.

    Example:
        >>> sorted(Workers().do("squared", abs, [-2, 1]))
        [(-2, 2), (1, 1)]
    """

    jobs: int = 1
    progress: Progress = silent
    executor: str = PROCESSES
    side_by_side: int = 1

    def __post_init__(self) -> None:
        for name in ("jobs", "side_by_side"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be at least 1, got {getattr(self, name)}")
        require_executor(text("executor", self.executor))

    def at_most(self, jobs: int | None) -> Workers:
        """The same with no more workers than so many; `None` sets no limit."""
        return self if jobs is None else replace(self, jobs=min(jobs, self.jobs))

    @property
    def here(self) -> bool:
        """Whether tasks are done in this very process."""
        return self.jobs == 1 and self.executor == PROCESSES

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
            begin: called once in each new worker.
        """
        of = done + len(tasks)
        self.progress(title, done, of)
        for pair in spread(work, tasks, min(self.jobs, len(tasks)) or 1, begin, self.executor):
            yield pair
            done += 1
            self.progress(title, done, of)

    def attempt(self, work: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[Task, Result | Failure]]:
        """Do tasks as the function `attempt` does."""
        return attempt(work, tasks, min(self.jobs, len(tasks)) or 1, self.executor)

    def facts(self) -> dict[str, Any]:
        """For a record of how results were made, which hardly depend on it."""
        several = {"side_by_side": self.side_by_side} if self.side_by_side > 1 else {}
        return {"jobs": self.jobs, "executor": self.executor, **several}


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
    executor: str = PROCESSES,
) -> Iterator[tuple[Task, Result]]:
    """Do tasks by several workers, or in this process where a single job is asked for.

    Every worker computes on one thread. A task whose worker died is begun again, so that one with a folder goes on
    where it stood. What is not finished when the caller stops listening is given up.

    Args:
        work: a function of a module, since other processes import it.
        tasks: what to do.
        jobs: workers, at least 1.
        begin: called once in each new worker before its first task; not called where tasks are done in this process.
        executor: of the tasks; see `Workers`.

    Returns:
        Tasks with their results, as they come.

    Raises:
        ConfigurationError: when `jobs` is less than 1.
        SharewiseError: what a task raises, or when workers die in it again and again.

    Example:
        >>> sorted(spread(abs, [-2, 1], jobs=1))
        [(-2, 2), (1, 1)]
    """
    for task, found in _done(work, tasks, jobs, begin, executor):
        if isinstance(found, WorkerDied):
            raise SharewiseError(
                f"workers died {_TRIES} times in one task: {found}; what is finished is kept. Go on with fewer --jobs"
            )
        yield task, found


def _done(
    work: Callable[[Task], Result],
    tasks: Sequence[Task],
    jobs: int,
    begin: Callable[[], None] | None,
    executor: str,
) -> Iterator[tuple[Task, Result | WorkerDied]]:
    """Tasks with their results, or with how their last worker died."""
    if jobs < 1:
        raise ConfigurationError(f"jobs must be at least 1, got {jobs}")
    if not tasks or (jobs == 1 and executor == PROCESSES):
        with one_thread():
            for task in tasks:
                yield task, work(task)
        return
    deaths: Counter[int] = Counter()
    with opened(executor, min(jobs, len(tasks)), begin) as pool:
        waiting = {pool.submit(work, task): number for number, task in enumerate(tasks)}
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                number = waiting.pop(future)
                error = future.exception()
                if error is None:
                    yield tasks[number], future.result()
                    continue
                if not isinstance(error, WorkerDied):
                    raise error
                deaths[number] += 1
                if deaths[number] < _TRIES:
                    waiting[pool.submit(work, tasks[number])] = number
                else:
                    yield tasks[number], error


@final
@dataclass(frozen=True)
class Failure:
    """Why a task came to nothing, in one line."""

    reason: str


def attempt(
    work: Callable[[Task], Result], tasks: Sequence[Task], jobs: int, executor: str = PROCESSES
) -> Iterator[tuple[Task, Result | Failure]]:
    """Do tasks as `spread` does, but let none stop the others: what fails comes back as its failure.

    Args:
        work: a function of a module.
        tasks: what to do.
        jobs: workers, at least 1.
        executor: of the tasks; see `Workers`.

    Returns:
        Tasks with their results, or why they have none, as they come.

    Example:
        >>> list(attempt(int, ["1", "x"], jobs=1))
        [('1', 1), ('x', Failure(reason="ValueError: invalid literal for int() with base 10: 'x'"))]
    """
    for task, found in _done(partial(_attempted, work), tasks, jobs, None, executor):
        yield task, Failure(str(found)) if isinstance(found, WorkerDied) else found


def _attempted(work: Callable[[Task], Result], task: Task) -> Result | Failure:
    try:
        return work(task)
    except SharewiseError as error:
        return Failure(str(error).splitlines()[0])
    except Exception as error:  # a task of a stranger's method may raise anything, and must not stop the others
        return Failure(f"{type(error).__name__}: {error}".splitlines()[0])
