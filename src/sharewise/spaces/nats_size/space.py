"""The size space of NATS-Bench: the widths of five layers of one fixed cell, 8⁵ = 32,768 networks.

The five numbers are the channels of stage 1, of the first residual block, of stage 2, of the second residual block, and
of stage 3, each of 8, 16, …, 64. The standard string is `c0:c1:c2:c3:c4`; the official index counts as its digits do.

References:
    X. Dong et al., *NATS-Bench*, TPAMI 2021 (arXiv 2009.00437), section 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Choice, Codec, Option, Picture, Space

__all__ = ["CHANNELS", "LAYERS", "nats_size"]

CHANNELS = tuple(range(8, 65, 8))
LAYERS = 5
_ROLES = ("stage 1", "residual block 1", "stage 2", "residual block 2", "stage 3")


def _encode(values: Mapping[str, Option]) -> str:
    return ":".join(str(values[f"channels_{layer}"]) for layer in range(LAYERS))


def _decode(text: str) -> dict[str, Option]:
    parts = text.split(":")
    if len(parts) != LAYERS or not all(part.isascii() and part.isdecimal() for part in parts):
        raise ConfigurationError(
            f"{text!r} is not an architecture of the NATS-Bench size space; expected c0:c1:c2:c3:c4 with channels of "
            f"{', '.join(map(str, CHANNELS))}, such as 8:16:32:48:64"
        )
    return {f"channels_{layer}": int(part) for layer, part in enumerate(parts)}


_DIGITS = {str(channels): digit for digit, channels in enumerate(CHANNELS)}


def _digits(texts: Sequence[str]) -> npt.NDArray[np.integer] | None:
    if {text.count(":") for text in texts} != {LAYERS - 1}:
        return None
    try:
        found = [_DIGITS[part] for part in ":".join(texts).split(":")]
    except KeyError:
        return None
    return np.array(found).reshape(-1, LAYERS)


def _draw(architecture: Architecture) -> Picture:
    nodes = ("image", *(f"{role} ({c})" for role, c in zip(_ROLES, architecture.values(), strict=True)), "output")
    return Picture(nodes, tuple((a, b, "") for a, b in pairwise(nodes)))


@cache
def nats_size() -> Space:
    """The space itself: five choices named `channels_0` to `channels_4`.

    Returns:
        The space; the same object at every call.

    Example:
        >>> nats_size().listing.code("8:8:40:32:40")
        284
    """
    return Space(
        name="nats_size",
        choices=tuple(Choice(f"channels_{layer}", CHANNELS, ordered=True) for layer in range(LAYERS)),
        codec=Codec(_encode, _decode, _digits),
        networks="sharewise.spaces.nats_size.supernet",
        draw=_draw,
        summary="NATS-Bench size space: 5 channel counts of 8 to 64 for a fixed cell",
    )
