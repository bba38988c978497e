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
from functools import cache, partial
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
)

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
    names = range(1, int(str(values["depth"])) + 1)
    return tuple((float(str(values[f"ratio_{i}"])), int(str(values[f"heads_{i}"]))) for i in names)


def _written(features: Option, layers: Layers) -> str:
    return "-".join([str(features), *(f"{ratio:g}x{heads}" for ratio, heads in layers)])


def _encode(values: Mapping[str, Option]) -> str:
    return _written(values["features"], layers_of(values))


def _decode(title: str, text: str) -> dict[str, Option]:
    match = re.fullmatch(r"([0-9]{1,5})((?:-[0-9]{1,2}(?:\.[0-9]{1,3})?x[0-9]{1,3})+)", text)
    if match is None:
        raise ConfigurationError(
            f"{text!r} is not an architecture of space {title!r}; expected its features, then ratio and heads of every "
            "layer, such as 192-3.5x3-4x4-… with one part a layer"
        )
    parts = [part.split("x") for part in match[2].split("-")[1:]]
    values: dict[str, Option] = {"depth": len(parts), "features": int(match[1])}
    for i, (ratio, heads) in enumerate(parts, start=1):
        values |= {f"ratio_{i}": float(ratio), f"heads_{i}": int(heads)}
    return values


def _draw(architecture: Architecture) -> Picture:
    layers = enumerate(layers_of(architecture), start=1)
    blocks = (f"layer {i}: {heads} heads, ratio {ratio:g}" for i, (ratio, heads) in layers)
    nodes = ("image", f"patches: {architecture['features']} features", *blocks, "classifier")
    return Picture(nodes, tuple((a, b, "") for a, b in pairwise(nodes)))


def _space(
    size: str, features: Sequence[int], layers: Sequence[int], heads: Sequence[int], ratio: Sequence[float]
) -> Space:
    choices = [
        Choice("depth", tuple(layers), ordered=True),
        Choice("features", tuple(features), ordered=True),
    ]
    for i in range(1, max(layers) + 1):
        deep = tuple(depth for depth in layers if depth >= i)
        condition = None if len(deep) == len(layers) else Condition("depth", deep)
        choices += [
            Choice(f"ratio_{i}", tuple(map(float, ratio)), ordered=True, condition=condition),
            Choice(f"heads_{i}", tuple(heads), ordered=True, condition=condition),
        ]
    title = f"vision-transformer-{size}"
    published = _written(*AUTOFORMER[size])
    member = all(r in tuple(ratio) for r, _ in AUTOFORMER[size][1])
    return Space(
        name=title,
        choices=tuple(choices),
        codec=Codec(_encode, partial(_decode, title)),
        relax=ConditionalRelaxation,
        networks="sharewise.spaces.vision_transformer.supernet",
        draw=_draw,
        summary=f"vision transformers of {min(layers)} to {max(layers)} layers (AutoFormer-{size.capitalize()})",
        named={f"autoformer_{size}": published} if member else {},
    )


@cache
def vision_transformer_tiny() -> Space:
    """AutoFormer-Tiny: choices `depth`, `features`, and `ratio_1`, `heads_1`, … of each layer.

    The published subnet AutoFormer-T is no member, since three of its layers have a ratio of 3.

    Returns:
        The space of 1,056,964,608 architectures; the same object at every call.

    Example:
        >>> space = vision_transformer_tiny()
        >>> [choice.options for choice in space.choices[:4]]
        [(12, 13, 14), (192, 216, 240), (3.5, 4.0), (3, 4)]
    """
    return _space("tiny", (192, 216, 240), (12, 13, 14), (3, 4), (3.5, 4.0))


@cache
def vision_transformer_small() -> Space:
    """AutoFormer-Small; see `vision_transformer_tiny`. The published subnet is `autoformer_small`.

    Returns:
        The space; the same object at every call.
    """
    return _space("small", (320, 384, 448), (12, 13, 14), (5, 6, 7), (3.0, 3.5, 4.0))


@cache
def vision_transformer_base() -> Space:
    """AutoFormer-Base, with the 9 or 10 heads of the file of its supernet; see `vision_transformer_tiny`.

    The published subnet is `autoformer_base`. The file of that subnet also lists 8 heads, which none of its layers has.

    Returns:
        The space; the same object at every call.
    """
    return _space("base", (528, 576, 624), (14, 15, 16), (9, 10), (3.0, 3.5, 4.0))
