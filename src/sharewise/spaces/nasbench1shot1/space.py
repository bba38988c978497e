"""The search spaces 1, 2 and 3 of NAS-Bench-1Shot1: parts of NAS-Bench-101 that a one-shot network can relax.

A cell has four or five choice blocks, each with one operation of NAS-Bench-101 and a fixed number of parents, and an
output with a fixed number of parents, so that operations and inputs are independent decisions. What such a wiring is
worth is known from NAS-Bench-101, where loose ends have no effect and isomorphic cells are one. So the identity of an
architecture is that cell: choices, strings and tables are those of `nasbench101`, of which this is a sub-space.

References:
    A. Zela, J. Siems and F. Hutter, *NAS-Bench-1Shot1: Benchmarking and Dissecting One-shot Neural Architecture
    Search*, ICLR 2020 (arXiv 2001.10422), section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial

from sharewise.errors import unknown_name
from sharewise.space import Constraint, Listing, Option, Relaxation, Space, SubListing
from sharewise.space.listing import find_row
from sharewise.spaces.nasbench1shot1.topology import DESIGNS, forms, parent_choices
from sharewise.spaces.nasbench101.cell import OPERATIONS
from sharewise.spaces.nasbench101.enumeration import enumeration
from sharewise.spaces.nasbench101.space import cell_of_values, nasbench101

__all__ = ["nasbench1shot1"]

_K = len(OPERATIONS)


def _listing(name: str) -> Listing:
    return SubListing(f"nasbench1shot1:{name}", nasbench101().listing, forms(name).rows)


def _formed(name: str, values: Mapping[str, Option]) -> bool:
    """Whether the blocks of a space form the cell of these values."""
    found = enumeration()
    return forms(name).holds(find_row((found.codes, found.rows), cell_of_values(values).pruned().code))


def _counts(name: str, space: Space) -> dict[str, dict[str, int]]:
    """The sizes by every way to count; under `as_printed` that of the paper, whose table mixes two of them.

    For spaces 1 and 3 the paper counts three operations for every block with at least one successor, over all wirings,
    loose ends included; for space 2 it counts three for every block.
    """
    design, found = DESIGNS[name], forms(name)
    wirings = parent_choices(design)
    succeeded = [len({parent for own in wiring for parent in own if parent}) for wiring in wirings]
    return {
        "by_way_to_count": {
            "parent choices": len(wirings),
            "times operations of all blocks": len(wirings) * _K**design.blocks,
            "times operations of blocks with a successor": sum(_K**blocks for blocks in succeeded),
            "as printed": design.printed,
            "topologies without loose ends": len(found.topologies),
            "labelled cells without loose ends": found.labelled,
            "unique cells": len(found.rows),
        }
    }


def _relax(name: str, space: Space) -> Relaxation:
    from sharewise.spaces.nasbench1shot1.relaxation import BlockRelaxation

    return BlockRelaxation(space, name)


@cache
def nasbench1shot1(name: str) -> Space:
    """One of the three search spaces, as a sub-space of NAS-Bench-101.

    Blocks 1 to 4 (5 in space 3) have 1, 2, 2, 2 parents, the output 2, in space 1; 1, 1, 2, 2 and 3 in space 2;
    1, 1, 1, 2, 2 and 2 in space 3. They hold 2,685, 7,773 and 55,854 unique cells.

    Args:
        name: `"1"`, `"2"` or `"3"`.

    Returns:
        The space `nasbench1shot1:NAME`; the same object at every call. It is sampled uniformly over its unique cells.

    Raises:
        ConfigurationError: for an unknown name.

    Deviations:
        The authors sample wirings and operations, under which cells with many forms are more likely.

    Example:
        >>> from sharewise.spaces import load
        >>> space = nasbench1shot1("1")
        >>> a = space.parse("maxpool3x3~0|conv1x1-bn-relu~0,1|output~1,2")
        >>> space.size, load("nasbench101").own(a).space
        (2685, 'nasbench101')
    """
    if name not in DESIGNS:
        raise unknown_name("search space of nasbench1shot1", name, DESIGNS)
    design, whole = DESIGNS[name], nasbench101()
    words = f"{design.blocks} blocks with {', '.join(map(str, design.parents[:-1]))} parents, output with "
    words += str(design.parents[-1])
    rule = Constraint(f"the cell is made of {words}", partial(_formed, name))
    return replace(
        whole,
        name=f"nasbench1shot1:{name}",
        constraints=(*whole.constraints, rule),
        relax=partial(_relax, name),
        networks="sharewise.spaces.nasbench1shot1.supernet",
        summary=f"NAS-Bench-1Shot1 search space {name}: {words}; cells of NAS-Bench-101",
        listing_=partial(_listing, name),
        counts=partial(_counts, name),
    )
