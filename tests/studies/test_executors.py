"""Engines of others: the results of this process, to the bit, also where workers are killed."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

import sharewise as sw
from sharewise.cli import main
from sharewise.errors import CheckpointError, ConfigurationError
from sharewise.files import locked
from sharewise.studies import workers
from sharewise.studies.executors import EXECUTORS, WorkerDied, opened
from sharewise.studies.status import status
from sharewise.studies.workers import Failure, Workers

MODULES = {"ray": "ray", "dask": "distributed", "slurm": "submitit"}


def there(name: str) -> Any:
    module = MODULES.get(name)
    absent = module is not None and importlib.util.find_spec(module) is None
    return pytest.param(name, marks=pytest.mark.skipif(absent, reason=f"{module} is not installed"))


ENGINES = [there(name) for name in EXECUTORS]
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
