"""Work that is spread over workers, whose results come back in any order."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar, final

from sharewise import given
from sharewise.errors import ConfigurationError, SharewiseError
from sharewise.run.threads import on_threads
from sharewise.studies.executors import DAY, PROCESSES, Pool, WorkerDied, opened, require_executor

__all__ = ["HERE", "Failure", "PerWorker", "Progress", "Workers", "cores", "one_thread", "silent", "spread"]

Task = TypeVar("Task")
Result = TypeVar("Result")
Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is finished, and how much there is."""

_TRIES = 5
"""How often a task is begun whose worker died: it goes on where its folder stands."""
_LOOK = 5.0
"""Seconds between two looks at an engine that is silent."""


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
        task_timeout: seconds that a worker may take for a task before it is ended, and the task begun again where its
            folder stands; what is done in this very process takes its time.

    Raises:
        ConfigurationError: when a number is out of range, or the executor is unknown.

    Example:
        >>> sorted(Workers().do("squared", abs, [-2, 1]))
        [(-2, 2), (1, 1)]
    """

    jobs: int = 1
    progress: Progress = silent
    executor: str = PROCESSES
    side_by_side: int = 1
    task_timeout: float = DAY

    def __post_init__(self) -> None:
        for name in ("jobs", "side_by_side"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be at least 1, got {getattr(self, name)}")
        require_executor(given.text("executor", self.executor))
        if given.number("task_timeout", self.task_timeout) <= 0:
            raise ConfigurationError(f"task_timeout must be more than 0 seconds, got {self.task_timeout}")

    def at_most(self, jobs: int) -> Workers:
        """The same with no more workers than so many."""
        return replace(self, jobs=max(1, min(jobs, self.jobs)))

    def only_here(self) -> Workers:
        """This process, for what no other can look at; it tells the same."""
        return replace(self, jobs=1, executor=PROCESSES)

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
    ) -> Iterator[tuple[Task, Result]]:
        """Do tasks as `spread` does, and tell how many are finished whenever the caller has taken one.

        Args:
            title: what is told.
            work: a function of a module.
            tasks: what to do.
            done: how many were finished before.
        """
        of = done + len(tasks)
        self.progress(title, done, of)
        if not tasks:
            return
        with self.at_most(len(tasks)).staying(work) as do:
            for pair in do(tasks):
                yield pair
                done += 1
                self.progress(title, done, of)

    @contextmanager
    def staying(
        self, work: Callable[[Task], Result]
    ) -> Iterator[Callable[[Sequence[Task]], Iterator[tuple[Task, Result]]]]:
        """Workers that stay while the block lasts, for tasks that come in rounds, as generations do.

        Args:
            work: a function of a module.

        Returns:
            Does a round of tasks, as `spread` does.

        Example:
            >>> with Workers().staying(abs) as do:
            ...     list(do([-1])), list(do([-2, 3]))
            ([(-1, 1)], [(-2, 2), (3, 3)])
        """
        if self.here:
            yield partial(_here, work)
            return
        with opened(self.executor, self.jobs, self.task_timeout) as pool:
            yield lambda tasks: _sound(_handed_out(pool, self.jobs, work, tasks))

    def attempt(self, work: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[Task, Result | Failure]]:
        """Do tasks as `spread` does, but let none stop the others: what fails comes back as its failure.

        Example:
            >>> list(Workers().attempt(int, ["1", "x"]))
            [('1', 1), ('x', Failure(reason="ValueError: invalid literal for int() with base 10: 'x'"))]
        """
        attempted, some = partial(_attempted, work), self.at_most(len(tasks))
        if some.here or not tasks:
            yield from _here(attempted, tasks)
            return
        with opened(some.executor, some.jobs, self.task_timeout) as pool:
            for task, found in _handed_out(pool, some.jobs, attempted, tasks):
                yield task, Failure(str(found)) if isinstance(found, WorkerDied) else found

    def facts(self) -> dict[str, Any]:
        """For a record of how results were made, which hardly depend on it."""
        several = {"side_by_side": self.side_by_side} if self.side_by_side > 1 else {}
        return {"jobs": self.jobs, "executor": self.executor, **several}


@final
@dataclass(frozen=True)
class PerWorker(Generic[Task, Result]):
    """A function of tasks that needs what is long in opening, such as a trained supernet: once in each worker.

    Args:
        opening: a function of a module without arguments, or a partial one, whose context gives the function of a
            task; a worker holds it open until it is given another.

    Example:
        >>> from contextlib import nullcontext
        >>> list(spread(PerWorker(partial(nullcontext, abs)), [-2], jobs=1))
        [(-2, 2)]
    """

    opening: Callable[[], AbstractContextManager[Callable[[Task], Result]]]

    def __call__(self, task: Task) -> Result:
        """Do a task in what is held open."""
        digest = hashlib.sha256(pickle.dumps(self.opening)).digest()
        if not _held or _held[0][0] != digest:
            _held.clear()
            context = self.opening()
            _held.append((digest, context, context.__enter__()))
        found: Result = _held[0][2](task)
        return found


_held: list[tuple[bytes, AbstractContextManager[Any], Callable[[Any], Any]]] = []
"""What this process holds open, by its digest."""

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


def spread(work: Callable[[Task], Result], tasks: Sequence[Task], jobs: int) -> Iterator[tuple[Task, Result]]:
    """Do tasks by several processes, or in this one where a single job is asked for.

    Every worker computes on one thread. A task whose worker died is begun again, so that one with a folder goes on
    where it stood. Where a task raises, those that are being done are waited for, and no other is begun. What is not
    finished when the caller stops listening is given up.

    Args:
        work: a function of a module, since other processes import it.
        tasks: what to do.
        jobs: processes, at least 1.

    Returns:
        Tasks with their results, as they come.

    Raises:
        ConfigurationError: when `jobs` is less than 1.
        SharewiseError: what a task raises, or when workers die in it again and again, after the other tasks are done.

    Example:
        >>> sorted(spread(abs, [-2, 1], jobs=1))
        [(-2, 2), (1, 1)]
    """
    with Workers(jobs).at_most(len(tasks)).staying(work) as do:
        yield from do(tasks)


def _here(work: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[Task, Result]]:
    with one_thread():
        for task in tasks:
            yield task, work(task)


def _sound(done: Iterator[tuple[Task, Result | WorkerDied]]) -> Iterator[tuple[Task, Result]]:
    """What was done; what was given up is told at the end, when the rest is kept."""
    lost: list[WorkerDied] = []
    for task, found in done:
        if isinstance(found, WorkerDied):
            lost.append(found)
        else:
            yield task, found
    if lost:
        many = "1 task was" if len(lost) == 1 else f"{len(lost)} tasks were"
        raise SharewiseError(
            f"{many} given up: {lost[0]}; what is finished is kept, and the same command goes on, perhaps with fewer "
            "--jobs"
        )


def _handed_out(
    pool: Pool, jobs: int, work: Callable[[Task], Result], tasks: Sequence[Task]
) -> Iterator[tuple[Task, Result | WorkerDied]]:
    """Tasks with their results, or with how their last worker died; no more at once than there are workers.

    Raises:
        Exception: the first that a task raises, when those that were begun have ended.
    """
    waiting, running = deque(range(len(tasks))), dict[Future[Result], int]()
    deaths, silence, raised = Counter[int](), 0.0, list[BaseException]()
    ended: list[tuple[Task, Result | WorkerDied]] = []
    while running or ended or (waiting and not raised):
        while waiting and not raised and len(running) < jobs:
            place = waiting.popleft()
            running[pool.submit(work, tasks[place])] = place
        yield from ended  # while workers have the next ones
        ended = []
        done = wait(running, timeout=_LOOK, return_when=FIRST_COMPLETED).done
        silence = 0.0 if done else silence + _LOOK
        if running and not done and (why := pool.lost(silence, _LOOK)):
            yield from ((tasks[place], WorkerDied(why)) for place in (*running.values(), *waiting))
            return
        for future in done:
            place, error = running.pop(future), future.exception()
            if isinstance(error, WorkerDied):
                deaths[place] += 1
                if deaths[place] < _TRIES:
                    waiting.appendleft(place)
                else:
                    ended.append((tasks[place], WorkerDied(f"{error}, {_TRIES} times in a row")))
            elif error is not None:
                raised.append(error)
            else:
                ended.append((tasks[place], future.result()))
    if raised:
        raise raised[0]


@final
@dataclass(frozen=True)
class Failure:
    """Why a task came to nothing, in one line."""

    reason: str


def _attempted(work: Callable[[Task], Result], task: Task) -> Result | Failure:
    try:
        return work(task)
    except SharewiseError as error:
        return Failure(str(error).splitlines()[0])
    except Exception as error:  # a task of a stranger's method may raise anything, and must not stop the others
        return Failure(f"{type(error).__name__}: {error}".splitlines()[0])
