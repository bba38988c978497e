"""Progressive shrinking: what is offered, sorted and taught in each stage, on models of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sharewise as sw
from sharewise.data import digits
from sharewise.distribution import Offered, Phase, Uniform
from sharewise.engine import Event, Offering, OwnTeacher, SearchState, Sorting, StageEntered, Stepped
from sharewise.engine.recipe import Stage
from sharewise.errors import ConfigurationError
from sharewise.methods import build
from sharewise.spaces import load
from sharewise.testing import check_surgery


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = x + torch.relu(self.norm(self.convolution(x)))
        return outputs


def own_model() -> sw.ElasticModel:
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    blocks = nn.Sequential(Residual(), Residual(), Residual())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10))
    choices = {"1.*": sw.depth([1, 2, 3], name="depth"), "0.0": sw.width([2, 4, 6], name="channels")}
    choices["0.0"] = [choices["0.0"], sw.kernel([1, 3], name="kernel")]  # type: ignore[assignment]
    return sw.elastic(nn.Sequential(stem, blocks, head), choices, example=torch.zeros(2, 1, 8, 8))


@pytest.fixture(scope="module")
def model() -> sw.ElasticModel:
    return own_model()


RECIPE = {"epochs": 6, "batch_size": 16, "candidates": 2, "recalibration_batches": 1, "importance": "reconstruction"}


class InterruptedRunError(Exception):
    """A run that ends in the middle."""


def interrupt(moment: str | int) -> Any:
    def listen(state: SearchState, event: Event) -> None:
        stage = isinstance(event, StageEntered) and f"stage {event.record['stage']}" == moment
        if stage or (isinstance(event, Stepped) and state.step == moment):
            raise InterruptedRunError

    return listen


def searched(model: sw.ElasticModel, out: Path, **changes: Any) -> sw.SearchResult:
    data = digits().limited(60, seed=0)
    recipe = build("progressive-shrinking", RECIPE)
    return sw.search(model, recipe, data, device="cpu", out=out, checkpoint_every=1, gap_examples=0, **changes)


def test_a_model_of_ones_own_shrinks_through_every_interruption(model: sw.ElasticModel, tmp_path: Path) -> None:
    whole = searched(model, tmp_path / "whole")
    moments: list[str | int] = ["stage 1", 4, "stage 2", "stage 3", "stage 4", 14, "stage 5", 17]
    for index, moment in enumerate(moments):
        with pytest.raises(InterruptedRunError):
            searched(model, tmp_path / "parts", resume=index > 0, callbacks=(interrupt(moment),))
    parts = searched(model, tmp_path / "parts", resume=True)
    assert parts.architecture == whole.architecture
    for name, value in whole.supernet.state_dict().items():
        assert torch.equal(value, parts.supernet.state_dict()[name]), name
    stages = [record for record in whole.state.history if record["event"] == "stage"]
    assert [record["offered"] for record in stages] == [
        {"depth": [3], "kernel": [3], "channels": [6]},
        {"depth": [3], "kernel": [1, 3], "channels": [6]},
        {"depth": [2, 3], "kernel": [1, 3], "channels": [6]},
        {"depth": [1, 2, 3], "kernel": [1, 3], "channels": [6]},
        {"depth": [1, 2, 3], "kernel": [1, 3], "channels": [4, 6]},
        {"depth": [1, 2, 3], "kernel": [1, 3], "channels": [2, 4, 6]},
    ]
    first, second = stages[4]["order"]["channels"], stages[5]["order"]["channels"]
    assert sorted(first) == sorted(second) == list(range(6))
    assert sorted(second[:4]) == [0, 1, 2, 3], "the second time, units stay within [0, 4) and [4, 6)"
    assert whole.state.ledger.entries["teacher"].steps == 15


def test_the_teacher_is_the_largest_network_as_it_was(model: sw.ElasticModel, tmp_path: Path) -> None:
    states: dict[str, Mapping[str, Tensor]] = {}

    def listen(state: SearchState, event: Event) -> None:
        if isinstance(event, Stepped) and state.step == 3:
            states["end of the first stage"] = {k: v.clone() for k, v in state.supernet.state_dict().items()}
        if isinstance(event, Stepped) and state.step == 18:
            assert state.teacher is not None
            states["teacher"] = state.teacher.network.state_dict()

    searched(model, tmp_path / "run", callbacks=(listen,))
    for name, value in states["end of the first stage"].items():
        assert torch.equal(value, states["teacher"][name]), name


@pytest.mark.parametrize("surgery", [Offering(("width",), None, 2), Offering(partly="width"), OwnTeacher(0.5)])
def test_surgeries_keep_their_contract(surgery: Any) -> None:
    check_surgery(surgery, load("toy-tied-width"), distribution=Offered())


def test_sorting_keeps_the_contract_of_a_surgery() -> None:
    options, data = {"divisor": 8}, sw.data.load("digits", image_size=12).limited(64, seed=0)
    check_surgery(Sorting("gradient"), load("conv-macro"), data, distribution=Offered(), network=options)


def test_moments_move_with_their_units(model: sw.ElasticModel) -> None:
    recipe = build("sandwich", {"epochs": 1, "batch_size": 16, "candidates": 1})
    state = sw.search(model, recipe, digits().limited(32, seed=0), device="cpu", gap_examples=0).state
    weight = state.supernet.get_parameter("model.0.0.weight")
    moment = state.weight_optimizer.state[weight]["momentum_buffer"].clone()
    [group] = sw.supernet.elastic.importance.groups_of(state.supernet)
    Sorting().apply(state, {"order": {group.name: [5, 4, 3, 2, 1, 0]}})
    assert torch.equal(state.weight_optimizer.state[weight]["momentum_buffer"], moment.flip(0))


def test_fewer_epochs_leave_stages_out_but_never_the_last() -> None:
    for epochs in range(1, 9):
        recipe = build("progressive-shrinking", {"epochs": epochs})
        assert len(recipe.stages) == min(epochs, 6)
        last = recipe.stages[-1].operations[-1]
        assert last == Offering(("kernel", "depth", "width"), None, 4)
        teachers = [op for stage in recipe.stages for op in stage.operations if isinstance(op, OwnTeacher)]
        assert len(teachers) == (epochs > 1), "an untrained network teaches nobody"


def test_a_trained_model_teaches_from_the_first_stage_on() -> None:
    recipe = build("progressive-shrinking", {"epochs": 5, "largest": 0.0})
    assert recipe.stages[0].operations == (OwnTeacher(1.0), Offering(("kernel",), None, 1))


def test_what_is_not_offered_is_not_drawn() -> None:
    sampler = Offered().build(load("conv-macro").relaxation, torch.Generator())
    sampler.offer({"channels_1": (16, 32), "kernel_1": (7,)}, 50)
    paths = sampler.draw(torch.Generator().manual_seed(0), Phase("weights"))
    assert {gates["channels_1"].active[0] for gates in paths} == {1, 2}
    assert {gates["kernel_1"].active[0] for gates in paths} == {2}
    assert {gates["kernel_2"].active[0] for gates in paths} == {0, 1, 2}
    again = Offered().build(load("conv-macro").relaxation, torch.Generator())
    again.load_state_dict(sampler.state_dict())
    assert again.offered() == sampler.offered()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="kind of choice 'hight'"):
        Offering(("hight",))
    with pytest.raises(ConfigurationError, match="needs the distribution Offered, not Uniform"):
        replace(build("sandwich", {"epochs": 2}), stages=(Stage(operations=(Offering(),)),))
    with pytest.raises(ConfigurationError, match="order names each kind of choice once"):
        build("progressive-shrinking", {"order": ("width", "width")})
    with pytest.raises(ConfigurationError, match="draws all options at all times"):
        Uniform().build(load("conv-macro").relaxation, torch.Generator()).offer({}, 1)
