"""The ResNet-50D space of Once-for-All: depth and width of four stages, the bottleneck of each of their blocks.

A stage has its least number of blocks (2, 2, 4 and 2) and up to two more, and 0.65, 0.8 or 1.0 times its channels; a
block has 0.2, 0.25 or 0.35 times as many middle channels as outputs. The stem has two widths, and a block that may be
left out.

References:
    H. Cai et al., *Once-for-All: Train One Network and Specialize it for Efficient Deployment*, ICLR 2020 (arXiv
    1908.09791), the ResNet50-D space of its repository: mit-han-lab/once-for-all @ f03b267, `ofa_resnets.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from sharewise.space import Architecture, Choice, Condition, ConditionalRelaxation, Picture, Space, ascending, family
from sharewise.space.family import MOST_LAYERS

__all__ = ["BLOCKS", "EXPANSIONS", "WIDTHS", "ofa_resnet50"]

BLOCKS = (2, 2, 4, 2)
"""The least number of blocks of each stage; there are up to two more."""
WIDTHS = (0.65, 0.8, 1.0)
EXPANSIONS = (0.2, 0.25, 0.35)


def _stage(stage: int, depths: Sequence[int], expansions: Sequence[float]) -> Iterator[Choice]:
    for block in range(1, depths[-1] + 1):
        deep = tuple(depth for depth in depths if depth >= block)
        condition = Condition(f"depth_{stage}", deep) if len(deep) < len(depths) else None
        sizes = ascending("expansion", expansions, least=0.01, most=16)
        yield Choice(f"expansion_{stage}_{block}", sizes, ordered=True, condition=condition)


def _draw(architecture: Architecture) -> Picture:
    names = [name.removeprefix("expansion_") for name in architecture if name.startswith("expansion_")]
    nodes = ("stem", *(f"block {name.replace('_', '.')}" for name in names), "classifier")
    labels = [f"×{architecture[f'width_{n[0]}']}, bottleneck ×{architecture[f'expansion_{n}']}" for n in names]
    edges = zip(pairwise(nodes), [*labels, "pooling, linear layer"], strict=True)
    return Picture(nodes, tuple((a, b, label) for (a, b), label in edges))


@family("ofa-resnet50")
def ofa_resnet50(
    *,
    more: tuple[int, ...] = (0, 1, 2),
    width: tuple[float, ...] = WIDTHS,
    expansion: tuple[float, ...] = EXPANSIONS,
) -> Space:
    """The space of given sizes: `depth_stem`, `depth_1` …, `width_middle`, `width_stem`, `width_1` … `expansion_4_4`.

    Args:
        more: how many blocks a stage may have beyond its least number, 2, 2, 4 and 2.
        width: what multiplies the channels of a stage and of the stem.
        expansion: of a block's middle channels to its outputs.

    Returns:
        The space, by default of 2,458,914,796,962 architectures.

    Example:
        >>> ofa_resnet50().size
        2458914796962

    Deviations:
        A depth is the number of blocks, where the authors count those beyond the least number. The resolution of images
        is no part of an architecture.
    """
    extra = ascending("more", more, least=0, most=MOST_LAYERS)
    depths = {stage: tuple(least + m for m in extra) for stage, least in enumerate(BLOCKS, start=1)}
    widths = [f"width_{what}" for what in ("middle", "stem", *depths)]
    return Space(
        name="ofa-resnet50",
        choices=(
            Choice("depth_stem", (0, 1), ordered=True),
            *(Choice(f"depth_{stage}", some, ordered=True) for stage, some in depths.items()),
            *(Choice(name, ascending("width", width, least=0.01, most=16), ordered=True) for name in widths),
            *(choice for stage, some in depths.items() for choice in _stage(stage, some, expansion)),
        ),
        relax=ConditionalRelaxation,
        networks="sharewise.spaces.ofa_resnet50.supernet",
        draw=_draw,
        summary="ResNet-50D of Once-for-All: depths, widths and bottlenecks of residual stages",
    )
