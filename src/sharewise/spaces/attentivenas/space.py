"""The space of AttentiveNAS: depth, width, kernel and expansion of seven stages of inverted bottlenecks.

All blocks of a stage have the same kernel and expansion; the first convolution and the last features have two widths.

References:
    D. Wang, M. Li, C. Gong and V. Chandra, *AttentiveNAS: Improving Neural Architecture Search via Attentive Sampling*,
    CVPR 2021 (arXiv 2011.09011); facebookresearch/AttentiveNAS @ c4c16f1, `configs/train_attentive_nas_models.yml`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import final

from sharewise.space import Architecture, Choice, Option, Picture, Space, ascending, family
from sharewise.space.family import MOST_LAYERS

__all__ = ["FIRST", "LAST", "STAGES", "Stage", "attentivenas", "setting"]


@final
@dataclass(frozen=True)
class Stage:
    """The options of one stage, and what is the same for all architectures.

    Args:
        width: channels that its blocks write.
        depth: numbers of blocks.
        expansion: middle channels per channel that a block reads.
        stride: of the first block.
        excited: whether its blocks squeeze and excite.
    """

    width: tuple[int, ...]
    depth: tuple[int, ...]
    expansion: tuple[int, ...]
    stride: int
    excited: bool


FIRST, LAST, KERNELS = (16, 24), (1792, 1984), (3, 5)
STAGES = (
    Stage((16, 24), (1, 2), (1,), 1, False),
    Stage((24, 32), (3, 4, 5), (4, 5, 6), 2, False),
    Stage((32, 40), (3, 4, 5, 6), (4, 5, 6), 2, True),
    Stage((64, 72), (3, 4, 5, 6), (4, 5, 6), 2, False),
    Stage((112, 120, 128), (3, 4, 5, 6, 7, 8), (4, 5, 6), 1, True),
    Stage((192, 200, 208, 216), (3, 4, 5, 6, 7, 8), (6,), 2, True),
    Stage((216, 224), (1, 2), (6,), 1, True),
)


def _choices(depth: tuple[int, ...]) -> Iterator[Choice]:
    yield Choice("width_first", FIRST, ordered=True)
    for number, stage in enumerate(STAGES, start=1):
        yield Choice(f"depth_{number}", depth or stage.depth, ordered=True)
        options = {"width": stage.width, "kernel": KERNELS, "expansion": stage.expansion}
        for name, some in options.items():
            if len(some) > 1:
                yield Choice(f"{name}_{number}", some, ordered=True)
    yield Choice("width_last", LAST, ordered=True)


def setting(values: Mapping[str, Option], name: str, number: int) -> int:
    """What an architecture has in a stage, also where there is one option alone.

    Args:
        values: an architecture.
        name: `depth`, `width`, `kernel` or `expansion`.
        number: of the stage, from 1.
    """
    return int(str(values.get(f"{name}_{number}", STAGES[number - 1].expansion[0])))  # the only one that may be alone


def _draw(architecture: Architecture) -> Picture:
    nodes, labels = [f"stem: {architecture['width_first']} channels"], []
    for n in range(1, len(STAGES) + 1):
        depth, width, kernel, ratio = (setting(architecture, k, n) for k in ("depth", "width", "kernel", "expansion"))
        nodes.append(f"stage {n}: {depth} blocks, {width} channels")
        labels.append(f"{kernel}×{kernel}, ×{ratio}")
    nodes.append("classifier")
    edges = zip(pairwise(nodes), [*labels, "pooling, linear layers"], strict=True)
    return Picture(tuple(nodes), tuple((a, b, label) for (a, b), label in edges))


@family("attentivenas")
def attentivenas(*, depth: tuple[int, ...] = ()) -> Space:
    """The space itself: choices `width_first`, `depth_1`, `width_1`, `kernel_1`, `depth_2`, … `width_last`.

    Args:
        depth: numbers of blocks that any stage may have, from 1; by default each stage has its own, as published.

    Returns:
        The space, by default of 110,075,314,176 architectures; the same object for the same options.

    Example:
        >>> attentivenas().size
        110075314176

    Deviations:
        The authors search the resolution of the images too (192, 224, 256 or 288), which would make four times as many
        architectures; here it is an option of the data (`--image-size`), not of a network.
    """
    depths = ascending("depth", depth, most=MOST_LAYERS) if depth else ()
    return Space(
        name="attentivenas",
        choices=tuple(_choices(depths)),
        networks="sharewise.spaces.attentivenas.supernet",
        draw=_draw,
        summary="AttentiveNAS: depths, widths, kernels and expansions of stages of inverted bottlenecks",
    )
