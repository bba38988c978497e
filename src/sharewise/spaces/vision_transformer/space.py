"""Vision transformers: width, depth, and by layer the heads and the ratio of the hidden width, as in AutoFormer.

The features of all layers are one choice, since a residual stream joins them. A layer has heads of 64 features each,
and a perceptron of ⌊features · ratio⌋ hidden features. The standard string names the features, then ratio and heads of
each layer: `192-3.5x3-4x3-…`.

References:
    M. Chen, H. Peng, J. Fu and H. Ling, *AutoFormer: Searching Transformers for Visual Recognition*, ICCV 2021 (arXiv
    2107.00651), table 1; microsoft/Cream, `AutoFormer/experiments`, commit 4a13c40.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
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

__all__ = [
    "AUTOFORMER",
    "layers_of",
    "vision_transformer_base",
    "vision_transformer_small",
    "vision_transformer_tiny",
]

Layers = tuple[tuple[float, int], ...]
"""Ratio and heads, layer by layer."""

AUTOFORMER: Mapping[str, tuple[int, Layers]] = {
    "tiny": (
        192,
        tuple(
            zip(
                (3.5, 3.5, 3.0, 3.5, 3.0, 3.0, 4.0, 4.0, 3.5, 4.0, 3.5, 4.0, 3.5),
                (3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 3, 3),
                strict=True,
            )
        ),
    ),
    "small": (
        384,
        tuple(
            zip(
                (3.0, 3.5, 3.0, 3.5, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 3.5, 4.0),
                (6, 6, 5, 7, 5, 5, 5, 6, 6, 7, 7, 6, 7),
                strict=True,
            )
        ),
    ),
    "base": (
        576,
        tuple(
            zip(
                (3.5, 3.5, 4.0, 3.5, 4.0, 3.5, 3.5, 3.0, 4.0, 4.0, 3.0, 4.0, 3.0, 3.5),
                (9, 9, 9, 9, 9, 10, 9, 9, 10, 9, 10, 9, 9, 10),
                strict=True,
            )
        ),
    ),
}
"""The features and layers of the published subnets. Tiny has the ratio 3 in three layers, which its space does not."""


def layers_of(values: Mapping[str, Option]) -> Layers:
    """Ratio and heads of each layer that is there.

    Args:
        values: an architecture.
    """
    names = range(1, int(str(values["layers"])) + 1)
    return tuple((float(str(values[f"mlp_ratio_{i}"])), int(str(values[f"heads_{i}"]))) for i in names)


def _written(features: Option, layers: Layers) -> str:
    return "-".join([str(features), *(f"{ratio:g}x{heads}" for ratio, heads in layers)])


def _encode(values: Mapping[str, Option]) -> str:
    return _written(values["embedding"], layers_of(values))


def _decode(title: str, text: str) -> dict[str, Option]:
    match = re.fullmatch(r"([0-9]{1,5})((?:-[0-9]{1,2}(?:\.[0-9]{1,3})?x[0-9]{1,3})+)", text)
    if match is None:
        raise ConfigurationError(
            f"{text!r} is not an architecture of space {title!r}; expected its features, then ratio and heads of every "
            "layer, such as 192-3.5x3-4x4-… with one part a layer"
        )
    parts = [part.split("x") for part in match[2].split("-")[1:]]
    values: dict[str, Option] = {"layers": len(parts), "embedding": int(match[1])}
    for i, (ratio, heads) in enumerate(parts, start=1):
        values |= {f"mlp_ratio_{i}": float(ratio), f"heads_{i}": int(heads)}
    return values


def _draw(architecture: Architecture) -> Picture:
    layers = enumerate(layers_of(architecture), start=1)
    blocks = (f"layer {i}: {heads} heads, ratio {ratio:g}" for i, (ratio, heads) in layers)
    nodes = ("image", f"patches: {architecture['embedding']} features", *blocks, "classifier")
    return Picture(nodes, tuple((a, b, "") for a, b in pairwise(nodes)))


def _space(
    size: str, embedding: Sequence[int], layers: Sequence[int], heads: Sequence[int], mlp_ratio: Sequence[float]
) -> Space:
    title = f"vision-transformer-{size}"
    choices = [
        Choice("layers", ascending("layers", layers, most=MOST_LAYERS), ordered=True),
        Choice("embedding", ascending("embedding", embedding), ordered=True),
    ]
    ratios, numbers = ascending("mlp_ratio", mlp_ratio, least=0.125, most=99), ascending("heads", heads, most=999)
    for i in range(1, layers[-1] + 1):
        deep = tuple(depth for depth in layers if depth >= i)
        condition = None if deep == tuple(layers) else Condition("layers", deep)
        choices += [
            Choice(f"mlp_ratio_{i}", ratios, ordered=True, condition=condition),
            Choice(f"heads_{i}", numbers, ordered=True, condition=condition),
        ]
    space = Space(
        name=title,
        choices=tuple(choices),
        codec=Codec(_encode, partial(_decode, title)),
        relax=ConditionalRelaxation,
        networks="sharewise.spaces.vision_transformer.supernet",
        draw=_draw,
        summary=f"vision transformers of {layers[0]} to {layers[-1]} layers (AutoFormer-{size.capitalize()})",
    )
    return replace(space, named=_published(space, size))


def _published(space: Space, size: str) -> dict[str, str]:
    """The published subnet by name, where it is a member."""
    text = _written(*AUTOFORMER[size])
    with suppress(ConfigurationError):
        return {f"autoformer_{size}": str(space.parse(text))}
    return {}


@family("vision-transformer-tiny")
def vision_transformer_tiny(
    *,
    embedding: tuple[int, ...] = (192, 216, 240),
    layers: tuple[int, ...] = (12, 13, 14),
    heads: tuple[int, ...] = (3, 4),
    mlp_ratio: tuple[float, ...] = (3.5, 4.0),
) -> Space:
    """AutoFormer-Tiny: choices `layers`, `embedding`, and `mlp_ratio_1`, `heads_1`, … of each layer.

    The published subnet AutoFormer-T is no member, since three of its layers have a ratio of 3.

    Args:
        embedding: numbers of features of every token to choose from.
        layers: numbers of layers to choose from.
        heads: numbers of heads of 64 features to choose from in every layer.
        mlp_ratio: ratios of hidden features to those of a token to choose from in every layer.

    Returns:
        The space, of 1,056,964,608 architectures by default; the same object for the same sizes.

    Example:
        >>> space = vision_transformer_tiny()
        >>> space.size, [choice.options for choice in space.choices[:4]]
        (1056964608, [(12, 13, 14), (192, 216, 240), (3.5, 4.0), (3, 4)])
    """
    return _space("tiny", embedding, layers, heads, mlp_ratio)


@family("vision-transformer-small")
def vision_transformer_small(
    *,
    embedding: tuple[int, ...] = (320, 384, 448),
    layers: tuple[int, ...] = (12, 13, 14),
    heads: tuple[int, ...] = (5, 6, 7),
    mlp_ratio: tuple[float, ...] = (3.0, 3.5, 4.0),
) -> Space:
    """AutoFormer-Small; see `vision_transformer_tiny`. The published subnet is `autoformer_small`.

    Args:
        embedding: numbers of features of every token to choose from.
        layers: numbers of layers to choose from.
        heads: numbers of heads of 64 features to choose from in every layer.
        mlp_ratio: ratios of hidden features to those of a token to choose from in every layer.

    Returns:
        The space; the same object for the same sizes.

    Example:
        >>> len(vision_transformer_small().parse("autoformer_small"))
        28
    """
    return _space("small", embedding, layers, heads, mlp_ratio)


@family("vision-transformer-base")
def vision_transformer_base(
    *,
    embedding: tuple[int, ...] = (528, 576, 624),
    layers: tuple[int, ...] = (14, 15, 16),
    heads: tuple[int, ...] = (9, 10),
    mlp_ratio: tuple[float, ...] = (3.0, 3.5, 4.0),
) -> Space:
    """AutoFormer-Base, with the 9 or 10 heads of the file of its supernet; see `vision_transformer_tiny`.

    The published subnet is `autoformer_base`. The file of that subnet also lists 8 heads, which none of its layers has.

    Args:
        embedding: numbers of features of every token to choose from.
        layers: numbers of layers to choose from.
        heads: numbers of heads of 64 features to choose from in every layer.
        mlp_ratio: ratios of hidden features to those of a token to choose from in every layer.

    Returns:
        The space; the same object for the same sizes.

    Example:
        >>> len(vision_transformer_base().parse("autoformer_base"))
        30
    """
    return _space("base", embedding, layers, heads, mlp_ratio)
