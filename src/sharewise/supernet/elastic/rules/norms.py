"""Operations that normalise, and other parameters that stand beside a dimension."""

from __future__ import annotations

from torch import nn

from sharewise.supernet.elastic.call import Call
from sharewise.supernet.elastic.record import Dims
from sharewise.supernet.elastic.recorder import Recorder
from sharewise.supernet.elastic.rules.registry import rule

__all__: list[str] = []


@rule("batch_norm", "instance_norm")
def _batch_norm(r: Recorder, call: Call) -> Dims:
    dims = r.dims(call.tensor("input"))
    channels = dims[min(1, len(dims) - 1)]
    r.accompanies(call, call.present("weight", "bias", "running_mean", "running_var"), (channels,))
    r.size_field(call, (nn.modules.batchnorm._NormBase,), "num_features", channels)
    return dims


@rule("group_norm")
def _group_norm(r: Recorder, call: Call) -> Dims:
    """Groups keep their size and their number follows; one group alone has the statistics of all channels."""
    dims, groups = r.dims(call.tensor("input")), call.integer("num_groups")
    if groups == 1:
        r.weighs(call, call.tensor("input"), [1], f"{call.name} in {call.path} normalises over it")
    else:
        group = r.dimensions.new(groups, f"the groups of {call.path}")
        inner = r.dimensions.new(r.size(dims[1]) // groups, f"a group of {call.path}")
        r.fix([inner], f"groups of {call.path} keep their size")
        r.dimensions.product(dims[1], (group, inner) if r.size(inner) > 1 else (group,), call.path)
        r.size_field(call, nn.GroupNorm, "num_groups", group)
    r.accompanies(call, call.present("weight", "bias"), dims[1:2])
    r.size_field(call, nn.GroupNorm, "num_channels", dims[1])
    return dims


@rule("layer_norm", "rms_norm")
def _layer_norm(r: Recorder, call: Call) -> Dims:
    """By what it computes: in a layer of torch as in any function that calls it."""
    dims = r.dims(call.tensor("input"))
    normalised = dims[-len(call.integers("normalized_shape") or ()) :]
    r.accompanies(call, call.present("weight", "bias"), normalised)
    reason = (
        f"{call.name} in {call.path} normalises over it; use the layer nn.LayerNorm or nn.RMSNorm over one dimension"
    )
    if len(normalised) > 1:
        r.fix(normalised, reason)
        return dims
    if type(r.model.get_submodule(call.where)).forward in (nn.LayerNorm.forward, nn.RMSNorm.forward):
        known = r.record.norms.setdefault(call.where, dims[-1])
        r.dimensions.same(known, dims[-1])
    else:
        r.weighs(call, call.tensor("input"), [-1], reason)
    r.size_field(call, (nn.LayerNorm, nn.RMSNorm), "normalized_shape", dims[-1])
    return dims


@rule("_weight_norm")
def _weight_norm(r: Recorder, call: Call) -> Dims:
    """Every row of v is divided by its length, which is that of the columns that are left."""
    v, kept = r.dims(call.tensor("v")), call.integer("dim")
    if kept == -1:  # one length of the whole, which torch's dim=None means
        r.weighs(call, call.tensor("v"), range(len(v)), f"{call.name} in {call.path} normalises over it")
        return v
    kept %= len(v)
    r.dimensions.same(r.dims(call.tensor("g"))[kept], v[kept])
    others = [axis for axis in range(len(v)) if axis != kept]
    r.weighs(call, call.tensor("v"), others, f"{call.name} in {call.path} normalises over it")
    return v


@rule("prelu")
def _prelu(r: Recorder, call: Call) -> Dims:
    dims, weight = r.dims(call.tensor("self")), call.tensor("weight")
    if r.size(r.dims(weight)[0]) > 1:
        r.same(r.dims(weight), dims[1:2])
        r.size_field(call, nn.PReLU, "num_parameters", dims[1])
    r.used(call, weight)
    return dims
