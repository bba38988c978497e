"""A perceptron on a table: the widths of two hidden layers and an activation are searched with GAEA.

The table is Friedman's first function of ten features, of which five matter, with noise::

    python examples/mlp_on_a_table.py
    sharewise inspect examples/mlp_on_a_table.py:factory
"""

from __future__ import annotations

import math

import torch
from torch import nn

import sharewise as sw


def table(examples: int = 1200, seed: int = 0) -> sw.data.Dataset:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(examples, 10, generator=generator)
    y = 10 * torch.sin(math.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    y = (y + torch.randn(examples, generator=generator) - 14.4) / 5.0
    rows = sw.data.Examples(x, y[:, None])
    train, test = rows.subset(torch.arange(1000)), rows.subset(torch.arange(1000, examples))
    return sw.data.Dataset("friedman", sw.data.regression(), "table", train, sw.data.Sealed(test))


def factory() -> sw.ElasticModel:
    torch.manual_seed(0)
    model = nn.Sequential(
        sw.ElasticLinear(10, sw.width([8, 16, 32, 64], name="first")),
        sw.Choose([nn.ReLU(), nn.Tanh(), nn.GELU()], name="activation"),
        sw.ElasticLinear(64, sw.width([8, 16, 32, 64], name="second")),
        nn.ReLU(),
        nn.Linear(64, 1),
    )
    return sw.elastic(model, example=torch.rand(2, 10))


def main() -> None:
    supernet, data = factory(), table()
    result = sw.search(supernet, sw.methods.gaea_darts(epochs=10), data, device="cpu")
    training = sw.TrainingRecipe(epochs=20, learning_rate=0.05)
    trained = sw.train(supernet, result.architecture, data, training=training, device="cpu")
    assert trained.test is not None
    print(f"found {result.architecture}: {sum(p.numel() for p in trained.network.parameters()):,} parameters")
    print(f"trained from scratch: test error {trained.test['loss']:.3f}, of which the noise alone is 0.04 (variance 1)")


if __name__ == "__main__":
    main()
