"""Many small plain networks that compute at once.

A network of a few channels on small images keeps a processor busy with the start of operations: 32 of them, one after
the other, start 32 times as many as one that is 32 times as wide. So networks are read as graphs of layers, and layers
that do the same to inputs of one shape run as one, wherever they stand and whosever they are: convolutions as a grouped
convolution, linear layers as a product of batches of matrices, batch norms as one over all channels, which treats
them one by one. Nobody sees anything of the others, and what is computed for each is what it computes alone, but for
the order of sums.

Which operations run next is decided as Neubig et al. do for dynamic graphs: those of which the largest part of all that
are left is ready. Equal networks thus never wait for each other; among different cells, rows are gathered in between.

A network with a layer that has no common form (`sharewise.supernet.common_forms`) is refused, and trains alone.

References:
    G. Neubig, Y. Goldberg and C. Dyer, *On-the-fly Operation Batching in Dynamic Computation Graphs*, NeurIPS 2017
    (arXiv 1705.07860), with another order of the agenda.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sharewise.errors import ConfigurationError
from sharewise.supernet.common_forms import Apply, apart, folded, inner
from sharewise.supernet.layer_graph import Graph, read
from sharewise.supernet.layout import IMAGE, innermost

__all__ = ["SideBySide"]


class _Piece(NamedTuple):
    """Rows of a value that one operation reads.

    Args:
        value: that holds them.
        number: of the piece, among those of this value.
        rows: where they come to lie.
    """

    value: int
    number: int
    rows: Tensor


class _Taken(NamedTuple):
    """An input of an operation: pieces, and how they lie side by side.

    Args:
        pieces: of one value or of several.
        rows: how many there are in all.
        ordered: whether they lie in the order of the pieces.
    """

    pieces: tuple[_Piece, ...]
    rows: int
    ordered: bool


class _Operation(NamedTuple):
    apply: Apply
    inputs: tuple[_Taken, ...]


@final
class SideBySide:
    """Networks that compute at once, of one architecture or of several.

    Weights and statistics of the networks become rows of common tensors, which the networks go on to hold: whatever
    moves the one moves the other, and each network can be called, stored or copied at any time.

    Args:
        networks: in the mode in which they shall run, at least one.
        example: inputs of one of them, of which shapes are read, shape `(n, …)`.

    Attributes:
        weights: common tensors, each of some weights of some networks, shape `(rows, …)`.
        owners: of the rows of each of `weights`: the numbers of their networks.
        parts: of the rows of each of `weights`: the parameters of the networks.

    Raises:
        ConfigurationError: when a network cannot be read as a graph of known layers, or layers share a weight.

    Example:
        >>> networks = [nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2, 3)) for _ in range(4)]
        >>> x = torch.ones(5, 1, 3, 3)
        >>> outputs = SideBySide(networks, x)(x)
        >>> len(outputs), torch.allclose(outputs[3], networks[3](x), atol=1e-6)
        (4, True)
    """

    def __init__(self, networks: Sequence[nn.Module], example: Tensor) -> None:
        self.weights: list[nn.Parameter] = []
        self.owners: list[Tensor] = []
        self.parts: list[list[nn.Parameter]] = []
        self._count, self._held = len(networks), set[int]()
        graphs = [read(network, example) for network in networks]
        self._operations, self._output = self._scheduled(graphs)

    def __call__(self, inputs: Tensor | Sequence[Tensor]) -> list[Tensor]:
        """The outputs of all networks, which are views of one tensor.

        Args:
            inputs: of all of them, or of each, of one shape `(n, …)`.
        """
        each = [inputs] * self._count if isinstance(inputs, Tensor) else inputs
        waiting = {(0, number): piece for number, piece in enumerate(self._split(0, _beside(each)))}
        for value, operation in enumerate(self._operations, start=1):
            made = operation.apply(*(_taken(waiting, taken) for taken in operation.inputs))
            waiting |= {(value, number): piece for number, piece in enumerate(self._split(value, made))}
        return list(apart(_taken(waiting, self._output), 1, self._count).unbind(1))

    def _split(self, value: int, x: Tensor) -> Sequence[Tensor]:
        """The pieces of a value."""
        cuts = [rows for rows in self._cuts[value] if rows is not None]
        if not cuts:
            return [x] * len(self._cuts[value])
        parts = iter(_Split.apply(cuts, inner(x, self._rows[value])))  # type: ignore[no-untyped-call]
        return [x if rows is None else folded(next(parts)) for rows in self._cuts[value]]

    def _scheduled(self, graphs: Sequence[Graph]) -> tuple[list[_Operation], _Taken]:
        """Operations in order, each of as many nodes as are ready."""
        place = {(k, 0): (0, k) for k in range(len(graphs))}  # of a node: value and row
        self._rows: list[int] = [len(graphs)]
        self._cuts: list[list[Tensor | None]] = [[]]  # of each value: the rows of its pieces, `None` for all of them
        operations: list[_Operation] = []
        for group in _agenda(graphs):
            nodes = [(k, graphs[k].nodes[n]) for k, n in group]
            sources = [[place[k, source] for source in node.inputs] for k, node in nodes]
            order = sorted(range(len(group)), key=sources.__getitem__)
            nodes = [nodes[i] for i in order]
            inputs = tuple(self._found(column) for column in zip(*(sources[i] for i in order), strict=True))
            stack = partial(self._stacked, owners=torch.tensor([k for k, _ in nodes]))
            operations.append(_Operation(nodes[0][1].rule([node.layer for _, node in nodes], stack), inputs))
            place |= {group[i]: (len(operations), row) for row, i in enumerate(order)}
            self._rows.append(len(group))
            self._cuts.append([])
        output = self._found([place[k, graph.output] for k, graph in enumerate(graphs)])
        return operations, output

    def _found(self, places: Sequence[tuple[int, int]]) -> _Taken:
        """How rows of values come to lie side by side."""
        by_value = defaultdict[int, list[tuple[int, int]]](list)
        for target, (value, row) in enumerate(places):
            by_value[value].append((row, target))
        pieces, order = [], []
        for value, pairs in by_value.items():
            rows, targets = torch.tensor(pairs).unbind(1)
            whole = rows.tolist() == list(range(self._rows[value]))
            self._cuts[value].append(None if whole else rows)
            pieces.append(_Piece(value, len(self._cuts[value]) - 1, targets))
            order += targets.tolist()
        return _Taken(tuple(pieces), len(places), order == list(range(len(places))))

    def _stacked(self, tensors: Sequence[Tensor], owners: Tensor) -> Tensor:
        own = {id(tensor) for tensor in tensors}
        if len(own) < len(tensors) or not self._held.isdisjoint(own):
            raise ConfigurationError(
                "a weight that several layers share has no form that computes many networks at once"
            )
        self._held |= own
        whole = torch.stack([tensor.detach() for tensor in tensors])
        for tensor, row in zip(tensors, whole.unbind(0), strict=True):
            tensor.data = row
        if not isinstance(tensors[0], nn.Parameter):
            return whole
        weight = nn.Parameter(whole, requires_grad=tensors[0].requires_grad)
        self.weights.append(weight)
        self.owners.append(owners)
        self.parts.append([tensor for tensor in tensors if isinstance(tensor, nn.Parameter)])
        return weight


_Place = tuple[int, int]
"""Of a node: the number of its network, and its own."""


def _agenda(graphs: Sequence[Graph]) -> Iterator[list[_Place]]:
    """Groups of nodes of one key, in an order in which all can run.

    Next is the key of which the largest part of all nodes that are left is ready.
    """
    nodes = {(k, n): node for k, graph in enumerate(graphs) for n, node in enumerate(graph.nodes)}
    left = Counter(node.key for node in nodes.values())
    waiting = {place: len(set(node.inputs)) for place, node in nodes.items()}
    readers = defaultdict[_Place, list[_Place]](list)
    for (k, n), node in nodes.items():
        for source in set(node.inputs):
            readers[k, source].append((k, n))
    ready = defaultdict[Hashable, list[_Place]](list)
    group = [(k, 0) for k in range(len(graphs))]
    while True:
        for reader in (reader for place in group for reader in readers[place]):
            waiting[reader] -= 1
            if not waiting[reader]:
                ready[nodes[reader].key].append(reader)
        if not ready:
            return
        key = max(ready, key=lambda key: len(ready[key]) / left[key])
        group = _one_of_each(ready, key, len(graphs))
        left[key] -= len(group)
        yield group


def _one_of_each(ready: dict[Hashable, list[_Place]], key: Hashable, networks: int) -> list[_Place]:
    """Take nodes that are ready: one of every network where each has one, whose rows need no gathering, or else all."""
    found = ready.pop(key)
    first = {k: (k, n) for k, n in reversed(found)}
    if len(first) < networks or len(found) == networks:
        return found
    ready[key] = [place for place in found if first[place[0]] != place]
    return [first[k] for k in range(networks)]


def _beside(inputs: Sequence[Tensor]) -> Tensor:
    """Inputs of all networks as channels; torch cannot tell how images of one channel lie, and joins them outermost."""
    whole = torch.cat(list(inputs), dim=1)
    return innermost(whole) if whole.dim() == IMAGE else whole


def _taken(waiting: dict[tuple[int, int], Tensor], taken: _Taken) -> Tensor:
    """An input of an operation, of pieces that nobody else waits for."""
    found = [waiting.pop((piece.value, piece.number)) for piece in taken.pieces]
    if taken.ordered and len(found) == 1:
        return found[0]
    parts = [inner(x, len(piece.rows)) for x, piece in zip(found, taken.pieces, strict=True)]
    if taken.ordered:
        return folded(torch.cat(parts, dim=-2))
    joined: Tensor = _Joined.apply(taken, *parts)  # type: ignore[no-untyped-call]
    return folded(joined)


@final
class _Split(torch.autograd.Function):
    """Pieces of a value `(n, …, rows, channels)`, whose gradients are added up at once."""

    @staticmethod
    def forward(ctx: Any, cuts: Sequence[Tensor], value: Tensor) -> tuple[Tensor, ...]:
        ctx.cuts, ctx.shape = cuts, value.shape
        ctx.set_materialize_grads(False)
        return tuple(value.index_select(-2, rows) for rows in cuts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        total: Tensor | None = None
        for dy, rows in zip(gradients, ctx.cuts, strict=True):
            if dy is not None:
                total = dy.new_zeros(ctx.shape) if total is None else total
                total.index_add_(-2, rows, dy)
        return None, total


@final
class _Joined(torch.autograd.Function):
    """Pieces `(n, …, rows, channels)` side by side, in any order."""

    @staticmethod
    def forward(ctx: Any, taken: _Taken, *pieces: Tensor) -> Tensor:
        ctx.taken, first = taken, pieces[0]
        whole = first.new_empty((*first.shape[:-2], taken.rows, first.shape[-1]))
        for piece, x in zip(taken.pieces, pieces, strict=True):
            whole.index_copy_(-2, piece.rows, x)
        return whole

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [dy] = gradients
        return None, *(dy.index_select(-2, piece.rows) for piece in ctx.taken.pieces)
