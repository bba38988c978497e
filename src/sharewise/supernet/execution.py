"""How a cell is executed: one executor for every cell whose operations say of which parts they are made.

Operations on edges that leave one node begin alike: each convolution of NAS-Bench-201 rectifies the node, each pooling
of DARTS pools it. An operation is s · norm(body(prefix(x))), a `Term`: a *prefix* that others at its node share, a
*body* of its own, and a norm at the end whose scale can take the gate's weight s. An `nn.Sequential` says so by the
order of its layers (`term`); anything else is a body, which is always right and shares nothing.

The executor (`execute`) runs the prefix of a node once for all of its edges, folds s into the norm, and leaves out
what makes no difference. The form that runs every edge by itself stays as its oracle (`fused=False`).

One more variant was measured and not taken (CPU, float32, batch 32, 16 to 64 channels): one wide convolution in place
of several that read the same prefix takes 4 to 35 % longer, since the gradients of its parts must be joined again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from types import MappingProxyType
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sharewise.errors import ConfigurationError
from sharewise.supernet import combining, native
from sharewise.supernet.calls import must_be_called
from sharewise.supernet.cell import Wiring
from sharewise.supernet.convolution import convolve_rectified, convolved, rectifies
from sharewise.supernet.few_channels import has_few_channels
from sharewise.supernet.gate import Gates, add
from sharewise.supernet.layout import aligned
from sharewise.supernet.pooling import averaged
from sharewise.supernet.scored import entered, leaves_nothing, maps_zero_to_zero
from sharewise.supernet.slices.norms import scaled_batch_norm
from sharewise.supernet.supernet import Shared

__all__ = ["Mixture", "Step", "Term", "alone", "execute", "joined", "term", "terms_of", "that_matter"]

_SETTINGS: Mapping[type[nn.Module], Callable[[nn.Module], Hashable]] = {
    nn.ReLU: attrgetter("inplace"),
    nn.AvgPool2d: attrgetter("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
    nn.MaxPool2d: attrgetter("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"),
}
"""Layers that edges of a node can share, and what tells two of a kind apart. All map zero to zero."""

_RECTIFIES = (nn.ReLU, False)
"""The key of a step that rectifies."""

_SEQUENCES = (nn.Sequential, nn.ModuleList)

_NO_GATES: Gates = MappingProxyType({})

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

_TRACELESS = (*_SETTINGS, nn.Conv1d, nn.Conv2d, nn.Identity, nn.Linear, nn.ModuleList, nn.Sequential, nn.Tanh)
"""Layers of which training mode leaves nothing behind: no statistics, and no random number is drawn."""


@final
class Step(NamedTuple):
    """One layer of a prefix: a function of its input alone, which maps zero to zero.

    Args:
        key: equal for steps that compute the same.
        apply: the function, from and to a tensor, or several between two steps.
    """

    key: Hashable
    apply: Callable[[Any], Any]


@final
class Term(NamedTuple):
    """One term of the sum at a node, by its parts: s · norm(body(prefix(x))).

    Args:
        prefix: steps that other terms at the same node may share.
        body: layers of its own; those that are `Shared` are given the gates.
        norm: a batch norm at the end, whose scale takes s.
        scale: s, shape `()`; `None` for one.
        gates: for the layers of the body.
        lane: sums at a node are taken by lane, and then joined; see `Mixture.joined`.
        rectified: whether the first layer of the body rectifies what it reads; see `rectifying`.
    """

    prefix: tuple[Step, ...] = ()
    body: tuple[nn.Module, ...] = ()
    norm: _BatchNorm | None = None
    scale: Tensor | None = None
    gates: Gates = _NO_GATES
    lane: int = 0
    rectified: bool = False

    def scaled(self, weight: Tensor) -> Term:
        """The same term, `weight` times over."""
        return self._replace(scale=weight if self.scale is None else weight * self.scale)

    @property
    def keeps_zero(self) -> bool:
        """Whether a node that is zero makes this term zero, with no gradient to anything.

        A norm does not: in evaluation mode BN(0) = (0 − μ) / √(v + ε) · γ + β, in training mode it is β. Weights do
        not: theirs is a gradient of zeros, not `None`, which weight decay and momentum tell apart; nor does a scale
        that asks for a gradient. Where nothing but the output counts, both may (`leaves_nothing`).
        """
        if leaves_nothing():
            return all(map(maps_zero_to_zero, self.body)) and (self.norm is None or maps_zero_to_zero(self.norm))
        constant = self.scale is None or not self.scale.requires_grad
        return constant and self.norm is None and all(type(layer) is nn.Identity for layer in self.body)

    @property
    def leaves_trace(self) -> bool:
        """Whether executing the term may change anything besides its output.

        Batch norms that track statistics, dropout and whatever is not known to be harmless, in training mode.
        """
        if leaves_nothing():
            return False
        layers = self.body if self.norm is None else (*self.body, self.norm)
        return any(module.training and _traces(module) for layer in layers for module in layer.modules())

    def finish(self, x: Tensor, onto: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """What follows the prefix, added onto a tensor by the norm; and s, where no norm has taken it."""
        body, own = self.body, False
        if self.rectified:
            assert isinstance(body[0], nn.Conv2d)
            x, body = convolve_rectified(body[0], x), body[1:]
            own = not body and self.can_add and self.norm is not None and self.norm.num_features == x.shape[1]
        for layer in body:
            x = self._applied(layer, x)
        if self.norm is None:
            return x, self.scale
        if self.scale is None and onto is None and not own:
            return self.norm(x), None
        return scaled_batch_norm(self.norm, x, self.scale, onto=onto, overwrite=own), None

    def rectifying(self, x: Tensor) -> Term:
        """The same term, whose convolution rectifies the images of a node, where that is all that comes before it.

        A graph then keeps the node itself, in the place of what is rectified: nobody may change it in place.
        """
        if [step.key for step in self.prefix] != [_RECTIFIES] or not self.body or not rectifies(self.body[0], x):
            return self
        [relu] = self.prefix
        listened = isinstance(relu.apply, nn.Module) and must_be_called(relu.apply)
        return self if listened else self._replace(prefix=(), rectified=True)

    @property
    def only_scales(self) -> bool:
        """Whether it does nothing to what its prefix made but to scale it, and nobody listens."""
        passes = all(type(layer) is nn.Identity and not must_be_called(layer) for layer in self.body)
        return self.norm is None and self.scale is not None and passes

    @property
    def can_add(self) -> bool:
        """Whether its norm adds onto a tensor as fast as it writes one: by compiled kernels, and with no listener."""
        norm = self.norm
        if norm is None or type(norm) is not nn.BatchNorm2d or not norm.training or must_be_called(norm):
            return False
        return native.enabled() and native.knows_norm(norm.num_features)

    def _applied(self, layer: nn.Module, x: Tensor) -> Tensor:
        if isinstance(layer, nn.Conv2d):
            return convolved(layer, x)
        watched = layer._forward_hooks or layer._forward_pre_hooks
        if type(layer) in _NORMS and self.scale is not None and not watched and has_few_channels(x):
            return scaled_batch_norm(layer, x, None)  # type: ignore[arg-type]
        y: Tensor = layer(x, self.gates) if isinstance(layer, Shared) else layer(x)
        return y


def _traces(module: nn.Module) -> bool:
    if isinstance(module, _BatchNorm):
        return module.track_running_stats and module.running_mean is not None
    return type(module) not in _TRACELESS and not isinstance(module, Shared)


def _step(layer: nn.Module) -> Step | None:
    settings = _SETTINGS.get(type(layer))
    if settings is None or (isinstance(layer, nn.ReLU) and layer.inplace):  # that would spoil the node for others
        return None
    apply = partial(averaged, layer) if isinstance(layer, nn.AvgPool2d) else layer
    return Step((type(layer), settings(layer)), apply)


def term(operation: nn.Module, scale: Tensor | None = None, gates: Gates = _NO_GATES) -> Term:
    """The parts of an operation, from the order of its layers.

    Leading rectifications and poolings of an `nn.Sequential` are a prefix that others share, a batch norm at the end
    takes the scale, and what lies between is the body. Parts are read at every call, so that layers may be replaced.

    Args:
        operation: a sequence of layers, or any module.
        scale: s, shape `()`; `None` for one.
        gates: for layers that are `Shared`.

    Example:
        >>> parts = term(nn.Sequential(nn.ReLU(), nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)))
        >>> len(parts.prefix), len(parts.body), type(parts.norm).__name__
        (1, 2, 'BatchNorm2d')
        >>> term(nn.Identity()).keeps_zero
        True
    """
    layers = list(operation) if isinstance(operation, _SEQUENCES) else [operation]
    prefix: list[Step] = []
    for layer in layers:
        step = _step(layer)
        if step is None:
            break
        prefix.append(step)
    body = layers[len(prefix) :]
    norm = body.pop() if body and type(body[-1]) in _NORMS else None
    if norm is None and not prefix and isinstance(operation, nn.Sequential):
        body = [operation]  # nothing to take apart
    assert norm is None or isinstance(norm, _BatchNorm)
    return Term(tuple(prefix), tuple(body), norm, scale, gates)


class Mixture(Shared, ABC):
    """What an edge computes under the gates, said in two ways that must agree."""

    @property
    def scales_weights(self) -> bool:
        """No: a gate scales what an operation puts out."""
        return False

    @abstractmethod
    def terms(self, gates: Gates) -> list[Term]:
        """The terms of its active options; none where it computes nothing but zero."""

    @abstractmethod
    def alone(self, x: Tensor, gates: Gates) -> Tensor | None:
        """The mixture by itself, the readable form; `None` where it computes nothing but zero."""

    def joined(self, lanes: Mapping[int, Tensor]) -> Tensor:
        """The value of a node of its sums by lane; all edges of a node must agree on it."""
        return _alone_in(lanes, self)


def terms_of(edge: nn.Module, gates: Gates) -> list[Term]:
    """The terms of an edge: a mixture, or an operation that is no matter of choice."""
    return edge.terms(gates) if isinstance(edge, Mixture) else [term(edge)]


def alone(edge: nn.Module, x: Tensor, gates: Gates) -> Tensor | None:
    """An edge by itself, in its readable form."""
    value: Tensor | None = edge.alone(x, gates) if isinstance(edge, Mixture) else edge(x)
    return value


_Lanes = Mapping[int, Tensor]


def joined(edge: nn.Module, lanes: _Lanes) -> Tensor:
    """The value of a node to which an edge leads, of its sums by lane."""
    return edge.joined(lanes) if isinstance(edge, Mixture) else _alone_in(lanes, edge)


def _alone_in(lanes: _Lanes, edge: nn.Module) -> Tensor:
    """The sum of the one lane that an ordinary edge knows."""
    if set(lanes) != {0}:
        raise ConfigurationError(
            f"terms of lanes {sorted(lanes)} meet at a node, which a {type(edge).__name__} does not join"
        )
    return lanes[0]


def execute(
    wiring: Wiring,
    edges: nn.ModuleDict,
    inputs: Sequence[Tensor],
    gates: Gates,
    *,
    fused: bool = True,
) -> Tensor:
    """The output of a cell.

    Left out is what provably changes nothing. An edge into a node from which no active edge leads on to an output is
    left out unless it leaves a trace: while batch norms track statistics (a weight step, recalibration) it is executed
    for them, as the plain network does; in evaluation mode and under frozen statistics it is not. An edge out of a node
    that is exactly zero is left out where it maps zero to zero and nothing on its way asks for a gradient, as skipping
    and pooling on a sampled path; a norm maps zero to something else, so it runs. Whatever has a gradient in one form
    has one in the other, zeros as well as `None`. Where an architecture is only scored, with statistics of its own,
    neither edges into unread nodes nor convolutions of zeros are executed. On the meta device, where work is counted by
    tracing shapes, nothing is left out: an architecture costs what its plain network costs.

    Args:
        wiring: of the cell.
        edges: by name, each a `Mixture`, or a module that is always executed.
        inputs: of the cell, one per input node, all of one shape.
        gates: of all decisions of the edges.
        fused: whether to share work among edges; if not, every edge runs by itself, the oracle.

    Returns:
        The output nodes, concatenated over dimension 1.

    Example:
        >>> wiring = Wiring(1, {"a": (0, 1), "b": (0, 2), "c": (1, 2)}, outputs=(2,))
        >>> edges = nn.ModuleDict({"a": nn.ReLU(), "b": nn.ReLU(), "c": nn.Identity()})
        >>> execute(wiring, edges, [torch.tensor([[-1.0, 2.0]])], {})
        tensor([[0., 4.]])
    """
    gates = entered(wiring, edges, gates)
    nodes = (_fused if fused else _edge_by_edge)(wiring, edges, inputs, gates)
    outputs = [nodes.at(node) for node in wiring.outputs]
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)


class _Nodes:
    """Values of nodes, of which those that are exactly zero exist only when they are asked for."""

    def __init__(self, inputs: Sequence[Tensor], wiring: Wiring) -> None:
        self.values: list[Tensor | None] = list(inputs)
        self.wiring = wiring

    def at(self, node: int) -> Tensor:
        value = self.values[node]
        if value is None:
            like = self.values[0]
            assert like is not None
            space = (slice(None), slice(None), *[slice(None, None, self.wiring.stride)] * (like.dim() - 2))
            value = self.values[node] = _zeros(like[space], self.wiring.channels)
        return value


def _zeros(like: Tensor, channels: int | None) -> Tensor:
    """Zeros of the shape of a tensor, but for its channels."""
    if channels is None or channels == like.shape[1]:
        return torch.zeros_like(like)
    return torch.zeros_like(like[:, :1]).expand(-1, channels, *[-1] * (like.dim() - 2))


def _edge_by_edge(wiring: Wiring, edges: nn.ModuleDict, inputs: Sequence[Tensor], gates: Gates) -> _Nodes:
    nodes = _Nodes(inputs, wiring)
    for node in range(wiring.inputs, wiring.nodes):
        total: Tensor | None = None
        for name in wiring.incoming(node):
            total = add(total, alone(edges[name], nodes.at(wiring.edges[name][0]), gates))
        nodes.values.append(total)
    return nodes


def _fused(wiring: Wiring, edges: nn.ModuleDict, inputs: Sequence[Tensor], gates: Gates) -> _Nodes:
    terms = {name: terms_of(edges[name], gates) for name in wiring.edges}
    if not inputs[0].is_meta:
        terms = that_matter(wiring, terms)
    nodes = _Nodes(inputs, wiring)
    prefixes: dict[tuple[Hashable, ...], Any] = {}
    handed: dict[int, _Handed] = {}
    leaving = _leaving(wiring, terms) if combining.is_on() else {}
    for node in range(wiring.inputs, wiring.nodes):
        sums: dict[int, _Sum] = defaultdict(_Sum)
        for source in dict.fromkeys(wiring.edges[name][0] for name in wiring.incoming(node)):
            if source not in handed:
                handed[source], left = _handed_on(leaving.get(source, {}), source, terms, nodes, prefixes)
                terms |= left
            for lane, value in handed[source].pop(node, {}).items():
                sums[lane].take_own(value)
        for name in wiring.incoming(node):
            source = wiring.edges[name][0]
            for part in terms[name]:
                reader = part.rectifying(nodes.at(source)) if part.prefix else part
                sums[part.lane].take(reader, _prefix(reader, source, nodes, prefixes))
        lanes = {lane: aligned(found.total) for lane, found in sums.items() if found.total is not None}
        nodes.values.append(joined(edges[name], lanes) if lanes else None)
    return nodes


_Handed = dict[int, dict[int, Tensor]]
"""By node and lane, what another node adds to it."""


def _leaving(wiring: Wiring, terms: Mapping[str, list[Term]]) -> dict[int, dict[str, int]]:
    """By node its edges that lead on to an output, with the nodes that they reach.

    Others are executed for their traces, and have no gradient.
    """
    read, found = set(wiring.outputs), defaultdict[int, dict[str, int]](dict)
    for name, (source, target) in reversed(list(wiring.edges.items())):
        if target in read and terms[name]:
            read.add(source)
            found[source][name] = target
    return found


def _handed_on(
    leaving: Mapping[str, int],
    source: int,
    terms: Mapping[str, list[Term]],
    nodes: _Nodes,
    known: dict[tuple[Hashable, ...], Any],
) -> tuple[_Handed, dict[str, list[Term]]]:
    """The sums of terms of a node that only scale, where they are faster at once, and the other terms of its edges."""
    scaling = [(target, part) for name, target in leaving.items() for part in terms[name] if part.only_scales]
    if len(scaling) < 2 or nodes.values[source] is None:
        return {}, {}
    images: dict[tuple[Hashable, ...], Tensor] = {}
    scales: dict[tuple[int, int], dict[tuple[Hashable, ...], Tensor]] = defaultdict(dict)
    for target, part in scaling:
        key, scale = tuple(step.key for step in part.prefix), part.scale
        images[key] = _prefix(part, source, nodes, known)
        assert scale is not None
        row = scales[target, part.lane]
        row[key] = row[key] + scale if key in row else scale
    if not combining.serves([*images.values()]):
        return {}, {}
    zero = next(iter(images.values())).new_zeros(())
    table = torch.stack([row.get(key, zero).to(zero.dtype) for row in scales.values() for key in images])
    found: _Handed = defaultdict(dict)
    made = combining.combined(table.view(len(scales), len(images)), [*images.values()])
    for (target, lane), value in zip(scales, made, strict=True):
        found[target][lane] = value
    return found, {name: [part for part in terms[name] if not part.only_scales] for name in leaving}


@final
class _Sum:
    """A sum that grows in place, from when it is a tensor of its own."""

    def __init__(self) -> None:
        self.total: Tensor | None = None
        self.own = False

    def take_own(self, value: Tensor) -> None:
        """Add a tensor that is nobody else's."""
        if self.total is None:
            self.total, self.own = value, True
        else:
            self._add(value, None)

    def take(self, part: Term, x: Tensor) -> None:
        """Add a term of what its prefix made."""
        if self.total is not None and part.can_add:
            self.total, self.own = part.finish(x, self.total)[0], True
        else:
            self._add(*part.finish(x))

    def _add(self, value: Tensor, scale: Tensor | None) -> None:
        if scale is not None and scale.dtype != value.dtype:
            scale = scale.to(value.dtype)
        total, before = self.total, self.own
        self.own = total is not None or scale is not None
        if total is None:
            self.total = value if scale is None else scale * value
        elif not before or total.dtype != value.dtype:
            self.total = total + (value if scale is None else scale * value)
        else:
            self.total = total.add_(value) if scale is None else total.addcmul_(value, scale)


