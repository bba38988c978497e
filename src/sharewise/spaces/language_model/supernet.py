"""The supernet of language models: the largest network, of which every architecture is a slice.

Features nest for all layers together, hidden features within a layer. Numbers of heads cut the same features
differently, so under a mixture attention is computed once for each, on the same queries, keys and values; sizes of
heads, which follow the embedding, are superposed in the scores of attention.

Deviations:
    A head of the authors' supernet has neighbouring features, so that a smaller embedding gives its features to other
    heads; here feature f belongs to head f mod heads, and a smaller embedding takes leading features of every head. A
    plain network is the same up to the order of rows. The authors scale queries, keys and values by the gates, and
    again what is written and read; here a mixture of embeddings superposes the scores of attention exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Option, Space
from sharewise.spaces.language_model.network import Network
from sharewise.spaces.limits import PROBABILITY, keep_limits
from sharewise.spaces.transformer_layers import layers_of
from sharewise.supernet.elastic import Choices, depth, elastic_networks, ratio, setting, width

__all__ = ["NETWORKS", "LanguageModelOptions", "some_tokens"]


@final
@dataclass(frozen=True)
class LanguageModelOptions:
    """Options of the network, none of which is part of an architecture's identity.

    Args:
        dropout: probability with which weights of attention, outputs of layers and embeddings are zeroed, in [0, 1);
            0.2 in the paper.
        bias: whether linear layers and norms have biases, as GPT-2 has and the authors' networks have not.
        recompute: whether layers are computed a second time in the backward pass instead of kept, for less memory.
    """

    dropout: float = 0.2
    bias: bool = False
    recompute: bool = False

    def __post_init__(self) -> None:
        keep_limits(self, dropout=PROBABILITY)


def some_tokens(input_shape: Sequence[int]) -> Tensor:
    """Texts to trace a network with: two rows of the first two tokens of a vocabulary.

    Args:
        input_shape: the length of a text.

    Example:
        >>> some_tokens((3,)).shape
        torch.Size([2, 3])
    """
    return torch.randint(0, 2, (2, *input_shape), generator=torch.Generator().manual_seed(0), device="cpu")


def _network(
    architecture: Architecture, input_shape: Sequence[int], outputs: int, options: LanguageModelOptions
) -> nn.Module:
    if len(input_shape) != 1 or input_shape[0] < 1:
        raise ConfigurationError(f"language models take texts of shape (length,), got {tuple(input_shape)}")
    ratios, heads = zip(*layers_of(architecture), strict=True)
    features = int(str(architecture["embedding"]))
    return Network(features, ratios, heads, input_shape[0], outputs, options.dropout, options.bias)


def _numbers(options: Sequence[Option]) -> list[int]:
    return [int(str(option)) for option in options]


def _choices(space: Space, options: LanguageModelOptions) -> dict[str, list[Choices]]:
    features = _numbers(space["embedding"].options)
    layers = _numbers(space["layers"].options)
    same = [width(features, name="embedding")]
    chosen: dict[str, list[Choices]] = {
        "tokens": [*same],
        "layers.*": [depth(layers, name="layers")],
        "layers.*.attention.query": [*same],
        "layers.*.attention.value": [*same],
    }
    for i in range(1, layers[-1] + 1):
        heads = setting("heads", _numbers(space[f"heads_{i}"].options), name=f"heads_{i}")
        hidden = ratio(_numbers(space[f"mlp_ratio_{i}"].options), of="embedding", name=f"mlp_ratio_{i}")
        chosen[f"layers.{i - 1}.attention.heads"] = [heads]
        chosen[f"layers.{i - 1}.perceptron"] = [hidden]
    return chosen


NETWORKS = elastic_networks(
    _network, _choices, options=LanguageModelOptions, input_kinds=("text",), example=some_tokens
)
