"""`sharewise inspect`, once `check-model`: what it says and the codes with which it ends."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from sharewise.cli import main

MODEL = """
from torch import nn
import torch
import sharewise as sw
import sizes

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.leave = nn.Linear(4, sizes.HIDDEN), nn.Linear(sizes.HIDDEN, 3)

    def forward(self, x):
        return self.leave(self.enter(x).relu())

class Forgetful(Net):
    def forward(self, x):
        return super().forward(x) + (0 if self.enter.weight.shape[0] == 16 else 1)

class Attending(Net):
    def forward(self, x):
        return self.leave(self.enter(x).cumsum(1))

def factory():
    return sw.elastic(Net(), {"enter": sw.width([4, 16], name="hidden")}, example=torch.randn(2, 4))

def unsupported():
    return sw.elastic(Attending(), {"enter": sw.width([4, 16])}, example=torch.randn(2, 4))

def forgetful():
    return sw.elastic(Forgetful(), {"enter": sw.width([4, 16])}, example=torch.randn(2, 4))

def broken():
    supernet = factory()
    supernet.model.register_forward_hook(lambda module, x, y: y + module.enter.weight.shape[0])
    return supernet

def nothing():
    return Net()

def leaving():
    raise SystemExit(0)

def late():
    supernet = factory()
    supernet.model.register_forward_pre_hook(lambda module, x: (module.enter.weight.view(16, 4), x)[1])
    return supernet

class Deeper(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = Net(), Net()
        self.second.enter = nn.Linear(3, sizes.HIDDEN)

    def forward(self, x):
        return self.second(self.first(x))

def deeper():
    return sw.elastic(Deeper(), {"first.enter": sw.width([4, 16], name="hidden")}, example=torch.randn(2, 4))

def named():
    return sw.spaces.toy_tied_width()

def failing():
    raise RuntimeError("no such luck")
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "sizes.py").write_text("HIDDEN = 16\n", encoding="utf-8")
    (tmp_path / "own_model.py").write_text(MODEL, encoding="utf-8")
    return tmp_path / "own_model.py"


def test_a_sound_model_is_proved(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, modules = list(sys.path), set(sys.modules)
    assert main(["check-model", f"{file}:factory"]) == 0
    words = capsys.readouterr().out
    assert "the largest architecture computes what the model computes, bit for bit" in words
    assert "20 extracted networks equal their slices, bit for bit" in words
    assert "  hidden: 4, 16  (width at enter)\n      with it: " in words
    assert "             35 to 131" in words
    assert sys.path == path
    assert "own_model" not in set(sys.modules) - modules
    assert main(["check-model", f"{file}:factory", "--samples", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["holds"], told["samples"], told["parameters"]) == (True, 3, [131, 35])
    assert told["continuity"] <= 1e-12
    assert told["offers"]["parameters"] == {"smallest": 35, "largest": 131}


def test_the_new_name_says_what_follows_and_what_stays(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", f"{file}:deeper", "--json", "--samples", "2", "--batch-size", "8"]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    offers = json.loads(told.out)["offers"]
    [group] = offers["groups"]
    assert (group["choice"], group["kind"], group["options"]) == ("hidden", "width", [4, 16])
    assert group["at"] == ["first.enter"]
    assert "first.leave" in group["follow"]
    assert offers["fixed"] == {"second.enter": "no choice acts on it", "second.leave": "no choice acts on it"}
    assert offers["multiply_accumulates"] == {"smallest": 35 + 115, "largest": 131 + 115}
    assert offers["memory"]["smallest"] < offers["memory"]["largest"]
    assert main(["check-model", f"{file}:deeper", "--samples", "1"]) == 0
    told = capsys.readouterr()
    assert "second.enter stays: no choice acts on it" in told.out
    assert "is now called inspect" in told.err
    assert main(["inspect", f"{file}:named"]) == 2
    assert "but returned a space" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (
            "unsupported",
            "enter.weight cannot shrink: aten.cumsum in the model (Attending) runs along it",
        ),
        ("forgetful", "differs from the masked model"),
        ("nothing", "must return what sharewise.elastic returns, or a space, but returned a Net"),
        ("failing", "RuntimeError: no such luck"),
        ("leaving", "leaving failed: SystemExit: 0"),
        ("factori", "unknown factory in"),
        ("a b", "expected FILE:FACTORY"),
    ],
)
def test_what_is_not_supported_is_named(
    file: Path, factory: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check-model", f"{file}:{factory}"]) == 2
    assert message in capsys.readouterr().err


def test_a_broken_law_is_an_error_of_its_own(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-model", f"{file}:broken", "--json"]) == 1
    told = capsys.readouterr()
    assert "one-hot mixture differs from its slice" in told.err
    assert json.loads(told.out)["holds"] is False


def test_a_network_that_does_not_run_is_named(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-model", f"{file}:late"]) == 1
    assert 'broken: {"hidden": 4} does not run: RuntimeError' in capsys.readouterr().err


def test_files_and_counts_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-model", f"{tmp_path}/absent.py:factory"]) == 2
    assert "there is no file" in capsys.readouterr().err
    assert main(["check-model", f"{tmp_path}/absent.py:factory", "--samples", "0"]) == 2
    assert "--samples must be at least 1" in capsys.readouterr().err
