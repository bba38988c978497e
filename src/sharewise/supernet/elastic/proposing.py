"""Proposing: a space for a model of which nothing was said, of dimensions that can shrink and blocks that repeat."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from sharewise.supernet.elastic.choices import Choices, depth, width
from sharewise.supernet.elastic.dimensions import Dimensions, FixedDimensionError
from sharewise.supernet.elastic.narrowing import narrowing
from sharewise.supernet.elastic.record import Record
from sharewise.supernet.elastic.rounding import legal
from sharewise.supernet.structures import Inputs, call

__all__ = ["proposed", "sensible"]

_SHARES = (0.25, 0.5, 0.75)
"""Of a size that are proposed beside the whole."""


def sensible(size: int) -> tuple[int, ...]:
    """A quarter, a half and three quarters of a size in steps that processors like, and the size itself.

    Args:
        size: at least 1; below 4 there is nothing to choose.

    Example:
        >>> sensible(96), sensible(10), sensible(3)
        ((24, 48, 72, 96), (2, 6, 8, 10), (3,))
    """
    step = next(step for least, step in ((64, 8), (16, 4), (8, 2), (0, 1)) if size >= least)
    shares = {max(step, step * math.floor(share * size / step + 0.5)) for share in _SHARES} if size >= 4 else set()
    return (*sorted(share for share in shares if share < size), size)


def proposed(model: nn.Module, record: Record, example: Inputs) -> tuple[dict[str, list[Choices]], dict[str, str]]:
    """What can be chosen in a model: the width of every group of dimensions that shrink together, and depths.

    Args:
        model: in evaluation mode.
        record: of its graph.
        example: a batch of inputs.

    Returns:
        Choices by path or pattern, and why the widths of other layers stay.
    """
    dimensions, chosen, left = record.dimensions, dict[str, list[Choices]](), dict[str, str]()
    covered: set[int] = set()
    for path, dimension in record.written.items():
        if path and dimensions.find(dimension) not in covered:
            sizes, reason = _sizes(dimensions, dimension)
            if reason:
                left[path] = reason
                continue
            chosen[path] = [width(sizes)]
            way = narrowing(dimensions, dimension, sizes)
            covered |= set(dimensions.closure(way.seeds(dimensions, sizes[0])))
    for container, blocks in _rows(model, example):
        pattern = f"{container}.*" if container else "*"
        chosen.setdefault(pattern, []).append(depth(sorted({(blocks + 1) // 2, (3 * blocks + 3) // 4, blocks})))
    return chosen, left


def _sizes(dimensions: Dimensions, dimension: int) -> tuple[tuple[int, ...], str]:
    """Sizes that a dimension can have, or why it has one alone."""
    asked = sensible(dimensions.size(dimension))
    if len(asked) == 1:
        return (), f"{dimensions.label(dimensions.find(dimension))} has {asked[0]} positions, too few to choose from"
    sizes = legal(dimensions, [dimension], asked)
    way = narrowing(dimensions, dimension, sizes)
    try:
        dimensions.closure(way.seeds(dimensions, sizes[0]))
    except FixedDimensionError as error:
        return (), str(error)
    return sizes, ""


def _rows(model: nn.Module, example: Inputs) -> Iterator[tuple[str, int]]:
    """Containers whose modules are of one class, keep the shape of a tensor, and run once each in their order."""
    runs = _runs(model, example)
    for path, container in model.named_modules():
        blocks = list(container.children()) if isinstance(container, nn.ModuleList | nn.Sequential) else []
        names = [f"{path}.{name}" if path else name for name, _ in container.named_children()]
        alike = len(blocks) > 1 and len({type(block) for block in blocks}) == 1 and len(set(map(id, blocks))) > 1
        own = [run for run in runs if run[0] in names]
        learned = all(any(True for _ in block.parameters()) for block in blocks)
        if alike and learned and [name for name, _ in own] == names and all(keeps for _, keeps in own):
            yield path, len(blocks)


def _runs(model: nn.Module, example: Inputs) -> list[tuple[str, bool]]:
    """The modules that ran, in the order in which they ended, and whether each kept the shape of its first tensor."""
    runs: list[tuple[str, bool]] = []
    handles = []
    for path, module in model.named_modules():

        def ended(layer: nn.Module, inputs: tuple[Any, ...], output: Any, path: str = path) -> None:
            source = inputs[0] if inputs else None
            keeps = isinstance(source, Tensor) and isinstance(output, Tensor) and source.shape == output.shape
            runs.append((path, keeps))

        handles.append(module.register_forward_hook(ended))
    try:
        with torch.no_grad():
            call(model, example)
    finally:
        for handle in handles:
            handle.remove()
    return runs
