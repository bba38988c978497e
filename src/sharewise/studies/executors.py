"""Executors: where tasks are done. Processes of this machine, or an engine that the user has, behind one interface.

Whatever an engine calls the end of a worker is told as `WorkerDied`, and so is a worker that does not come back within
the time that a task may take. Nothing is pickled but functions by their names, and plain values; results do not depend
on the engine or on the number of workers.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar, final

import torch

from sharewise.allocation import keep_memory
from sharewise.errors import ConfigurationError, SharewiseError, unknown_name

__all__ = ["DAY", "EXECUTORS", "PROCESSES", "Pool", "WorkerDied", "opened", "require_executor"]

Result = TypeVar("Result")

PROCESSES = "processes"
"""The executor that needs nothing: processes of this machine."""
DAY = 86400.0
"""Seconds that a task may take where nobody has said otherwise."""
_GRACE = 60.0
"""Seconds for what ends by itself: a worker that was asked to write its checkpoint, an answer that is on its way."""
_ABSENT = 300.0
"""Seconds after which a cluster without workers is given up: one that grows on demand may have none for a while."""


class WorkerDied(Exception):  # noqa: N818 - an event rather than a fault
    """A worker has ended within a task, which another one may take up again."""


@contextmanager
def opened(executor: str, jobs: int, limit: float = DAY) -> Iterator[Pool]:
    """An executor of `concurrent.futures`, each of whose workers computes on one thread.

    Args:
        executor: the name of one of `EXECUTORS`, and after `://` where it is.
        jobs: workers, or as many tasks at once, at least 1.
        limit: seconds after which a task that has not ended is ended with its worker.

    Raises:
        ConfigurationError: for an unknown name, an engine that is not installed, or one that cannot be reached.

    Example:
        >>> with opened("processes", jobs=1) as pool:
        ...     pool.submit(abs, -2).result()
        2
    """
    name, address = require_executor(executor)
    with _driving(), EXECUTORS[name](address, jobs, limit) as engine:
        yield Pool(engine, limit)


def require_executor(executor: str) -> tuple[str, str]:
    """The name of an engine, and where it is.

    Raises:
        ConfigurationError: for an unknown name.

    Example:
        >>> require_executor("ray://head:10001")
        ('ray', 'head:10001')
    """
    name, _, address = executor.partition("://")
    if name not in EXECUTORS:
        raise unknown_name("executor", name, EXECUTORS)
    return name, address


# ---------------------------------------------------------------------------------------------------------------------
# In a worker


@final
@dataclass(frozen=True)
class _Raised:
    """What a task has to say to the user, as a value, so that no engine wraps it in words of its own."""

    error: SharewiseError


_drives: list[int] = []
"""An entry for each pool that this very process has open."""


@contextmanager
def _driving() -> Iterator[None]:
    _drives.append(os.getpid())
    try:
        yield
    finally:
        _drives.pop()


def _in_worker(place: str, limit: float, work: Callable[..., Any], *args: Any) -> Any:
    try:
        _enter(place)
        torch.set_num_threads(1)
        with _ended_after(limit):
            return work(*args)
    except SharewiseError as error:  # a fault of the program comes with what its engine knows of where it was
        return _Raised(error)


def _enter(place: str) -> None:
    """Be where the driver is, so that a path means the same."""
    try:
        if os.getcwd() != place:
            os.chdir(place)
    except OSError as error:
        raise ConfigurationError(
            f"a worker cannot enter {place}, where the command was started ({error.strerror}): workers need the file "
            "system of their driver"
        ) from None


@contextmanager
def _ended_after(limit: float) -> Iterator[None]:
    """End this process where the block takes too long: its engine and its locks are then told so by the system."""
    if _drives:  # workers within the driver's own process cannot be ended alone
        yield
        return
    timer = threading.Timer(min(limit, threading.TIMEOUT_MAX), _end_late, (limit, threading.get_ident()))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end_late(limit: float, thread: int) -> None:
    with contextlib.suppress(Exception):  # a log may be closed, and the worker ends all the same
        where = "".join(traceback.format_stack(sys._current_frames()[thread]))
        said = f"sharewise: a task has not ended within {limit:,.10g} s, and this worker ends; it was at\n{where}"
        print(said, file=sys.stderr, flush=True)
    os._exit(1)


@final
@dataclass(frozen=True)
class _Engine:
    """An engine as a function from a task to a future.

    Args:
        submit: a function and its arguments.
        died: what its futures raise where a worker has ended, beside `WorkerDied` itself.
        any_worker: whether there is one.
        watches: whether it ends workers that take too long, from outside, so that its silence is no loss.
        said: of what its futures raise there, in a line.
    """

    submit: Callable[..., Future[Any]]
    died: tuple[type[BaseException], ...]
    any_worker: Callable[[], bool] = lambda: True
    watches: bool = False
    said: Callable[[BaseException], str] = lambda error: (str(error).splitlines() or [type(error).__name__])[0]


@final
class Pool(Executor):
    """Hands tasks to an engine, and reads what it answers."""

    def __init__(self, engine: _Engine, limit: float) -> None:
        self._engine, self._limit = engine, limit
        self._place = os.getcwd()
        self._seen, self._absent = False, 0.0

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        """See `concurrent.futures.Executor.submit`; arguments by name are not passed on."""
        outer: Future[Any] = Future()

        def pass_on(done: Future[Any]) -> None:
            self._seen = True
            error = None if done.cancelled() else done.exception()
            if done.cancelled():
                outer.set_exception(WorkerDied("it was cancelled"))
            elif isinstance(error, self._engine.died):
                outer.set_exception(WorkerDied(f"its worker has ended: {self._engine.said(error)}"))
            elif error is not None:
                outer.set_exception(error)
            elif isinstance(value := done.result(), _Raised):
                outer.set_exception(value.error)
            else:
                outer.set_result(value)

        limit = self._limit + (_GRACE if self._engine.watches else 0.0)
        try:
            inner = self._engine.submit(_in_worker, self._place, limit, fn, *args)
        except Exception as error:  # of whatever kind: a cluster that has gone is told as its workers are
            outer.set_exception(WorkerDied(f"it could not be handed out: {_Engine.said(error)}"))
        else:
            inner.add_done_callback(pass_on)
        return outer

    def lost(self, silence: float, look: float) -> str:
        """Why nothing will come any more of the tasks that were handed out; empty while something may.

        Args:
            silence: seconds since the last one came back.
            look: seconds since this was asked before.
        """
        there = self._engine.any_worker()
        self._seen |= there
        self._absent = 0.0 if there or not self._seen else self._absent + look  # the first one may be long in coming
        if self._absent >= _ABSENT:
            return f"no worker has been there for {self._absent:,.10g} s"
        if silence >= self._limit + _GRACE and not self._engine.watches:
            return f"no worker has come back within {self._limit:,.10g} s, and none can be ended from here"
        return ""


# ---------------------------------------------------------------------------------------------------------------------
# Processes of this machine


@final
class _Fresh(SpawnContext):
    """Fresh processes, the last of which it knows: a fork would copy torch's locked thread pools, and CUDA never."""

    process: SpawnProcess

    def Process(self, *args: Any, **kwargs: Any) -> SpawnProcess:  # type: ignore[override]  # noqa: N802 - its name there
        """A process, not yet begun."""
        self.process = SpawnProcess(*args, **kwargs)
        return self.process


