"""Networks as graphs of layers that have a form for many networks at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from sharewise.errors import ConfigurationError
from sharewise.supernet.common_forms import ABSENT, CONSTANT, FUNCTIONS, LAYERS, NORMS, Apply, Rule, Stack, fits, itself

__all__ = ["Graph", "Node", "read"]

_NOTHING = object()
"""In the place of a layer that does nothing."""


class Node(NamedTuple):
    """A layer in the graph of one network.

    Args:
        key: equal for nodes that can run as one: what is computed, on which shapes, and whether a gradient arrives.
        rule: makes their operation.
        layer: of the network.
        inputs: numbers of nodes in the same network.
    """

    key: Hashable
    rule: Rule
    layer: Any
    inputs: tuple[int, ...]


class Graph(NamedTuple):
    """A network: its nodes in order, the first of which is the input, and which one is the output."""

    nodes: list[Node]
    output: int


def read(network: nn.Module, example: Tensor) -> Graph:
    """The graph of a network; layers that compute the same from the same are one, and those that do nothing none."""
    name = type(network).__name__
    for path, module in network.named_modules():
        if "forward" in vars(module) or (module._modules and (module._forward_hooks or module._forward_pre_hooks)):
            raise ConfigurationError(
                f"{name} cannot be read as a graph of layers ({path or name} has hooks, or a forward of its own)"
            )
    try:
        graph = fx.Tracer().trace(network)
        shapes = _shapes(network, graph, example)
    except Exception as error:  # of a network that anybody wrote
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ConfigurationError(f"{name} cannot be read as a graph of layers ({reason})") from None
    layers, live = dict(network.named_modules()), _reached(graph)
    nodes: list[Node] = []
    numbers: dict[fx.Node, int] = {}
    known: dict[Hashable, int] = {}
    for node in graph.nodes:
        if node.op == "placeholder" and not nodes:
            found = Node("input", itself, None, ())
        elif node.op == "output":
            [output] = node.args
            if not isinstance(output, fx.Node):
                raise ConfigurationError(f"{name} has several outputs")
            return _contracted(Graph(nodes, numbers[output]))
        else:
            found = _node(node, layers, shapes, node in live)
            found = found._replace(inputs=tuple(numbers[source] for source in _sources(node)))
        if found.layer is _NOTHING:
            numbers[node] = found.inputs[0]
        elif _is_function(found.layer) and (found.key, found.inputs) in known:
            numbers[node] = known[found.key, found.inputs]
        else:
            known[found.key, found.inputs] = numbers[node] = len(nodes)
            nodes.append(found)
    raise ConfigurationError(f"{name} has no output")


def _node(node: fx.Node, layers: Mapping[str, nn.Module], shapes: Mapping[fx.Node, Any], live: bool) -> Node:
    """A node without its inputs."""
    inputs = tuple(shapes[source] for source in _sources(node))
    if node.op == "call_module" and len(inputs) == len(node.args) == 1 and not node.kwargs:
        layer = layers[str(node.target)]
        if fits(layer, len(inputs[0])):
            if type(layer) in ABSENT and not getattr(layer, "p", 0):
                return Node(None, itself, _NOTHING, ())
            if type(layer) in LAYERS and shapes[node] is not None:
                settings = {name: value for name, value in vars(layer).items() if name[0] != "_"}
                sizes = [(name, tensor.shape, tensor.requires_grad) for name, tensor in layer.named_parameters()]
                key = (type(layer), str(settings), str(sizes), inputs, live)
                return Node(key, LAYERS[type(layer)], layer, ())
    elif node.op in ("call_function", "call_method"):
        rule, allowed = FUNCTIONS.get(node.target, (None, ()))
        constants = _constants(node)
        alike = node.target is torch.cat or len(set(inputs)) == 1
        if rule is not None and constants in allowed and alike:
            call = partial(_method, node.target) if isinstance(node.target, str) else node.target
            return Node((str(node.target), constants, inputs, live), rule, partial(_called, call, constants), ())
    what = layers.get(str(node.target), node.target)
    raise ConfigurationError(f"{what}, called as {node.format_node()}, has no form that computes many networks at once")


def _sources(node: fx.Node) -> list[fx.Node]:
    """The tensors that a node reads, in order, as often as it reads them."""
    found: list[fx.Node] = []
    fx.map_arg((node.args, node.kwargs), found.append)
    return found


def _is_function(layer: Any) -> bool:
    """Whether calling it twice is calling it once: it has no weights and no statistics."""
    return not isinstance(layer, nn.Module) or not layer.state_dict()


def _contracted(graph: Graph) -> Graph:
    """A batch norm is one with the layer that nobody else reads, so that no rows are gathered in between."""
    readers = Counter(source for node in graph.nodes for source in node.inputs)
    nodes: list[Node] = []
    numbers: dict[int, int] = {}
    for number, node in enumerate(graph.nodes):
        [source] = node.inputs if len(node.inputs) == 1 else [0]
        if source and isinstance(node.layer, NORMS) and readers[source] == 1 and source != graph.output:
            before = nodes[numbers[source]]
            numbers[number] = numbers[source]
            nodes[numbers[source]] = Node(
                (before.key, node.key),
                partial(_chain, before.rule, node.rule),
                (before.layer, node.layer),
                before.inputs,
            )
            continue
        numbers[number] = len(nodes)
        nodes.append(node._replace(inputs=tuple(numbers[source] for source in node.inputs)))
    return Graph(nodes, numbers[graph.output])


def _chain(first: Rule, second: Rule, layers: Sequence[Any], stack: Stack) -> Apply:
    one, other = first([pair[0] for pair in layers], stack), second([pair[1] for pair in layers], stack)
    return lambda *inputs: other(one(*inputs))


def _called(function: Callable[..., Tensor], constants: tuple[Any, ...], *inputs: Tensor) -> Tensor:
    return function(*inputs, *constants)


def _method(name: str, x: Tensor, *arguments: Any) -> Tensor:
    y: Tensor = getattr(x, name)(*arguments)
    return y


def _constants(node: fx.Node) -> tuple[Any, ...] | None:
    """Arguments that are no tensors; `None` for those of names that no function here has, but for what is not done."""
    named = {name: value for name, value in node.kwargs.items() if value is not False}
    if not set(named) <= {"dim", "start_dim"}:
        return None
    flat = [value for value in (*node.args, *named.values()) if not _sources_in(value)]
    return tuple(tuple(value) if isinstance(value, list) else value for value in flat)


def _sources_in(value: Any) -> bool:
    parts = value if isinstance(value, (list, tuple)) else (value,)
    return any(isinstance(part, fx.Node) for part in parts)


def _shapes(network: nn.Module, graph: fx.Graph, example: Tensor) -> dict[fx.Node, Any]:
    """Of all values, without the first dimension, found in evaluation mode, in which nothing is left behind."""
    modes = {module: module.training for module in network.modules()}
    found: dict[fx.Node, Any] = {}

    class _Noting(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            found[n] = tuple(value.shape[1:]) if isinstance(value, Tensor) else None
            return value

    try:
        network.eval()
        with torch.no_grad():
            _Noting(fx.GraphModule(network, graph)).run(example)
    finally:
        for module, mode in modes.items():
            module.training = mode
    return found


def _reached(graph: fx.Graph) -> set[fx.Node]:
    """Nodes to which a gradient of the output goes."""
    found: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        if (node.op == "output" or node in found) and node.target not in CONSTANT:
            found.update(node.all_input_nodes)
    return found
