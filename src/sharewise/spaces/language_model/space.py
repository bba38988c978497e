"""Language models: embedding, layers, and by layer the heads and the ratio of the hidden width, as in TangleNAS.

All layers share the embedding, since a residual stream joins them. A layer cuts its features into heads, so that their
number changes no parameter, and has a perceptron of embedding · ratio hidden features. The standard string names the
embedding, then ratio and heads of every layer: `768-3x12-4x8-…`.

References:
    R. Sukthanker et al., *Weight-Entanglement Meets Gradient-Based Neural Architecture Search*, AutoML 2024 (arXiv
    2312.10440), appendix D; automl/TangleNAS, `search_spaces/nanoGPT`, commit 20aa4b1.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import pairwise

from sharewise.errors import ConfigurationError
from sharewise.space import (
    Architecture,
    Codec,
    ConditionalRelaxation,
    Option,
    Picture,
    Space,
    family,
)
from sharewise.spaces.transformer_layers import choices_of, layers_of, read, written

__all__ = ["drawn", "encoded", "language_model"]


def encoded(values: Mapping[str, Option]) -> str:
    """The standard string of an architecture."""
    return written(values["embedding"], layers_of(values))


def drawn(architecture: Architecture) -> Picture:
    """The drawing of an architecture, layer below layer."""
    layers = layers_of(architecture)
    features = f"{architecture['embedding']} features"
    nodes = ("tokens", features, *(f"layer {i}" for i in range(1, len(layers) + 1)), "next tokens")
    labels = ("embedding", *(f"{heads} heads, ratio {ratio}" for ratio, heads in layers), "norm, head")
    return Picture(nodes, tuple((a, b, label) for (a, b), label in zip(pairwise(nodes), labels, strict=True)))


@family("language-model")
def language_model(
    *,
    embedding: tuple[int, ...] = (384, 576, 768),
    layers: tuple[int, ...] = (5, 6, 7),
    heads: tuple[int, ...] = (6, 8, 12),
    mlp_ratio: tuple[int, ...] = (2, 3, 4),
) -> Space:
    """The space of given sizes: choices `layers`, `embedding`, and `mlp_ratio_1`, `heads_1`, … of each layer.

    Args:
        embedding: numbers of features of every token to choose from, each a multiple of every number of heads.
        layers: numbers of layers to choose from.
        heads: numbers of heads to choose from in every layer; a head has embedding / heads features.
        mlp_ratio: ratios of hidden features to those of a token to choose from in every layer.

    Returns:
        The space, of 16,120,377 architectures by default; the same object for the same sizes.

    Raises:
        ConfigurationError: when sizes do not ascend, or some heads do not divide some embedding.

    Example:
        >>> language_model().size, language_model(embedding=(8, 16), layers=(1,), heads=(2,), mlp_ratio=(2, 4)).size
        (16120377, 4)
    """
    found = choices_of(layers, embedding, mlp_ratio, heads)
    for features in embedding:
        for number in heads:
            if features % number:
                raise ConfigurationError(f"heads must divide every embedding, but {number} does not divide {features}")
    return Space(
        name="language-model",
        choices=found,
        codec=Codec(encoded, partial(read, "language-model")),
        relax=ConditionalRelaxation,
        networks="sharewise.spaces.language_model.supernet",
        draw=drawn,
        summary=f"language models of {layers[0]} to {layers[-1]} layers in the form of GPT-2 (TangleNAS)",
    )