@final
class _Processes:
    """Pools of one process each, so that one which is killed takes nothing but its own task with it."""

    def __init__(self, jobs: int, limit: float) -> None:
        self._threads, self._own, self._limit = ThreadPoolExecutor(jobs), threading.local(), limit
        self._pools: list[ProcessPoolExecutor] = []
        self._processes: list[BaseProcess] = []
        self._ended, self._beginning = False, threading.Lock()

    def submit(self, fn: Callable[..., Result], /, *args: Any) -> Future[Result]:
        """Do a task in the process of some thread."""
        return self._threads.submit(self._do, fn, args)

    def _do(self, fn: Callable[..., Result], args: tuple[Any, ...]) -> Result:
        own, late = self._own, False
        try:
            with self._beginning:
                future = self._begin(fn, args)
            late = not wait([future], min(self._limit, threading.TIMEOUT_MAX)).done
            if late:
                own.context.process.kill()  # which also ends one that was stopped
            found: Result = future.result()
        except BrokenProcessPool:
            own.pool.shutdown(wait=False)
            own.pool = None
            if late:
                raise WorkerDied(f"it had not ended within {self._limit:,.10g} s") from None
            raise WorkerDied("its process was killed, perhaps for want of memory") from None
        return found

    def _begin(self, fn: Callable[..., Result], args: tuple[Any, ...]) -> Future[Result]:
        """Hand a task to this thread's process, which is there when this returns."""
        own = self._own
        if self._ended:
            raise WorkerDied("it was given up")
        fresh = getattr(own, "pool", None) is None
        if fresh:
            own.context = _Fresh()
            own.pool = ProcessPoolExecutor(1, mp_context=own.context, initializer=_begin_process)
            self._pools.append(own.pool)
        future: Future[Result] = own.pool.submit(_until_told, fn, *args)
        if fresh:
            self._processes.append(own.context.process)
        return future

    def end(self) -> None:
        """Ask processes to end, and kill those that do not: one that hangs hears nothing, and would be waited for."""
        with self._beginning:  # one that is just beginning would not be asked
            self._ended = True
        try:
            for process in self._processes:
                process.terminate()
            deadline = time.monotonic() + _GRACE
            for process in self._processes:
                process.join(max(0.0, deadline - time.monotonic()))
        finally:  # also where the user asks again
            for process in self._processes:
                process.kill()

    def shutdown(self) -> None:
        """Give up what waits, and let processes end with what they do."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=True)


def _until_told(work: Callable[..., Result], *args: Any) -> Result:
    """Do a task in a process of a pool, which ends with an interruption instead of taking the next task."""
    try:
        return work(*args)
    except KeyboardInterrupt:
        os._exit(1)


def _begin_process() -> None:
    keep_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal; the parent hears it too, and hands it on once
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed can tell nobody; without this its workers would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _processes(address: str, jobs: int, limit: float) -> Iterator[_Engine]:
    if address:
        raise ConfigurationError(f"executor {PROCESSES!r} is this machine and takes no address, got {address!r}")
    pool = _Processes(jobs, limit)
    try:
        yield _Engine(pool.submit, (), watches=True)
    except (KeyboardInterrupt, GeneratorExit):  # is handed on, so that runs write checkpoints
        pool.end()
        raise
    finally:
        pool.shutdown()


# ---------------------------------------------------------------------------------------------------------------------
# Engines of others


def _imported(executor: str, module: str) -> Any:
    """A module of an optional extra.

    Raises:
        ConfigurationError: when it is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        raise ConfigurationError(
            f"executor {executor!r} is an optional extra: install it with pip install 'sharewise[{executor}]'"
        ) from None


