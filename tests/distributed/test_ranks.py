"""One search over several processes: the numbers of one process, and one end for all of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from sharewise.engine import Ranks, RanksError
from sharewise.errors import ConfigurationError
from sharewise.processes import rank_here
from sharewise.run.place import Place
from sharewise.spaces import load
from sharewise.testing import methods_of

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import steps  # noqa: E402

FEW = [
    ("nasbench201", "darts", 2),
    ("conv-macro", "tanglenas-gaea", 2),
    ("own", "tanglenas-drnas", 2),
    ("own", "attentive-nas", 2),  # the sandwich rule, and candidates of about one cost
    ("own", "darts+teacher", 2),
    ("own", "tanglenas-gaea/3", 2),  # micro-batches of rows
    ("own", "enas/3", 3),  # whose rewards come with the last step of an epoch
]
ALL = [
    *(
        ("nasbench201", method, 20 if method in ("darts", "gaea-erm") else 2)
        for method in methods_of(load("nasbench201"))
    ),
    *(("conv-macro", method, 2) for method in ("spos", "tanglenas-gdas", "tanglenas-gaea", "tanglenas-drnas", "darts")),
    *(("darts", method, 2) for method in ("darts", "sdarts", "darts-second-order", "pc-darts")),
    *(("own", method, 2) for method in ("spos", "tanglenas-gaea", "tanglenas-drnas")),
    ("toy-separable-cell", "gdas", 2),
]


TRANSFORMER = "vision-transformer-tiny:embedding=8,12:layers=1,2:heads=1,2:mlp_ratio=1.5,2"
TAUGHT = [  # the sandwich rule, attentive sampling, and teachers from elsewhere and of its own
    *(
        (space, method, 20 if method == "sandwich" and space == "own" else 2)
        for method in ("sandwich", "attentive-nas", "alphanet", "progressive-shrinking", "spos+teacher")
        for space in ("own", "conv-macro", TRANSFORMER)
    ),
    ("nasbench201", "gaea-erm+teacher", 2),
    ("darts", "darts+teacher", 2),
]


def torchrun(*words: str, processes: int = 2) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *words]


def launch(words: Sequence[str]) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(HERE.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )


def away(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest difference, beside the largest value of all."""
    assert one.keys() == other.keys()
    scale = max(float(value.double().abs().max()) for value in one.values() if value.numel())
    return max(float((one[n].double() - other[n].double()).abs().max()) for n in one if one[n].numel()) / scale


