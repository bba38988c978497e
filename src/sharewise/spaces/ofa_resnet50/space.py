"""The ResNet-50D space of Once-for-All: depth and width of four stages, the bottleneck of each of their blocks.

A stage has its least number of blocks (2, 2, 4 and 2) and up to two more, and 0.65, 0.8 or 1.0 times its channels; a block
has 0.2, 0.25 or 0.35 times as many middle channels as outputs. The stem has a block that may be left out, and two widths.

References:
    H. Cai et al., *Once-for-All: Train One Network and Specialize it for Efficient Deployment*, ICLR 2020 (arXiv
    1908.09791), the ResNet50-D space of its repository: mit-han-lab/once-for-all @ f03b267, `ofa_resnets.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import pairwise

from sharewise.space import Architecture, Choice, Condition, ConditionalRelaxation, Picture, Space

__all__ = ["BLOCKS", "EXPANSIONS", "WIDTHS", "ofa_resnet50"]

BLOCKS = (2, 2, 4, 2)
"""The least number of blocks of each stage; there are up to two more."""
WIDTHS = (0.65, 0.8, 1.0)
EXPANSIONS = (0.2, 0.25, 0.35)


def _depths(stage: int) -> tuple[int, ...]:
    least = BLOCKS[stage - 1]
    return (least, least + 1, least + 2)


def _stage(stage: int) -> Iterator[Choice]:
    depths = _depths(stage)
    for block in range(1, depths[-1] + 1):
        deep = tuple(depth for depth in depths if depth >= block)
        condition = Condition(f"depth_{stage}", deep) if len(deep) < len(depths) else None
        yield Choice(f"expansion_{stage}_{block}", EXPANSIONS, ordered=True, condition=condition)


def _draw(architecture: Architecture) -> Picture:
    names = [name.removeprefix("expansion_") for name in architecture if name.startswith("expansion_")]
    nodes = ("stem", *(f"block {name.replace('_', '.')}" for name in names), "classifier")
    labels = [f"×{architecture[f'width_{n[0]}']}, bottleneck ×{architecture[f'expansion_{n}']}" for n in names]
    edges = zip(pairwise(nodes), [*labels, "pooling, linear layer"], strict=True)
    return Picture(nodes, tuple((a, b, label) for (a, b), label in edges))


@cache
def ofa_resnet50() -> Space:
    """The space itself: choices `depth_stem`, `depth_1` …, `width_middle`, `width_stem`, `width_1` …, `expansion_1_1` ….

    Returns:
        The space of 2,458,914,796,962 architectures; the same object at every call.

    Example:
        >>> ofa_resnet50().size
        2458914796962

    Deviations:
        A depth is the number of blocks, where the authors count those beyond the least number. The resolution of images
        is no part of an architecture.
    """
    stages = range(1, len(BLOCKS) + 1)
    return Space(
        name="ofa-resnet50",
        choices=(
            Choice("depth_stem", (0, 1), ordered=True),
            *(Choice(f"depth_{stage}", _depths(stage), ordered=True) for stage in stages),
            Choice("width_middle", WIDTHS, ordered=True),
            Choice("width_stem", WIDTHS, ordered=True),
            *(Choice(f"width_{stage}", WIDTHS, ordered=True) for stage in stages),
            *(choice for stage in stages for choice in _stage(stage)),
        ),
        relax=ConditionalRelaxation,
        networks="sharewise.spaces.ofa_resnet50.supernet",
        draw=_draw,
        summary="ResNet-50D of Once-for-All: depths, widths and bottlenecks of residual stages",
    )
