"""Models of a user's own on the command line: all the way, by a file that is named each time and never by a folder."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import sharewise as sw
from sharewise.cli import main
from sharewise.errors import ConfigurationError, UnnamedFileError
from sharewise.own_file import is_reference, own_file
from sharewise.run import RunFolder, from_mapping, restore
from sharewise.run.own_space import model_of, space_made_by

MODEL = """
from pathlib import Path

import torch
from torch import nn

import sharewise as sw
import sizes

with open(Path(__file__).with_name("executed"), "a") as file:
    file.write("x")

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.leave = nn.Linear(64, sizes.HIDDEN), nn.Linear(sizes.HIDDEN, 10)

    def forward(self, x):
        return self.leave(self.enter(x.flatten(1)).relu())

def factory():
    return sw.elastic(Net(), {"enter": sw.width([2, 4, 8], name="hidden")}, example=torch.zeros(2, 1, 8, 8))

def other():
    return factory()

def space():
    from sharewise.space import Choice, Space
    from sharewise.supernet.elastic import elastic_networks
    from sharewise.supernet.elastic import width

    def network(a, shape, outputs, options):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, a["hidden"]), nn.ReLU(), nn.Linear(a["hidden"], outputs))

    def choices(space, options):
        return {"1": width(space["hidden"].options, name="hidden")}

    return Space("mine", (Choice("hidden", (4, 8)),), networks=elastic_networks(network, choices))

def changing():
    import random
    width = random.randrange(2, 10**6)
    return sw.elastic(Net(), {"enter": sw.width([1 + width % 7, 8], name=f"hidden{width}")},
                      example=torch.zeros(2, 1, 8, 8))
"""
SMALL = "--data digits --train-examples 64 --epochs 2 --batch-size 16 --gap-examples 0 --threads 1 --device cpu"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of a user's own, and a finished search of its model."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "sizes.py").write_text("HIDDEN = 8\n", encoding="utf-8")
    (folder / "mine.py").write_text(MODEL, encoding="utf-8")
    words = f"search --space {folder}/mine.py:factory --method tanglenas-gaea {SMALL} --out {folder}/RUN"
    assert main(words.split()) == 0
    return folder


@pytest.fixture
def work(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, in which one stands."""
    folder = Path(shutil.copytree(home, tmp_path / "work"))
    (folder / "executed").unlink(missing_ok=True)
    monkeypatch.chdir(folder)
    return folder


def stored(run: Path) -> dict[str, Any]:
    value: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text())
    return value


def test_a_run_records_its_file_and_a_checksum(home: Path) -> None:
    config = stored(home / "RUN")
    assert config["space"] == f"{home}/mine.py:factory"
    assert config["space_checksum"] == own_file(f"{home}/mine.py:factory").checksum
    assert "own" not in config


