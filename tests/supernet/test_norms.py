"""Batch-norm statistics: recalibration, policies, and what they leave behind."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sharewise.errors import ConfigurationError
from sharewise.supernet import (
    BatchStatistics,
    NormPolicy,
    RecalibratedStatistics,
    RunningStatistics,
    frozen_statistics,
    norms,
    recalibrate,
)
from sharewise.testing import randomise_norms

POLICIES: list[NormPolicy] = [BatchStatistics(), RunningStatistics(), RecalibratedStatistics(3)]


def network() -> nn.Sequential:
    module = nn.Sequential(
        nn.Conv2d(2, 3, 3),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(48, 5),
        nn.BatchNorm1d(5),
    )
    randomise_norms(module, torch.Generator().manual_seed(0))
    module.train()
    module[4].eval()  # a mixed pattern of modes must come back as it was
    return module


def batches(count: int, size: int = 6) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(size, 2, 6, 6, generator=generator) + i for i in range(count)]


def test_one_batch_gives_that_batch_s_statistics() -> None:
    module = network()
    [batch] = batches(1)
    recalibrate(module, module, [batch])
    with torch.no_grad():
        z = module[0](batch)
    norm = module[1]
    torch.testing.assert_close(norm.running_mean, z.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, z.var((0, 2, 3), unbiased=True))
    assert int(norm.num_batches_tracked) == 1


@pytest.mark.parametrize("count", [2, 4])
def test_several_batches_are_averaged(count: int) -> None:
    module = network()
    data = batches(count)
    recalibrate(module, module, data)
    with torch.no_grad():
        z = [module[0](batch) for batch in data]
    torch.testing.assert_close(module[1].running_mean, torch.stack([v.mean((0, 2, 3)) for v in z]).mean(0))
    torch.testing.assert_close(module[1].running_var, torch.stack([v.var((0, 2, 3)) for v in z]).mean(0))
    assert [layer.momentum for layer in norms(module)] == [0.1, 0.1]


def test_layers_that_are_not_executed_are_reset() -> None:
    module = nn.ModuleList([nn.BatchNorm1d(2), nn.BatchNorm1d(2)])
    randomise_norms(module, torch.Generator().manual_seed(0))
    recalibrate(module, module[0], [torch.randn(4, 2)])
    assert torch.equal(module[1].running_mean, torch.zeros(2))
    assert torch.equal(module[1].running_var, torch.ones(2))
    assert int(module[1].num_batches_tracked) == 0


def test_recalibration_needs_a_batch_and_restores_momentum() -> None:
    module = network()
    with pytest.raises(ConfigurationError, match="at least one mini-batch"):
        recalibrate(module, module, [])
    assert [layer.momentum for layer in norms(module)] == [0.1, 0.1]
    with pytest.raises(ConfigurationError, match="at least 1 mini-batch, got 0"):
        RecalibratedStatistics(0)


@pytest.mark.parametrize("kind", ["exhausted", "one example", "unreadable", "interrupted"])
def test_recalibration_changes_nothing_unless_it_succeeds(kind: str) -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2), nn.BatchNorm1d(2))
    for _ in range(3):
        module(torch.randn(8, 4) + 2)
    before = snapshot(module)

    def interrupted() -> Iterator[Tensor]:
        yield torch.randn(8, 4)
        raise KeyboardInterrupt

    inputs: Any = {
        "exhausted": iter(()),
        "one example": [torch.randn(8, 4), torch.randn(1, 4)],
        "unreadable": [torch.randn(8, 4), torch.randn(8, 5)],
        "interrupted": interrupted(),
    }[kind]
    with pytest.raises((ConfigurationError, RuntimeError, KeyboardInterrupt)) as caught:
        recalibrate(module, module, inputs)
    assert same(before, snapshot(module))
    if kind == "one example":
        assert "mini-batch 2 of a recalibration has a single example" in str(caught.value)


def test_recalibration_takes_the_inputs_of_pairs() -> None:
    first, second, x = network(), network(), batches(2)
    second.load_state_dict(first.state_dict())
    recalibrate(first, first, x)
    recalibrate(second, second, [(batch, torch.zeros(len(batch))) for batch in x])
    assert same(snapshot(first), snapshot(second))


def snapshot(module: nn.Module) -> tuple[dict[str, Tensor], list[bool], list[tuple[float | None, bool]]]:
    state = {name: value.clone() for name, value in module.state_dict().items()}
    flags = [(layer.momentum, layer.track_running_stats) for layer in norms(module)]
    return state, [m.training for m in module.modules()], flags


def same(a: tuple[dict[str, Tensor], list[bool], object], b: tuple[dict[str, Tensor], list[bool], object]) -> bool:
    return all(torch.equal(value, b[0][name]) for name, value in a[0].items()) and a[1:] == b[1:]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: type(p).__name__)
def test_policies_leave_statistics_and_modes_as_they_were(policy: NormPolicy) -> None:
    module = network()
    before = snapshot(module)
    with torch.no_grad(), policy.applied(module, module, batches(policy.batches)):
        module(batches(1)[0])
    assert same(before, snapshot(module))


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: type(p).__name__)
def test_policies_restore_after_an_exception(policy: NormPolicy) -> None:
    module = network()
    before = snapshot(module)

    def fail() -> None:
        with torch.no_grad(), policy.applied(module, module, batches(policy.batches)):
            module(batches(1)[0])
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert same(before, snapshot(module))


def test_recalibration_policy_restores_when_a_calibration_batch_fails() -> None:
    module = network()
    before = snapshot(module)

    def broken() -> Iterator[Tensor]:
        yield batches(1)[0]
        raise RuntimeError("no more data")

    def enter(context: AbstractContextManager[None]) -> None:
        with context:
            raise AssertionError("never reached")

    with pytest.raises(RuntimeError, match="no more data"):
        enter(RecalibratedStatistics(2).applied(module, module, broken()))
    assert same(before, snapshot(module))


def test_what_each_policy_computes() -> None:
    module = network()
    [batch] = batches(1)
    outputs = {}
    with torch.no_grad():
        for policy in POLICIES:
            with policy.applied(module, module, batches(policy.batches)):
                outputs[type(policy)] = module(batch)
        plain = copy.deepcopy(module).eval()
        torch.testing.assert_close(outputs[RunningStatistics], plain(batch))
        recalibrate(plain, plain, batches(3))
        torch.testing.assert_close(outputs[RecalibratedStatistics], plain.eval()(batch))
        for layer in norms(plain):
            layer.training = True  # batch norm by the batch, dropout off
        torch.testing.assert_close(outputs[BatchStatistics], plain(batch))
    assert not torch.allclose(outputs[RunningStatistics], outputs[BatchStatistics])


def test_frozen_statistics_normalise_by_the_batch_and_record_nothing() -> None:
    module = nn.BatchNorm1d(3)
    randomise_norms(module, torch.Generator().manual_seed(0))
    twin = copy.deepcopy(module)
    x = torch.randn(5, 3)
    before = snapshot(module)
    with frozen_statistics(module):
        y = module(x)
    assert torch.equal(y, twin(x))
    assert same(before, snapshot(module))

    def fail() -> None:
        with frozen_statistics(module):
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert same(before, snapshot(module))
