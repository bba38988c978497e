"""NAS-Bench-Macro: eight layers of three blocks each, 3⁸ = 6,561 networks.

The standard string has one digit a layer: 0 identity, 1 MobileNetV2 block 3×3 with expansion 3, 2 MobileNetV2 block 5×5
with expansion 6. Three stages hold two, three and three layers; the first layer of each halves the resolution and
doubles the channels (an identity does so by a 1×1 convolution).

References:
    X. Su et al., *Prioritized Architecture Sampling with Monto-Carlo Tree Search*, CVPR 2021 (arXiv 2103.11922);
    xiusu/NAS-Bench-Macro.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Choice, Codec, Option, Picture, Space

__all__ = ["BLOCKS", "STAGES", "nasbench_macro"]

BLOCKS = ("identity", "mb3_k3", "mb6_k5")
STAGES = (2, 3, 3)
_LAYERS = sum(STAGES)


def _encode(values: Mapping[str, Option]) -> str:
    return "".join(str(BLOCKS.index(str(values[f"layer_{layer}"]))) for layer in range(_LAYERS))


def _decode(text: str) -> dict[str, Option]:
    if len(text) != _LAYERS or not set(text) <= set("012"):
        raise ConfigurationError(
            f"{text!r} is not an architecture of NAS-Bench-Macro; expected {_LAYERS} digits of 0 (identity), 1 (MB "
            "3×3, expansion 3) and 2 (MB 5×5, expansion 6), such as 10212012"
        )
    return {f"layer_{layer}": BLOCKS[int(digit)] for layer, digit in enumerate(text)}


def _digits(texts: Sequence[str]) -> npt.NDArray[np.integer] | None:
    joined = "".join(texts)
    if set(map(len, texts)) != {_LAYERS} or not joined.isascii():
        return None
    digits = np.frombuffer(joined.encode(), np.uint8).reshape(-1, _LAYERS).astype(np.int64) - ord("0")
    return digits if digits.min() >= 0 and digits.max() < len(BLOCKS) else None


def _effective(architecture: Architecture) -> Architecture:
    """The member of the class with identities moved to the end of each stage, where they change nothing."""
    text, start, parts = str(architecture), 0, []
    for layers in STAGES:
        first, others = text[start], text[start + 1 : start + layers]
        parts.append((first + others.replace("0", "")).ljust(layers, "0"))
        start += layers
    return nasbench_macro().parse("".join(parts))


def _draw(architecture: Architecture) -> Picture:
    nodes = ("image", *(f"{layer}: {block}" for layer, block in enumerate(architecture.values(), start=1)), "output")
    return Picture(nodes, tuple((a, b, "") for a, b in pairwise(nodes)))


@cache
def nasbench_macro() -> Space:
    """The space itself: eight choices named `layer_0` to `layer_7`.

    Canonical level `"identity"`: an identity that is not the first layer of its stage computes nothing, so its place
    does not matter; 3,969 classes.

    Returns:
        The space; the same object at every call.

    Example:
        >>> space = nasbench_macro()
        >>> space.size, str(space.canonical(space.parse("10102002"), "identity"))
        (6561, '10120020')
    """
    return Space(
        name="nasbench_macro",
        choices=tuple(Choice(f"layer_{layer}", BLOCKS, ordered=True) for layer in range(_LAYERS)),
        codec=Codec(_encode, _decode, _digits),
        canonical_forms={"identity": _effective},
        networks="sharewise.spaces.nasbench_macro.networks",
        draw=_draw,
        summary="NAS-Bench-Macro: 8 layers, each identity or one of two MobileNetV2 blocks",
    )
