"""The plain network of the toy cell, on `torch` alone: vectors in, two computing nodes, their concatenation out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Network", "operation"]


def operation(name: str, width: int) -> nn.Module:
    """The module of a candidate operation other than `none`; all keep the width of their input."""
    match name:
        case "skip_connect":
            return nn.Identity()
        case "linear":
            return nn.Sequential(nn.Linear(width, width), nn.ReLU())
        case "tanh":
            return nn.Tanh()
        case _:
            raise ValueError(f"unknown operation {name!r}")


class Network(nn.Module):
    """The network of one architecture.

    Args:
        operations: by edge (`"edge_0_2"`), four of them.
        input_shape: of one example; it is flattened.
        outputs: size of the last layer.
        width: of every node.
    """

    def __init__(self, operations: dict[str, str], input_shape: tuple[int, ...], outputs: int, width: int = 16) -> None:
        super().__init__()
        self.configuration: dict[str, Any] = {
            "operations": dict(operations),
            "input_shape": tuple(input_shape),
            "outputs": outputs,
            "width": width,
        }
        features = int(torch.Size(input_shape).numel())
        self.inputs = nn.ModuleList(nn.Linear(features, width) for _ in range(2))
        self.edges = nn.ModuleDict({edge: operation(name, width) for edge, name in operations.items()})
        self.head = nn.Linear(2 * width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, …)` to `(n, outputs)`."""
        nodes: list[Tensor] = [layer(x.flatten(1)) for layer in self.inputs]
        for target in (2, 3):
            total: Tensor | None = None
            for source in range(target):
                name = f"edge_{source}_{target}"
                if name in self.edges:
                    term: Tensor = self.edges[name](nodes[source])
                    total = term if total is None else total + term
            nodes.append(torch.zeros_like(nodes[0]) if total is None else total)
        outputs: Tensor = self.head(torch.cat(nodes[2:], dim=-1))
        return outputs
