"""Engines of others: the results of this process, to the bit, also where workers are killed."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import sharewise as sw
from sharewise.cli import VERBS, main
from sharewise.cli.completion_verb import whole_parser
from sharewise.cli.executor import TASK_TIMEOUT
from sharewise.errors import CheckpointError, ConfigurationError, SharewiseError
from sharewise.files import locked
from sharewise.studies import executors, workers
from sharewise.studies.executors import DAY, EXECUTORS, Pool, WorkerDied, _Engine, opened
from sharewise.studies.status import status
from sharewise.studies.workers import Failure, Workers

MODULES = {"ray": "ray", "dask": "distributed", "slurm": "submitit"}


def there(*values: str, marks: Sequence[Any] = ()) -> Any:
    """Values of a test, of which the first is an executor; it is skipped where its package is absent."""
    module = MODULES.get(values[0])
    absent = module is not None and importlib.util.find_spec(module) is None
    return pytest.param(*values, marks=[pytest.mark.skipif(absent, reason=f"{module} is not installed"), *marks])


OTHERS = [there(name) for name in EXECUTORS if name != "processes"]
PLAN: dict[str, Any] = {
    "methods": ["gaea-erm", "spos"],
    "spaces": ["toy-tied-width"],
    "seeds": [0, 1],
    "data": [{"data": "digits", "train_examples": 128}],
    "budget": {"steps": 12},
    "checkpoint_every": 2,
}


def found(out: Path) -> dict[str, Any]:
    document = json.loads((out / "study.json").read_text(encoding="utf-8"))
    cells = [{k: v for k, v in cell.items() if "seconds" not in k} for cell in document["cells"]]
    histories = {}
    for run in sorted((out / "runs").iterdir()):
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        histories[run.name] = [line["weights_loss"] for line in lines if line["event"] == "epoch"]
    assert not document["failures"]
    return {"cells": cells, "histories": histories}


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("serial") / "out"
    sw.study(PLAN, out=out)
    return out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the engines
@pytest.mark.parametrize("executor", OTHERS)
def test_results_are_those_of_this_process(
    executor: str, serial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sw.study(PLAN, out=tmp_path / "out", jobs=2, executor=executor)
    assert found(tmp_path / "out") == found(serial)
    environment = json.loads((tmp_path / "out" / "environment.json").read_text(encoding="utf-8"))
    assert (environment["jobs"], environment["executor"]) == (2, executor)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # no engine leaves anything behind


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("executor", [there("processes"), there("ray"), there("dask")])
@pytest.mark.parametrize("deaths", [pytest.param(3, marks=pytest.mark.slow), pytest.param(20, marks=pytest.mark.long)])
def test_no_task_is_lost_or_done_twice_where_workers_are_killed(
    executor: str, deaths: int, serial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, rng, over, plan = tmp_path / "out", random.Random(0), threading.Event(), PLAN
    if deaths > 3:  # one of ten tasks may well lose five workers, and would be given up
        monkeypatch.setattr(workers, "_TRIES", deaths)
        plan, serial = {**PLAN, "seeds": list(range(5)), "budget": {"steps": 60}}, tmp_path / "serial"
        sw.study(plan, out=serial)
    # Moments are parts of what is to be done, so that they mean the same on a busy machine.
    moments, kills = [written(serial) * part for part in sorted(rng.uniform(0.02, 0.9) for _ in range(deaths))], []

    def kill_some() -> None:
        for moment in moments:
            while written(out) < moment or not (at_work := children_at_work(executor)):
                if over.wait(0.02):
                    return
            os.kill(rng.choice(at_work), signal.SIGKILL)
            kills.append(moment)

    killer = threading.Thread(target=kill_some)
    killer.start()
    try:
        sw.study(plan, out=out, jobs=2, executor=executor)
    finally:
        over.set()
        killer.join()
    assert len(kills) == deaths or (deaths == 3 and kills)  # a study of four tasks may end before
    assert found(out) == found(serial)


def written(out: Path) -> int:
    """Bytes of the histories of a study."""
    return sum(path.stat().st_size for path in out.glob("runs/*/metrics.jsonl"))


def children_at_work(executor: str) -> list[int]:
    """Processes below this one that do tasks."""
    pattern = "ray::_in_ray" if executor == "ray" else "multiprocessing.spawn"
    listed = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True, check=False).stdout.split()
    below = [int(pid) for pid in listed]
    if executor == "ray":
        return below
    own = subprocess.run(["pgrep", "-P", str(os.getpid())], capture_output=True, text=True, check=False).stdout.split()
    return [pid for pid in below if str(pid) in own]


def end(task: int) -> int:
    """A task in which its worker ends."""
    os._exit(3)


@pytest.mark.slow
def test_a_task_that_kills_every_worker_is_given_up() -> None:
    for _, found in Workers(2).attempt(os._exit, [3, 4]):
        assert isinstance(found, Failure)
        assert "killed, perhaps for want of memory, 5 times in a row" in found.reason
    with opened("processes", 1) as pool, pytest.raises(WorkerDied):
        pool.submit(os._exit, 3).result()


def test_strangers_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="executor 'spark'"):
        Workers(executor="spark")
    with pytest.raises(ConfigurationError, match="takes no address"), opened("processes://here", 1):
        pass
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ConfigurationError, match=r"sharewise\[ray\]"), opened("ray", 1):
        pass
    with locked(tmp_path, "first"), pytest.raises(CheckpointError, match="another process"), locked(tmp_path, "first"):
        pass


def test_a_cluster_that_does_not_begin_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    dask = pytest.importorskip("distributed")

    def broken(**options: Any) -> None:
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr(dask, "LocalCluster", broken)
    with pytest.raises(ConfigurationError, match="no Dask scheduler answers at this machine: Nanny"), opened("dask", 1):
        pass


def test_a_machine_too_busy_for_ray_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")

    def late(**options: Any) -> None:
        raise Exception("The current node timed out during startup. This could happen because …")

    monkeypatch.setattr(ray, "init", late)
    said = "no Ray cluster answers at this machine: The current node timed out"
    with pytest.raises(ConfigurationError, match=said), opened("ray", 1):
        pass


def test_the_status_of_a_study_is_read_from_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    plan = {**PLAN, "seeds": [0], "budget": {"steps": 2}}
    sw.study(plan, out=out)
    runs = sorted((out / "runs").iterdir())
    assert {run.state for run in status(out)} == {"finished"}
    (runs[0] / "result.json").unlink()
    with locked(runs[0], "later"):
        assert [run.state for run in status(out)] == ["running", "finished"]
    shutil.rmtree(runs[1])
    assert [(run.state, run.step) for run in status(out)] == [("stopped", 2), ("waiting", None)]
    assert main(["status", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"stopped": 1, "waiting": 1}
    assert main(["status", str(tmp_path / "nothing")]) == 2
    assert main(["status", str(out)]) == 0
    assert "1 stopped, 1 waiting" in capsys.readouterr().out


def test_two_drivers_are_not_let_at_one_study(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with locked(out, "later"), pytest.raises(CheckpointError, match=r"not empty|another process"):
        sw.study(PLAN, out=out)


# ---------------------------------------------------------------------------------------------------------------------
# Whatever fans out


BY_ITSELF = {"demo": "two minutes on this machine, told as they go"}
"""Verbs whose jobs are always processes of this machine, and why."""


def test_whatever_fans_out_takes_an_executor() -> None:
    verbs = whole_parser(VERBS)._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    several = {name: verb.format_help() for name, verb in verbs.items() if "--jobs" in verb.format_help()}  # type: ignore[union-attr]
    assert {"search", "study", "appraise", "front", "compare", *BY_ITSELF} == several.keys()
    for name, words in several.items():
        for option in ("--executor", "--task-timeout"):
            assert (option in words) == (name not in BY_ITSELF), f"{option} of {name}"
    for name in sw.__all__:
        if inspect.isfunction(found := getattr(sw, name)) and "jobs" in (given := inspect.signature(found).parameters):
            assert {"executor", "task_timeout"} <= given.keys(), name
    assert TASK_TIMEOUT == DAY


SLOW, LONG = [pytest.mark.slow], [pytest.mark.long]  # one engine, and all of them


@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "executor", [there("processes", marks=SLOW), there("ray", marks=LONG), there("dask", marks=LONG)]
)
def test_fronts_and_comparisons_are_those_of_this_process(
    executor: str, siblings: tuple[Path, Path], table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # folders are named from here, also where workers begin elsewhere
    contest = sw.Contest(strategies=("random", "evolution"), evaluations=20, repeats=60)
    for name, hands in {"here": {}, "there": {"jobs": 2, "executor": executor}}.items():
        # 15,625 architectures: NSGA-II asks about four generations
        sw.front(
            siblings[0],
            parameters=[2000, 4000],
            evaluations=20,
            population=6,
            examples=32,
            out=f"front-{name}",
            **hands,
        )
        sw.compare(table, contest, out=f"compare-{name}", **hands)  # type: ignore[arg-type]
    for kind in ("front", "compare"):
        one, other = (
            {
                path.relative_to(out).as_posix(): path.read_bytes()
                for path in out.rglob("*")
                if path.suffix in (".json", ".jsonl", ".npz")
            }
            for out in (tmp_path / f"{kind}-here", tmp_path / f"{kind}-there")
        )
        assert one.keys() == other.keys()
        assert [name for name in one if one[name] != other[name] and name != "environment.json"] == []
    scores = (tmp_path / "front-there" / "scores.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(scores) == 21
    # what is there is not scored again, whoever goes on
    sw.front(siblings[0], parameters=[2000, 4000], evaluations=20, population=6, examples=32, out="front-there")
    assert (tmp_path / "front-there" / "scores.jsonl").read_text(encoding="utf-8").splitlines() == scores


def test_a_search_in_memory_is_followed_in_this_process(tmp_path: Path) -> None:
    found = sw.search("toy-tied-width", "spos", "digits", max_steps=1, device="cpu")
    for hands in ({"jobs": 2}, {"executor": "ray"}):
        with pytest.raises(ConfigurationError, match="set jobs to 1 and leave the executor out"):
            sw.front(found, parameters=1e4, **hands)
    with pytest.raises(ConfigurationError, match="task_timeout must be more than 0 seconds, got 0"):
        sw.front(found, parameters=1e4, task_timeout=0)


# ---------------------------------------------------------------------------------------------------------------------
# Nodes that never return


@contextmanager
def threads(count: int, any_worker: Callable[[], bool] = lambda: True, limit: float = DAY) -> Iterator[Pool]:
    """An engine whose workers are threads of this process."""
    with ThreadPoolExecutor(count) as pool:
        yield Pool(_Engine(pool.submit, (), any_worker), limit)


def test_a_task_that_raises_lets_those_that_were_begun_end_and_no_other_begin() -> None:
    begun: list[int] = []

    def submit(*words: Any) -> Future[Any]:
        future: Future[Any] = Future()
        begun.append(words[-1])
        if words[-1] == 1:
            future.set_exception(SharewiseError("the disk is full"))
        else:
            threading.Timer(0.05, future.set_result, (words[-1],)).start()
        return future

    done = workers._handed_out(Pool(_Engine(submit, ()), DAY), 2, abs, [0, 1, 2, 3])
    assert next(done) == (0, 0)
    with pytest.raises(SharewiseError, match="disk is full"):
        next(done)
    assert begun == [0, 1]


def test_what_is_given_up_is_told_when_the_rest_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(task: int) -> int:
        if task == 1:
            raise WorkerDied("its process was killed")
        return task

    with threads(2) as pool:
        done = workers._sound(workers._handed_out(pool, 2, work, [0, 1, 2, 3]))
        assert {next(done)[0], next(done)[0], next(done)[0]} == {0, 2, 3}
        with pytest.raises(
            SharewiseError, match=r"1 task was given up: its process was killed, 5 times in a row; what"
        ):
            next(done)


@pytest.mark.parametrize("kind", ["nobody is there", "nobody comes back"])
def test_an_engine_that_stays_silent_is_given_up(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_LOOK", 0.01)
    monkeypatch.setattr(executors, "_ABSENT", 0.03)
    monkeypatch.setattr(executors, "_GRACE", 0.03 if kind == "nobody comes back" else DAY)
    never: list[Future[Any]] = []

    def silent(*task: Any) -> Future[Any]:
        never.append(Future())
        return never[-1]

    looks: list[int] = []

    def somebody() -> bool:
        looks.append(1)
        return kind != "nobody is there" or len(looks) == 2  # it was there, if late

    engine = _Engine(silent, (), somebody)
    found = dict(workers._handed_out(Pool(engine, 0.01), 2, abs, [-1, -2, -3]))
    assert len(never) == 2
    said = "no worker has been there for" if kind == "nobody is there" else "no worker has come back within 0.01 s"
    assert found.keys() == {-1, -2, -3}
    assert all(isinstance(death, WorkerDied) and said in str(death) for death in found.values())


def test_a_cluster_that_takes_nothing_is_told() -> None:
    def gone(*task: Any) -> Future[Any]:
        raise ConnectionError("the scheduler has gone")

    found = dict(workers._handed_out(Pool(_Engine(gone, ()), DAY), 2, abs, [-1, -2]))
    assert {str(death) for death in found.values()} == {
        "it could not be handed out: the scheduler has gone, 5 times in a row"
    }


def hang_or_double(task: tuple[int, str]) -> int:
    number, how = task
    if how == "endless":
        time.sleep(3600)
    if how == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    return 2 * number


@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("executor", "how"),
    [
        there("processes", "endless", marks=SLOW),
        there("processes", "stopped", marks=LONG),
        *(there(name, how, marks=LONG) for name in ("ray", "dask") for how in ("endless", "stopped")),
    ],
)
def test_a_worker_that_never_returns_is_given_up_and_the_others_go_on(
    executor: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (executor, how) == ("ray", "stopped"):
        pytest.skip("the other tasks of Ray do not always go on beside a frozen worker")
    monkeypatch.setattr(workers, "_TRIES", 2)
    monkeypatch.setattr(workers, "_LOOK", 1.0)
    monkeypatch.setattr(executors, "_GRACE", 90.0)  # a machine may be busy while workers begin
    tasks = [(1, ""), (13, how), (2, ""), (3, "")]
    found = dict(Workers(2, executor=executor, task_timeout=25).attempt(hang_or_double, tasks))
    assert [found[task] for task in tasks if not task[1]] == [2, 4, 6]
    failure = found[13, how]
    assert isinstance(failure, Failure)
    assert len(failure.reason.splitlines()) == 1
    said = "no worker has come back" if (executor, how) in ANOTHERS else "2 times in a row"
    assert said in failure.reason


ANOTHERS = [("ray", "stopped"), ("dask", "stopped")]
"""A process that is stopped cannot end itself, and those of others are not killed from here."""


@pytest.mark.parametrize("tries", [pytest.param(1, marks=SLOW), pytest.param(5, marks=LONG)])
@pytest.mark.timeout(1200)  # it waits for what never comes, and for workers that begin on a busy machine
def test_a_search_that_hangs_is_ended_and_goes_on_from_its_checkpoint(
    tries: int, serial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker is stopped in the middle of a search, which heals where it may be begun again, and else is told."""
    out, over = tmp_path / "out", threading.Event()
    stopped: list[int] = []

    def stop() -> None:
        while not over.wait(0.02) and not stopped:
            if status_of(out).count("running") and written(out) > written(serial) / 4:
                for pid in children_at_work("processes")[:1]:
                    os.kill(pid, signal.SIGSTOP)
                    if in_a_search(pid, out):
                        stopped.append(pid)
                    else:  # between two of them
                        os.kill(pid, signal.SIGCONT)

    monkeypatch.setattr(workers, "_TRIES", tries)
    stopper = threading.Thread(target=stop)
    stopper.start()
    try:
        study = sw.study(PLAN, out=out, jobs=2, task_timeout=90)
    finally:
        over.set()
        stopper.join()
    assert stopped
    if tries > 1:
        assert found(out) == found(serial)
        return
    assert len(study.failures) == 1
    assert all(why.startswith("it had not ended within 90 s") for why in study.failures.values())
    failed = {run.name: run.why for run in status(out) if run.state == "failed"}
    assert failed == {f"runs/{cell}": why for cell, why in study.failures.items()}
    sw.study(PLAN, out=out)
    assert found(out) == found(serial)
    assert {run.state for run in status(out)} == {"finished"}


