"""The analysis of a model: what every option of every decision leaves alive, and where a mixture of options is read."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import final

import numpy as np
from torch import nn

from sharewise.errors import ConfigurationError
from sharewise.space import Decision
from sharewise.supernet.elastic.calls import Reduction
from sharewise.supernet.elastic.dimensions import Alive, Dimensions, FixedDimensionError
from sharewise.supernet.elastic.narrowing import Narrowing, narrowing, sizes_that_work
from sharewise.supernet.elastic.places import Place, within
from sharewise.supernet.elastic.record import Record
from sharewise.supernet.elastic.targets import target
from sharewise.supernet.slices.kernels import padding_of, rings
from sharewise.supernet.slices.transforms import KernelTransforms

__all__ = ["Analysis", "Kernel", "Table", "analyse", "combination"]


@final
@dataclass(frozen=True, eq=False)
class Table:
    """What the options of a decision cover, or the combinations of those of several.

    Args:
        decisions: their names.
        reach: boolean, shape `(positions, …, combinations)`, the last decision varying fastest, on the host.
    """

    decisions: tuple[str, ...]
    reach: Alive


def combination(names: Sequence[str], sizes: Mapping[str, int], options: Mapping[str, int]) -> int:
    """The number of a combination of options, the last decision varying fastest.

    Args:
        names: of the decisions.
        sizes: how many options each has.
        options: which one each takes.

    Example:
        >>> combination(("a", "b"), {"a": 2, "b": 3}, {"a": 1, "b": 2})
        5
    """
    number = 0
    for name in names:
        number = number * sizes[name] + options[name]
    return number


@final
@dataclass(frozen=True)
class Kernel:
    """A convolution whose kernel is searched.

    Args:
        decision: its name.
        path: of the convolution.
        sizes: of its options.
        axes: in how many directions the kernel extends.
        padding: of the largest kernel, one number per direction; `None` where torch computes it.
        dilation: one number per direction.
        table: index of the table of the kernel's rings.
        transforms: by which smaller kernels are made of larger ones, where these are learned.
    """

    decision: str
    path: str
    sizes: tuple[int, ...]
    axes: int
    padding: tuple[int, ...] | None
    dilation: tuple[int, ...]
    table: int
    transforms: KernelTransforms | None = None

    def fields(self, size: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Attributes of the layer, by name, when its kernel has a size."""
        yield "kernel_size", (size,) * self.axes
        if self.padding is not None:
            largest = self.sizes[-1]
            pairs = zip(self.padding, self.dilation, strict=True)
            yield "padding", tuple(padding_of(p, d, largest, size) for p, d in pairs)


@final
@dataclass(frozen=True, eq=False)
class Analysis:
    """What a model's execution under gates depends on. Names and numbers only: it serves every copy of the model.

    Args:
        decisions: all of them.
        places: where they act.
        outputs: shapes of what the model returns, by words for its place in the structure.
        tables: what options cover.
        reach: by searched dimension the indices of its tables, of different decisions; they multiply.
        sliced: by name of a parameter or buffer its dimensions, `None` for those that are not searched.
        buffers: which of them are buffers.
        readers: by name of a parameter the axis along which it reads a searched dimension.
        norms: by path of a layer norm the searched dimension that it normalises.
        reductions: what the model's code sums over without weights, by key of the call.
        callers: paths of the modules that make watched calls, among which keys count.
        heads: by path of a module the searched sizes of heads in its attention.
        fields: by path and name of an attribute of torch's layers the dimension whose size it holds, and whether in a
            tuple.
        kernels: by name of their weight.
        reads: by path of a module the decisions that change what its own operations read, write or compute.
        bypassed: dimensions that a module meets which may be left out, so that what it reads passes for what it writes.
        targets: dimensions whose leading positions are kept, with the decisions that say together how many.
        dimensions: of all tensors, and what dies with what.
    """

    decisions: tuple[Decision, ...]
    places: tuple[Place, ...]
    outputs: Mapping[str, tuple[int, ...]]
    tables: tuple[Table, ...]
    reach: Mapping[int, tuple[int, ...]]
    sliced: Mapping[str, tuple[int | None, ...]]
    buffers: frozenset[str]
    readers: Mapping[str, int]
    norms: Mapping[str, int]
    reductions: Mapping[str, Reduction]
    callers: frozenset[str]
    heads: Mapping[str, tuple[int, ...]]
    fields: Mapping[tuple[str, str], tuple[int, bool]]
    kernels: Mapping[str, Kernel]
    reads: Mapping[str, tuple[str, ...]]
    bypassed: frozenset[int]
    targets: Mapping[int, tuple[str, ...]]
    dimensions: Dimensions

    def scaled(self, name: str, *, published: bool) -> tuple[tuple[int, int], ...]:
        """The axes of a tensor that are scaled by the survival of a dimension, with that dimension."""
        roots = self.sliced.get(name, ())
        if published and name not in self.buffers:
            axes: Sequence[int] = range(len(roots))
        else:
            axes = [self.readers[name]] if name in self.readers else []
        return tuple((axis, root) for axis in axes if (root := roots[axis]) is not None)


