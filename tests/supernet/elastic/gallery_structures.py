"""Models of graphs, tables, sets and pairs; mixtures of experts; several inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sharewise as sw

__all__ = ["REQUESTS"]


class GraphConvolution(nn.Module):
    """A dense adjacency, normalised by degree."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(5, 16), nn.Linear(16, 16), nn.Linear(16, 8)])
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        a = adjacency + torch.eye(adjacency.shape[-1], dtype=x.dtype)
        a = a / a.sum(-1, keepdim=True)
        for layer in self.layers:
            x = F.relu(torch.matmul(a, layer(x)))
        return self.head(x.mean(dim=1))


class GraphAttention(nn.Module):
    def __init__(self, i: int = 6, heads: int = 4, size: int = 4) -> None:
        super().__init__()
        self.heads, self.size = heads, size
        self.project = nn.Linear(i, heads * size, bias=False)
        self.left, self.right = nn.Parameter(torch.randn(heads, size)), nn.Parameter(torch.randn(heads, size))
        self.out = nn.Linear(heads * size, 2)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        n = x.shape[0]
        h = self.project(x).view(n, self.heads, self.size)
        scores = F.leaky_relu((h * self.left).sum(-1)[:, None] + (h * self.right).sum(-1)[None], 0.2)
        weights = torch.softmax(scores.masked_fill(adjacency[..., None] == 0, -1e9), dim=1)
        return self.out(torch.einsum("ijh,jhd->ihd", weights, h).reshape(n, -1))


class MessagePassing(nn.Module):
    """Edges as pairs of indices; messages are added up where they arrive."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 8)
        self.message = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 8))
        self.update = nn.GRUCell(8, 8)
        self.head = nn.Linear(8, 1)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        h = self.embed(x)
        for _ in range(2):
            messages = self.message(torch.cat([h[edges[0]], h[edges[1]]], dim=-1))
            h = self.update(torch.zeros_like(h).index_add(0, edges[1], messages), h)
        return self.head(h.sum(0, keepdim=True))


class SoftExperts(nn.Module):
    """A gate that weighs all experts."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(6, 3)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Linear(16, 4)) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        weights = F.softmax(self.gate(x), dim=-1)
        outputs = torch.stack([expert(x) for expert in self.experts], dim=1)
        return torch.einsum("ne,nec->nc", weights, outputs)


class BatchedExperts(nn.Module):
    """The weights of all experts in one tensor; the best two are mixed."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.router, self.leave = nn.Linear(6, 8), nn.Linear(8, 4), nn.Linear(8, 3)
        self.w1, self.w2 = nn.Parameter(torch.randn(4, 8, 16) / 3), nn.Parameter(torch.randn(4, 16, 8) / 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        values, chosen = torch.topk(self.router(x).softmax(-1), 2, dim=-1)
        weights = torch.zeros_like(self.router(x)).scatter(1, chosen, values)
        hidden = F.relu(torch.einsum("nd,edh->neh", x, self.w1))
        y = torch.einsum("neh,ehd->ned", hidden, self.w2)
        return self.leave(x + (weights.unsqueeze(-1) * y).sum(1))


class TwoTower(nn.Module):
    """Users and items meet in a product."""

    def __init__(self) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(10, 8), nn.Embedding(12, 8)
        self.user_tower = nn.Sequential(nn.Linear(8 + 3, 16), nn.ReLU(), nn.Linear(16, 8))
        self.item_tower = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8))

    def forward(self, user: Tensor, features: Tensor, item: Tensor) -> Tensor:
        u = self.user_tower(torch.cat([self.users(user), features], -1))
        v = self.item_tower(self.items(item))
        return (F.normalize(u, dim=-1) * F.normalize(v, dim=-1)).sum(-1, keepdim=True)


class FactorisationMachine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.vectors = nn.Embedding(30, 1), nn.Embedding(30, 8)
        self.deep = nn.Sequential(nn.Linear(4 * 8, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, fields: Tensor) -> Tensor:
        v = self.vectors(fields)
        pairs = 0.5 * (v.sum(1).pow(2) - v.pow(2).sum(1)).sum(-1, keepdim=True)
        return self.linear(fields).sum(1) + pairs + self.deep(v.flatten(1))


class Tabular(nn.Module):
    """Numbers and categories, a residual network on their concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(n, 4) for n in (3, 5))
        self.norm, self.enter = nn.BatchNorm1d(6), nn.Linear(6 + 8, 16)
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"norm": nn.LayerNorm(16), "up": nn.Linear(16, 32), "down": nn.Linear(32, 16)})
            for _ in range(2)
        )
        self.head = nn.Linear(16, 1)

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        parts = [embed(categories[:, i]) for i, embed in enumerate(self.embeddings)]
        x = self.enter(torch.cat([self.norm(numbers), *parts], dim=1))
        for block in self.blocks:
            x = x + block["down"](F.relu(block["up"](block["norm"](x))))
        return self.head(x).squeeze(-1)