def in_a_search(pid: int, out: Path) -> bool:
    """Whether a process holds a run that has no result yet."""
    held: list[Path] = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            held.append(entry.readlink())
    runs = [path.parent for path in held if path.name == ".lock" and path.is_relative_to(out.resolve() / "runs")]
    return any(not (run / "result.json").exists() for run in runs)


def status_of(out: Path) -> list[str]:
    try:
        return [run.state for run in status(out)]
    except CheckpointError:  # nothing is there yet
        return []


# ---------------------------------------------------------------------------------------------------------------------
# A full disk


def can_mount() -> bool:
    words = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return (
        shutil.which("unshare") is not None and not subprocess.run(words, capture_output=True, check=False).returncode
    )


@pytest.mark.parametrize("kilobytes", [pytest.param(4, marks=SLOW), pytest.param(24, marks=LONG)])
def test_a_full_disk_below_one_search_is_told_and_the_others_are_done(
    kilobytes: int, serial: Path, tmp_path: Path
) -> None:
    if not can_mount():
        pytest.skip("this system lets nobody mount a small disk")
    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(serial / "plan.json", out)
    runs = [out / "runs" / run.name for run in sorted((serial / "runs").iterdir())]
    runs[1].mkdir(parents=True)
    (tmp_path / "plan.yaml").write_text(json.dumps(PLAN), encoding="utf-8")
    script = f'mount -t tmpfs -o size={kilobytes}k tmpfs "$1" && shift && exec "$@"'
    words = ["study", "plan.yaml", "--out", "out", "--jobs", "2"]
    said = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", str(runs[1]), sys.executable, "-m", "sharewise", *words],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert said.returncode == 1, said.stderr
    assert "Traceback" not in said.stderr
    lines = [line for line in said.stdout.splitlines() if line.startswith("no result: ")]
    assert len(lines) == 1
    assert lines[0].startswith(f"no result: {runs[1].name}: cannot write")
    assert "the disk is full" in lines[0]
    states = {run.name: run.state for run in status(out)}
    assert states.pop(f"runs/{runs[1].name}") == "failed"
    assert set(states.values()) == {"finished"}
    assert len(states) == len(runs) - 1
    sw.study(PLAN, out=out)
    assert found(out) == found(serial)


