"""Networks that were trained without a thought of search: the largest choice is exactly what was trained."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sharewise as sw
from sharewise.supernet import discrete
from sharewise.supernet.elastic.choices import Choices
from sharewise.testing import check_model

EXAMPLES = Path(__file__).parents[2] / "examples"


class Residual(nn.Module):
    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.enter_norm = nn.BatchNorm2d(out)
        self.leave = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.leave_norm = nn.BatchNorm2d(out)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or channels != out:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        y = self.enter_norm(self.enter(x)).relu()
        return (self.leave_norm(self.leave(y)) + self.shortcut(x)).relu()


def resnet() -> tuple[nn.Module, dict[str, Choices]]:
    stem = nn.Sequential(nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    stages = [Residual(16, 16, 1), Residual(16, 32, 2), Residual(32, 64, 2)]
    model = nn.Sequential(stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    hidden = {f"{stage}.enter": sw.width([width // 2, width]) for stage, width in ((1, 16), (2, 32), (3, 64))}
    return model, hidden | {"0.0": sw.width([8, 16], name="stem"), "2.leave": sw.width([16, 32], name="middle")}


def vision_transformer() -> tuple[nn.Module, dict[str, Choices]]:
    specification = importlib.util.spec_from_file_location("example", EXAMPLES / "vision_transformer.py")
    assert specification is not None
    assert specification.loader is not None
    example = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(example)
    model: nn.Module = example.VisionTransformer()
    choices: dict[str, Choices] = {
        "patches": sw.width([16, 32], name="features"),
        "blocks.*.attention": sw.heads([2, 4]),
        "blocks.*.mlp": sw.width([64, 128]),
        "blocks.*": sw.depth([1, 2, 3], name="depth"),
    }
    return model, choices


def accuracy(network: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    with torch.no_grad():
        return float((network.eval()(inputs).argmax(1) == targets).double().mean())


@pytest.mark.slow
@pytest.mark.parametrize(("make", "rate"), [(resnet, 3e-3), (vision_transformer, 2e-3)])
def test_a_network_that_was_trained_for_a_minute(make, rate: float) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    model, choices = make()
    data = sw.data.digits()
    inputs, targets = data.train.inputs.float() / 255, data.train.targets
    order = torch.randperm(len(inputs))
    held, rest = order[:300], order[300:]
    epochs = 60
    optimizer = torch.optim.AdamW(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * (len(rest) // 64))
    for _ in range(epochs):
        model.train()
        shuffled = rest[torch.randperm(len(rest))]
        for start in range(0, len(rest) // 64 * 64, 64):
            chosen = shuffled[start : start + 64]
            optimizer.zero_grad()
            F.cross_entropy(model(inputs[chosen]), targets[chosen]).backward()
            optimizer.step()
            schedule.step()
    reached = accuracy(model, inputs[held], targets[held])
    assert reached > 0.95
    supernet = sw.elastic(model, choices, example=inputs[:2])
    largest = supernet.space.architecture({choice.name: choice.options[-1] for choice in supernet.space.choices})
    supernet.eval()
    with torch.no_grad():
        outputs = supernet(inputs[held], discrete(supernet.relaxation.encode(largest)))
        assert torch.equal(outputs, model(inputs[held]))
    extracted = sw.extract(supernet, largest)
    assert accuracy(extracted, inputs[held], targets[held]) == reached
    report = check_model(supernet)
    assert report.original
    assert report.samples == 20
