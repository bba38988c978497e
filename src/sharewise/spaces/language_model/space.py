"""Language models: embedding, layers, and by layer the heads and the ratio of the hidden width, as in TangleNAS.

All layers share the embedding, since a residual stream joins them. A layer cuts its features into heads, so that their
number changes no parameter, and has a perceptron of embedding · ratio hidden features. The standard string names the
embedding, then ratio and heads of every layer: `768-3x12-4x8-…`.

References:
    R. Sukthanker et al., *Weight-Entanglement Meets Gradient-Based Neural Architecture Search*, AutoML 2024 (arXiv
    2312.10440), appendix D; automl/TangleNAS, `search_spaces/nanoGPT`, commit 20aa4b1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise

from sharewise.errors import ConfigurationError
from sharewise.space import (
    Architecture,
    Choice,
    Codec,
    Condition,
    ConditionalRelaxation,
    Option,
    Picture,
    Space,
    ascending,
    family,
)
from sharewise.space.family import MOST_LAYERS

__all__ = ["choices_of", "drawn", "language_model", "layers_of", "read", "written"]

Layers = tuple[tuple[int, int], ...]
"""Ratio and heads, layer by layer."""


def layers_of(values: Mapping[str, Option]) -> Layers:
    """Ratio and heads of each layer that is there.

    Args:
        values: an architecture.

    Example:
        >>> layers_of({"layers": 1, "mlp_ratio_1": 4, "heads_1": 12})
        ((4, 12),)
    """
    names = range(1, int(str(values["layers"])) + 1)
    return tuple((int(str(values[f"mlp_ratio_{i}"])), int(str(values[f"heads_{i}"]))) for i in names)


def written(values: Mapping[str, Option]) -> str:
    """The standard string: embedding, then ratio and heads of each layer.

    Example:
        >>> written({"embedding": 48, "layers": 1, "mlp_ratio_1": 4, "heads_1": 2})
        '48-4x2'
    """
    return "-".join([str(values["embedding"]), *(f"{ratio}x{heads}" for ratio, heads in layers_of(values))])


def read(title: str, text: str) -> dict[str, Option]:
    """The values that a standard string names.

    Args:
        title: of the space, for the message.
        text: the string.

    Raises:
        ConfigurationError: when it has another form.

    Example:
        >>> read("language-model", "48-4x2")
        {'layers': 1, 'embedding': 48, 'mlp_ratio_1': 4, 'heads_1': 2}
    """
    match = re.fullmatch(r"([0-9]{1,6})((?:-[0-9]{1,3}x[0-9]{1,4}){1,999})", text)
    if match is None:
        raise ConfigurationError(
            f"{text!r} is not an architecture of space {title!r}; expected its embedding, then ratio and heads of "
            "every layer, such as 768-3x12-4x8-… with one part a layer"
        )
    parts = [part.split("x") for part in match[2].split("-")[1:]]
    values: dict[str, Option] = {"layers": len(parts), "embedding": int(match[1])}
    for i, (ratio, heads) in enumerate(parts, start=1):
        values |= {f"mlp_ratio_{i}": int(ratio), f"heads_{i}": int(heads)}
    return values


def drawn(architecture: Architecture) -> Picture:
    """The drawing of an architecture, layer below layer."""
    layers = layers_of(architecture)
    features = f"{architecture['embedding']} features"
    nodes = ("tokens", features, *(f"layer {i}" for i in range(1, len(layers) + 1)), "next tokens")
    labels = ("embedding", *(f"{heads} heads, ratio {ratio}" for ratio, heads in layers), "norm, head")
    return Picture(nodes, tuple((a, b, label) for (a, b), label in zip(pairwise(nodes), labels, strict=True)))


def choices_of(
    layers: Sequence[int], embedding: Sequence[int], mlp_ratio: Sequence[int], heads: Sequence[int]
) -> tuple[Choice, ...]:
    """The choices of a transformer: `layers`, `embedding`, and `mlp_ratio_1`, `heads_1`, … of each layer.

    What is chosen in a layer matters while the layer is there.

    Args:
        layers: how many there may be.
        embedding: features of every token.
        mlp_ratio: of hidden features to those of a token.
        heads: of attention.

    Example:
        >>> [choice.name for choice in choices_of((1,), (8, 16), (2, 4), (2,))]
        ['layers', 'embedding', 'mlp_ratio_1', 'heads_1']
    """
    found = [
        Choice("layers", ascending("layers", layers, most=MOST_LAYERS), ordered=True),
        Choice("embedding", ascending("embedding", embedding), ordered=True),
    ]
    ratios, numbers = ascending("mlp_ratio", mlp_ratio, most=99), ascending("heads", heads, most=999)
    for i in range(1, layers[-1] + 1):
        deep = tuple(depth for depth in layers if depth >= i)
        condition = None if deep == tuple(layers) else Condition("layers", deep)
        found += [
            Choice(f"mlp_ratio_{i}", ratios, ordered=True, condition=condition),
            Choice(f"heads_{i}", numbers, ordered=True, condition=condition),
        ]
    return tuple(found)


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
        codec=Codec(written, partial(read, "language-model")),
        relax=ConditionalRelaxation,
        networks="sharewise.spaces.language_model.supernet",
        draw=drawn,
        summary=f"language models of {layers[0]} to {layers[-1]} layers in the form of GPT-2 (TangleNAS)",
    )
