"""The toy cell space of weight entanglement: 4⁶ = 4,096 networks of separable and dilated convolutions.

Three cells, reduction, normal, reduction, have two nodes each; every node sums over all before it. The two reduction
cells share their three choices, so there are six.

References:
    R. Sukthanker et al., *Weight-Entanglement Meets Gradient-Based Neural Architecture Search*, AutoML 2024
    (arXiv 2312.10440), appendix D; automl/TangleNAS.
"""

from __future__ import annotations

from functools import cache

from sharewise.space import Architecture, Choice, Picture, Space

__all__ = ["EDGES", "KINDS", "OPERATIONS", "edge_name", "toy_separable_cell"]

KINDS = ("normal", "reduction")
EDGES = ((0, 1), (0, 2), (1, 2))
OPERATIONS = ("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")


def edge_name(kind: str, source: int, target: int) -> str:
    """Name of the choice and decision of an edge."""
    return f"{kind}_{source}_{target}"


def _draw(architecture: Architecture) -> Picture:
    nodes, edges = [], []
    for kind in KINDS:
        names = {0: f"{kind} input", 1: f"{kind} 1", 2: f"{kind} 2"}
        nodes += [*names.values(), f"{kind} output"]
        edges += [(names[s], names[t], str(architecture[edge_name(kind, s, t)])) for s, t in EDGES]
        edges += [(names[node], f"{kind} output", "") for node in (1, 2)]
    return Picture(tuple(nodes), tuple(edges))


@cache
def toy_separable_cell() -> Space:
    """The space itself: choices `normal_0_1` to `normal_1_2`, then `reduction_0_1` to `reduction_1_2`.

    Returns:
        The space of 4,096 architectures; the same object at every call.

    Example:
        >>> toy_separable_cell().size
        4096
    """
    return Space(
        name="toy-separable-cell",
        choices=tuple(Choice(edge_name(kind, *edge), OPERATIONS) for kind in KINDS for edge in EDGES),
        networks="sharewise.spaces.toy_separable_cell.supernet",
        draw=_draw,
        summary="toy cell (TangleNAS): separable and dilated convolutions, 3×3 within 5×5",
    )
