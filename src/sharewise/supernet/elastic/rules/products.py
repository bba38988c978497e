"""Operations that sum over a dimension of two tensors: where mixtures of sizes are read."""

from __future__ import annotations

from torch import nn
from torch.fx import Node

from sharewise.supernet.elastic.call import Call
from sharewise.supernet.elastic.record import Dims
from sharewise.supernet.elastic.recorder import Outputs, Recorder
from sharewise.supernet.elastic.rules.registry import rule

__all__: list[str] = []


@rule("linear")
def _linear(r: Recorder, call: Call) -> Dims:
    source, weight = call.tensor("input"), call.tensor("weight")
    columns, rows = r.dims(source)[-1], r.dims(weight)[0]
    r.contract(call, (source, -1), (weight, 1))
    r.accompanies(call, call.present("bias"), (rows,))
    r.writes(call, rows)
    r.size_field(call, nn.Linear, "in_features", columns)
    r.size_field(call, nn.Linear, "out_features", rows)
    return (*r.dims(source)[:-1], rows)


@rule("conv1d", "conv2d", "conv3d")
def _convolution(r: Recorder, call: Call) -> Dims:
    return _convolved(r, call, read=1, written=0)


@rule("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _transposed(r: Recorder, call: Call) -> Dims:
    return _convolved(r, call, read=0, written=1)


def _convolved(r: Recorder, call: Call, *, read: int, written: int) -> Dims:
    """A convolution whose weight reads channels along one axis and writes them along the other."""
    source, weight = call.tensor("input"), call.tensor("weight")
    x, w = r.dims(source), r.dims(weight)
    channels = -len(w) + 1
    made = r.output(call)
    r.same(made[:channels], x[:channels])
    r.fix((*x[channels + 1 :], *made[channels + 1 :]), f"it is an extent of the image that {call.path} convolves")
    r.fix(w[2:], f"it is a kernel's; give {call.path} kernel([…])")
    if call.integer("groups") == 1:
        r.contract(call, (source, channels), (weight, read))
        output = w[written]
    else:
        output = made[channels]
        _grouped(r, call, weight, (x[channels], output), read)
    r.accompanies(call, call.present("bias"), (output,))
    r.writes(call, output)
    r.size_field(call, nn.modules.conv._ConvNd, "in_channels", x[channels])
    r.size_field(call, nn.modules.conv._ConvNd, "out_channels", output)
    return (*made[:channels], output, *made[channels + 1 :])


def _grouped(r: Recorder, call: Call, weight: Node, flats: tuple[int, int], read: int) -> None:
    """Channels that are read and written are groups × channels of a group; both numbers may shrink."""
    groups, w = call.integer("groups"), r.dims(weight)
    group = r.dimensions.new(groups, f"the groups of {call.path}")
    r.dimensions.same(w[0], flats[read])  # what a convolution writes, or a transposed one reads
    inner = [r.dimensions.new(r.size(flat) // groups, f"a group of {call.path}") for flat in flats]
    for flat, each in zip(flats, inner, strict=True):
        r.dimensions.product(flat, (group,) if r.size(each) == 1 else (group, each), call.path)
    r.dimensions.same(w[1], inner[1 - read])
    r.used(call, weight, read)
    r.size_field(call, nn.modules.conv._ConvNd, "groups", group)


@rule("matmul", "bmm", "mm", "mv", "dot", "vdot")
def _matmul(r: Recorder, call: Call) -> Dims:
    return _product(r, call, call.tensor("self"), call.tensor("other", "mat2", "vec", "tensor"))


@rule("addmm", "addbmm", "baddbmm")
def _addmm(r: Recorder, call: Call) -> Dims:
    made = _product(r, call, call.tensor("mat1", "batch1"), call.tensor("mat2", "batch2"))
    r.align(made, r.dims(call.tensor("self")))
    r.used(call, call.tensor("self"))
    return made


def _product(r: Recorder, call: Call, a: Node, b: Node) -> Dims:
    left, right = r.dims(a), r.dims(b)
    made = rest = r.output(call)
    r.contract(call, (a, len(left) - 1), (b, max(len(right) - 2, 0)))
    if len(right) > 1:
        r.same(rest[-1:], right[-1:])
        rest = rest[:-1]
    if len(left) > 1:
        r.same(rest[-1:], left[-2:-1])
        rest = rest[:-1]
    r.align(rest, left[:-2])
    r.align(rest, right[:-2])
    if r.parameter(b, 0) is not None and len(right) > 1:
        r.writes(call, right[-1])
    return made


@rule("einsum")
def _einsum(r: Recorder, call: Call) -> Outputs:
    equation, tensors = str(call.arguments["equation"]).replace(" ", ""), call.tensors("tensors")
    left, arrow, right = equation.partition("->")
    made = r.output(call)
    if "." in equation or not arrow:
        reason = f"the operation {call.name} in {call.path} is not one that sharewise can follow"
        r.fix([*made, *(d for tensor in tensors for d in r.dims(tensor))], reason)
        return made
    places: dict[str, list[tuple[Node, int]]] = {}
    for term, tensor in zip(left.split(","), tensors, strict=True):
        for axis, letter in enumerate(term):
            places.setdefault(letter, []).append((tensor, axis))
    for letter, found in places.items():
        _letter(r, call, found, made[right.index(letter)] if letter in right else None)
    for tensor in tensors:
        if not any(use.where == call.where and use.axis is not None for use in r.record.uses):
            r.used(call, tensor)
    return made


def _letter(r: Recorder, call: Call, places: list[tuple[Node, int]], written: int | None) -> None:
    """One index of an einsum, where it is read and what it writes, if it is not summed over."""
    first, *others = [r.dims(tensor)[axis] for tensor, axis in places]
    for other in others:
        r.align([first], [other])
    if written is not None:
        r.dimensions.same(written, first)
    elif len(places) == 2:
        r.contract(call, *places)
    else:
        r.weighs(call, places[0][0], [places[0][1]], f"einsum in {call.path} sums over it")


@rule("embedding")
def _embedding(r: Recorder, call: Call) -> Dims:
    (vocabulary, features), indices = r.dims(call.tensor("weight")), r.dims(call.tensor("indices"))
    r.fix([vocabulary], f"it is the vocabulary of {call.path}")
    r.used(call, call.tensor("weight"))
    r.writes(call, features)
    r.size_field(call, nn.Embedding, "embedding_dim", features)
    return (*indices, features)


@rule("scaled_dot_product_attention")
def _attention(r: Recorder, call: Call) -> Dims:
    q, k, v = (r.dims(call.tensor(name)) for name in ("query", "key", "value"))
    batch = r.output(call)[:-2]
    r.dimensions.same(k[-2], v[-2])
    r.dimensions.same(q[-1], k[-1])
    if call.arguments.get("scale") is None and not isinstance(r.model.get_submodule(call.where), nn.MultiheadAttention):
        r.attends(call, q[-1])
    else:
        r.fix(
            [q[-1]],
            f"attention in {call.path} compares queries and keys over it, with a scale of its own: the size of a head "
            "stays",
        )
    for dims in (q, k, v):
        for ours, theirs in zip(reversed(batch), reversed(dims[:-2]), strict=False):
            if r.size(ours) == r.size(theirs):
                r.dimensions.same(ours, theirs)
            elif r.size(theirs) > 1:
                _share(r, call, ours, theirs)
    for mask in call.present("attn_mask"):
        r.align((*batch, q[-2], k[-2]), r.dims(mask))
    return (*batch, q[-2], v[-1])


def _share(r: Recorder, call: Call, queries: int, keys: int) -> None:
    """Every head of keys serves as many consecutive heads of queries; how many stays."""
    each = r.dimensions.new(r.size(queries) // r.size(keys), f"the queries of a head of keys in {call.path}")
    r.fix([each], f"queries share keys in {call.path}")
    r.dimensions.product(queries, (keys, each), call.path)
