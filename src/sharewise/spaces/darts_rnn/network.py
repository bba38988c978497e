"""The language model of one recurrent cell of DARTS, on `torch` alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["FUNCTIONS", "Cell", "Frame", "Network", "embedded", "locked_dropout", "masked"]

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "identity": lambda x: x,
}

_RANGE = 0.04

Node = Callable[[int, Tensor, Tensor | None], Tensor]
"""The value of a node from its number, the earlier nodes `(nodes, n, width)`, and the mask of the hidden state."""


def embedded(tokens: Tensor, table: Tensor, dropout: float, training: bool) -> Tensor:
    """Embeddings `(n, t, width)` of tokens `(n, t)`; while training, whole words of the vocabulary are dropped."""
    if training and dropout:
        table = table * F.dropout(table.new_ones(len(table), 1), dropout)
    return F.embedding(tokens, table)


def locked_dropout(x: Tensor, dropout: float, training: bool) -> Tensor:
    """Dropout of `(n, t, width)` with the same mask for all time steps of an example."""
    if not training or not dropout:
        return x
    return x * F.dropout(x.new_ones(len(x), 1, x.shape[-1]), dropout)


class Cell(nn.Module):
    """The recurrence: node 0 from the input and the state, eight more nodes, their mean is the next state.

    With [c; h] = W_0 [x; s] node 0 is s + σ(c) (tanh(h) - s). Node i reads node p: with [c; h] = W_i s_p it is
    s_p + σ(c) (f(h) - s_p).

    Args:
        recurrent: activation and predecessor of nodes 1, 2, …
        width: of input, state and nodes.
        normalised: whether one batch norm without scale and shift follows node 0 and every other node, as in search; by
            the batch in evaluation too.
        input_dropout: of the input of the cell; the same mask for all time steps.
        hidden_dropout: of what a node reads; the same mask for all nodes and time steps.
    """

    def __init__(
        self,
        recurrent: Sequence[tuple[str, int]],
        width: int,
        normalised: bool = False,
        input_dropout: float = 0.0,
        hidden_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.recurrent = [(str(name), int(source)) for name, source in recurrent]
        self.input_dropout, self.hidden_dropout = input_dropout, hidden_dropout
        self.input_weight = nn.Parameter(torch.empty(2 * width, 2 * width).uniform_(-_RANGE, _RANGE))
        self.weights = nn.ParameterList(
            nn.Parameter(torch.empty(width, 2 * width).uniform_(-_RANGE, _RANGE)) for _ in self.recurrent
        )
        self.norm = nn.BatchNorm1d(width, affine=False, track_running_stats=False) if normalised else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """States `(n, t, width)` of inputs of the same shape, from a state of zeros."""
        return self.unroll(x, self._node)

    def unroll(self, x: Tensor, node: Node) -> Tensor:
        """As `forward`, for nodes that are computed in another way."""
        x = locked_dropout(x, self.input_dropout, self.training)
        state, mask = x.new_zeros(len(x), x.shape[-1]), None
        if self.training and self.hidden_dropout:
            mask = F.dropout(torch.ones_like(state), self.hidden_dropout)
        states = []
        for step in range(x.shape[1]):
            state = self._next(x[:, step], state, mask, node)
            states.append(state)
        return torch.stack(states, dim=1)

    def _next(self, x: Tensor, state: Tensor, mask: Tensor | None, node: Node) -> Tensor:
        gate, value = (torch.cat([x, masked(state, mask)], dim=-1) @ self.input_weight).chunk(2, dim=-1)
        nodes = self.norm(state + torch.sigmoid(gate) * (torch.tanh(value) - state)).unsqueeze(0)
        for index in range(len(self.weights)):
            nodes = torch.cat([nodes, self.norm(node(index, nodes, mask)).unsqueeze(0)])
        mean: Tensor = nodes[1:].mean(dim=0)
        return mean

    def _node(self, index: int, nodes: Tensor, mask: Tensor | None) -> Tensor:
        name, source = self.recurrent[index]
        read = nodes[source]
        gate, value = (masked(read, mask) @ self.weights[index]).chunk(2, dim=-1)
        return read + torch.sigmoid(gate) * (FUNCTIONS[name](value) - read)


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """What a node reads, under the mask of dropout."""
    return x if mask is None else x * mask


class Frame(nn.Module):
    """What surrounds a recurrence: embedding and decoder, which share one table, and their dropout.

    Args:
        vocabulary: number of tokens.
        width: of embeddings and states.
        output_dropout: of what the decoder reads.
        embedding_dropout: of embeddings.
        word_dropout: of whole words of the vocabulary.
    """

    def __init__(
        self, vocabulary: int, width: int, output_dropout: float, embedding_dropout: float, word_dropout: float
    ) -> None:
        super().__init__()
        self.output_dropout, self.embedding_dropout, self.word_dropout = output_dropout, embedding_dropout, word_dropout
        self.embedding = nn.Embedding(vocabulary, width)
        self.decoder = nn.Linear(width, vocabulary)
        self.decoder.weight = self.embedding.weight
        nn.init.uniform_(self.embedding.weight, -_RANGE, _RANGE)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, tokens: Tensor, recurrence: Callable[[Tensor], Tensor]) -> Tensor:
        """Scores `(n, t, vocabulary)` of the next token at every place of tokens `(n, t)`."""
        x = embedded(tokens, self.embedding.weight, self.word_dropout, self.training)
        x = recurrence(locked_dropout(x, self.embedding_dropout, self.training))
        scores: Tensor = self.decoder(locked_dropout(x, self.output_dropout, self.training))
        return scores


class Network(nn.Module):
    """The language model of one cell; embedding and decoder share one table.

    Args:
        recurrent: activation and predecessor of nodes 1, 2, …
        vocabulary: number of tokens.
        width: of embedding and states; the authors have 300 in search, 850 on Penn Treebank and 700 on WikiText-2.
        normalised: whether nodes are normalised, as in search.
        output_dropout: of what the decoder reads.
        hidden_dropout: of what the nodes of the cell read.
        input_dropout: of the input of the cell.
        embedding_dropout: of embeddings.
        word_dropout: of whole words of the vocabulary.
    """

    def __init__(
        self,
        recurrent: Sequence[tuple[str, int]],
        vocabulary: int,
        width: int = 300,
        normalised: bool = False,
        output_dropout: float = 0.75,
        hidden_dropout: float = 0.25,
        input_dropout: float = 0.75,
        embedding_dropout: float = 0.2,
        word_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.configuration: dict[str, Any] = {
            "recurrent": [list(pair) for pair in recurrent],
            "vocabulary": vocabulary,
            "width": width,
            "normalised": normalised,
            "output_dropout": output_dropout,
            "hidden_dropout": hidden_dropout,
            "input_dropout": input_dropout,
            "embedding_dropout": embedding_dropout,
            "word_dropout": word_dropout,
        }
        self.frame = Frame(vocabulary, width, output_dropout, embedding_dropout, word_dropout)
        self.cell = Cell(recurrent, width, normalised, input_dropout, hidden_dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores `(n, t, vocabulary)` of the next token at every place of tokens `(n, t)`."""
        scores: Tensor = self.frame(tokens, self.cell)
        return scores
