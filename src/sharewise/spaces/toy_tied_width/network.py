"""The plain network of the tied-width toy, on `torch` alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Network", "activation"]


def activation(name: str) -> nn.Module:
    """The module of an activation."""
    match name:
        case "relu":
            return nn.ReLU()
        case "tanh":
            return nn.Tanh()
        case "gelu":
            return nn.GELU()
        case _:
            raise ValueError(f"unknown activation {name!r}")


class Network(nn.Module):
    """A perceptron with one hidden layer.

    Args:
        width: of the hidden layer.
        activation_name: `"relu"`, `"tanh"` or `"gelu"`.
        input_shape: of one example; it is flattened.
        outputs: size of the last layer.
    """

    def __init__(self, width: int, activation_name: str, input_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.configuration: dict[str, Any] = {
            "width": width,
            "activation_name": activation_name,
            "input_shape": tuple(input_shape),
            "outputs": outputs,
        }
        self.enter = nn.Linear(int(torch.Size(input_shape).numel()), width)
        self.activation = activation(activation_name)
        self.leave = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, …)` to `(n, outputs)`."""
        outputs: Tensor = self.leave(self.activation(self.enter(x.flatten(1))))
        return outputs