class DeepSets(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 16))
        self.all = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, points: Tensor) -> Tensor:
        x = self.each(points)
        return self.all(torch.cat([x.mean(1), x.amax(1)], -1))


class PointNet(nn.Module):
    """A learned rotation of the points, then convolutions over them."""

    def __init__(self) -> None:
        super().__init__()
        self.align = nn.Sequential(nn.Conv1d(3, 16, 1), nn.ReLU())
        self.matrix = nn.Linear(16, 9)
        self.conv1, self.bn1, self.conv2 = nn.Conv1d(3, 16, 1), nn.BatchNorm1d(16), nn.Conv1d(16, 32, 1)
        self.head = nn.Linear(32, 4)

    def forward(self, points: Tensor) -> Tensor:
        rotation = self.matrix(self.align(points).max(2)[0]).view(-1, 3, 3) + torch.eye(3, dtype=points.dtype)
        x = torch.bmm(rotation, points)
        return self.head(self.conv2(F.relu(self.bn1(self.conv1(x)))).max(-1)[0])


class ActorCritic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh())
        self.policy, self.value = nn.Linear(16, 3), nn.Linear(16, 1)
        self.log_std = nn.Parameter(torch.zeros(3))

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.body(observation)
        return self.policy(x), self.log_std.exp().expand(len(x), -1), self.value(x).squeeze(-1)


@dataclass
class Reading:
    """What a model returns that several tasks share."""

    label: Tensor
    depth: Tensor


class MultiTask(nn.Module):
    """A dataclass of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.ReLU())
        self.towers = nn.ModuleDict({name: nn.Linear(16, 8) for name in ("label", "depth")})
        self.heads = nn.ModuleDict({"label": nn.Linear(8, 5), "depth": nn.Linear(8, 1)})

    def forward(self, x: Tensor) -> Reading:
        x = self.shared(x)
        return Reading(**{name: self.heads[name](F.relu(tower(x))) for name, tower in self.towers.items()})


class Captioner(nn.Module):
    """An image starts a recurrence over words."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 12)
        )
        self.words, self.rnn, self.out = nn.Embedding(20, 6), nn.GRU(6, 12, batch_first=True), nn.Linear(12, 20)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        y, _ = self.rnn(self.words(batch["words"]), self.image(batch["image"]).unsqueeze(0))
        return self.out(y)


class HyperNetwork(nn.Module):
    """Features modulate a convolution's channels (FiLM)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8, affine=False)
        self.film, self.head = nn.Linear(4, 16), nn.Linear(8, 2)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.film(condition).chunk(2, dim=-1)
        y = self.norm(self.conv(x)) * (1 + scale[..., None, None]) + shift[..., None, None]
        return self.head(F.relu(y).mean((2, 3)))


class Diffusion(nn.Module):
    """A denoiser with an embedding of time in sines."""

    def __init__(self) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 8))
        self.enter, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.GroupNorm(2, 8)
        self.middle, self.leave = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 1, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        angles = t[:, None] * torch.exp(-torch.arange(4, dtype=x.dtype, device=x.device))
        time = self.time(torch.cat([angles.sin(), angles.cos()], -1))
        h = self.enter(x) + time[:, :, None, None]
        return self.leave(h + self.middle(F.silu(self.norm(h))))


class QuantisedAutoencoder(nn.Module):
    """The nearest entry of a code book, passed straight through."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))
        self.codes = nn.Embedding(10, 4)
        self.decode = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 6))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        z = self.encode(x)
        distances = (z[:, None] - self.codes.weight[None]).pow(2).sum(-1)
        code = self.codes(distances.argmin(-1))
        return {"reconstruction": self.decode(z + (code - z).detach()), "commitment": (z - code.detach()).pow(2).mean()}


