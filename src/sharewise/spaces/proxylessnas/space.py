"""The ProxylessNAS space in the form of Once-for-All: inverted bottlenecks of a mobile network without excitation.

Five units of two, three or four blocks and a sixth of one; every block has a kernel of 3, 5 or 7 and an expansion of
3, 4 or 6. There are 9 · (9² + 9³ + 9⁴)⁵ architectures.

References:
    H. Cai, L. Zhu and S. Han, *ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware*, ICLR 2019
    (arXiv 1812.00332); H. Cai et al., ICLR 2020 (arXiv 1908.09791), mit-han-lab/once-for-all @ f03b267,
    `ofa_proxyless.py`.
"""

from __future__ import annotations

from sharewise.space import Choice, ConditionalRelaxation, Space, ascending, family
from sharewise.space.family import MOST_LAYERS
from sharewise.spaces.mobilenetv3.space import DEPTHS, EXPANSIONS, KERNELS, block_choices, drawing

__all__ = ["UNITS", "proxylessnas"]

UNITS = 6
"""Of which the last has one block, and so no choice of depth."""


@family("proxylessnas")
def proxylessnas(
    *,
    depth: tuple[int, ...] = DEPTHS,
    kernel: tuple[int, ...] = KERNELS,
    expansion: tuple[int, ...] = EXPANSIONS,
) -> Space:
    """The space of given sizes: choices `depth_1` … `depth_5`, then `kernel_1_1`, `expansion_1_1`, … of each block.

    Args:
        depth: numbers of blocks that each of the first five units may have, from 1.
        kernel: sizes of a block's depthwise kernel, odd.
        expansion: of a block's middle channels to its inputs, from 2.

    Returns:
        The space, by default of 195,827,899,433,152,372,659 architectures.

    Example:
        >>> proxylessnas().size
        195827899433152372659

    Deviations:
        The paper of ProxylessNAS chooses among expansions 3 and 6 and lets any block but the first of a unit be left
        out; this is the space that Once-for-All has made of it. The resolution of images is no part of an architecture.
    """
    deep = range(1, UNITS)
    return Space(
        name="proxylessnas",
        choices=(
            *(Choice(f"depth_{unit}", ascending("depth", depth, most=MOST_LAYERS), ordered=True) for unit in deep),
            *(choice for unit in deep for choice in block_choices(unit, depth, kernel, expansion)),
            *block_choices(UNITS, (1,), kernel, expansion),
        ),
        relax=ConditionalRelaxation,
        networks="sharewise.spaces.proxylessnas.supernet",
        draw=drawing,
        summary="ProxylessNAS in the form of Once-for-All: depths, kernels and expansions of inverted bottlenecks",
    )