def analyse(model: nn.Module, places: Sequence[Place], decisions: Sequence[Decision], record: Record) -> Analysis:
    """Follow every option of every decision through a model.

    Args:
        model: whose record it is.
        places: where decisions act.
        decisions: of the space.
        record: of the model's graph.

    Raises:
        ConfigurationError: naming at once all that cannot be followed.
    """
    alive = _alive(model, places, decisions, record)
    tables, reach = _tabulated(alive, record)
    sliced = _searched(record, reach)
    kernels = _kernels(model, places, tables)
    find = record.dimensions.find
    return Analysis(
        tuple(decisions),
        tuple(places),
        record.outputs,
        tuple(tables),
        reach,
        sliced,
        frozenset(name for name, _ in model.named_buffers(remove_duplicate=False) if name in sliced),
        _readers(record, sliced),
        {path: find(d) for path, d in record.norms.items() if find(d) in reach},
        dict(_reductions(record, reach, places)),
        record.callers,
        _heads(record, reach, tables),
        {key: (find(d), as_tuple) for key, (d, as_tuple) in record.fields.items() if find(d) in reach},
        kernels,
        _reads(
            record,
            places,
            decisions,
            {root: {name for i in own for name in tables[i].decisions} for root, own in reach.items()},
        ),
        frozenset(_bypassed(places, record)),
        _targets(model, places, record),
        record.dimensions,
    )


def _targets(model: nn.Module, places: Sequence[Place], record: Record) -> dict[int, tuple[str, ...]]:
    found = [place for place in places if place.narrows]
    return {record.dimensions.find(_way(model, record, place).by): place.decisions for place in found}


def _bypassed(places: Sequence[Place], record: Record) -> Iterator[int]:
    """The dimensions that modules meet which may be left out."""
    for place in places:
        if place.kind == "bypassed":
            met = (dims for path, dims in record.met.items() if within(path, place.path))
            yield from {record.dimensions.find(d) for dims in met for d in dims}


