"""Operations whose outputs have the positions of their operands: pointwise ones, copies, scans and reductions."""

from __future__ import annotations

from sharewise.supernet.elastic.call import Call
from sharewise.supernet.elastic.record import Dims
from sharewise.supernet.elastic.recorder import Outputs, Recorder
from sharewise.supernet.elastic.rules.registry import rule

__all__ = ["pointwise"]


def pointwise(r: Recorder, call: Call) -> Dims:
    """Operands are broadcast; parameters among them accompany a dimension and do not read it."""
    made = r.output(call)
    for tensor in call.operands:
        r.align(made, r.dims(tensor))
        r.used(call, tensor)
    return made


@rule(
    "dropout", "feature_dropout", "alpha_dropout", "native_dropout", "zeros_like", "ones_like", "full_like",
    "empty_like", "rand_like", "randn_like", "where", "masked_fill", "feature_alpha_dropout", "hardswish",
    "log_sigmoid", "rrelu", "celu", "bernoulli",
)  # fmt: skip
def _like(r: Recorder, call: Call) -> Outputs:
    if not call.several:
        return pointwise(r, call)
    outputs = r.outputs(call)
    for made in outputs:
        r.align(made, r.dims(call.tensor("input")))
    return outputs


@rule("contiguous", "clone", "detach", "alias", "to", "_to_copy", "type_as", "lift_fresh", "lift_fresh_copy")
def _copy(r: Recorder, call: Call) -> Dims:
    made = r.output(call)
    r.align(made, r.dims(call.first))
    r.keeps(call.node, call.first, range(len(made)))
    return made


@rule("mark")
def _mark(r: Recorder, call: Call) -> Dims:
    """The operand of a call that may be weighed."""
    source, key, operand = call.first, call.arguments["key"], call.integer("operand")
    r.marks(call.node, source, str(key), operand)
    return r.dims(source)


@rule("zeros", "ones", "full", "empty", "rand", "randn", "new_zeros", "new_ones", "new_full", "new_empty")
def _made(r: Recorder, call: Call) -> Dims:
    """All positions are alike, and how many there are is for the code to say, which is settled by trial."""
    return r.output(call)


@rule("softmax")
def _softmax(r: Recorder, call: Call) -> Dims:
    made, dim = r.output(call), call.integer("dim")
    r.align(made, r.dims(call.first))
    r.weighs(call, call.first, [dim], f"{call.name} in {call.path} runs along it")
    return made


@rule("log_softmax", "_softmax", "_log_softmax", "cumsum", "flip", "roll", "tril", "triu", "sort", "cumprod")
def _along(r: Recorder, call: Call) -> Outputs:
    source = r.dims(call.first)
    outputs = r.outputs(call)
    for made in outputs:
        r.align(made, source)
    along = call.integers("dim", "dims")
    if along is None:  # triangles
        along = [-1, -2]
    r.fix([source[d] for d in along or range(len(source))], f"{call.name} in {call.path} runs along it")
    return outputs if call.several else outputs[0]


_WEIGHED = ("mean", "sum", "var", "std", "linalg_vector_norm", "norm")
"""Reductions of which a mixture of sizes is known."""


@rule("mean", "sum", "amax", "amin", "var", "std", "argmax", "argmin", "any", "all", "prod", "logsumexp", "max", "min",
      "linalg_vector_norm", "norm")  # fmt: skip
def _reduce(r: Recorder, call: Call) -> Outputs:
    if len(call.operands) > 1:  # the maximum of two tensors
        return pointwise(r, call)
    dims = r.dims(call.first)
    along = call.integers("dim") or range(len(dims))
    reduced = {d % len(dims) for d in along}
    reason = f"{call.name} in {call.path} reduces over it"
    if call.operation in _WEIGHED and call.arguments.get("ord", call.arguments.get("p", 2)) in (None, 2):
        names = ("keepdim", "correction", "unbiased")
        options = {"dim": sorted(reduced)} | {n: call.arguments[n] for n in names if n in call.arguments}
        r.weighs(call, call.first, sorted(reduced), reason, options)
    else:
        r.fix([dims[d] for d in reduced], reason)
    r.used(call, call.first)
    outputs = r.outputs(call)
    for made in outputs:
        if len(made) == len(dims):
            r.align(made, dims)
        else:
            r.same(made, [d for i, d in enumerate(dims) if i not in reduced])
    return outputs if call.several else outputs[0]


@rule("_assert_tensor_metadata", "_assert_async", "sym_size", "sym_constrain_range_for_size")
def _nothing(r: Recorder, call: Call) -> Dims:
    return ()
