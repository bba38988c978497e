"""Operations that only rearrange positions: views, permutations, slices, concatenations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.fx import Node

from sharewise.supernet.elastic.call import Call, values_of
from sharewise.supernet.elastic.record import Dims
from sharewise.supernet.elastic.recorder import Outputs, Recorder
from sharewise.supernet.elastic.rules.registry import rule

__all__: list[str] = []


@rule("view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as")
def _view(r: Recorder, call: Call) -> Dims:
    """Rows of dimensions before and after that have as many positions are two factorisations of one."""
    made = r.output(call)
    for before, after in _factorisations(r, r.dims(call.first), made):
        if len(before) == 1:
            r.dimensions.product(before[0], after, call.path)
        elif len(after) == 1:
            r.dimensions.product(after[0], before, call.path)
        else:
            flat = r.dimensions.new(_volume(r, before), f"a dimension within {call.name} in {call.path}")
            r.dimensions.product(flat, before, call.path)
            r.dimensions.product(flat, after, call.path)
    return made


def _volume(r: Recorder, dims: Sequence[int]) -> int:
    return torch.Size([r.size(d) for d in dims]).numel()


def _factorisations(r: Recorder, source: Dims, made: Dims) -> Iterator[tuple[list[int], list[int]]]:
    """The shortest rows of dimensions that have as many positions before and after, without those of one position."""
    old = [d for d in source if r.size(d) != 1]
    new = [d for d in made if r.size(d) != 1]
    while old and new:
        before, after = [old.pop(0)], [new.pop(0)]
        while (a := _volume(r, before)) != (b := _volume(r, after)):
            if a < b:
                before.append(old.pop(0))
            else:
                after.append(new.pop(0))
        yield before, after


@rule("permute", "transpose", "t", "movedim", "numpy_T", "swapaxes")
def _permute(r: Recorder, call: Call) -> Dims:
    dims = r.dims(call.first)
    n = len(dims)
    assert callable(call.node.target)
    # Replayed on a tensor whose sizes tell its dimensions apart.
    distinct = torch.empty(tuple(range(2, n + 2)), device="meta")
    replayed = call.node.target(distinct, *call.node.args[1:], **call.node.kwargs)
    order = [size - 2 for size in replayed.shape]
    r.keeps(call.node, call.first, order)
    return tuple(dims[d] for d in order)


@rule("expand", "expand_as", "broadcast_to")
def _expand(r: Recorder, call: Call) -> Dims:
    made = r.output(call)
    r.align(made, r.dims(call.tensor("self")))
    return made


@rule("repeat", "tile", "repeat_interleave", "constant_pad_nd", "pad", "pad_sequence", "reflection_pad1d",
      "reflection_pad2d", "replication_pad1d", "replication_pad2d")  # fmt: skip
def _same_size(r: Recorder, call: Call) -> Dims:
    """Dimensions that keep their size are the same, repeated ones are products, and the others are fixed."""
    made, source = r.output(call), r.dims(call.tensor("self"))
    reason = f"{call.name} in {call.path} changes its size"
    repeats = call.operation in ("repeat", "tile", "repeat_interleave") and not isinstance(
        call.arguments.get("repeats"), Node
    )
    r.align(made, source)
    for ours, theirs in zip(reversed(made), reversed(source), strict=False):
        if r.size(ours) == r.size(theirs):
            continue
        if repeats and r.size(theirs) > 1 and r.size(ours) % r.size(theirs) == 0 and len(made) >= len(source):
            copies = r.dimensions.new(r.size(ours) // r.size(theirs), f"the copies that {call.path} makes")
            each = (theirs, copies) if call.operation == "repeat_interleave" else (copies, theirs)
            r.dimensions.product(ours, each, call.path)
        else:
            r.fix([ours, theirs], reason)
    return made


def _take(r: Recorder, node: Node, source: Dims, dim: int, positions: range, value: Tensor) -> Dims:
    """A tensor that is made of some positions of one dimension."""
    made = r.fresh(node, value)
    for axis, (ours, theirs) in enumerate(zip(made, source, strict=True)):
        if axis != dim % len(source) or positions == range(r.size(theirs)):
            r.dimensions.same(ours, theirs)
        else:
            r.dimensions.part(theirs, positions, ours)
    return made


@rule("slice", "narrow")
def _slice(r: Recorder, call: Call) -> Dims:
    source, dim = r.dims(call.tensor("self")), call.integer("dim")
    if "length" in call.arguments:
        start = call.integer("start")
        positions = range(start, start + call.integer("length"))
    else:
        bounds = slice(call.number("start"), call.number("end"), call.number("step"))
        positions = range(r.size(source[dim]))[bounds]
    r.keeps(call.node, call.first, range(len(source)))
    return _take(r, call.node, source, dim, positions, values_of(call.node)[0])


@rule("split", "chunk", "split_with_sizes", "tensor_split")
def _split(r: Recorder, call: Call) -> list[Dims]:
    source, dim = r.dims(call.tensor("self")), call.integer("dim")
    start, made = 0, []
    for value in values_of(call.node):
        stop = start + value.shape[dim]
        made.append(_take(r, call.node, source, dim, range(start, stop), value))
        start = stop
    for piece in call.node.users:  # rows of a matrix are a matrix that reads the same columns
        r.keeps(piece, call.first, range(len(source)))
    return made


@rule("glu")
def _glu(r: Recorder, call: Call) -> Dims:
    """The first half of a dimension times a function of the second."""
    source, dim, made = r.dims(call.first), call.integer("dim") % len(r.dims(call.first)), r.output(call)
    half = r.size(made[dim])
    for start in (0, half):
        r.dimensions.part(source[dim], range(start, start + half), made[dim])
    r.same(made[:dim] + made[dim + 1 :], source[:dim] + source[dim + 1 :])
    return made


@rule("pixel_shuffle")
def _pixel_shuffle(r: Recorder, call: Call) -> Dims:
    """Channels become places: each that is left is made of a fixed number."""
    source, made, factor = r.dims(call.first), r.output(call), call.integer("upscale_factor")
    inner = r.dimensions.new(factor * factor, f"the places that {call.path} makes of a channel")
    r.fix([inner, *source[-2:], *made[-2:]], f"{call.name} in {call.path} rearranges it")
    r.dimensions.product(source[-3], (made[-3], inner), call.path)
    r.same(made[:-3], source[:-3])
    return made


@rule("index")
def _index(r: Recorder, call: Call) -> Dims:
    """Rows that are picked by indices; what is not indexed stays."""
    source, made, indices = r.dims(call.first), r.output(call), call.arguments["indices"]
    assert isinstance(indices, list | tuple)
    picked = [axis for axis, index in enumerate(indices) if index is not None]
    reason = f"{call.name} in {call.path} picks positions of it"
    if picked != list(range(len(picked))) or any(not isinstance(i, Node) for i in indices[: len(picked)]):
        r.fix([*source, *made], reason)
        return made
    r.fix(source[: len(picked)], reason)
    rest = source[len(picked) :]
    r.same(made[len(made) - len(rest) :], rest)
    return made


@rule("index_add", "scatter_add", "index_copy", "scatter")
def _scatter(r: Recorder, call: Call) -> Dims:
    """Values that arrive at places of one dimension; the others are shared."""
    source, dim = r.dims(call.first), call.integer("dim") % len(r.dims(call.first))
    value = call.optional("source", "src")
    r.fix(source[dim : dim + 1], f"{call.name} in {call.path} writes to positions of it")
    for other in call.operands[1:]:
        others = r.dims(other)
        if len(others) == len(source):
            r.fix(others[dim : dim + 1], f"{call.name} in {call.path} reads positions of it")
            for axis, (ours, theirs) in enumerate(zip(source, others, strict=True)):
                if axis != dim and r.size(ours) == r.size(theirs):
                    r.dimensions.same(ours, theirs)
                elif axis != dim:
                    r.fix([ours, theirs], f"{call.name} in {call.path} changes its size")
        elif other is value:
            r.fix(others, f"{call.name} in {call.path} reads positions of it")
    return source


@rule("select", "unbind")
def _select(r: Recorder, call: Call) -> Outputs:
    dims = r.dims(call.tensor("self"))
    dim = call.integer("dim") % len(dims)
    r.fix([dims[dim]], f"{call.name} in {call.path} picks positions of it")
    rest = dims[:dim] + dims[dim + 1 :]
    if not call.several:
        r.keeps(call.node, call.first, [axis for axis in range(len(dims)) if axis != dim])
    return [rest] * len(values_of(call.node)) if call.several else rest


@rule("cat", "concat", "concatenate")
def _cat(r: Recorder, call: Call) -> Dims:
    made = r.output(call)
    dim, start = call.integer("dim") % len(made), 0
    for dims in map(r.dims, call.tensors("tensors")):
        if len(dims) != len(made):  # an empty one of old, which concatenates with anything
            continue
        r.same(made[:dim] + made[dim + 1 :], dims[:dim] + dims[dim + 1 :])
        stop = start + r.size(dims[dim])
        r.dimensions.part(made[dim], range(start, stop), dims[dim])
        start = stop
    return made


@rule("stack")
def _stack(r: Recorder, call: Call) -> Dims:
    made = r.output(call)
    dim = call.integer("dim") % len(made)
    r.fix([made[dim]], f"stack in {call.path} makes it")
    for tensor in call.tensors("tensors"):
        r.same(made[:dim] + made[dim + 1 :], r.dims(tensor))
    return made