def _reductions(
    record: Record, reach: Mapping[int, object], places: Sequence[Place]
) -> Iterator[tuple[str, Reduction]]:
    """The watched calls that sum over a searched dimension."""
    repeated = {place.path: len(place.options) for place in places if place.kind == "setting"}
    for key, (operation, summed) in record.sums.items():
        found = ((operand, axis, record.dimensions.find(d)) for (operand, axis), d in summed.items())
        if scales := tuple(scale for scale in found if scale[2] in reach):
            path, name, _ = key.split(":")
            times = repeated.get(path, 1)  # a module with a setting was run once for each of its options
            calls = {run.get(name, 0) * n // times for run in record.runs[path] for n in range(1, times + 1)}
            yield key, Reduction(operation, scales, record.options[key], frozenset(calls), record.forms[key])


def _sizes(record: Record, root: int, own: Sequence[int], tables: Sequence[Table]) -> set[int]:
    """All sizes that a dimension can have; of one that several decisions choose, those that each of them makes."""
    found = {record.dimensions.size(root)}
    return found.union(*(map(int, tables[i].reach.sum(axis=0).flatten()) for i in own))


def _meet(record: Record, one: int, other: int, reach: Mapping[int, tuple[int, ...]], tables: Sequence[Table]) -> bool:
    """Whether two dimensions can be equally large at the same time."""
    mine, theirs = reach.get(one, ()), reach.get(other, ())
    if len(mine) == len(theirs) == 1 and tables[mine[0]].decisions == tables[theirs[0]].decisions:
        return bool((tables[mine[0]].reach.sum(axis=0) == tables[theirs[0]].reach.sum(axis=0)).any())
    return bool(_sizes(record, one, mine, tables) & _sizes(record, other, theirs, tables))


def _heads(record: Record, reach: Mapping[int, tuple[int, ...]], tables: Sequence[Table]) -> dict[str, tuple[int, ...]]:
    """The searched sizes of heads by module; in a call they are told apart by how many positions they have.

    Raises:
        ConfigurationError: when they could be taken for one another, or decisions that multiply choose one.
    """
    found = {}
    for path, dims in record.heads.items():
        roots = dict.fromkeys(map(record.dimensions.find, dims))
        searched = [root for root in roots if root in reach]
        if searched and any(_meet(record, one, other, reach, tables) for one, other in combinations(roots, 2)):
            raise ConfigurationError(
                f"attention is computed more than once in {path!r}, with heads of a searched size that can be "
                "as large as those of another dimension; give each attention a module of its own"
            )
        if any(len(reach[root]) > 1 for root in searched):
            raise ConfigurationError(f"several decisions choose the size of a head in {path!r}; let one choose it")
        if searched:
            found[path] = tuple(searched)
    return found


def _searched(record: Record, reach: Mapping[int, object]) -> dict[str, tuple[int | None, ...]]:
    """The dimensions of every parameter and buffer that has a searched one."""
    roots = {name: tuple(map(record.dimensions.find, dims)) for name, dims in record.tensors.items()}
    searched = {name: tuple(root if root in reach else None for root in own) for name, own in roots.items()}
    return {name: own for name, own in searched.items() if any(root is not None for root in own)}


def _kernels(model: nn.Module, places: Sequence[Place], tables: list[Table]) -> dict[str, Kernel]:
    """The searched kernels by the name of their weight; their tables are appended."""
    kernels = {}
    for place in places:
        if place.kind == "kernel":
            kernel = kernels[f"{place.path}.weight"] = _kernel(model, place, len(tables))
            tables.append(Table((place.decision,), rings(kernel.sizes, kernel.axes).numpy()))
    return kernels


def _alive(
    model: nn.Module, places: Sequence[Place], decisions: Sequence[Decision], record: Record
) -> dict[tuple[str, ...], list[dict[int, Alive]]]:
    """By what decides, for each combination of its options, what stays alive of the dimensions that lose something."""
    alive, problems = {}, []
    named = {decision.name: decision for decision in decisions}
    for names in dict.fromkeys((*((name,) for name in named), *(place.decisions for place in places))):
        try:
            alive[names] = _options(model, places, tuple(named[name] for name in names), record)
        except ConfigurationError as error:  # all parts that cannot be followed are named at once
            problems.append(str(error))
    if problems:
        raise ConfigurationError("\n".join(_each_once(problems)))
    _require_joint(record, _closure(model, places, dict.fromkeys(decisions, 0), record), alive)
    return alive


def _each_once(problems: Iterable[str]) -> Iterator[str]:
    """Every problem, and of those that differ in the number of a block alone the first one."""
    alike: dict[str, list[str]] = {}
    for problem in dict.fromkeys(problems):
        alike.setdefault(re.sub(r"(?<=[._])\d+(?=[._'])", "*", problem), []).append(problem)
    for first, *others in alike.values():
        yield first + (f" (and so in {len(others)} more blocks)" if others else "")


def _options(
    model: nn.Module, places: Sequence[Place], decisions: Sequence[Decision], record: Record
) -> list[dict[int, Alive]]:
    acting = [place for place in places if place.decisions == tuple(d.name for d in decisions)]
    combinations = list(itertools.product(*(range(d.size) for d in decisions)))
    found = {c: _closure(model, acting, dict(zip(decisions, c, strict=True)), record) for c in combinations}
    for last, decision in enumerate(decisions):
        for options in combinations:
            if options[last]:
                smaller = (*options[:last], options[last] - 1, *options[last + 1 :])
                _require_nesting(decision, options[last], found[smaller], found[options], record)
    return list(found.values())


def _require_nesting(
    decision: Decision, option: int, small: Mapping[int, Alive], large: Mapping[int, Alive], record: Record
) -> None:
    for root, positions in large.items():
        inside = small.get(root, np.ones_like(positions))
        if (inside & ~positions).any():
            raise ConfigurationError(
                f"options {decision.options[option - 1]} and {decision.options[option]} of decision "
                f"{decision.name!r} do not nest in {record.dimensions.label(root)}"
            )


def _closure(
    model: nn.Module, places: Sequence[Place], chosen: Mapping[Decision, int], record: Record
) -> dict[int, Alive]:
    options = {decision.name: option for decision, option in chosen.items()}
    sizes = {decision.name: decision.size for decision in chosen}
    dimensions, seeds = record.dimensions, dict[int, Alive]()
    acting = [place for place in places if place.narrows]
    try:
        for place in acting:
            way = _way(model, record, place)
            for root, keep in way.seeds(dimensions, place.size(combination(place.decisions, sizes, options))).items():
                seeds[root] = seeds.get(root, np.ones_like(keep)) & keep
        return dimensions.closure(seeds)
    except FixedDimensionError as error:
        words = ", ".join(f"{d.name} = {d.options[option]}" for d, option in chosen.items())
        paths = ", ".join(sorted({repr(p.path) for p in places}))
        alone = acting[0] if len(acting) == 1 and acting[0].kind == "width" else None
        works = () if alone is None else sizes_that_work(dimensions, target(model, record, alone))
        hint = f"; sizes that work there: {', '.join(map(str, works))}" if works else ""
        raise ConfigurationError(f"cannot choose {words} (at {paths}): {error}{hint}") from None


def _way(model: nn.Module, record: Record, place: Place) -> Narrowing:
    """How the dimension of a place is narrowed, found once."""
    if place not in record.narrowings:
        dimension = target(model, record, place)
        chosen = place.kind == "width"
        found = narrowing(record.dimensions, dimension, place.sizes) if chosen else Narrowing(dimension, dimension)
        record.narrowings[place] = found
    return record.narrowings[place]


def _require_joint(
    record: Record, joint: Mapping[int, Alive], alive: Mapping[tuple[str, ...], list[dict[int, Alive]]]
) -> None:
    """Together, decisions leave alive what each of them leaves alive."""
    for root, positions in joint.items():
        each = np.ones_like(positions)
        for options in alive.values():
            each &= options[0].get(root, np.ones_like(positions))
        if not (each == positions).all():
            names = list(dict.fromkeys(n for key, options in alive.items() if root in options[0] for n in key))
            raise ConfigurationError(
                f"decisions {names} shrink {record.dimensions.label(root)} together in a way that none of them does "
                "alone; give them one name, so that they are one decision"
            )


def _tabulated(
    alive: Mapping[tuple[str, ...], list[dict[int, Alive]]], record: Record
) -> tuple[list[Table], dict[int, tuple[int, ...]]]:
    """Tables of what is alive, equal ones once, and by dimension the indices of its tables."""
    tables: list[Table] = []
    reach: dict[int, tuple[int, ...]] = {}
    known: dict[tuple[tuple[str, ...], bytes], int] = {}
    for names, options in alive.items():
        for root in {root for option in options for root in option}:
            whole = np.ones(record.dimensions.size(root), dtype=bool)
            table = np.stack([option.get(root, whole) for option in options], axis=1)
            index = known.setdefault((names, table.tobytes()), len(tables))
            if index == len(tables):
                tables.append(Table(names, table))
            reach[root] = (*reach.get(root, ()), index)
    return tables, reach


def _readers(record: Record, sliced: Mapping[str, tuple[int | None, ...]]) -> dict[str, int]:
    uses: dict[str, dict[int | None, str]] = {}
    for use in record.uses:
        uses.setdefault(use.name, {})[use.axis] = use.where
    readers = {}
    for name, axes in uses.items():
        roots = sliced.get(name, ())
        read = [axis for axis in axes if axis is not None and roots and roots[axis] is not None]
        if read:
            readers[name] = read[0]
            _require_one_use(name, axes, read[0])
    return readers


def _require_one_use(name: str, axes: Mapping[int | None, str], axis: int) -> None:
    if len(axes) > 1:
        other = next(where for each, where in axes.items() if each != axis)
        raise ConfigurationError(
            f"parameter {name!r} is read in {axes[axis] or 'the model'!r} and used otherwise in "
            f"{other or 'the model'!r}; give each use a module of its own with the same parameter, such as "
            "head = nn.Linear(…); head.weight = embedding.weight"
        )


def _kernel(model: nn.Module, place: Place, table: int) -> Kernel:
    module = model.get_submodule(place.path)
    if not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) or module.padding_mode != "zeros":
        raise ConfigurationError(
            f"a kernel is chosen for convolutions that pad with zeros, but {place.path!r} is a {type(module).__name__}"
        )
    sizes = place.sizes
    if set(module.kernel_size) != {sizes[-1]}:
        raise ConfigurationError(
            f"the largest kernel of {place.path!r} must be the layer's own, {module.kernel_size[0]}, got {sizes[-1]}"
        )
    paddings = None if isinstance(module.padding, str) else tuple(module.padding)
    for padding, dilation in zip(paddings or (), module.dilation, strict=False):
        if padding_of(padding, dilation, sizes[-1], sizes[0]) < 0:
            raise ConfigurationError(
                f"padding {padding} of {place.path!r} leaves none for a kernel of {sizes[0]}; it must be at least "
                f"{dilation * (sizes[-1] - sizes[0]) // 2} for the largest kernel"
            )
    axes, transforms = len(module.kernel_size), transforms_of(model, place)
    return Kernel(place.decision, place.path, sizes, axes, paddings, tuple(module.dilation), table, transforms)


def transforms_of(model: nn.Module, place: Place) -> KernelTransforms | None:
    """The learned transforms between the kernels of a place, where it has them."""
    axes = model.get_submodule(place.path).get_parameter("weight").dim() - 2 if place.transforms else 0
    return KernelTransforms(place.sizes, axes) if place.transforms else None


def _reads(
    record: Record, places: Sequence[Place], decisions: Sequence[Decision], of: Mapping[int, set[str]]
) -> dict[str, tuple[str, ...]]:
    """By path the decisions of the dimensions that its operations met, of its kernel, and of whether it is executed."""
    find = record.dimensions.find
    read = {path: set().union(*(of.get(find(d), set()) for d in dims)) for path, dims in record.met.items()}
    for path, names in read.items():
        names.update(*(place.decisions for place in places if place.governs(path)))
    return {path: tuple(d.name for d in decisions if d.name in names) for path, names in read.items() if names}
