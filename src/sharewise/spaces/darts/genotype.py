"""The field's notation of cells, `Genotype(normal=[('sep_conv_3x3', 0), …], normal_concat=range(2, 6), …)`.

A text is read by one pattern, never evaluated. Operations come as pairs (operation, input), two for each node in order,
or as the triples (operation, node, input) of Fair-DARTS, where a node may have any number of them.

References:
    The namedtuple of the authors' code of H. Liu et al., *DARTS*, ICLR 2019; triples as in X. Chu et al., *Fair DARTS*,
    ECCV 2020 (arXiv 1911.12126).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple, final

from sharewise.errors import ConfigurationError, shown

__all__ = ["INPUTS", "KINDS", "NODES", "Cell", "Genotype", "read_genotype", "write_pairs", "write_triples"]

INPUTS = 2
NODES = (2, 3, 4, 5)
KINDS = ("normal", "reduce")

Cell = tuple[tuple[str, int, int], ...]
"""Operation, node that it leads to, node that it comes from; in any order."""

_LONGEST = 4000
_ITEM = r"""\((?:'[a-z0-9_]{1,20}'|"[a-z0-9_]{1,20}"),\d(?:,\d)?\)"""
_ITEMS = rf"\[((?:{_ITEM},?){{0,64}})\]"
_CONCAT = r"(range\(\d,\d\)|\[(?:\d,?){0,8}\])"
_FORM = re.compile(
    rf"Genotype\(normal={_ITEMS},normal_concat={_CONCAT},reduce={_ITEMS},reduce_concat={_CONCAT},?\)", re.ASCII
)
_PARTS = re.compile(r"\(['\"]([a-z0-9_]+)['\"],(\d)(?:,(\d))?\)", re.ASCII)

_EXPECTED = (
    "Genotype(normal=[('sep_conv_3x3', 0), …], normal_concat=range(2, 6), reduce=[…], reduce_concat=range(2, 6))"
)


@final
class Genotype(NamedTuple):
    """Two cells as they were written.

    Args:
        normal: operations of the normal cell.
        normal_concat: nodes whose concatenation is its output.
        reduce: operations of the reduction cell.
        reduce_concat: nodes of its output.
    """

    normal: Cell
    normal_concat: tuple[int, ...]
    reduce: Cell
    reduce_concat: tuple[int, ...]

    def cell(self, kind: str) -> Cell:
        """The operations of one of `KINDS`."""
        return self.normal if kind == "normal" else self.reduce

    def concat(self, kind: str) -> tuple[int, ...]:
        """The output nodes of one of `KINDS`."""
        return self.normal_concat if kind == "normal" else self.reduce_concat


def read_genotype(text: str) -> Genotype:
    """The cells of a genotype; what its operations are called is not judged.

    Args:
        text: in the notation above; spaces and line ends do not matter.

    Raises:
        ConfigurationError: when it has another form, or an operation leads from a node to itself or an earlier one.

    Example:
        >>> cell = "[" + ", ".join(["('skip_connect', 0), ('max_pool_3x3', 1)"] * 4) + "]"
        >>> text = f"Genotype(normal={cell}, normal_concat=range(2, 6), reduce=[], reduce_concat=[])"
        >>> read_genotype(text).normal[2]
        ('skip_connect', 3, 0)
    """
    match = _FORM.fullmatch("".join(text.split())) if len(text) <= _LONGEST else None
    if match is None:
        raise ConfigurationError(f"{shown(text)} is no genotype and no name of a published one; expected {_EXPECTED}")
    normal, normal_concat, reduce, reduce_concat = match.groups()
    return Genotype(_cell(normal), _concat(normal_concat), _cell(reduce), _concat(reduce_concat))


def _cell(items: str) -> Cell:
    found = []
    for place, (operation, first, second) in enumerate(_PARTS.findall(items)):
        target, source = (int(first), int(second)) if second else (INPUTS + place // 2, int(first))
        if not (target in NODES and source < target):
            raise ConfigurationError(
                f"{operation!r} leads from node {source} to node {target} of a genotype; operations lead to one of the "
                f"nodes {NODES[0]} to {NODES[-1]}, from an earlier node"
            )
        found.append((operation, target, source))
    return tuple(found)


def _concat(text: str) -> tuple[int, ...]:
    numbers = [int(digit) for digit in re.findall(r"\d", text)]
    return tuple(range(*numbers)) if text.startswith("range") else tuple(numbers)


def write_pairs(normal: Cell, reduce: Cell) -> str:
    """Cells in which each node has two inputs, as pairs.

    Args:
        normal: by nodes, then inputs.
        reduce: likewise.
    """
    return _write(
        (f"[{_list((operation, source) for operation, _, source in cell)}]", "range(2, 6)") for cell in (normal, reduce)
    )


def write_triples(normal: Cell, reduce: Cell) -> str:
    """Cells in which nodes may have any number of inputs, as triples; nodes without any leave the concatenation.

    Args:
        normal: by nodes, then inputs.
        reduce: likewise.
    """
    return _write((f"[{_list(cell)}]", str(sorted({target for _, target, _ in cell}))) for cell in (normal, reduce))


def _list(items: Iterable[tuple[object, ...]]) -> str:
    return ", ".join(map(str, items))


def _write(cells: Iterable[tuple[str, str]]) -> str:
    (normal, normal_concat), (reduce, reduce_concat) = cells
    return f"Genotype(normal={normal}, normal_concat={normal_concat}, reduce={reduce}, reduce_concat={reduce_concat})"
