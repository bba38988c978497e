"""Tracing: a model is exported once with an example, and every operation of the graph says which dimensions are one.

Operations that no rule knows keep their dimensions fixed, so that a wrong slice is impossible: what cannot be followed
is refused with the path of the module.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node

from sharewise.errors import ConfigurationError
from sharewise.supernet.elastic.binding import bound, following
from sharewise.supernet.elastic.call import call_of, name_of, values_of
from sharewise.supernet.elastic.calls import Marking, enter_frames
from sharewise.supernet.elastic.record import Dims, Record
from sharewise.supernet.elastic.recorder import Outputs, Recorder, joined
from sharewise.supernet.elastic.rules import RULES, pointwise
from sharewise.supernet.structures import Inputs, leaves

__all__ = ["trace"]


def trace(model: nn.Module, example: Inputs) -> Record:
    """Export a model and find out which dimensions are one.

    Args:
        model: in evaluation mode.
        example: its arguments: a tensor, a tuple of positional ones or a mapping of those by keyword.

    Raises:
        ConfigurationError: when torch cannot export the model, or it returns no tensor.

    Example:
        >>> record = trace(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)).eval(), torch.zeros(5, 2))
        >>> record.dimensions.find(record.tensors["0.bias"][0]) == record.dimensions.find(record.tensors["1.weight"][1])
        True
    """
    names: list[str] = []
    program, marking = _exported(model, example, names)
    recorder = Recorder(model, _unread(program))
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
            _output(recorder, node, len(signature.buffers_to_mutate), names)
    _attentions(recorder)
    _alias(recorder)
    record = recorder.record
    record.callers, record.runs = frozenset(marking.callers), marking.frames.runs
    record.forms = {key: frozenset(forms) for key, forms in marking.forms.items()}
    return recorder.record


def _unread(program: ExportedProgram) -> frozenset[Node]:
    """Nodes whose values reach nothing that the model returns: they run, but what they sum over does not matter."""
    unread: set[Node] = set()
    for node in reversed(program.graph.nodes):
        if node.op == "call_function" and not node.is_impure() and all(user in unread for user in node.users):
            unread.add(node)
    return frozenset(unread)


def _exported(model: nn.Module, example: Inputs, names: list[str]) -> tuple[ExportedProgram, Marking]:
    """The graph, and what marked its watched calls; fills in the names of outputs."""
    positional, keywords = _arguments(example)
    try:
        with _traceable(), following(model) as running, enter_frames(model) as frames, bound() as bindings:
            bindings.set(model, "forward", _flattened(model.forward, names))
            with Marking(frames) as marking:
                program = torch.export.export(model, positional, keywords, strict=False)
        return program, marking
    except ConfigurationError:
        raise
    except Exception as error:  # torch raises many kinds
        reason = next((line.strip(" .") for line in str(error).splitlines() if line.strip()), type(error).__name__)
        where = f" in {running[-1]!r}" if running and running[-1] else ""
        raise ConfigurationError(
            f"{type(model).__name__} cannot be traced: torch.export says{where}: {reason}. Its forward must take "
            "tensors and must not depend on the values in them"
        ) from error


@contextmanager
def _traceable() -> Iterator[None]:
    """Attention as the operations that it is made of, gradients as in training, and none of torch's warnings."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _arguments(example: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(example, Mapping):
        return (), dict(example)
    return (tuple(example) if isinstance(example, tuple) else (example,)), {}


def _flattened(forward: Callable[..., Any], names: list[str]) -> Callable[..., list[Tensor]]:
    """The tensors that a model returns in any structure, as a list that torch can export."""

    @wraps(forward)
    def run(*args: Any, **kwargs: Any) -> list[Tensor]:
        found = list(leaves(forward(*args, **kwargs)))
        names[:] = [name for name, _ in found]
        return [tensor for _, tensor in found]

    return run


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


def _output(r: Recorder, node: Node, buffers: int, names: list[str]) -> None:
    """The results; before them in the graph stand statistics that were updated."""
    listed = node.args[0]
    assert isinstance(listed, list | tuple)
    results = list(listed)[buffers:]
    if not results:
        raise ConfigurationError(f"{type(r.model).__name__} must return a tensor, or several in a structure")
    hint = ", which returns several; where nothing reads this one, let a module around the model leave it out"
    for name, result in zip(names, results, strict=True):
        if isinstance(result, Node) and (values := values_of(result)):
            r.record.outputs[name] = tuple(values[0].shape)
            words = f"it is the output{f' {name}' if name else ''} of the model"
            r.fix(r.dims(result), words + (hint if len(names) > 1 else ""))


def _attentions(r: Recorder) -> None:
    """Torch's attention has one width inside and outside, so that heads follow it."""
    for path, module in r.model.named_modules():
        first = joined(path, "in_proj_weight"), joined(path, "q_proj_weight")
        name = next((name for name in first if name in r.record.tensors), None)
        if isinstance(module, nn.MultiheadAttention) and name is not None:
            r.dimensions.same(r.record.tensors[name][1], r.record.tensors[joined(path, "out_proj.weight")][1])


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
