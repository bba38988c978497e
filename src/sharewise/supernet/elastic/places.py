"""Places: where in a model a decision acts, and which dimension it chooses there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from torch import nn

from sharewise.errors import ConfigurationError, unknown_name
from sharewise.space import Option
from sharewise.supernet.elastic.choices import (
    Choices,
    Choose,
    Depth,
    ElasticConv2d,
    ElasticEmbedding,
    ElasticLinear,
)
from sharewise.supernet.elastic.dimensions import FixedDimensionError
from sharewise.supernet.elastic.record import Record, opaque

__all__ = ["Chosen", "Place", "expanded", "target", "within"]


@final
@dataclass(frozen=True)
class Place:
    """Where a decision acts.

    Args:
        decision: its name.
        kind: `width`, `depth`, `kernel`, `heads`, or `module` for `Choose`.
        path: of the module; for a depth, of the container of the blocks.
        options: sizes, or names of modules.
        blocks: paths of the modules that a depth counts, in order.
    """

    decision: str
    kind: str
    path: str
    options: tuple[Option, ...]
    blocks: tuple[str, ...] = ()

    @property
    def sizes(self) -> tuple[int, ...]:
        """The options of any kind but `module`."""
        return tuple(map(self.size, range(len(self.options))))

    def size(self, index: int) -> int:
        """The size of one option."""
        size = self.options[index]
        assert isinstance(size, int)
        return size

    def governs(self, path: str) -> bool:
        """Whether the decision says which kernel a module has, or whether it is executed."""
        if self.kind == "kernel":
            return path == self.path
        roots = self.blocks if self.kind == "depth" else (self.path,) if self.kind == "module" else ()
        return any(within(path, root) for root in roots)


def within(path: str, root: str) -> bool:
    """Whether a module is another one or a part of it."""
    return path == root or path.startswith(f"{root}.") or not root


Chosen = Mapping[str, Choices | Sequence[Choices]]
"""What is chosen, by pattern of module paths: one kind of size, or several."""


def expanded(model: nn.Module, choices: Chosen) -> tuple[Place, ...]:
    """Expand patterns, elastic layers and `Choose` modules into places, in the order of the model's modules.

    Args:
        model: whose modules the patterns name.
        choices: by pattern.

    Raises:
        ConfigurationError: when a pattern matches nothing, or a depth does not count the last blocks of a container.
    """
    paths = [path for path, _ in model.named_modules() if path]
    rank = {path: i for i, path in enumerate(paths)}
    found: list[Place] = []
    for pattern, given in choices.items():
        several = [given] if isinstance(given, Choices) else given
        if not isinstance(several, list | tuple) or not all(isinstance(choice, Choices) for choice in several):
            raise ConfigurationError(
                f"choices[{pattern!r}] must be width([…]), depth([…]), kernel([…]) or heads([…]), got {given!r}"
            )
        expression = re.compile(re.escape(pattern).replace(r"\*", "[^.]+"))
        matched = [path for path in paths if expression.fullmatch(path)]
        if not matched:
            raise unknown_name("module pattern", pattern, [p for p in paths if p.count(".") <= pattern.count(".")])
        found += [place for choice in several for place in _expanded(model, choice, matched)]
    for path, module in model.named_modules():
        if isinstance(module, ElasticLinear | ElasticConv2d | ElasticEmbedding):
            for choice in module.choices:
                found += _expanded(model, choice, [path])
        elif isinstance(module, Choose):
            found.append(Place(module.name or _identifier(path, "module"), "module", path, module.names))
    return tuple(sorted(found, key=lambda place: (rank.get(place.path, -1), place.kind)))


def _expanded(model: nn.Module, choice: Choices, matched: Sequence[str]) -> list[Place]:
    if not isinstance(choice, Depth):
        return [Place(choice.name or _identifier(p, choice.kind), choice.kind, p, choice.options) for p in matched]
    groups: dict[str, list[str]] = {}
    for path in matched:
        groups.setdefault(path.rpartition(".")[0], []).append(path)
    places = []
    for owner, blocks in groups.items():
        container = model.get_submodule(owner)
        names = [f"{owner}.{name}" if owner else name for name, _ in container.named_children()]
        if not isinstance(container, nn.ModuleList | nn.Sequential) or blocks != names[len(names) - len(blocks) :]:
            raise ConfigurationError(
                f"depth is chosen for the last modules of an nn.ModuleList or nn.Sequential, but {blocks} are not the "
                f"last of {owner or 'the model'!r}, a {type(container).__name__}"
            )
        if choice.options[-1] != len(blocks):
            raise ConfigurationError(
                f"the largest depth of {owner!r} must be the number of its blocks, {len(blocks)}, got "
                f"{choice.options[-1]}"
            )
        if choice.options[0] == 0 and len(blocks) == len(names) and isinstance(container, nn.Sequential) and not owner:
            raise ConfigurationError("a model without any module is no model; let depths start at 1")
        name = choice.name or _identifier(owner, choice.kind)
        places.append(Place(name, choice.kind, owner, choice.options, tuple(blocks)))
    return places


def _identifier(path: str, kind: str) -> str:
    words = f"{path.replace('.', '_')}_{kind}" if path else kind
    return words if words.isidentifier() else f"layer_{words}"


def target(model: nn.Module, record: Record, place: Place) -> int:
    """The dimension that a width or a number of heads chooses.

    Raises:
        ConfigurationError: when the module has no such dimension or several, or one of another size.
    """
    largest = place.sizes[-1]
    module = model.get_submodule(place.path)
    if isinstance(module, nn.MultiheadAttention | nn.RNNBase):
        raise ConfigurationError(f"no {place.kind} can be chosen at {place.path!r}: {opaque(module)}")
    inside = {path: d for path, d in record.written.items() if within(path, place.path)}
    if place.kind == "width":
        if not inside:
            raise ConfigurationError(
                f"{place.path!r} ({type(module).__name__}) has no layer whose width could be "
                "chosen: no linear layer, convolution or embedding that the example reached"
            )
        if place.path in inside:
            candidates, why = [inside[place.path]], ""
        else:
            candidates, why = _hidden(record, place.path, list(inside.values()))
        described = "layers: " + ", ".join(f"{p} ({record.dimensions.size(d)})" for p, d in inside.items())
    else:
        factors = [
            record.dimensions.find(f)
            for where, group in record.dimensions.products()
            if within(where, place.path)
            for f in group[:-1]  # the last factor is the size of a head
            if record.dimensions.size(f) == largest
        ]
        candidates, why = _hidden(record, place.path, factors)
        described = f"dimensions of {largest} heads: {len(set(factors))}"
    candidates = list(dict.fromkeys(record.dimensions.find(c) for c in candidates))
    if len(candidates) != 1:
        number = len(candidates) or "no"
        raise ConfigurationError(
            f"{place.path!r} has {number} hidden dimensions whose {place.kind} could be chosen, where one is needed; "
            f"{why or 'name the layer that writes the one that is meant'} ({described})"
        )
    size = record.dimensions.size(candidates[0])
    if size != largest:
        raise ConfigurationError(
            f"the largest {place.kind} of {place.path!r} must be the model's own, {size}, got {largest}"
        )
    return candidates[0]


def _hidden(record: Record, path: str, dimensions: Sequence[int]) -> tuple[list[int], str]:
    """Those dimensions that can shrink without touching anything outside of a module, and why the last other cannot."""
    found, why = [], ""
    for dimension in dict.fromkeys(record.dimensions.find(d) for d in dimensions):
        keep = np.ones(record.dimensions.size(dimension), dtype=bool)
        keep[-1] = len(keep) == 1
        try:
            reached = set(record.dimensions.closure({dimension: keep}))
        except FixedDimensionError as error:
            why = str(error)
            continue
        names = [
            name for name, dims in record.tensors.items() if any(record.dimensions.find(d) in reached for d in dims)
        ]
        if names and all(name.startswith(path + ".") for name in names):
            found.append(dimension)
    return found, "" if found else why