# ---------------------------------------------------------------------------------------------------------------------
# A cluster whose workers do not begin again


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")
def test_workers_that_nobody_starts_again_are_missed(
    serial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dask = pytest.importorskip("distributed")
    monkeypatch.setattr(executors, "_ABSENT", 4.0)
    monkeypatch.setattr(workers, "_LOOK", 1.0)
    out = tmp_path / "out"
    with dask.LocalCluster(n_workers=0, processes=False, dashboard_address=None, protocol="tcp") as cluster:
        address = cluster.scheduler_address

        def begin() -> subprocess.Popen[bytes]:
            words = ["--no-nanny", "--nthreads", "1", "--no-dashboard", "--local-directory", str(tmp_path / "dask")]
            return subprocess.Popen([sys.executable, "-m", "distributed.cli.dask_worker", address, *words])

        hands = {"jobs": 2, "executor": address.replace("tcp://", "dask://")}
        alive = [begin(), begin()]
        over = threading.Event()

        def kill(parts: list[float]) -> None:
            for part in parts:
                while written(out) < part * written(serial):
                    if over.wait(0.02):
                        return
                alive.pop().kill()

        # The first death is made good by the other worker, the second by nobody.
        killer = threading.Thread(target=kill, args=([0.1, 0.5],))
        killer.start()
        try:
            study = sw.study(PLAN, out=out, **hands)  # type: ignore[arg-type]
        finally:
            over.set()
            killer.join()
        assert not alive
        assert study.failures
        assert all(re.fullmatch(r"no worker has been there for \d+ s", why) for why in study.failures.values())
        states = {run.name: run.state for run in status(out)}
        assert {name for name, state in states.items() if state != "finished"} == {f"runs/{c}" for c in study.failures}
        assert set(states.values()) <= {"finished", "failed"}
        alive.append(begin())
        try:
            sw.study(PLAN, out=out, **hands)  # type: ignore[arg-type]
        finally:
            alive.pop().kill()
    assert found(out) == found(serial)
