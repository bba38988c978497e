"""A batch that is computed in micro-batches makes the step of the whole batch, in less memory."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sharewise as sw
from sharewise.data import Batch
from sharewise.engine import numerics, prepare, step, stream
from sharewise.engine.ranks import ALONE, Ranks
from sharewise.errors import CheckpointError, ConfigurationError
from sharewise.run import Place, build_supernet
from sharewise.run.fits import step_memory
from sharewise.supernet import Supernet

DATA = sw.data.digits().limited(96, seed=0)
OPTIONS = {
    "spos": {"candidates": 2},
    "sandwich": {"candidates": 2},
    "attentive-nas": {"candidates": 2},
    "enas": {"candidates": 2, "controller_steps": 2, "controller_samples": 2},
}


def searched(method: str, accumulate: int, **arguments: Any) -> sw.SearchResult:
    recipe = sw.methods.build(method, {**OPTIONS.get(method, {}), "batch_size": 14})
    arguments = {"space": "toy-tied-width", "max_steps": 3, "precision": "float64", **arguments}
    space = arguments.pop("space")
    return sw.search(space, recipe, DATA, device="cpu", gap_examples=0, accumulate=accumulate, **arguments)


def parameters(result: sw.SearchResult) -> dict[str, Tensor]:
    state = result.state
    return {
        **{name: p.detach() for name, p in state.supernet.named_parameters()},
        **{f"θ {name}": p.detach() for name, p in state.distribution.named_parameters()},
    }


@pytest.mark.parametrize(
    "method", ["spos", "fairnas", "sandwich", "attentive-nas", "gaea-erm", "drnas", "snas", "sdarts", "enas"]
)
def test_micro_batches_make_the_step_of_the_batch(method: str) -> None:
    whole, parts = searched(method, 1), searched(method, 3)
    for name, value in parameters(whole).items():
        torch.testing.assert_close(parameters(parts)[name], value, rtol=1e-9, atol=1e-11, msg=name)
    losses = [result.state.history[-1]["weights_loss"] for result in (whole, parts)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-12)
    ledgers = [result.state.ledger.entries["weights"] for result in (whole, parts)]
    assert ledgers[0].multiply_accumulates == ledgers[1].multiply_accumulates


def test_a_step_sees_a_micro_batch_at_a_time() -> None:
    sizes = list[int]()
    hook = nn.modules.module.register_module_forward_pre_hook(
        lambda module, given: (
            sizes.append(len(given[0])) if isinstance(module, Supernet) and given[0].device.type == "cpu" else None
        )
    )
    try:
        searched("gaea-erm", 3, max_steps=1)
    finally:
        hook.remove()
    assert sizes[:6] == [4, 5, 5] * 2, "an architecture step and a weight step of 14 examples"


def test_a_teacher_is_followed_in_micro_batches() -> None:
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    whole, parts = (searched("spos", n, teacher=sw.Teacher(teacher, weight=2.0)) for n in (1, 4))
    for name, value in parameters(whole).items():
        torch.testing.assert_close(parameters(parts)[name], value, rtol=1e-9, atol=1e-11, msg=name)


def test_batch_norm_takes_the_moments_of_each_micro_batch() -> None:
    network = {"channels": 2, "cells": 1}
    whole, parts = (searched("spos", n, space="nasbench201", network=network, max_steps=1) for n in (1, 2))
    counts = [
        max(int(value) for name, value in result.supernet.state_dict().items() if name.endswith("num_batches_tracked"))
        for result in (whole, parts)
    ]
    assert counts[1] == 2 * counts[0]


def test_rows_of_ranks_are_those_of_the_same_micro_batches() -> None:
    batch, world, parts = Batch(torch.arange(11), torch.arange(11)), 2, 3
    own = [Ranks(rank, world).part(batch, parts) for rank in range(world)]
    cut = [list(Ranks(rank, world).micro_batches(rows, parts)) for rank, rows in enumerate(own)]
    for number, (_, alone) in enumerate(ALONE.micro_batches(batch, parts)):
        together = [some for _, some in (pieces[number] for pieces in cut)]
        assert torch.cat([some.targets for some in together]).tolist() == alone.targets.tolist()
        assert {some.together for some in together} == {len(alone.inputs)}
        assert {some.examples for some in (*together, alone)} == {11}
    for rows, pieces in zip(own, cut, strict=True):
        assert all((rows.targets[place] == some.targets).all() for place, some in pieces)
    assert sum(ALONE.share(some) for pieces in cut for _, some in pieces) == pytest.approx(1)


def test_less_memory_is_foreseen() -> None:
    def activations(accumulate: int) -> int:
        place = Place("cpu", threads=1, accumulate=accumulate).numerics()
        recipe, supernet = (
            sw.methods.build("gaea-erm", {"batch_size": 32}),
            build_supernet("conv-macro", (1, 12, 12), 10),
        )
        data = sw.data.digits().resized(12).assign(recipe.roles, generator=stream(0, "data"))
        found = step_memory(prepare(supernet, recipe, data, numerics=place))
        assert found is not None
        return found.activations

    whole, half, quarter = (activations(parts) for parts in (1, 2, 4))  # mixed weights are kept beside activations
    assert whole - half == pytest.approx(2 * (half - quarter), rel=1e-3)
    assert half < whole


@pytest.mark.parametrize(
    ("method", "space", "accumulate", "words"),
    [
        ("darts-second-order", "toy-tied-width", 2, "whole batch"),
        ("spos", "nasbench201", 8, "fewer than 2, which batch norm needs"),
        ("spos", "toy-tied-width", 15, "fewer than 1"),
        ("spos", "toy-tied-width", 0, "accumulate must be"),
    ],
)
def test_what_cannot_be_accumulated_is_refused_in_one_line(
    method: str, space: str, accumulate: int, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        searched(method, accumulate, space=space)
    assert "\n" not in str(caught.value)
    assert str(accumulate) in str(caught.value)


def test_a_run_goes_on_with_the_micro_batches_that_it_began_with(tmp_path: Path) -> None:
    found = searched("spos", 2, out=tmp_path / "run")
    again = searched("spos", 2, out=tmp_path / "run", resume=True)
    assert again.architecture == found.architecture
    with pytest.raises(CheckpointError, match="accumulate"):
        searched("spos", 1, out=tmp_path / "run", resume=True)
    assert numerics("cpu").accumulate == 1


def test_a_training_accumulates_as_well() -> None:
    space = sw.spaces.toy_tied_width()
    architecture = space.architecture({"width": 8, "activation": "relu"})
    training = {"batch_size": 12}
    whole, parts = (
        sw.train(space, architecture, DATA, training=training, max_steps=2, precision="float64", accumulate=n)
        for n in (1, 3)
    )
    for one, other in zip(whole.network.parameters(), parts.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_outputs_of_a_micro_batch_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    alive = weakref.WeakSet[torch.Tensor]()
    seen = list[int]()
    passed = step._forward

    def counted(*arguments: Any) -> Any:
        seen.append(len(alive))
        outputs = passed(*arguments)
        alive.add(outputs)
        return outputs

    monkeypatch.setattr(step, "_forward", counted)
    sw.search("toy-tied-width", sw.methods.spos(batch_size=32, candidates=1), "digits", accumulate=8, max_steps=1,
              device="cpu", gap_examples=0)  # fmt: skip
    assert len(seen) >= 8
    assert max(seen) <= 1