REQUESTS: dict[str, Callable[[], tuple[nn.Module, dict[str, Any], Any]]] = {
    "graph convolution": lambda: (
        GraphConvolution(),
        {"layers.0": sw.width([8, 16]), "layers.1": sw.width([8, 16]), "layers.2": sw.width([4, 8])},
        (torch.randn(2, 5, 5), torch.randint(0, 2, (2, 5, 5)).float()),
    ),
    "graph attention": lambda: (
        GraphAttention(),
        {"project": sw.width([8, 16])},
        (torch.randn(5, 6), torch.ones(5, 5)),
    ),
    "message passing": lambda: (
        MessagePassing(),
        {"embed": sw.width([4, 8]), "message.0": sw.width([8, 16])},
        {"x": torch.randn(4, 5), "edges": torch.tensor([[0, 1, 2, 3, 0], [1, 2, 3, 0, 2]])},
    ),
    "soft experts": lambda: (SoftExperts(), {"experts.*": sw.width([8, 16])}, torch.randn(3, 6)),
    "batched experts": lambda: (BatchedExperts(), {"enter": sw.width([4, 8])}, torch.randn(3, 6)),
    "two towers": lambda: (
        TwoTower(),
        {"users": sw.width([4, 8]), "user_tower.0": sw.width([8, 16]), "item_tower.0": sw.width([8, 16])},
        {"user": torch.tensor([1, 2, 3]), "features": torch.randn(3, 3), "item": torch.tensor([4, 5, 6])},
    ),
    "factorisation machine": lambda: (
        FactorisationMachine(),
        {"vectors": sw.width([4, 8]), "deep.0": sw.width([8, 16])},
        torch.randint(0, 30, (3, 4)),
    ),
    "tabular": lambda: (
        Tabular(),
        {"embeddings.*": sw.width([2, 4]), "enter": sw.width([8, 16]), "blocks.*.up": sw.width([16, 32])},
        (torch.randn(4, 6), torch.stack([torch.arange(4) % 3, torch.arange(4) % 5], 1)),
    ),
    "deep sets": lambda: (
        DeepSets(),
        {"each.0": sw.width([8, 16]), "each.2": sw.width([8, 16]), "all.0": sw.width([8, 16])},
        torch.randn(3, 5, 3),
    ),
    "point net": lambda: (
        PointNet(),
        {"align.0": sw.width([8, 16]), "conv1": sw.width([8, 16]), "conv2": sw.width([16, 32])},
        torch.randn(2, 3, 9),
    ),
    "actor and critic": lambda: (
        ActorCritic(),
        {"body.0": sw.width([8, 16]), "body.2": sw.width([8, 16])},
        torch.randn(3, 4),
    ),
    "multi-task": lambda: (
        MultiTask(),
        {"shared.0": sw.width([8, 16]), "towers.*": sw.width([4, 8])},
        torch.randn(3, 8),
    ),
    "captioner": lambda: (
        Captioner(),
        {"image.0": sw.width([4, 8]), "words": sw.width([3, 6]), "rnn": sw.width([6, 12])},
        ({"image": torch.randn(2, 3, 8, 8), "words": torch.randint(0, 20, (2, 5))},),
    ),
    "film": lambda: (HyperNetwork(), {"conv": sw.width([4, 8])}, (torch.randn(2, 3, 8, 8), torch.randn(2, 4))),
    "diffusion": lambda: (
        Diffusion(),
        {"time.0": sw.width([8, 16]), "enter": sw.width([4, 8])},
        {"x": torch.randn(2, 1, 8, 8), "t": torch.tensor([0.1, 0.7])},
    ),
    "quantised autoencoder": lambda: (
        QuantisedAutoencoder(),
        {"encode.0": sw.width([8, 16]), "codes": sw.width([2, 4]), "decode.0": sw.width([8, 16])},
        torch.randn(3, 6),
    ),
}
