"""Two towers, users and items, whose scalar product says what is liked: the widths of both are searched by one path.

Inputs are columns by the names of the model's arguments, and the task reads one of two outputs::

    python examples/two_towers.py
    sharewise inspect examples/two_towers.py:factory
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import sharewise as sw


class TwoTowers(nn.Module):
    def __init__(self, users: int = 12, features: int = 6, hidden: int = 64, shared: int = 16) -> None:
        super().__init__()
        self.users = nn.Sequential(nn.Embedding(users, hidden), nn.ReLU(), nn.Linear(hidden, shared))
        self.items = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, shared))

    def forward(self, user: Tensor, item: Tensor) -> dict[str, Tensor]:
        u, v = self.users(user), self.items(item)
        return {"score": (u * v).sum(-1, keepdim=True), "size": u.square().sum(-1)}


def ratings(examples: int = 1200, seed: int = 0) -> sw.data.Dataset:
    generator = torch.Generator().manual_seed(seed)
    user = torch.randint(12, (examples,), generator=generator)
    item = torch.randn(examples, 6, generator=generator)
    tastes = torch.randn(12, 6, generator=generator)
    score = torch.tanh((tastes[user] * item).sum(-1, keepdim=True) / 2)
    rows = sw.data.Examples(sw.data.Columns({"user": user, "item": item}), score)
    train, test = rows.subset(torch.arange(1000)), rows.subset(torch.arange(1000, examples))
    task = sw.data.regression().reading("score")
    return sw.data.Dataset("ratings", task, "columns", train, sw.data.Sealed(test))


def factory() -> sw.ElasticModel:
    torch.manual_seed(0)
    choices = {"users.0": sw.width([8, 32, 64]), "items.0": sw.width([8, 32, 64]), "users.2": sw.width([4, 8, 16])}
    example = {"user": torch.tensor([0, 11]), "item": torch.randn(2, 6)}
    return sw.elastic(TwoTowers(), choices, example=example)


def main() -> None:
    data = ratings()
    recipe = sw.methods.spos(epochs=6, candidates=6, optimizer="adam", learning_rate=1e-2)
    result = sw.search(factory(), recipe, data, device="cpu")
    network = sw.extract(result.supernet, result.architecture)
    test = data.open_test("after the search")
    with torch.no_grad():
        error = (network(**test.inputs)["score"] - test.targets).square().mean()
    print(f"found {result.architecture}: squared error {error:.3f} of {test.targets.var():.3f}")


if __name__ == "__main__":
    main()
