"""No argument of a public function is left unread: a stranger in its place is named before anything is done."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import sharewise as sw
from sharewise.errors import SharewiseError


class Stranger:
    """What no argument can be."""

    def __repr__(self) -> str:
        return "<a stranger>"


SPACE = sw.spaces.toy_tied_width()
DATA = sw.data.digits().limited(64, seed=0)
ARCHITECTURE = SPACE.architecture({"width": 8, "activation": "relu"})
SUPERNET = sw.build_supernet(SPACE, (1, 8, 8), 10)
MODEL = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
ELASTIC = sw.elastic(MODEL, {"0": sw.width([4, 8], name="hidden")}, example=torch.zeros(2, 4))
PLAN = {
    "methods": ["rs-ws"],
    "spaces": ["toy-tied-width"],
    "seeds": [0],
    "data": [{"data": "digits", "train_examples": 64}],
    "budget": {"steps": 1},
}
CALLS: Mapping[str, Mapping[str, Any]] = {
    "alarms": {"history": []},
    "appraise": {"runs": "absent", "architectures": 3, "epochs": 1},
    "bypassed": {"where": bool},
    "build_network": {"architecture": ARCHITECTURE, "space": SPACE, "input_shape": (1, 8, 8), "outputs": 10},
    "build_supernet": {"space": SPACE, "input_shape": (1, 8, 8), "outputs": 10},
    "compare": {"table": "absent.table", "contest": sw.Contest(evaluations=10)},
    "depth": {"options": [1, 2]},
    "elastic": {"model": MODEL, "choices": {"0": sw.width([4, 8])}, "example": torch.zeros(2, 4)},
    "export": {"network": MODEL, "folder": "exported", "example": torch.zeros(2, 4)},
    "extract": {"supernet": SUPERNET, "architecture": ARCHITECTURE},
    "following": {"size": len},
    "front": {"run": "absent", "latency": [1.0]},
    "heads": {"options": [1, 2]},
    "kernel": {"options": [1, 3]},
    "present": {"parameter": "bias"},
    "progress": {},
    "ratio": {"options": [1, 2], "of": "hidden"},
    "recalibrate": {"module": MODEL, "forward": MODEL, "inputs": [torch.zeros(2, 4)]},
    "reorder": {"supernet": ELASTIC, "order": {"hidden": (0, 1, 2, 3, 4, 5, 6, 7)}},
    "search": {"space": SPACE, "recipe": "gaea-erm", "dataset": DATA, "device": "cpu", "max_steps": 1},
    "setting": {"attribute": "heads", "options": [1, 2]},
    "sort_by_importance": {"supernet": ELASTIC},
    "study": {"plan": PLAN, "out": "out"},
    "train": {"space": SPACE, "architecture": ARCHITECTURE, "dataset": DATA, "device": "cpu", "max_steps": 1},
    "width": {"options": [4, 8]},
}
"""A call of every public function, to which a stranger is given in the place of each argument."""

FUNCTIONS = [name for name in sw.__all__ if inspect.isfunction(getattr(sw, name))]
ARGUMENTS = [
    (name, argument)
    for name in FUNCTIONS
    for argument, parameter in inspect.signature(getattr(sw, name)).parameters.items()
    if parameter.kind is not inspect.Parameter.VAR_POSITIONAL  # names of decisions, held against the space later
]


def test_every_public_function_has_a_call() -> None:
    assert set(CALLS) == set(FUNCTIONS)


@pytest.mark.parametrize(("function", "argument"), ARGUMENTS)
def test_a_stranger_is_named_before_anything_is_done(
    function: str, argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SharewiseError) as caught:
        getattr(sw, function)(**{**CALLS[function], argument: Stranger()})
    message = str(caught.value)
    assert "\n" not in message
    assert "stranger" in message.lower() or argument in message, message
    assert not list(tmp_path.iterdir()), "nothing is written"
