"""Recurrences: one hidden width in all layers and directions of a module."""

from __future__ import annotations

from torch import nn
from torch.fx import Node

from sharewise.supernet.elastic.call import Call
from sharewise.supernet.elastic.record import Dims
from sharewise.supernet.elastic.recorder import Recorder
from sharewise.supernet.elastic.rules.registry import rule

__all__: list[str] = []


def _layer(r: Recorder, call: Call, weights: list[Node], read: int, hidden: int) -> None:
    """Gates of one size, that read an input and the state before."""
    inputs, states, *biases = weights
    columns, rows = r.dims(inputs)[1], r.dims(inputs)[0]
    r.dimensions.same(columns, read)
    r.dimensions.same(r.dims(states)[1], hidden)
    for matrix in (inputs, states):
        r.used(call, matrix, 1)
    for tensor in (states, *biases):
        r.dimensions.same(r.dims(tensor)[0], rows)
        if tensor is not states:
            r.used(call, tensor)
    gates = r.size(rows) // r.size(hidden)
    gate = r.dimensions.new(gates, f"the gates of {call.path}")
    r.fix([gate], f"{call.path} has a fixed number of gates")
    r.dimensions.product(rows, (gate, hidden) if gates > 1 else (hidden,), call.path)


@rule("lstm", "gru", "rnn_tanh", "rnn_relu")
def _recurrence(r: Recorder, call: Call) -> list[Dims]:
    outputs = r.outputs(call)
    source, parameters = call.arguments.get("input"), call.arguments.get("params")
    module = r.model.get_submodule(call.where)
    if not isinstance(source, Node) or not isinstance(parameters, list | tuple) or getattr(module, "proj_size", 0) != 0:
        return _refused(r, call, outputs)
    directions, layers = 2 if call.arguments["bidirectional"] else 1, call.integer("num_layers")
    each = len(parameters) // (directions * layers)
    hidden = r.dims(parameters[1])[1]
    read = r.dims(source)[-1]
    r.size_field(call, nn.RNNBase, "input_size", read)
    for layer in range(layers):
        for direction in range(directions):
            start = (layer * directions + direction) * each
            _layer(r, call, list(parameters[start : start + each]), read, hidden)
        read = hidden
        if directions == 2:
            read = r.dimensions.new(2 * r.size(hidden), f"both directions of {call.path}")
            for start in (0, r.size(hidden)):
                r.dimensions.part(read, range(start, start + r.size(hidden)), hidden)
    r.same(outputs[0], (*r.dims(source)[:-1], read))
    states = call.arguments["hx"]
    batch = r.dims(source)[0 if call.arguments["batch_first"] else 1]
    for dims in (*outputs[1:], *map(r.dims, _states(states))):
        r.same(dims[-2:], (batch, hidden))  # torch 2.6 says a dimension too many before them
        r.fix(dims[:-2], f"it counts the layers and directions of {call.path}")
    r.writes(call, hidden)
    r.size_field(call, nn.RNNBase, "hidden_size", hidden)
    return outputs


def _states(given: object) -> list[Node]:
    return [state for state in (given if isinstance(given, list | tuple) else [given]) if isinstance(state, Node)]


def _refused(r: Recorder, call: Call, outputs: list[Dims]) -> list[Dims]:
    """Projected states and packed sequences stay as they are."""
    tensors = [v for each in call.arguments.values() for v in (each if isinstance(each, list | tuple) else [each])]
    for dims in (*outputs, *(r.dims(v) for v in tensors if isinstance(v, Node))):
        r.fix(dims, f"{call.name} in {call.path} has projected states or packed sequences, which are not followed")
    return outputs


@rule("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
def _cell(r: Recorder, call: Call) -> list[Dims] | Dims:
    source = r.dims(call.tensor("input"))
    weights = call.present("w_ih", "w_hh", "b_ih", "b_hh")
    hidden = r.dims(weights[1])[1]
    _layer(r, call, weights, source[-1], hidden)
    states = call.arguments["hx"]
    outputs = r.outputs(call)
    for dims in (*outputs, *map(r.dims, _states(states))):
        r.same(dims, (*source[:-1], hidden))
    r.writes(call, hidden)
    r.size_field(call, nn.RNNCellBase, "input_size", source[-1])
    r.size_field(call, nn.RNNCellBase, "hidden_size", hidden)
    return outputs if call.several else outputs[0]
