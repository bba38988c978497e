"""The supernet of HW-GPT-Bench: the largest network, of which every architecture is a slice.

Features nest for all layers together, heads and hidden features within a layer. Under a mixture a bias is scaled by the
weight of its presence.

Deviations:
    The authors' fused layer holds query, key and value head by head; here each has a layer of its own, which is the
    same up to the order of rows. Their configurations name a dropout of 0.1, which their networks do not apply.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import nn

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Option, Space
from sharewise.spaces.hw_gpt_bench.network import Network
from sharewise.spaces.language_model.supernet import some_tokens
from sharewise.spaces.limits import PROBABILITY, keep_limits
from sharewise.spaces.transformer_layers import layers_of
from sharewise.supernet.elastic import Choices, depth, elastic_networks, heads, present, ratio, width

__all__ = ["NETWORKS", "HwGptOptions"]


@final
@dataclass(frozen=True)
class HwGptOptions:
    """Options of the network, none of which is part of an architecture's identity.

    Args:
        head_size: features of a head, a multiple of 4; 64 in the benchmark.
        dropout: probability with which weights of attention are zeroed, in [0, 1).
        published: whether the shared weights are superposed as the authors of TangleNAS do, who scale a dimension where
            it is written and where it is read, or once (default).
        recompute: whether layers are computed a second time in the backward pass instead of kept, for less memory.
    """

    head_size: int = 64
    dropout: float = 0.0
    published: bool = False
    recompute: bool = False

    def __post_init__(self) -> None:
        if self.head_size < 4 or self.head_size % 4:
            raise ConfigurationError(f"network option head_size must be a multiple of 4, got {self.head_size}")
        keep_limits(self, dropout=PROBABILITY)


def _network(architecture: Architecture, input_shape: Sequence[int], outputs: int, options: HwGptOptions) -> nn.Module:
    if len(input_shape) != 1 or input_shape[0] < 1:
        raise ConfigurationError(f"language models take texts of shape (length,), got {tuple(input_shape)}")
    ratios, numbers = zip(*layers_of(architecture), strict=True)
    return Network(
        int(str(architecture["embedding"])),
        ratios,
        numbers,
        bool(architecture["bias"]),
        input_shape[0],
        outputs,
        options.head_size,
        options.dropout,
    )


def _numbers(options: Sequence[Option]) -> list[int]:
    return [int(str(option)) for option in options]


def _choices(space: Space, options: HwGptOptions) -> dict[str, list[Choices]]:
    layers = _numbers(space["layers"].options)
    chosen: dict[str, list[Choices]] = {
        "tokens": [width(_numbers(space["embedding"].options), name="embedding")],
        "layers.*": [depth(layers, name="layers")],
        "layers.*.perceptron.0": [present(name="bias")],
        "layers.*.perceptron.2": [present(name="bias")],
    }
    chosen |= {f"layers.*.attention.{part}": [present(name="bias")] for part in ("query", "key", "value", "project")}
    for i in range(1, layers[-1] + 1):
        number = heads(_numbers(space[f"heads_{i}"].options), name=f"heads_{i}")
        hidden = ratio(_numbers(space[f"mlp_ratio_{i}"].options), of="embedding", name=f"mlp_ratio_{i}")
        chosen[f"layers.{i - 1}.attention"] = [number]
        chosen[f"layers.{i - 1}.perceptron"] = [hidden]
    return chosen


NETWORKS = elastic_networks(_network, _choices, options=HwGptOptions, input_kinds=("text",), example=some_tokens)
