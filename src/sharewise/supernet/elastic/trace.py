"""Tracing: a model is exported once with an example, and every operation of the graph says which dimensions are one.

Operations that no rule knows keep their dimensions fixed, so that a wrong slice is impossible: what cannot be followed
is refused with the path of the module.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node

from sharewise.errors import ConfigurationError
from sharewise.supernet.elastic.binding import following
from sharewise.supernet.elastic.call import call_of, name_of, values_of
from sharewise.supernet.elastic.record import Dims, Record, opaque
from sharewise.supernet.elastic.recorder import Outputs, Recorder, joined
from sharewise.supernet.elastic.rules import RULES, pointwise

__all__ = ["trace"]


def trace(model: nn.Module, example: Tensor) -> Record:
    """Export a model and find out which dimensions are one.

    Args:
        model: maps one tensor to one tensor; in evaluation mode.
        example: a batch of inputs.

    Raises:
        ConfigurationError: when torch cannot export the model, or it returns something else than one tensor.

    Example:
        >>> record = trace(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)).eval(), torch.zeros(5, 2))
        >>> record.dimensions.find(record.tensors["0.bias"][0]) == record.dimensions.find(record.tensors["1.weight"][1])
        True
    """
    program = _exported(model, example)
    recorder = Recorder(model)
    signature = program.graph_signature
    known = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            _placeholder(recorder, node, known.get(node.name))
        elif node.op == "call_function":
            recorder.made[node] = _made(recorder, node)
            if isinstance(node.target, torch._ops.OpOverload):
                recorder.met(node)
        elif node.op == "output":
            _output(recorder, node, len(signature.buffers_to_mutate))
    _alias(recorder)
    return recorder.record


def _exported(model: nn.Module, example: Tensor) -> ExportedProgram:
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one opaque operation, which hides what it is made of
    try:
        with warnings.catch_warnings(), torch.enable_grad(), following(model) as running:
            warnings.simplefilter("ignore")
            return torch.export.export(model, (example,), strict=False)
    except ConfigurationError:
        raise
    except Exception as error:  # torch raises many kinds
        reason = next((line.strip(" .") for line in str(error).splitlines() if line.strip()), type(error).__name__)
        where = f" in {running[-1]!r}" if running and running[-1] else ""
        raise ConfigurationError(
            f"{type(model).__name__} cannot be traced: torch.export says{where}: {reason}. Its forward must take one "
            "tensor and must not depend on the values in it"
        ) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _placeholder(r: Recorder, node: Node, name: str | None) -> None:
    for value in values_of(node):
        what = f"the input {node.name!r}" if name is None else name
        dims = tuple(r.dimensions.new(n, f"dimension {i} of {what}") for i, n in enumerate(value.shape))
        r.made[node] = dims
        if name is None:
            for axis, dimension in enumerate(dims):
                r.fix([dimension], f"it is one with dimension {axis} of {what}, which is given from outside")
            continue
        path, _, local = name.rpartition(".")
        r.names(node, joined(r.canonical(path), local), dims)
        owner = r.model.get_submodule(path)
        if isinstance(owner, nn.MultiheadAttention | nn.RNNBase):
            r.fix(dims, opaque(owner))


def _made(r: Recorder, node: Node) -> Outputs:
    """What the rule of an operation says about its outputs."""
    if getattr(node.target, "__name__", "") == "getitem":
        source, index = node.args
        assert isinstance(source, Node)
        made = r.made.get(source)
        return made[index] if isinstance(made, list) and isinstance(index, int) else _fresh(r, node)
    if not isinstance(node.target, torch._ops.OpOverload):
        return _unknown(r, node)
    call = call_of(node, r.where(node), r.path(node))
    rule = RULES.get(call.operation)
    if rule is not None:
        return rule(r, call)
    return pointwise(r, call) if call.is_pointwise and not call.several and values_of(node) else _unknown(r, node)


def _fresh(r: Recorder, node: Node) -> Dims:
    return r.fresh(node, next(iter(values_of(node)), None))


def _unknown(r: Recorder, node: Node) -> Outputs:
    """Nothing is known of the operation: what it reads and writes stays as it is."""
    reason = f"the operation {name_of(node)} in {r.path(node)} is not one that sharewise can follow"
    made = [r.fresh(node, value) for value in values_of(node)]
    for each in node.all_input_nodes:
        read = r.made.get(each, ())
        for dims in read if isinstance(read, list) else [read]:
            r.fix(dims, reason)
    for dims in made:
        r.fix(dims, reason)
    return made if isinstance(node.meta.get("val"), list | tuple) else made[0] if made else ()


def _output(r: Recorder, node: Node, buffers: int) -> None:
    """The one result; what follows it in the graph are statistics that were updated."""
    listed = node.args[0]
    assert isinstance(listed, list | tuple)
    results = [result for result in listed if isinstance(result, Node)][buffers:]
    values = [values_of(result) for result in results]
    if len(results) != 1 or len(values[0]) != 1:
        raise ConfigurationError(
            f"{type(r.model).__name__} must return one tensor, but returns {len(results)}; wrap it in a module that "
            "picks the one to be trained"
        )
    r.record.output = tuple(values[0][0].shape)
    r.fix(r.dims(results[0]), "it is the output of the model")


def _alias(r: Recorder) -> None:
    """Tied parameters have dimensions by every name."""
    groups: dict[int, list[str]] = {}
    for path, module in r.model.named_modules():
        for local, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None:
                groups.setdefault(id(tensor), []).append(joined(path, local))
    tensors = r.record.tensors
    for names in groups.values():
        known = [name for name in names if name in tensors]
        for name in known[1:]:
            r.same(tensors[name], tensors[known[0]])
        if known:
            tensors |= dict.fromkeys(names, tensors[known[0]])
