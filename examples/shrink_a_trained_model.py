"""A trained network is shrunk under a budget of parameters: smaller versions inherit its weights.

The largest architecture is the trained network itself, output for output. A few epochs of sampled paths teach its
slices to stand alone; then the best architecture within the budget is selected on held-out examples::

    python examples/shrink_a_trained_model.py
    sharewise inspect examples/shrink_a_trained_model.py:factory
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional as F

import sharewise as sw
from sharewise.cost import Parameters
from sharewise.engine import Limit

BUDGET = 8_000


def trained(steps: int = 120) -> nn.Module:
    """An ordinary network, trained in an ordinary way."""
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Linear(64, 10)),
    )
    data = sw.data.digits().train
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    for step in range(steps):
        rows = torch.arange(64) + 64 * (step % 22)
        loss = F.cross_entropy(network(scaled(data.inputs[rows])), data.targets[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


def scaled(images: torch.Tensor) -> torch.Tensor:
    """As `sharewise.search` feeds them."""
    data = sw.data.digits()
    return (images.float() / 255 - data.mean[0]) / data.std[0]


def accuracy(network: nn.Module, examples: sw.data.Examples) -> float:
    with torch.no_grad():
        return float((network.eval()(scaled(examples.inputs)).argmax(1) == examples.targets).double().mean())


def factory() -> sw.ElasticModel:
    choices = {"0": sw.width([8, 16, 32], name="first"), "4": sw.width([16, 32, 48, 64], name="second")}
    return sw.elastic(trained(), choices, example=torch.randn(2, 1, 8, 8))


def main() -> None:
    supernet, data = factory(), sw.data.digits()
    recipe = sw.methods.spos(epochs=10, candidates=12, learning_rate=0.02)
    recipe = replace(recipe, limits=(Limit(Parameters(), BUDGET),))
    result = sw.search(supernet, recipe, data, device="cpu")
    small = sw.extract(result.supernet, result.architecture)
    sw.recalibrate(small, small, [scaled(data.train.inputs[i : i + 128]) for i in range(0, 512, 128)])
    test = data.open_test("before and after")
    for name, network in (("trained", supernet.model), (str(result.architecture), small)):
        parameters = sum(p.numel() for p in network.parameters())
        print(f"{name}: {parameters:,} parameters, test accuracy {accuracy(network, test):.3f}")


if __name__ == "__main__":
    main()
