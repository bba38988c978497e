"""The MobileNetV3 space of Once-for-All: depths of five units, kernel and expansion of each of their blocks.

A unit has two, three or four inverted bottlenecks; each has a depthwise kernel of 3, 5 or 7 and three, four or six
times as many middle channels as inputs. A block that is left out has neither, so there are (9² + 9³ + 9⁴)⁵
architectures.

References:
    H. Cai, C. Gan, T. Wang, Z. Zhang and S. Han, *Once-for-All: Train One Network and Specialize it for Efficient
    Deployment*, ICLR 2020 (arXiv 1908.09791); mit-han-lab/once-for-all @ f03b267, `ofa_mbv3.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Choice, Condition, ConditionalRelaxation, Picture, Space, ascending, family
from sharewise.space.family import MOST_LAYERS

__all__ = ["DEPTHS", "EXPANSIONS", "KERNELS", "UNITS", "block_choices", "drawing", "mobilenetv3"]

UNITS = 5
"""Rows of blocks of one number of channels, of which all but the first keep the extent of the image."""
DEPTHS = (2, 3, 4)
KERNELS = (3, 5, 7)
EXPANSIONS = (3, 4, 6)


def block_choices(
    unit: int, depths: Sequence[int], kernels: Sequence[int], expansions: Sequence[int]
) -> Iterator[Choice]:
    """The choices `kernel_u_b` and `expansion_u_b` of the blocks b of unit u, which matter while `depth_u` reaches b.

    Args:
        unit: its number, from 1.
        depths: options of `depth_u`, ascending.
        kernels: options of every block's kernel.
        expansions: options of every block's ratio of middle channels to inputs.
    """
    for block in range(1, depths[-1] + 1):
        deep = tuple(depth for depth in depths if depth >= block)
        condition = Condition(f"depth_{unit}", deep) if len(deep) < len(depths) else None
        for name, options, least in (("kernel", kernels, 1), ("expansion", expansions, 2)):
            sizes = ascending(name, options, least=least, most=31)
            if name == "kernel" and any(size % 2 == 0 for size in sizes):
                raise ConfigurationError(f"option kernel needs odd sizes, which have a centre, got {sizes}")
            yield Choice(f"{name}_{unit}_{block}", sizes, ordered=True, condition=condition)


def drawing(architecture: Architecture) -> Picture:
    """A row of inverted bottlenecks, each with its kernel and its expansion."""
    names = [name.removeprefix("kernel_").replace("_", ".") for name in architecture if name.startswith("kernel_")]
    nodes = ("stem", *(f"block {name}" for name in names), "classifier")
    labels = [
        f"{architecture[f'kernel_{key}']}×{architecture[f'kernel_{key}']}, ×{architecture[f'expansion_{key}']}"
        for key in (name.replace(".", "_") for name in names)
    ]
    edges = zip(pairwise(nodes), [*labels, "pooling, linear layers"], strict=True)
    return Picture(nodes, tuple((a, b, label) for (a, b), label in edges))


@family("mobilenetv3")
def mobilenetv3(
    *,
    depth: tuple[int, ...] = DEPTHS,
    kernel: tuple[int, ...] = KERNELS,
    expansion: tuple[int, ...] = EXPANSIONS,
) -> Space:
    """The space of given sizes: choices `depth_1` … `depth_5`, then `kernel_1_1`, `expansion_1_1`, … of each block.

    Args:
        depth: numbers of blocks that a unit may have, from 1.
        kernel: sizes of a block's depthwise kernel, odd.
        expansion: of a block's middle channels to its inputs, from 2.

    Returns:
        The space, by default of 21,758,655,492,572,485,851 architectures.

    Example:
        >>> mobilenetv3().size
        21758655492572485851

    Deviations:
        The resolution of the images is no part of an architecture here, but an option of the data (`--image-size`).
    """
    units = range(1, UNITS + 1)
    return Space(
        name="mobilenetv3",
        choices=(
            *(Choice(f"depth_{unit}", ascending("depth", depth, most=MOST_LAYERS), ordered=True) for unit in units),
            *(choice for unit in units for choice in block_choices(unit, depth, kernel, expansion)),
        ),
        relax=ConditionalRelaxation,
        networks="sharewise.spaces.mobilenetv3.supernet",
        draw=drawing,
        summary="MobileNetV3 of Once-for-All: depths, kernels and expansions of inverted bottlenecks",
    )
