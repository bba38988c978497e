"""The NAS-Bench-201 cell space (NATS-Bench topology space), to the letter.

A cell is a complete directed acyclic graph on 4 nodes: node 0 is the input, node 3 the output, and each of the 6 edges
carries one of 5 operations. There are 5^6 = 15,625 architectures. The standard string lists the incoming edges of each
node: `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`.

References:
    X. Dong and Y. Yang, *NAS-Bench-201*, ICLR 2020 (arXiv 2001.00326).
    X. Dong et al., *NATS-Bench*, TPAMI 2021 (arXiv 2009.00437).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from itertools import product
from typing import cast, final

import numpy as np
import numpy.typing as npt

from sharewise.errors import ConfigurationError
from sharewise.space import (
    Architecture,
    Choice,
    Codec,
    Listing,
    Option,
    Picture,
    Space,
    enumerate_architectures,
    longest_path,
)

__all__ = ["EDGES", "NODES", "OPERATIONS", "architecture_at", "index_of", "nasbench201", "unique_string"]

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NODES = 4
EDGES = tuple((source, target) for target in range(1, NODES) for source in range(target))
_FORM = "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"
_TOKEN = re.compile(r"([a-z0-9_]+)~(\d)")


def edge_name(source: int, target: int) -> str:
    """The choice of the edge from `source` to `target`."""
    return f"edge_{source}_{target}"


def _encode(values: Mapping[str, Option]) -> str:
    nodes = (
        "|" + "|".join(f"{values[edge_name(source, target)]}~{source}" for source in range(target)) + "|"
        for target in range(1, NODES)
    )
    return "+".join(nodes)


def _decode(text: str) -> dict[str, Option]:
    def wrong(reason: str) -> ConfigurationError:
        return ConfigurationError(
            f"{text!r} is not a NAS-Bench-201 architecture: {reason}. Expected {_FORM} "
            f"with op one of {', '.join(OPERATIONS)}"
        )

    nodes = text.split("+")
    if len(nodes) != NODES - 1:
        raise wrong(f"{len(nodes)} nodes instead of {NODES - 1}")
    values: dict[str, Option] = {}
    for target, node in enumerate(nodes, start=1):
        if not (node.startswith("|") and node.endswith("|") and len(node) > 2):
            raise wrong(f"node {target} is not enclosed in '|'")
        tokens = node[1:-1].split("|")
        if len(tokens) != target:
            raise wrong(f"node {target} has {len(tokens)} incoming edges instead of {target}")
        for source, token in enumerate(tokens):
            match = _TOKEN.fullmatch(token)
            if match is None or int(match[2]) != source:
                raise wrong(f"edge {token!r} of node {target} should read 'op~{source}'")
            if match[1] not in OPERATIONS:
                raise wrong(f"unknown operation {match[1]!r}")
            values[edge_name(source, target)] = match[1]
    return values


def _draw(architecture: Architecture) -> Picture:
    nodes = ("input", *(f"node {i}" for i in range(1, NODES - 1)), "output")
    return Picture(
        nodes,
        tuple((nodes[s], nodes[t], str(architecture[edge_name(s, t)])) for s, t in EDGES),
    )


_LENGTHS = {"none": None, "skip_connect": 0.0, "nor_conv_1x1": 1.0, "nor_conv_3x3": 1.0, "avg_pool_3x3": 1.0}


def _features(architecture: Architecture) -> dict[str, bool | float]:
    """How often each operation occurs, the shape of the graph, and the operation of every edge."""
    chosen = {edge: str(architecture[edge_name(*edge)]) for edge in EDGES}
    found: dict[str, bool | float] = {
        f"number of {operation}": float(list(chosen.values()).count(operation)) for operation in OPERATIONS
    }
    found["residual edge (input to output skips)"] = chosen[0, NODES - 1] == "skip_connect"
    found["depth (operations on the longest path)"] = longest_path(
        {edge: _LENGTHS[operation] for edge, operation in chosen.items()}, range(NODES)
    )
    for (source, target), chosen_one in chosen.items():
        found |= {f"edge {source} to {target}: {operation}": chosen_one == operation for operation in OPERATIONS}
    del found[f"edge 0 to {NODES - 1}: skip_connect"]  # the residual edge, under its other name
    return found


def unique_string(architecture: Architecture, *, collapse_zero: bool) -> str:
    """The published string of a cell's function, equal for cells that the benchmark calls isomorphic.

    Each node's string is the sorted, `+`-joined list of its inputs' strings; `skip_connect` hands on its input's string
    unchanged. With `collapse_zero`, a `none` edge, and any edge that leaves a node whose string is exactly `#`, reads
    `#`.

    Args:
        architecture: of this space.
        collapse_zero: whether `none` edges collapse as well. 12,751 different strings without, 6,466 with.

    Returns:
        The string of the output node.

    Deviations:
        None from the published procedure, which does not drop `#` terms from sums; dropping them would leave 5,390
        classes. The counts 12,751 and 6,466 belong to exactly this procedure.

    References:
        NAS-Bench-201, section 2.1 (the unique topology structures).

    Example:
        >>> cell = nasbench201().parse("|skip_connect~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|")
        >>> unique_string(cell, collapse_zero=True)
        '#+#+0'
    """
    strings = ["0"]
    for target in range(1, NODES):
        terms = []
        for source in range(target):
            operation, inner = architecture[edge_name(source, target)], strings[source]
            if collapse_zero and (operation == "none" or inner == "#"):
                terms.append("#")
            elif operation == "skip_connect":
                terms.append(inner)
            else:
                terms.append(f"({inner})@{operation}")
        strings.append("+".join(sorted(terms)))
    return strings[-1]


@cache
def _official_order() -> npt.NDArray[np.uint16]:
    """For each official index the lexicographic rank of the architecture (base-5 digits in the order of `EDGES`)."""
    with resources.files(__package__).joinpath("order.npy").open("rb") as file:
        order: npt.NDArray[np.uint16] = np.load(file, allow_pickle=False)
    return order


@cache
def _official_index() -> npt.NDArray[np.uint16]:
    order = _official_order()
    index = np.empty_like(order)
    index[order] = np.arange(len(order), dtype=order.dtype)
    return index


def index_of(architecture: Architecture) -> int:
    """The architecture's index in the official release.

    Example:
        >>> index_of(nasbench201().parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"))
        1651
    """
    rank = 0
    for edge in EDGES:
        rank = rank * len(OPERATIONS) + OPERATIONS.index(str(architecture[edge_name(*edge)]))
    return int(_official_index()[rank])


def architecture_at(index: int) -> Architecture:
    """The architecture of an official index.

    Args:
        index: in [0, 15,625).

    Raises:
        ConfigurationError: when the index is out of range.

    Example:
        >>> str(architecture_at(1462))
        '|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|'
    """
    order = _official_order()
    if not 0 <= index < len(order):
        raise ConfigurationError(f"NAS-Bench-201 has indices 0 to {len(order) - 1}, got {index}")
    rank = int(order[index])
    values: dict[str, Option] = {}
    for edge in reversed(EDGES):
        rank, digit = divmod(rank, len(OPERATIONS))
        values[edge_name(*edge)] = OPERATIONS[digit]
    return nasbench201().architecture(values)


@cache
def _representatives(collapse_zero: bool) -> Mapping[str, Architecture]:
    """For each unique string the member of lowest official index."""
    classes: dict[str, tuple[int, Architecture]] = {}
    for architecture in enumerate_architectures(nasbench201()):
        key, index = unique_string(architecture, collapse_zero=collapse_zero), index_of(architecture)
        if key not in classes or index < classes[key][0]:
            classes[key] = (index, architecture)
    return {key: architecture for key, (_, architecture) in classes.items()}


def _canonical_skip(architecture: Architecture) -> Architecture:
    return _representatives(False)[unique_string(architecture, collapse_zero=False)]


def _canonical_skip_zero(architecture: Architecture) -> Architecture:
    return _representatives(True)[unique_string(architecture, collapse_zero=True)]


_WEIGHTS: dict[tuple[str, Option], int] = {
    (edge_name(*edge), operation): len(OPERATIONS) ** (len(EDGES) - 1 - place) * digit
    for place, edge in enumerate(EDGES)
    for digit, operation in enumerate(OPERATIONS)
}
_NODES = tuple(
    {
        "|" + "|".join(f"{name}~{source}" for source, name in enumerate(names)) + "|": sum(
            _WEIGHTS[edge_name(source, target), name] for source, name in enumerate(names)
        )
        for names in product(OPERATIONS, repeat=target)
    }
    for target in range(1, NODES)
)


def _rank(text: str) -> int:
    """The rank of a standard string, node by node; `KeyError` or `ValueError` where it is none."""
    first, second, third = text.split("+")
    return _NODES[0][first] + _NODES[1][second] + _NODES[2][third]


@final
class NasBench201Listing(Listing):
    """The official order of the benchmark, by which its tables are indexed.

    Example:
        >>> listing = NasBench201Listing()
        >>> listing.code("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
        1651
    """

    def __len__(self) -> int:
        return len(_official_order())

    def at(self, index: int) -> Architecture:
        """See `Listing.at`."""
        return architecture_at(index)

    def index(self, architecture: Architecture) -> int:
        """See `Listing.index`."""
        try:
            items = architecture.items_
            if architecture.space == "nasbench201" and len(dict(items)) == len(items) == len(EDGES):
                return int(_official_index()[sum(map(_WEIGHTS.__getitem__, items))])
        except KeyError:
            pass
        raise ConfigurationError(f"{architecture!r} is not an architecture of space 'nasbench201'")

    def code(self, item: object) -> int:
        """The official index of an architecture or of its standard string: see `Listing.code`."""
        if isinstance(item, Architecture):
            return self.index(item)
        if not isinstance(item, str):
            raise ConfigurationError(f"{item!r} is not an Architecture or a string of the form {_FORM}")
        try:
            return int(_official_index()[_rank(item.strip())])
        except (KeyError, ValueError):
            return self.index(nasbench201().parse(item))  # raises with the reason

    def codes_of(self, items: Sequence[object]) -> npt.NDArray[np.integer]:
        """See `Listing.codes_of`."""
        try:
            if all(isinstance(item, str) for item in items):
                return _official_index()[[_rank(item) for item in cast(Sequence[str], items)]].astype(np.int64)
        except (KeyError, ValueError):
            pass  # one is no standard string: read one by one, and say which
        return super().codes_of(items)


def _counts(space: Space) -> dict[str, dict[str, int]]:
    """Classes by canonical level, known so that nobody waits for 15,625 canonical forms; a test counts them."""
    return {"unique": {"skip": 12_751, "skip-zero": 6_466}}


@cache
def nasbench201() -> Space:
    """The space itself: 6 choices named `edge_<source>_<target>`, 5 operations each.

    Canonical levels: `"skip"` (12,751 classes) and `"skip-zero"` (6,466 classes), each represented by its member of
    lowest official index.

    Returns:
        The space; the same object at every call.

    Example:
        >>> nasbench201().size
        15625
    """
    return Space(
        name="nasbench201",
        choices=tuple(Choice(edge_name(*edge), OPERATIONS) for edge in EDGES),
        codec=Codec(_encode, _decode),
        canonical_forms={"skip": _canonical_skip, "skip-zero": _canonical_skip_zero},
        networks="sharewise.spaces.nasbench201.supernet",
        draw=_draw,
        summary="NAS-Bench-201 cell: 4 nodes, 6 edges, 5 operations",
        listing_=NasBench201Listing,
        counts=_counts,
        features=_features,
    )