def that_matter(wiring: Wiring, terms: Mapping[str, list[Term]]) -> dict[str, list[Term]]:
    """The terms that make a difference."""
    return _that_are_read(wiring, _that_are_not_zero(wiring, terms))


def _that_are_not_zero(wiring: Wiring, terms: Mapping[str, list[Term]]) -> dict[str, list[Term]]:
    kept: dict[str, list[Term]] = {}
    zero = set(range(wiring.inputs, wiring.nodes))
    for name, (source, target) in wiring.edges.items():  # sources are settled, since targets ascend
        kept[name] = [part for part in terms[name] if not (source in zero and part.keeps_zero)]
        if kept[name]:
            zero.discard(target)
    return kept


def _that_are_read(wiring: Wiring, terms: Mapping[str, list[Term]]) -> dict[str, list[Term]]:
    kept = dict(terms)
    read = set(wiring.outputs)
    for name, (source, target) in reversed(list(wiring.edges.items())):
        if target not in read and not any(part.leaves_trace for part in kept[name]):
            kept[name] = []
        if kept[name]:
            read.add(source)
    return kept


def _prefix(part: Term, source: int, nodes: _Nodes, known: dict[tuple[Hashable, ...], Any]) -> Tensor:
    """The source node after the term's prefix, each step of which is computed once."""
    x: Any = nodes.at(source)
    path: tuple[Hashable, ...] = (source,)
    for step in part.prefix:
        path = (*path, step.key)
        if path not in known:
            known[path] = step.apply(x)
        x = known[path]
    reached: Tensor = x
    return reached
