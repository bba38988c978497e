"""Conv-macro: kernels and channels of four convolutions, 3⁸ = 6,561 networks.

The toy macro space of weight entanglement: convolution i has 8·2^i, 16·2^i or 32·2^i channels (i = 0 … 3) and a kernel
of 3, 5 or 7. Its channels are the inputs of the next convolution as well: one choice for two layers.

References:
    R. Sukthanker, A. Krishnakumar, M. Safari and F. Hutter, *Weight-Entanglement Meets Gradient-Based Neural
    Architecture Search*, AutoML 2024 (arXiv 2312.10440), appendix D; automl/TangleNAS.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

from sharewise.space import Architecture, Choice, Picture, Space

__all__ = ["CHANNELS", "KERNELS", "conv_macro"]

CHANNELS = ((8, 16, 32), (16, 32, 64), (32, 64, 128), (64, 128, 256))
"""Options of the four convolutions that are searched."""
KERNELS = (3, 5, 7)


def _draw(architecture: Architecture) -> Picture:
    layers = range(1, len(CHANNELS) + 1)
    nodes = ("image", *(f"layer {i}: {architecture[f'channels_{i}']} channels" for i in layers), "classifier")
    kernels = [f"convolution {architecture[f'kernel_{i}']}×{architecture[f'kernel_{i}']}" for i in layers]
    labels = [*kernels, "convolution 7×7, linear layers"]
    return Picture(nodes, tuple((a, b, label) for (a, b), label in zip(pairwise(nodes), labels, strict=True)))


@cache
def conv_macro() -> Space:
    """The space itself: choices `channels_1`, `kernel_1`, …, `channels_4`, `kernel_4`.

    Returns:
        The space of 6,561 architectures; the same object at every call.

    Example:
        >>> conv_macro().size
        6561
    """
    return Space(
        name="conv-macro",
        choices=tuple(
            choice
            for layer, channels in enumerate(CHANNELS, start=1)
            for choice in (
                Choice(f"channels_{layer}", channels, ordered=True),
                Choice(f"kernel_{layer}", KERNELS, ordered=True),
            )
        ),
        networks="sharewise.spaces.conv_macro.supernet",
        draw=_draw,
        summary="conv-macro (TangleNAS): channels and kernels of four convolutions, nested in the largest",
    )