def _unreachable(engine: str, address: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(f"no {engine} answers at {address or 'this machine'}: {_Engine.said(error)}")


@contextmanager
def _ray(address: str, jobs: int, limit: float) -> Iterator[_Engine]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray, words = _imported("ray", "ray"), _imported("ray", "ray.exceptions")
    began = not ray.is_initialized()
    if began:
        local: dict[str, Any] = {} if address else {"num_cpus": jobs, "include_dashboard": False}
        try:
            ray.init(address=f"ray://{address}" if address else None, log_to_driver=False, **local)
        except Exception as error:  # a machine too busy to begin in half a minute is told by no finer type
            ray.shutdown()
            raise _unreachable("Ray cluster", address, error) from None
    remote = ray.remote(num_cpus=1, max_retries=0)(_in_ray)
    try:
        died = (words.WorkerCrashedError, words.NodeDiedError, words.RaySystemError, words.OutOfMemoryError)
        yield _Engine(
            lambda fn, *args: remote.remote(fn, *args).future(),
            died,
            lambda: _answers(lambda: ray.cluster_resources().get("CPU", 0) >= 1),
        )
    finally:
        if began:
            ray.shutdown()


def _in_ray(fn: Callable[..., Any], *args: Any) -> Any:
    return fn(*args)


def _answers(ask: Callable[[], bool]) -> bool:
    """What a cluster says of itself; one that cannot be asked has nobody."""
    try:
        return ask()
    except Exception:  # of whatever kind: engines raise their own
        return False


@contextmanager
def _dask(address: str, jobs: int, limit: float) -> Iterator[_Engine]:
    dask, configuration = _imported("dask", "distributed"), _imported("dask", "dask.config")
    try:
        local = {} if address else {"n_workers": jobs, "threads_per_worker": 1, "dashboard_address": None}
        # What a worker died of is begun again here, and not by the scheduler.
        with configuration.set({"distributed.scheduler.allowed-failures": 0}):
            place: Any = f"tcp://{address}" if address else dask.LocalCluster(**local)
        client = dask.Client(place, set_as_default=False)
    except (OSError, TimeoutError, RuntimeError) as error:
        raise _unreachable("Dask scheduler", address, error) from None
    try:
        yield _Engine(
            client.get_executor(pure=False).submit,
            (dask.KilledWorker,),
            lambda: _answers(lambda: bool(client.scheduler_info()["workers"])),
            said=lambda error: "Dask has lost it",
        )
    finally:
        client.close()
        if not address:
            place.close()


@contextmanager
def _slurm(address: str, jobs: int, limit: float) -> Iterator[_Engine]:
    submitit, words = _imported("slurm", "submitit"), _imported("slurm", "submitit.core.utils")
    with tempfile.TemporaryDirectory(prefix="sharewise-slurm-", dir=".") as logs, ThreadPoolExecutor(jobs) as waiting:
        cluster = submitit.AutoExecutor(folder=logs)  # SLURM where there is one, else processes of this machine
        minutes = math.ceil(limit / 60)
        cluster.update_parameters(timeout_min=minutes, cpus_per_task=1, name="sharewise")
        if address:
            cluster.update_parameters(slurm_partition=address)
        running: list[Any] = []

        def done(fn: Callable[..., Any], *args: Any) -> Any:
            running.append(job := cluster.submit(fn, *args))
            return job.result()

        try:
            yield _Engine(lambda fn, *args: waiting.submit(done, fn, *args), (words.UncompletedJobError,), watches=True)
        finally:
            waiting.shutdown(wait=False, cancel_futures=True)
            for job in running:
                if not job.done():
                    job.cancel()


EXECUTORS: Mapping[str, Callable[[str, int, float], AbstractContextManager[_Engine]]] = {
    PROCESSES: _processes,
    "ray": _ray,
    "dask": _dask,
    "slurm": _slurm,
}
"""Engines by name, opened at an address for so many tasks at once, each for so many seconds at most."""
