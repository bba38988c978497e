"""The supernet of recurrent cells: a mixture of activation functions on every edge, one matrix per node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import final

import torch
from torch import Tensor, nn

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Decision, Space
from sharewise.spaces.darts_rnn.network import FUNCTIONS, Network, masked
from sharewise.spaces.darts_rnn.space import NODES, edge_name
from sharewise.spaces.limits import AT_LEAST_ONE, PROBABILITY, keep_limits
from sharewise.supernet import Gates, Networks, Supernet

__all__ = ["NETWORKS", "RecurrentOptions", "RecurrentSupernet"]


@final
@dataclass(frozen=True)
class RecurrentOptions:
    """Options of the language model; the defaults are those of the authors' search.

    Args:
        width: of embedding and states; 300 in search, 850 on Penn Treebank, 700 on WikiText-2.
        output_dropout: of what the decoder reads.
        hidden_dropout: of what the nodes of the cell read.
        input_dropout: of the input of the cell.
        embedding_dropout: of embeddings.
        word_dropout: of whole words of the vocabulary; 0.1 where the authors train the found cell.
    """

    width: int = 300
    output_dropout: float = 0.75
    hidden_dropout: float = 0.25
    input_dropout: float = 0.75
    embedding_dropout: float = 0.2
    word_dropout: float = 0.0

    def __post_init__(self) -> None:
        probabilities = dict.fromkeys((field.name for field in fields(self)[1:]), PROBABILITY)
        keep_limits(self, width=AT_LEAST_ONE, **probabilities)


@final
class _NodeMixture:
    """What one node computes under the gates: Σ_j Σ_k g_jk (s_j + σ(c_j) (f_k(h_j) - s_j)), [c_j; h_j] = W s_j.

    A mixture is summed by activation function, Σ_j m_j (1 - σ(c_j)) s_j + Σ_k Σ_j g_jk σ(c_j) f_k(h_j) with
    m_j = Σ_k g_jk over all but `none`, so that functions run once for all edges. Read once per pass, not per time step.

    Args:
        decisions: of the edges that lead to the node.
        sources: where they come from.
        gates: of the pass.
        dtype: of the states.
    """

    def __init__(self, decisions: Sequence[Decision], sources: Sequence[int], gates: Gates, dtype: torch.dtype) -> None:
        active = {
            source: [(str(d.options[index]), index) for index in gates[d.name].active if d.options[index] != "none"]
            for d, source in zip(decisions, sources, strict=True)
        }
        self.sources = [source for source, options in active.items() if options]
        self.single: tuple[int, str] | None = None
        chosen = {source: gates[d.name] for d, source in zip(decisions, sources, strict=True)}
        if len(self.sources) == 1 and chosen[self.sources[0]].unit:
            self.single = (self.sources[0], active[self.sources[0]][0][0])
            return
        weights: dict[str, list[tuple[int, Tensor]]] = {}
        sums: list[Tensor] = []
        for row, source in enumerate(self.sources):
            taken = [chosen[source].weights[index].to(dtype) for _, index in active[source]]
            sums.append(torch.stack(taken).sum())
            for (name, _), weight in zip(active[source], taken, strict=True):
                weights.setdefault(name, []).append((row, weight))
        self.mass = torch.stack(sums).view(-1, 1, 1) if sums else None
        self.functions = [
            (name, [row for row, _ in rows], torch.stack([weight for _, weight in rows]).view(-1, 1, 1))
            for name, rows in weights.items()
        ]

    def __call__(self, matrix: Tensor, nodes: Tensor, mask: Tensor | None) -> Tensor:
        if self.single is not None:
            source, name = self.single
            read = nodes[source]
            gate, value = (masked(read, mask) @ matrix).chunk(2, dim=-1)
            return read + torch.sigmoid(gate) * (FUNCTIONS[name](value) - read)
        if self.mass is None:
            return torch.zeros_like(nodes[0])
        read = nodes if len(self.sources) == len(nodes) else nodes[self.sources]
        gate, value = (masked(read, mask) @ matrix).chunk(2, dim=-1)
        gate = torch.sigmoid(gate)
        total = (self.mass * (1 - gate) * read).sum(dim=0)
        for name, rows, weights in self.functions:
            some = len(rows) < len(self.sources)
            opened, inner = (gate[rows], value[rows]) if some else (gate, value)
            total = total + (weights * opened * FUNCTIONS[name](inner)).sum(dim=0)
        return total


@final
class RecurrentSupernet(Supernet):
    """All cells in one: node i has one matrix W_i, whatever it reads and whichever function it applies.

    The mass of `none` is lost, not given to the others. One batch norm without scale and shift, the same module
    everywhere, follows node 0 and every mixed node.

    Args:
        space: of recurrent cells.
        input_shape: number of tokens of an example.
        outputs: size of the vocabulary.
        options: of the language model.

    References:
        H. Liu et al., *DARTS*, ICLR 2019 (arXiv 1806.09055), section 2.1 and appendix A.1.2.

    Deviations:
        Every example begins with a state of zeros; the authors carry the state from one stretch of the text to the
        next. Examples have one length; the authors vary it by up to 20 words. Their penalty on changes of the state
        (beta = 1e-3), and the switch to averaged SGD when a found cell is trained, are not part of the network. Batch
        norm takes the statistics of the batch in evaluation too, where the authors' takes running ones: these would be
        shared by nodes and time steps of different scale, and a single cell that was trained as a part of a mixture
        grows under them from one time step to the next, without bound. So a score depends on the batch that it is
        taken on, of two examples or more. A cell that is trained on its own has no norm.
    """

    def __init__(self, space: Space, input_shape: Sequence[int], outputs: int, options: RecurrentOptions) -> None:
        super().__init__()
        self.space, self.relaxation, self.options = space, space.relaxation, options
        self.input_shape, self.outputs = _length(input_shape), outputs
        network = Network([("identity", 0)] * len(NODES), outputs, normalised=True, **asdict(options))
        self.frame, self.cell = network.frame, network.cell
        decisions = {decision.name: decision for decision in self.relaxation.decisions}
        self._edges = [
            {
                source: decisions[edge_name(source, node)]
                for source in range(node)
                if edge_name(source, node) in decisions
            }
            for node in NODES
        ]

    def forward(self, inputs: Tensor, gates: Gates) -> Tensor:
        """Scores `(n, t, vocabulary)` of the next token at every place of tokens `(n, t)`."""
        dtype = self.cell.input_weight.dtype
        mixtures = [_NodeMixture(list(edges.values()), list(edges), gates, dtype) for edges in self._edges]

        def node(index: int, nodes: Tensor, mask: Tensor | None) -> Tensor:
            return mixtures[index](self.cell.weights[index], nodes, mask)

        scores: Tensor = self.frame(inputs, partial(self.cell.unroll, node=node))
        return scores

    def multiply_accumulates(self, gates: Gates) -> int:
        """See `Supernet.multiply_accumulates`: one product with W_i for every edge that is executed."""
        width, length = self.options.width, self.input_shape[0]
        executed = sum(
            any(decision.options[index] != "none" for index in gates[decision.name].active)
            for edges in self._edges
            for decision in edges.values()
        )
        return length * (4 * width * width + executed * 2 * width * width + (width + 1) * self.outputs)

    def plain(self, architecture: Architecture) -> nn.Module:
        """The plain network with the same options, nodes normalised."""
        recurrent = _recurrent(self.space.own(architecture))
        return Network(recurrent, self.outputs, normalised=True, **asdict(self.options))


def _recurrent(architecture: Architecture) -> list[tuple[str, int]]:
    return [(str(architecture[f"activation_{n}"]), int(str(architecture[f"input_{n}"]))) for n in NODES]


def _length(input_shape: Sequence[int]) -> tuple[int]:
    if len(input_shape) != 1 or input_shape[0] < 1:
        raise ConfigurationError(f"recurrent cells read tokens of shape (length,), got {tuple(input_shape)}")
    return (input_shape[0],)


def _plain(
    architecture: Architecture, input_shape: Sequence[int], outputs: int, options: RecurrentOptions
) -> nn.Module:
    _length(input_shape)
    return Network(_recurrent(architecture), outputs, **asdict(options))


NETWORKS = Networks(options=RecurrentOptions, supernet=RecurrentSupernet, plain=_plain, input_kinds=("text",))
