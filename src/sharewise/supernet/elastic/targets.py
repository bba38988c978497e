"""Targets: which dimension of a model a width or a number of heads chooses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import nn

from sharewise.errors import ConfigurationError
from sharewise.supernet.elastic.dimensions import Alive, Dimensions, FixedDimensionError
from sharewise.supernet.elastic.narrowing import narrowing, sizes_that_work
from sharewise.supernet.elastic.places import Place, within
from sharewise.supernet.elastic.record import Record

__all__ = ["target"]


def target(model: nn.Module, record: Record, place: Place) -> int:
    """The dimension that a width or a number of heads chooses.

    Args:
        model: whose module the place is.
        record: of its graph.
        place: of kind `width`, `ratio`, `following` or `heads`.

    Raises:
        ConfigurationError: when the module has no such dimension or several, or one of another size.
    """
    module = model.get_submodule(place.path)
    if isinstance(module, nn.MultiheadAttention):
        raise ConfigurationError(
            f"no {place.kind} can be chosen at {place.path!r}: nn.MultiheadAttention has one width inside and outside; "
            "choose the width of the layer that writes its input, which its heads follow, or write the attention with "
            "linear layers of its own"
        )
    found, why, described = (_heads if place.kind == "heads" else _width)(record, place, type(module).__name__)
    candidates = list(dict.fromkeys(record.dimensions.find(c) for c in found))
    if not candidates and place.kind == "heads" and place.sizes == (1,):
        raise ConfigurationError(f"{place.path!r} with one head has none to leave out: leave this choice out")
    if len(candidates) != 1:
        number = len(candidates) or "no"
        raise ConfigurationError(
            f"{place.path!r} has {number} hidden dimensions whose {place.kind} could be chosen, where one is needed; "
            f"{why or 'name the layer that writes the one that is meant'} ({described})"
        )
    size = record.dimensions.size(candidates[0])
    if size != place.sizes[-1]:
        what = "number of heads" if place.kind == "heads" else place.kind
        raise ConfigurationError(
            f"the largest {what} of {place.path!r} must be the model's own, {size}, got {place.sizes[-1]}"
        )
    return candidates[0]


def _width(record: Record, place: Place, kind: str) -> tuple[list[int], str, str]:
    """What the layer itself writes, or the hidden dimensions of a module; why there is none; and words for them."""
    inside = {path: d for path, d in record.written.items() if within(path, place.path)}
    tied = record.tensors.get(f"{place.path}.weight", ())
    if not inside and len(tied) > 1:  # another module runs in its place, with the same weight
        axis = 1 if "Embedding" in kind else 0
        return [tied[axis]], "", f"the weight of {place.path}"
    if not inside:
        raise ConfigurationError(
            f"{place.path!r} ({kind}) has no layer whose width could be chosen: no linear layer, convolution or "
            "embedding that the example reached"
        )
    described = "layers: " + ", ".join(f"{p} ({record.dimensions.size(d)})" for p, d in inside.items())
    if place.path in inside:
        return [inside[place.path]], "", described
    return *_hidden(record, place, list(inside.values())), described


def _heads(record: Record, place: Place, kind: str) -> tuple[list[int], str, str]:
    """The same of numbers of heads, which are factors of dimensions that are cut into heads."""
    largest, find = place.sizes[-1], record.dimensions.find
    compared = {find(d) for path, dims in record.heads.items() if within(path, place.path) for d in dims}
    groups = [tuple(map(find, g)) for where, g in record.dimensions.products() if within(where, place.path)]
    if any(compared & set(group) for group in groups):  # known by what queries and keys are compared over
        groups = [tuple(f for f in group if f not in compared) for group in groups if compared & set(group)]
    else:
        groups = [group[:-1] for group in groups]  # the last factor is the size of a head
    several = [f for group in groups for f in group if record.dimensions.size(f) > 1]
    factors = [f for f in several if record.dimensions.size(f) == largest] or several  # then another number is meant
    return *_hidden(record, place, factors), f"dimensions of {largest} heads: {len(set(factors))}"


def _hidden(record: Record, place: Place, dimensions: Sequence[int]) -> tuple[list[int], str]:
    """Those dimensions that can shrink without touching anything outside of a module, and why the last other cannot."""
    found, why = [], ""
    for dimension in dict.fromkeys(record.dimensions.find(d) for d in dimensions):
        try:
            reached = set(_narrowed(record.dimensions, dimension, place))
        except FixedDimensionError as error:
            why = str(error)
            continue
        names = [
            name for name, dims in record.tensors.items() if any(record.dimensions.find(d) in reached for d in dims)
        ]
        if names and all(name.startswith(place.path + ".") for name in names):
            found.append(dimension)
    return found, "" if found else why


def _narrowed(dimensions: Dimensions, dimension: int, place: Place) -> dict[int, Alive]:
    """What shrinks with a dimension: at the smallest size that was asked for, or at one that works."""
    whole = dimensions.size(dimension)
    if whole == 1:
        return {dimension: np.ones(1, dtype=bool)}
    asked = list(place.sizes) if place.sizes[-1] == whole else [whole - 1]
    way = narrowing(dimensions, dimension, asked)
    if not way.fits(dimensions, asked[0]):
        works = sizes_that_work(dimensions, dimension)
        asked, way = (list(works), narrowing(dimensions, dimension, works)) if works else (asked, way)
    return dimensions.closure(way.seeds(dimensions, asked[0]))
