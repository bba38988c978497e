"""Vision transformers: width, depth, and by layer the heads and the ratio of the hidden width, as in AutoFormer.

The features of all layers are one choice, since a residual stream joins them. A layer has heads of 64 features each,
and a perceptron of ⌊features · ratio⌋ hidden features. The standard string names the features, then ratio and heads of
each layer: `192-3.5x3-4x3-…`.

References:
    M. Chen, H. Peng, J. Fu and H. Ling, *AutoFormer: Searching Transformers for Visual Recognition*, ICCV 2021 (arXiv
    2107.00651), table 1; microsoft/Cream, `AutoFormer/experiments`, commit 4a13c40.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
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
from sharewise.spaces.transformer_layers import Layers, choices_of, layers_of, read, written

__all__ = [
    "AUTOFORMER",
    "vision_transformer_base",
    "vision_transformer_small",
    "vision_transformer_tiny",
]

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


def _encode(values: Mapping[str, Option]) -> str:
    return written(values["embedding"], layers_of(values))


def _draw(architecture: Architecture) -> Picture:
    layers = enumerate(layers_of(architecture), start=1)
    blocks = (f"layer {i}: {heads} heads, ratio {ratio:g}" for i, (ratio, heads) in layers)
    nodes = ("image", f"patches: {architecture['embedding']} features", *blocks, "classifier")
    return Picture(nodes, tuple((a, b, "") for a, b in pairwise(nodes)))


def _space(
    size: str, embedding: Sequence[int], layers: Sequence[int], heads: Sequence[int], mlp_ratio: Sequence[float]
) -> Space:
    title = f"vision-transformer-{size}"
    space = Space(
        name=title,
        choices=choices_of(layers, embedding, mlp_ratio, heads, least_ratio=0.125),
        codec=Codec(_encode, partial(read, title, ratio=float, first="features", example="192-3.5x3-4x4")),
        relax=ConditionalRelaxation,
        networks="sharewise.spaces.vision_transformer.supernet",
        draw=_draw,
        summary=f"vision transformers of {layers[0]} to {layers[-1]} layers (AutoFormer-{size.capitalize()})",
    )
    return replace(space, named=_published(space, size))


def _published(space: Space, size: str) -> dict[str, str]:
    """The published subnet by name, where it is a member."""
    text = written(*AUTOFORMER[size])
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