def test_the_whole_way(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = ["--space", "mine.py:factory"]
    assert main(["train", "--from-search", "RUN", "--epochs", "1", *named, "--out", "TRAINED", "--json"]) == 0
    trained = json.loads(capsys.readouterr().out)
    for run in ("RUN", "TRAINED"):
        assert main(["evaluate", run, *named, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["test"]["examples"] == 360
    assert main(["export", "TRAINED", *named, "--out", "MODEL"]) == 0
    capsys.readouterr()
    program = torch.export.load("MODEL/model.pt2").module()
    network = restore(RunFolder("TRAINED"), device="cpu", own=own_file("mine.py:factory")).network
    inputs = torch.rand(2, 1, 8, 8)
    assert torch.equal(program(inputs), network(inputs))
    assert main(["cost", *named, "--architecture", trained["architecture"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == trained["cost"]["parameters"]
    assert main(["cost", *named, "--architecture", "largest", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == 64 * 8 + 8 + 8 * 10 + 10
    asked = "--architectures 3 --epochs 1 --resamples 20 --repeats 5 --jobs 1 --recalibrate 0 --out APPRAISAL --json"
    assert main(["appraise", "RUN", *named, *asked.split()]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n"], found["space"]) == (3, space_made_by(own_file("mine.py:factory")).name)


def test_an_inherited_start_opens_the_search_by_the_same_file(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "train --from-search RUN --start inherited --epochs 1 --out INHERITED --json"
    assert main([*words.split(), "--space", "mine.py:factory"]) == 0
    lines = [json.loads(line) for line in (work / "INHERITED" / "metrics.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines][:2] == ["start", "inherited"]


VERBS = [
    "search --resume RUN",
    "search --resume RUN --epochs 3",
    "search --config RUN/config.yaml --out OTHER",
    "train --from-search RUN --epochs 1 --out OTHER",
    "train --from-search RUN --start inherited --epochs 1 --out OTHER",
    "train --config RUN/config.yaml --out OTHER",
    "evaluate RUN",
    "export RUN --out OTHER",
    "appraise RUN --architectures 3 --out OTHER",
    "report RUN",
    "alarm RUN",
    "compare --runs RUN --oracle none --out OTHER",
    "evaluate LINK",
]


@pytest.mark.parametrize("words", VERBS)
def test_a_run_folder_alone_executes_nothing(words: str, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever its config.yaml says: its file is there, its checksum is right, and other keys try what they can."""
    (work / "LINK").symlink_to(work / "RUN")
    config = work / "RUN" / "config.yaml"
    evil = {**stored(work / "RUN"), "space": f"{work}/mine.py:factory"}
    config.write_text(yaml.safe_dump(evil, sort_keys=False))
    code = main(words.split())
    told = capsys.readouterr().err
    assert not (work / "executed").exists()
    assert "Traceback" not in told
    if words.split()[0] in ("report", "alarm"):
        assert code in (0, 1)
    else:
        assert code == 2
        assert told.count("error:") == 1


@pytest.mark.parametrize("key", ["own", "space_file"])
def test_no_key_of_a_configuration_is_a_permission(key: str, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = work / "RUN" / "config.yaml"
    own = {"file": f"{work}/mine.py", "factory": "factory", "checksum": stored(work / "RUN")["space_checksum"]}
    config.write_text(yaml.safe_dump({**stored(work / "RUN"), key: own}, sort_keys=False))
    assert main(["evaluate", "RUN"]) == 2
    assert main(["evaluate", "RUN", "--space", "mine.py:factory"]) == 2
    assert f"unknown option of search: {key!r}" in capsys.readouterr().err
    assert not (work / "executed").exists()


def test_the_line_gives_the_command_which_then_works(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "RUN"]) == 2
    line = capsys.readouterr().err.strip()
    assert line.count("\n") == 0
    command = shlex.split(line.partition("yourself: ")[2])
    assert command[:2] == ["sharewise", "evaluate"]
    assert main(command[1:]) == 0


def test_a_path_in_a_hostile_folder_is_quoted(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = work / "RUN" / "config.yaml"
    config.write_text(yaml.safe_dump({**stored(work / "RUN"), "space": "x\x1b[31m; touch y.py:factory"}))
    assert main(["evaluate", "RUN"]) == 2
    line = capsys.readouterr().err
    assert "\x1b" not in line
    assert "--space 'x" in line


def test_another_file_another_function_and_another_space_are_refused(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(work, work / "elsewhere", ignore=shutil.ignore_patterns("RUN"))
    changed = work / "elsewhere" / "mine.py"
    changed.write_text(changed.read_text() + "\n# changed\n")
    cases = {
        str(changed) + ":factory": "its checksum was",
        "mine.py:other": "the function was factory",
        "absent.py:factory": "there is no file absent.py",
        "toy-tied-width": "expected FILE:FACTORY",
    }
    for reference, message in cases.items():
        for words in ("evaluate RUN", "export RUN --out OTHER", "search --resume RUN"):
            if words.startswith("search") and not is_reference(reference):
                continue
            assert main([*words.split(), "--space", reference]) == 2
            assert message in capsys.readouterr().err
    assert not list(work.rglob("executed")), "what differs is refused before it is executed"


def test_what_the_file_imports_belongs_to_it(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "sizes.py").write_text("HIDDEN = 8  # the same, but who knows\n", encoding="utf-8")
    assert main(["evaluate", "RUN", "--space", "mine.py:factory"]) == 2
    assert "or what it imports, was changed" in capsys.readouterr().err


def test_the_same_content_may_lie_elsewhere_also_behind_a_link(work: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("mine.py", "sizes.py"):
        (work / name).rename(moved / name)
    (moved / "mine.py").rename(moved / "renamed.py")
    (work / "link.py").symlink_to(moved / "renamed.py")
    for reference in (f"{moved}/renamed.py:factory", "link.py:factory"):
        assert main(["evaluate", "RUN", "--space", reference]) == 0
        assert main(["search", "--resume", "RUN", "--space", reference]) == 0


def test_a_link_to_other_content_is_another_file(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "evil.py").write_text("open('executed', 'w')\n")
    (work / "mine.py").unlink()
    (work / "mine.py").symlink_to(work / "evil.py")
    assert main(["evaluate", "RUN", "--space", "mine.py:factory"]) == 2
    assert "its checksum was" in capsys.readouterr().err
    assert not (work / "executed").exists()
    os.mkfifo(work / "pipe.py")
    assert main(["evaluate", "RUN", "--space", "pipe.py:factory"]) == 2


def test_a_file_of_a_run_of_a_named_space_is_refused(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"search --space toy-tied-width --method gaea-erm {SMALL} --max-steps 1 --out NAMED"
    assert main(words.split()) == 0
    assert main(["evaluate", "NAMED", "--space", "mine.py:factory"]) == 2
    assert "leave --space out" in capsys.readouterr().err


def interrupted_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies while it writes a checkpoint."""
    save, count = RunFolder.save, 0

    def dying(self: RunFolder, *arguments: Any) -> None:
        nonlocal count
        count += 1
        if count > steps:
            raise KeyboardInterrupt
        save(self, *arguments)

    monkeypatch.setattr(RunFolder, "save", dying)


def test_a_killed_search_goes_on_to_the_same_bits(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"search --space mine.py:factory --method tanglenas-gaea {SMALL} --checkpoint-every 1 --out KILLED"
    with monkeypatch.context() as patched:
        interrupted_after(3, patched)
        assert main(words.split()) == 130
    assert main(["search", "--resume", "KILLED"]) == 2
    assert "--resume KILLED --space" in capsys.readouterr().err
    assert main(["search", "--resume", "KILLED", "--space", "mine.py:factory"]) == 0
    one, other = (RunFolder(work / name).read_checkpoint() for name in ("RUN", "KILLED"))
    assert one is not None
    assert other is not None
    for part in ("supernet", "distribution"):
        assert one["state"][part].keys() == other["state"][part].keys()
        for name, value in one["state"][part].items():
            assert not isinstance(value, torch.Tensor) or torch.equal(value, other["state"][part][name])


@pytest.mark.slow
def test_a_process_that_was_killed_goes_on_in_another_one(work: Path) -> None:
    program = [sys.executable, "-m", "sharewise"]
    small = SMALL.replace("--epochs 2", "--epochs 200")
    asked = f"search --space mine.py:factory --method tanglenas-gaea {small} --checkpoint-every 1 --out KILLED"
    process = subprocess.Popen([*program, *asked.split()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        if (work / "KILLED" / "checkpoint.pt").exists() and process.poll() is None:
            time.sleep(1.0)
            break
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    assert not (work / "KILLED" / "result.json").exists()
    for words, code in (("", 2), ("--space mine.py:factory", 0)):
        command = [*program, "search", "--resume", "KILLED", *words.split()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == code, done.stderr
    whole = asked.replace("KILLED", "WHOLE").split()
    subprocess.run([*program, *whole], check=True, capture_output=True, timeout=300)
    one, other = (RunFolder(work / name).read_checkpoint() for name in ("WHOLE", "KILLED"))
    assert one is not None
    assert other is not None
    for name, value in one["state"]["supernet"].items():
        assert torch.equal(value, other["state"]["supernet"][name])


def test_a_space_of_a_file_is_searched_like_a_named_one(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"search --space mine.py:space --method spos {SMALL} --max-steps 2 --candidates 1 --out SPACE"
    assert main(words.split()) == 0
    assert main(["export", "SPACE", "--space", "mine.py:space", "--out", "MODEL"]) == 0
    assert main(["space", "mine.py:space"]) == 0
    assert "mine: " in capsys.readouterr().out
    assert main(["cost", "--space", "mine.py:space", "--architecture", "smallest", "--input-shape", "1,8,8"]) == 0


def test_the_seed_of_a_run_says_how_weights_begin(work: Path) -> None:
    own = own_file("mine.py:factory")
    values = {"space": own.reference, "space_checksum": own.checksum, "method": "spos", "data": "digits"}
    weights = [
        from_mapping("search", {**values, "seed": seed}, own).search().prepare().supernet.state_dict()  # type: ignore[union-attr]
        for seed in (0, 0, 1)
    ]
    assert torch.equal(weights[0]["model.enter.weight"], weights[1]["model.enter.weight"])
    assert not torch.equal(weights[0]["model.enter.weight"], weights[2]["model.enter.weight"])
    with pytest.raises(UnnamedFileError, match="executes no code"):
        from_mapping("search", values)


def test_a_factory_that_makes_another_space_each_time_is_named(work: Path) -> None:
    own = own_file("mine.py:changing")
    space = space_made_by(own)
    model = model_of(own)
    assert model is not None
    with pytest.raises(ConfigurationError, match="makes another space each time"):
        space.networks.supernet(space, (1, 8, 8), 10, space.networks.options())  # type: ignore[union-attr,attr-defined]


def test_several_seeds_of_an_own_model_are_a_study_that_goes_on_by_the_same_file(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"search --space mine.py:factory --method tanglenas-gaea {SMALL} --seeds 2 --out STUDY".replace(
        "--threads 1 ", ""
    )
    assert main(words.split()) == 0
    plan = json.loads((work / "STUDY" / "plan.json").read_text())
    own = own_file("mine.py:factory")
    assert (plan["spaces"][0]["space"], plan["spaces"][0]["checksum"]) == (own.reference, own.checksum)
    assert stored(work / "STUDY" / "runs" / "tanglenas-gaea-seed1")["space_checksum"] == own.checksum
    before = json.loads((work / "STUDY" / "study.json").read_text())["cells"]
    capsys.readouterr()

    executed = (work / "executed").read_text()
    assert main(["study", "STUDY/plan.json", "--out", "STUDY"]) == 2
    said = capsys.readouterr().err
    assert "executes no code" in said
    assert (work / "executed").read_text() == executed, "a plan alone has executed a file"
    command = said.strip().splitlines()[-1]
    assert main(shlex.split(command[command.index("sharewise ") :])[1:]) == 0
    assert json.loads((work / "STUDY" / "study.json").read_text())["cells"] == before

    (work / "sizes.py").write_text("HIDDEN = 9\n", encoding="utf-8")
    assert main(["study", "STUDY/plan.json", "--space", "mine.py:factory", "--out", "STUDY"]) == 2
    assert "is not what the run began with" in capsys.readouterr().err
    assert main(["status", "STUDY"]) == 0, "what is finished is said without the file"


@pytest.mark.slow
def test_a_study_of_a_named_space_and_of_an_own_model_with_trainings(work: Path) -> None:
    plan = {
        "methods": ["tanglenas-gaea", "spos"],
        "spaces": ["mine.py:space", {"space": "mine.py:factory", "name": "mine"}],
        "seeds": [0],
        "data": [{"data": "digits", "train_examples": 64}],
        "options": {"batch_size": 16},
        "budget": {"steps": 2},
        "judge": {"by": "training", "training": {"epochs": 1}},
    }
    (work / "plan.yaml").write_text(yaml.safe_dump(plan), encoding="utf-8")
    with pytest.raises(UnnamedFileError, match=r"mine\.py:factory"):
        sw.study(plan, out=work / "STUDY", own="mine.py:space")
    with pytest.raises(ConfigurationError, match=r"the plan has no space .*mine\.py:other: list it under spaces"):
        sw.study(plan, out=work / "STUDY", own=["mine.py:space", "mine.py:factory", "mine.py:other"])
    with pytest.raises(ConfigurationError, match="unknown name in the plan: 'own'"):
        sw.study({**plan, "own": ["mine.py:space"]}, out=work / "STUDY")
    words = "study plan.yaml --space mine.py:space --space mine.py:factory --out STUDY --jobs 2"
    assert main(words.split()) == 0
    document = json.loads((work / "STUDY" / "study.json").read_text())
    assert sorted(document["panels"]) == ["mine, digits", "mine.py:space, digits"]
    assert len(document["cells"]) == 4
    assert not document["failures"]


def test_compiled_neighbours_are_not_imported(tmp_path: Path) -> None:
    evil = "from pathlib import Path\nPath(__file__).with_name('evil').touch()\nHIDDEN = 8\n"
    (tmp_path / "sizes.py").write_text("HIDDEN = 8\n", encoding="utf-8")
    (tmp_path / "mine.py").write_text(MODEL, encoding="utf-8")
    cached = Path(importlib.util.cache_from_source(str(tmp_path / "sizes.py")))
    cached.parent.mkdir()
    code = compile(evil, str(tmp_path / "sizes.py"), "exec")
    cached.write_bytes(importlib._bootstrap_external._code_to_hash_pyc(code, bytes(8), False))
    assert space_made_by(own_file(f"{tmp_path}/mine.py:factory")).size == 3
    assert not (tmp_path / "evil").exists()

    (tmp_path / "sizes.py").unlink()
    cached.rename(tmp_path / "sizes.pyc")
    sys.modules.pop("sizes", None)
    with pytest.raises(ConfigurationError, match="No module named 'sizes'"):
        space_made_by(own_file(f"{tmp_path}/mine.py:factory"))
    assert not (tmp_path / "evil").exists()


def test_a_neighbour_takes_no_name_from_anybody_else(tmp_path: Path) -> None:
    import queue

    (tmp_path / "queue.py").write_text("HIDDEN = 8\n", encoding="utf-8")
    (tmp_path / "mine.py").write_text(MODEL.replace("sizes", "queue"), encoding="utf-8")
    assert space_made_by(own_file(f"{tmp_path}/mine.py:factory")).size == 3
    assert sys.modules["queue"] is queue


def test_a_file_that_changes_while_it_is_used_is_not_executed(work: Path) -> None:
    own = own_file("mine.py:factory")
    (work / "mine.py").write_text(MODEL + "\n# changed while nobody looked\n", encoding="utf-8")
    sys.modules.pop(f"sharewise_own_{own.checksum[:16]}", None)
    with pytest.raises(ConfigurationError, match="was changed while it was in use"):
        own.sources()


def test_packages_beside_a_file_are_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "nets").mkdir()
    for name, text in {
        "mine.py": "import torch\nfrom nets.blocks import Block\ndef factory(): ...\n",
        "nets/__init__.py": "",
        "nets/blocks.py": "from . import deep\nfrom .. import sibling\nimport os.path\n",
        "nets/deep.py": "x = 1\n",
        "nets/unused.py": "x = 1\n",
        "unused.py": "x = 1\n",
    }.items():
        (tmp_path / name).write_text(text)
    own = own_file(f"{tmp_path}/mine.py:factory")
    assert sorted(own.sources()) == ["", "nets/__init__.py", "nets/blocks.py", "nets/deep.py"]
