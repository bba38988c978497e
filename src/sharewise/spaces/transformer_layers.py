"""Spaces of transformers: features, a number of layers, and by layer the heads and the ratio of the hidden width.

All layers share the features, since a residual stream joins them. The standard string names them, then ratio and heads
of every layer: `768-3x12-4x8-…`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from sharewise.errors import ConfigurationError
from sharewise.space import Choice, Condition, Option, ascending
from sharewise.space.family import MOST_LAYERS

__all__ = ["Layers", "choices_of", "layers_of", "read", "written"]

Layers = tuple[tuple[float, int], ...]
"""Ratio and heads, layer by layer."""


def choices_of(
    layers: Sequence[int],
    embedding: Sequence[int],
    mlp_ratio: Sequence[float],
    heads: Sequence[int],
    *,
    least_ratio: float = 1,
) -> tuple[Choice, ...]:
    """The choices of a transformer: `layers`, `embedding`, and `mlp_ratio_1`, `heads_1`, … of each layer.

    What is chosen in a layer matters while the layer is there.

    Args:
        layers: how many there may be.
        embedding: features of every token.
        mlp_ratio: of hidden features to those of a token.
        heads: of attention.
        least_ratio: the smallest legal ratio.

    Example:
        >>> [choice.name for choice in choices_of((1,), (8, 16), (2, 4), (2,))]
        ['layers', 'embedding', 'mlp_ratio_1', 'heads_1']
    """
    found = [
        Choice("layers", ascending("layers", layers, most=MOST_LAYERS), ordered=True),
        Choice("embedding", ascending("embedding", embedding), ordered=True),
    ]
    ratios = ascending("mlp_ratio", mlp_ratio, least=least_ratio, most=99)
    numbers = ascending("heads", heads, most=999)
    for i in range(1, layers[-1] + 1):
        deep = tuple(depth for depth in layers if depth >= i)
        condition = None if deep == tuple(layers) else Condition("layers", deep)
        found += [
            Choice(f"mlp_ratio_{i}", ratios, ordered=True, condition=condition),
            Choice(f"heads_{i}", numbers, ordered=True, condition=condition),
        ]
    return tuple(found)


def layers_of(values: Mapping[str, Option]) -> Layers:
    """Ratio and heads of each layer that is there; a ratio is a whole number where the space has it so.

    Args:
        values: an architecture.

    Example:
        >>> layers_of({"layers": 1, "mlp_ratio_1": 4, "heads_1": 12})
        ((4, 12),)
    """
    names = range(1, int(str(values["layers"])) + 1)
    return tuple((_number(str(values[f"mlp_ratio_{i}"])), int(str(values[f"heads_{i}"]))) for i in names)


def _number(text: str) -> float:
    return float(text) if "." in text else int(text)


def written(features: Option, layers: Layers) -> str:
    """The standard string: features, then ratio and heads of each layer.

    Example:
        >>> written(192, ((3.5, 3), (4.0, 4)))
        '192-3.5x3-4x4'
    """
    return "-".join([str(features), *(f"{ratio:g}x{heads}" for ratio, heads in layers)])


def read(
    title: str,
    text: str,
    *,
    ratio: type[int] | type[float] = int,
    first: str = "embedding",
    example: str = "768-3x12-4x8",
) -> dict[str, Option]:
    """The values that a standard string names.

    Args:
        title: of the space, for the message.
        text: the string.
        ratio: what ratios are.
        first: what its first number is, for the message.
        example: of another string.

    Raises:
        ConfigurationError: when it has another form.

    Example:
        >>> read("language-model", "48-4x2")
        {'layers': 1, 'embedding': 48, 'mlp_ratio_1': 4, 'heads_1': 2}
    """
    decimals = r"(?:\.[0-9]{1,3})?" if ratio is float else ""
    match = re.fullmatch(rf"([0-9]{{1,6}})((?:-[0-9]{{1,3}}{decimals}x[0-9]{{1,4}}){{1,999}})", text)
    if match is None:
        raise ConfigurationError(
            f"{text!r} is not an architecture of space {title!r}; expected its {first}, then ratio and heads of every "
            f"layer, such as {example}-… with one part a layer"
        )
    parts = [part.split("x") for part in match[2].split("-")[1:]]
    values: dict[str, Option] = {"layers": len(parts), "embedding": int(match[1])}
    for i, (factor, heads) in enumerate(parts, start=1):
        values |= {f"mlp_ratio_{i}": ratio(factor), f"heads_{i}": int(heads)}
    return values
