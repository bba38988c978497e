"""One search over several processes: the numbers of one process, and one end for all of them."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from sharewise.cli import main
from sharewise.data import digits
from sharewise.engine import Numerics, Ranks, RanksError
from sharewise.engine.shards import blocks_of, divide, loaded_into, whole
from sharewise.errors import ConfigurationError
from sharewise.methods import build
from sharewise.processes import by_itself, rank_here
from sharewise.run.folder import RunFolder
from sharewise.run.forecast import foresee
from sharewise.run.place import Place, Setting
from sharewise.run.search import Search
from sharewise.run.standalone import Standalone
from sharewise.spaces import load
from sharewise.testing import methods_of

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import steps  # noqa: E402

SLOW, LONG = ([mark, pytest.mark.timeout(3600)] for mark in (pytest.mark.slow, pytest.mark.long))

TRANSFORMER = "vision-transformer-tiny:embedding=8,12:layers=1,2:heads=1,2:mlp_ratio=1.5,2"
FEW = [
    ("nasbench201", "darts", 2),
    ("nasbench201+recompute", "darts", 2),
    ("conv-macro", "tanglenas-gaea", 2),
    ("own", "tanglenas-drnas", 2),
    ("own+shard", "tanglenas-drnas", 2),
    ("own", "attentive-nas", 2),  # the sandwich rule, and candidates of about one cost
    ("own", "darts+teacher", 2),
    ("own", "tanglenas-gaea/3", 2),  # micro-batches of rows
    ("own", "enas/3", 3),  # whose rewards come with the last step of an epoch
    (f"{TRANSFORMER}+shard", "spos", 2),
]
ALL = [
    *(
        ("nasbench201", method, 20 if method in ("darts", "gaea-erm") else 2)
        for method in methods_of(load("nasbench201"))
    ),
    *(("conv-macro", method, 2) for method in ("spos", "tanglenas-gdas", "tanglenas-gaea", "tanglenas-drnas", "darts")),
    *(("darts", method, 2) for method in ("darts", "sdarts", "darts-second-order", "pc-darts")),
    *(("own", method, 2) for method in ("spos", "tanglenas-gaea", "tanglenas-drnas")),
    *(("darts+recompute", method, 2) for method in ("darts", "sdarts", "darts-second-order")),
    ("toy-separable-cell", "gdas", 2),
]


AGAIN = [(f"{TRANSFORMER}{again}", method, 2) for method in ("spos", "tanglenas-drnas") for again in ("", "+recompute")]
TAUGHT = [  # the sandwich rule, attentive sampling, and teachers from elsewhere and of its own
    *AGAIN,
    *(
        (space, method, 20 if method == "sandwich" and space == "own" else 2)
        for method in ("sandwich", "attentive-nas", "alphanet", "progressive-shrinking", "spos+teacher")
        for space in ("own", "conv-macro", TRANSFORMER)
    ),
    ("nasbench201", "gaea-erm+teacher", 2),
    ("darts", "darts+teacher", 2),
]


LANGUAGE = "language-model:embedding=8,12:layers=1,2:heads=2:mlp_ratio=2,3"
CHAINED = [(f"{TRANSFORMER}+recompute+shard", "tanglenas-drnas", 2)]
"""Blocks that are computed again, within a whole one; what they leave takes two collections."""

SHARDED = [
    *(
        (f"{space}+shard", method, 20 if method == "tanglenas-drnas" else 2)
        for method in ("spos", "tanglenas-drnas", "tanglenas-gaea", "sandwich", "tanglenas-drnas/3")
        for space in ("own", TRANSFORMER, LANGUAGE)
    ),
    *CHAINED,
    ("conv-macro+shard", "tanglenas-gaea", 2),
    ("nasbench201+shard", "gaea-erm", 20),
    ("nasbench201+recompute+shard", "darts", 2),
    ("nasbench201+shard", "enas", 3),
    ("darts+shard", "gdas", 2),
    ("own+shard", "darts+teacher", 2),
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
        pytest.param(CHAINED, id="chained"),
        pytest.param([*ALL[::3], *TAUGHT[::3], *SHARDED[::3]], id="some", marks=SLOW),
        pytest.param(ALL, id="all", marks=LONG),
        pytest.param(TAUGHT, id="taught", marks=LONG),
        pytest.param(SHARDED, id="sharded", marks=LONG),
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
        if space.endswith("+shard"):  # of weights, gradients and moments
            assert two["held"] + other["held"] == one["held"], where
            assert max(two["held"], other["held"]) < 0.6 * one["held"], where
        plain = space.replace("+recompute", "")
        if plain != space and (plain, method, count) in tasks:  # what is computed again changes no bit
            twin = torch.load(tmp_path / f"{tasks.index((plain, method, count))}-0.pt", weights_only=True)
            assert away(two["gradients"], twin["gradients"]) == away(two["supernet"], twin["supernet"]) == 0, where
        for mine, theirs in zip(one["losses"], two["losses"], strict=True):
            assert mine == pytest.approx(theirs, rel=1e-9), where


@pytest.mark.slow
def test_statistics_per_rank_are_those_of_one_process_that_normalises_the_halves_apart(tmp_path: Path) -> None:
    tasks = [("nasbench201", "darts", 20), ("nasbench201", "gaea-erm+teacher", 2), ("darts+shard", "gdas", 2)]
    words = torchrun(str(HERE / "steps.py"), str(tmp_path), json.dumps(tasks), "per-rank")
    said, _ = (process := launch(words)).communicate()
    assert process.returncode == 0, said[-3000:]
    for number, (space, method, count) in enumerate(tasks):
        name, plus, taught = method.partition("+")  # two micro-batches are the rows of two processes
        one = steps.found(steps.state_of(space, f"{name}/2{plus}{taught}", Place("cpu", "float64", 1)), count)
        two = torch.load(tmp_path / f"{number}-0.pt", weights_only=True)
        assert away(one["gradients"], two["gradients"]) < 1e-12, method
        for part in ("supernet", "distribution"):  # running statistics are a mean there, and move twice here
            weights = [{k: v for k, v in f[part].items() if "running" not in k and "num_" not in k} for f in (one, two)]
            assert not one[part] or away(*weights) < 1e-9, method
        for mine, theirs in zip(one["losses"], two["losses"], strict=True):
            assert mine == pytest.approx(theirs, rel=1e-9), method


CHOOSING = [("toy-tied-width", "spos", 0)]
GENERATIONS = [("toy-separable-cell", "autoformer", 0)]
IN_TURN = [("toy-two-inputs", "darts-pt", 0)]


@pytest.mark.parametrize(
    "tasks",
    [
        pytest.param([*CHOOSING, *GENERATIONS], id="sampled", marks=SLOW),
        pytest.param(IN_TURN, id="perturbed", marks=LONG),
    ],
)
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


@pytest.mark.parametrize(
    "shard", [pytest.param([], id="whole", marks=SLOW), pytest.param(["--shard"], id="sharded", marks=LONG)]
)
def test_a_killed_process_ends_all_and_a_resume_ends_with_the_same_bits(shard: list[str], tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    process = launch(torchrun("-m", "sharewise", *SEARCH, *shard, "--out", str(whole)))
    process.communicate()
    assert process.returncode == 0
    process = launch(torchrun("-m", "sharewise", *SEARCH, *shard, "--out", str(broken)))
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


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A search of two processes, and the messages that each of them has sent."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    words = torchrun(str(HERE / "killed.py"), "0", "0", str(folder / "messages"), *SEARCH, "--out", str(folder / "run"))
    said, _ = (process := launch(words)).communicate()
    assert process.returncode == 0, said[-3000:]
    return folder / "run", int((folder / "messages").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(0, marks=pytest.mark.slow),
        *(pytest.param(n, marks=pytest.mark.long) for n in range(1, 12)),
    ],
)
def test_a_process_that_is_killed_anywhere_ends_all_and_a_resume_ends_with_the_same_bits(
    seed: int, uninterrupted: tuple[Path, int], tmp_path: Path
) -> None:
    """A process and a message at random: in a forward pass, a backward pass, between them, or in the selection."""
    whole, messages = uninterrupted
    rng, out, note = random.Random(seed), tmp_path / "run", tmp_path / "killed"
    rank, message = seed % 2, rng.randint(1, messages)
    where = f"process {rank} at message {message} of {messages}"
    words = torchrun(str(HERE / "killed.py"), str(rank), str(message), str(note), *SEARCH, "--out", str(out))
    process = launch(words)
    said, _ = process.communicate(timeout=250)
    assert process.returncode != 0, where
    assert time.time() - float(note.read_text(encoding="utf-8")) < 60, where
    assert said.count("cannot reach the others") == 1, f"{where}: {said[-3000:]}"
    assert "[rank" not in said, f"{where}: {said[-3000:]}"
    again = ["search", "--resume", str(out)] if (out / "config.yaml").exists() else [*SEARCH, "--out", str(out)]
    said, _ = (process := launch(torchrun("-m", "sharewise", *again))).communicate()
    assert process.returncode == 0, f"{where}: {said[-3000:]}"
    one, other = (torch.load(folder / "checkpoint.pt", weights_only=True)["state"] for folder in (whole, out))
    for part in ("supernet", "distribution"):
        assert all(torch.equal(value, other[part][name]) for name, value in one[part].items()), where
    results = [RunFolder(folder).read_result() for folder in (whole, out)]
    assert results[0]["architecture"] == results[1]["architecture"], where
    assert results[0]["inherited"] == results[1]["inherited"], where


@pytest.mark.slow
def test_a_training_of_sharded_weights_is_that_of_one_process(tmp_path: Path) -> None:
    words = ["train", "--space", "vision-transformer-tiny:embedding=8,12:layers=1,2:heads=1,2:mlp_ratio=1.5,2"]
    words += ["--patch-size", "2", "--architecture", "12-1.5x2-1.5x2", "--data", "digits", "--train-examples", "100"]
    words += ["--device", "cpu", "--precision", "float64", "--epochs", "2", "--out"]
    process = launch(torchrun("-m", "sharewise", *words, str(tmp_path / "sharded"), "--shard"))
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert main([*words, str(tmp_path / "one")]) == 0
    one, other = (RunFolder(tmp_path / name) for name in ("one", "sharded"))
    states = [folder.read_checkpoint()["state"] for folder in (one, other)]  # type: ignore[index]
    assert away(states[0]["supernet"], states[1]["supernet"]) < 1e-9
    moments = [state["weight_optimizer"]["state"] for state in states]
    for number, moment in moments[0].items():
        assert moment["momentum_buffer"].shape == moments[1][number]["momentum_buffer"].shape
    first, second = one.read_result(), other.read_result()
    assert first["test"] == pytest.approx(second["test"], rel=1e-9)
    assert first["cost"]["parameters"] == second["cost"]["parameters"]
    # one process takes up what several have left, and extends it
    assert main(["train", "--resume", str(tmp_path / "sharded"), "--epochs", "3"]) == 0
    assert other.read_result()["extended"][0]["epochs"] == 3


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


def test_sharding_that_cannot_be_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["search", "--space", "toy-tied-width", "--data", "digits", "--out", str(tmp_path / "out"), "--shard"]
    assert main(words) == 2
    assert "shard divides weights among several processes, and this is one" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    place = Place("cpu", shard=True)
    for space, method, said in (
        ("toy-separable-cell+shard", "darts-second-order", "computes at other weights"),
        ("own+shard", "progressive-shrinking", "changes weights between stages"),
    ):
        with pytest.raises(ConfigurationError, match=f"{said}.*leave shard out"):
            steps.state_of(space, method, place)
    search = Search(load("toy-separable-cell"), build("darts"), digits(), Setting({}, 0, place), eigenvalue_every=1)
    with pytest.raises(ConfigurationError, match="eigenvalues differentiate twice"):
        search.prepare()
    network = torch.nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(ConfigurationError, match=r"'network\.weight' does not"):
        divide(Standalone(network), torch.device("cpu"), 2)
    scaled = torch.nn.Module()
    scaled.temperature = torch.nn.Parameter(torch.tensor(1.0))
    with pytest.raises(ConfigurationError, match=r"'network\.temperature' is one number"):
        divide(Standalone(scaled), torch.device("cpu"), 2)
    search = Search(load("toy-tied-width"), build("spos"), digits(), Setting({}, 0, place))
    with pytest.raises(ConfigurationError, match="are not foreseen"):
        foresee(search)


def test_a_process_of_torchrun_keeps_to_its_device_also_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def numerics(device: str, precision: str) -> Numerics:
        asked.append(device)
        return Numerics(torch.device("cpu"), precision)

    monkeypatch.setattr("sharewise.run.place.numerics", numerics)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    told = {"RANK": "3", "WORLD_SIZE": "4", "MASTER_ADDR": "localhost", "MASTER_PORT": "1", "LOCAL_RANK": "1"}
    told["TORCHELASTIC_RUN_ID"] = "none"
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    with by_itself():
        assert Place("cuda").numerics().ranks.alone
    for device in ("cuda", "auto", "cuda:0", "cpu"):
        Place(device).numerics()
    assert asked == ["cuda:1", "cuda:1", "cuda:1", "cuda:0", "cpu"]
    monkeypatch.setenv("LOCAL_RANK", "first")
    with pytest.raises(ConfigurationError, match="LOCAL_RANK='first'"):
        Place("cuda").numerics()
    Place("cpu").numerics()
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")  # as others start processes
    monkeypatch.delenv("LOCAL_RANK")
    Place("cuda").numerics()
    with by_itself():
        Place("cuda").numerics()
        monkeypatch.setenv("LOCAL_RANK", "-1")  # which some launchers leave behind
        Place("cuda").numerics()
    assert asked[-3:] == ["cuda:3", "cuda", "cuda"]


def test_states_that_are_not_divided_stay_what_they_are() -> None:
    class Versioned(torch.nn.Linear):
        _version = 3
        seen: int | None = None

        def _load_from_state_dict(self, state: Any, prefix: str, metadata: Any, *rest: Any) -> None:
            self.seen = metadata.get("version")
            super()._load_from_state_dict(state, prefix, metadata, *rest)

    network = torch.nn.Sequential(Versioned(2, 2))
    state = network.state_dict()
    assert whole(state) is state
    loaded_into(network, state)
    assert network[0].seen == 3


def test_blocks_are_put_together_by_themselves() -> None:
    nn = torch.nn
    shared = nn.Linear(4, 4)
    rows = nn.ModuleList([nn.Sequential(nn.Linear(4, 4), nn.ReLU()), shared, nn.TransformerEncoderLayer(4, 2)])
    network = nn.ModuleDict({"rows": rows, "tied": nn.Linear(4, 4), "norm": nn.LayerNorm(4)})
    network["tied"].weight = shared.weight
    assert blocks_of(network) == [rows[0][0], rows[2], network["norm"]]  # type: ignore[index]


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
    assert main(["compare", "--oracle", "nothing", "--out", "nowhere"]) == 2
    assert "without torchrun" in capsys.readouterr().err