@pytest.mark.parametrize(
    "tasks",
    [
        pytest.param(FEW, id="few"),
        pytest.param(ALL, id="all", marks=[pytest.mark.slow, pytest.mark.timeout(3600)]),
        pytest.param(TAUGHT, id="taught", marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
    ],
)
def test_two_processes_compute_what_one_does(tasks: list[tuple[str, str, int]], tmp_path: Path) -> None:
    words = torchrun(str(HERE / "steps.py"), str(tmp_path), json.dumps(tasks), "synchronised")
    said, _ = (process := launch(words)).communicate()
    assert process.returncode == 0, said[-3000:]
    for number, (space, method, count) in enumerate(tasks):
        one = steps.found(steps.state_of(space, method, Place("cpu", "float64", 1)), count)
        two, other = (torch.load(tmp_path / f"{number}-{rank}.pt", weights_only=True) for rank in (0, 1))
        where = f"{method} on {space}"
        assert away(one["gradients"], two["gradients"]) < 1e-12, where
        for name in ("supernet", "distribution"):
            if one[name]:
                assert away(one[name], two[name]) < 1e-9, where
                assert away(two[name], other[name]) == 0, where  # ranks agree to the bit
        assert one["unused"] == two["unused"] == other["unused"], where
        for mine, theirs in zip(one["losses"], two["losses"], strict=True):
            assert mine == pytest.approx(theirs, rel=1e-9), where


CHOOSING = [("toy-tied-width", "spos", 0)]
MORE = [("toy-separable-cell", "autoformer", 0), ("toy-two-inputs", "darts-pt", 0)]


@pytest.mark.slow
@pytest.mark.parametrize("tasks", [pytest.param(CHOOSING, id="few"), pytest.param(MORE, id="more")])
def test_candidates_of_a_selection_are_divided_and_all_processes_know_all_scores(
    tasks: list[tuple[str, str, int]], tmp_path: Path
) -> None:
    words = torchrun(str(HERE / "steps.py"), str(tmp_path), json.dumps(tasks), "synchronised")
    said, _ = (process := launch(words)).communicate()
    assert process.returncode == 0, said[-3000:]
    for number, (space, method, _) in enumerate(tasks):
        one = steps.chosen(steps.state_of(space, method, Place("cpu", "float64", 1)))
        both = [torch.load(tmp_path / f"{number}-{rank}.pt", weights_only=True) for rank in (0, 1)]
        for found in both:
            for name in ("selected", "architecture", "ledger"):  # scores to the bit, also through JSON
                assert found[name] == one[name], f"{name} of {method} on {space}"
            assert torch.equal(found["random"], one["random"])
        assert max(found["passes"] for found in both) < 0.8 * one["passes"], f"{method} on {space}"


SEARCH = ["search", "--space", "nasbench201", "--method", "gaea-erm", "--data", "digits", "--train-examples", "400"]
SEARCH += ["--channels", "4", "--cells", "1", "--epochs", "3", "--device", "cpu", "--checkpoint-every", "1"]


@pytest.mark.slow
def test_a_killed_process_ends_all_and_a_resume_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    process = launch(torchrun("-m", "sharewise", *SEARCH, "--out", str(whole)))
    process.communicate()
    assert process.returncode == 0
    process = launch(torchrun("-m", "sharewise", *SEARCH, "--out", str(broken)))
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and len(_lines(broken / "metrics.jsonl")) < 2:
        time.sleep(0.1)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout
    os.kill(int(children.split()[-1]), signal.SIGKILL)
    killed = time.monotonic()
    said, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert time.monotonic() - killed < 60
    assert "cannot reach the others" in said  # in one line of ours; the launcher adds a traceback of its own
    assert "[rank" not in said, said
    process = launch(torchrun("-m", "sharewise", "search", "--resume", str(broken)))
    said, _ = process.communicate()
    assert process.returncode == 0, said
    one, other = (torch.load(folder / "checkpoint.pt", weights_only=True)["state"] for folder in (whole, broken))
    for part in ("supernet", "distribution"):
        assert all(torch.equal(value, other[part][name]) for name, value in one[part].items())
    # and with another number of processes it is read and done
    single = [sys.executable, "-m", "sharewise", "search", "--resume", str(broken)]
    process = launch(single)
    process.communicate()
    assert process.returncode == 0


@pytest.mark.slow
def test_supernets_of_an_appraisal_are_trained_by_all_processes(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [*SEARCH[:-2], "--precision", "float64", "--seed", "3", "--out", str(run)]
    process = launch([sys.executable, "-m", "sharewise", *words])
    said, _ = process.communicate()
    assert process.returncode == 0, said
    words = ["appraise", str(run), "--seeds", "2", "--oracle", "standalone", "--architectures", "4", "--epochs", "1"]
    words += ["--resamples", "50", "--repeats", "5", "--jobs", "2", "--out", str(tmp_path / "out")]
    process = launch(torchrun("-m", "sharewise", *words))
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert said.count("report.html") == 1  # the first process speaks
    home = tmp_path / "out" / "supernets" / "seed-4"
    assert json.loads((home / "environment.json").read_text(encoding="utf-8"))["processes"] == 2
    assert (tmp_path / "out" / "appraisal.json").exists()
    # beside the one that a single process trains
    process = launch([sys.executable, "-m", "sharewise", *words[:-1], str(tmp_path / "alone")])
    said, _ = process.communicate()
    assert process.returncode == 0, said
    one = tmp_path / "alone" / "supernets" / "seed-4"
    for part in ("supernet", "distribution"):
        states = [torch.load(h / "checkpoint.pt", weights_only=True)["state"][part] for h in (one, home)]
        assert away(*states) < 1e-9
    process = launch(torchrun("-m", "sharewise", *words[:2], "--out", str(tmp_path / "other")))
    said, _ = process.communicate()
    assert process.returncode != 0
    assert said.count("error: several processes share the supernets that --seeds N asks for") == 1


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def test_rows_are_shared_out() -> None:
    for size in (2, 5, 64):
        rows = [Ranks(rank, 2).rows(size) for rank in (0, 1)]
        assert [rows[0].start, rows[0].stop, rows[1].stop] == [0, rows[1].start, size]
    batch = steps.state_of("toy-tied-width", "darts", Place("cpu")).next_batch("weights")
    mine = Ranks(1, 2).part(batch)
    assert (len(mine.inputs), mine.examples, Ranks(1, 2).share(mine)) == (8, 15, 8 / 15)
    assert torch.equal(mine.inputs, batch.inputs[7:])
    with pytest.raises(RanksError, match="batch of 15"):
        Ranks(0, 16).part(batch)


def test_what_torchrun_says_is_checked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert rank_here() == (0, 1)
    for name, value in {"RANK": "3", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match="RANK='3'"):
        rank_here()
    monkeypatch.setenv("RANK", "0")
    from sharewise.cli import main

    assert main(["compare", "--oracle", "nothing", "--out", "nowhere"]) == 2
    assert "without torchrun" in capsys.readouterr().err
