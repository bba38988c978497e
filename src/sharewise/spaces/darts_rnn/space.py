"""The recurrent cell space of DARTS: eight nodes, each with one predecessor and one activation function.

Node 0 is made of the input and the hidden state; node i of 1 … 8 picks one of the nodes 0 … i-1 and one of tanh, relu,
sigmoid and identity. The cell's output is the mean of the eight. There are 8! · 4^8 = 2,642,411,520 cells.

A supernet mixes the activation functions, and `none`, on each of the 36 possible edges: the *decisions* are `edge_i_j`,
the *choices* `input_j` and `activation_j`.

Cells are written as the authors do: `Genotype(recurrent=[('sigmoid', 0), …], concat=range(1, 9))`.

References:
    H. Liu, K. Simonyan and Y. Yang, *DARTS*, ICLR 2019 (arXiv 1806.09055), sections 2.1, 3.1.2 and appendix A.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import final

from sharewise.errors import ConfigurationError
from sharewise.space import (
    Architecture,
    Choice,
    Codec,
    Decision,
    Encoding,
    Option,
    Picture,
    Probabilities,
    Relaxation,
    Space,
)
from sharewise.space.relaxation import one_hot, strongest

__all__ = ["ACTIVATIONS", "NODES", "darts_rnn", "edge_name"]

ACTIVATIONS = ("tanh", "relu", "sigmoid", "identity")
NODES = tuple(range(1, 9))

_PUBLISHED = {
    "DARTS_V1": "relu 0, relu 1, tanh 2, relu 3, relu 4, identity 1, relu 5, relu 1",
    "DARTS_V2": "sigmoid 0, relu 1, relu 1, identity 1, tanh 2, sigmoid 5, tanh 3, relu 5",
}
"""Activation and predecessor of every node."""

_FORM = "Genotype(recurrent=[('tanh', 0), …, ('relu', 5)], concat=range(1, 9))"
_LONGEST = 1_000  # characters of a genotype
_GENOTYPE = re.compile(r"Genotype\(recurrent=\[(.*)\],concat=(?:range\(1,9\)|\[1,2,3,4,5,6,7,8\])\)")
_PAIR = re.compile(r"\(['\"](\w+)['\"],(\d)\)")


def edge_name(source: int, target: int) -> str:
    """The decision of the edge from node `source` to node `target`."""
    return f"edge_{source}_{target}"


def _values(pairs: list[tuple[str, int]]) -> dict[str, Option]:
    values: dict[str, Option] = {}
    for node, (activation, source) in zip(NODES, pairs, strict=True):
        values |= {f"input_{node}": source, f"activation_{node}": activation}
    return values


def _named() -> dict[str, str]:
    """The published cells, in the authors' notation."""
    words = {name: [pair.split() for pair in text.split(",")] for name, text in _PUBLISHED.items()}
    return {name: _encode(_values([(a, int(source)) for a, source in pairs])) for name, pairs in words.items()}


def _encode(values: Mapping[str, Option]) -> str:
    pairs = ", ".join(f"({str(values[f'activation_{node}'])!r}, {values[f'input_{node}']})" for node in NODES)
    return f"Genotype(recurrent=[{pairs}], concat=range(1, {len(NODES) + 1}))"


def _decode(text: str) -> dict[str, Option]:
    def wrong(reason: str) -> ConfigurationError:
        return ConfigurationError(f"{text[:200]!r} is no recurrent cell of DARTS: {reason}; expected {_FORM}")

    match = _GENOTYPE.fullmatch("".join(text.split())) if len(text) <= _LONGEST else None
    if match is None:
        raise wrong("it has not the form of a genotype")
    pairs = _PAIR.findall(match[1])
    if len(pairs) != len(NODES) or ",".join(f"('{a}',{s})" for a, s in pairs) != match[1].replace('"', "'"):
        raise wrong(f"recurrent must list {len(NODES)} pairs of an activation and a node")
    for node, (activation, source) in zip(NODES, pairs, strict=True):
        if activation not in ACTIVATIONS:
            raise wrong(f"unknown activation {activation!r} at node {node}, legal are {', '.join(ACTIVATIONS)}")
        if int(source) >= node:
            raise wrong(f"node {node} cannot read node {source}, which does not come before it")
    return _values([(activation, int(source)) for activation, source in pairs])


@final
class _OneInput(Relaxation):
    """Activation functions on every edge stand for one input and one activation of each node."""

    def __init__(self, space: Space) -> None:
        self.space = space
        legal = {option for node in NODES for option in space[f"activation_{node}"].options}
        options: tuple[Option, ...] = ("none", *(name for name in ACTIVATIONS if name in legal))
        self.decisions = tuple(Decision(edge_name(*edge), options) for edge in self._edges())

    def _edges(self) -> Iterator[tuple[int, int]]:
        for node in NODES:
            for source in self.space[f"input_{node}"].options:
                assert isinstance(source, int)
                yield source, node

    def encode(self, architecture: Architecture) -> Encoding:
        """One-hot on the edge that a node reads, nothing active on the others."""
        architecture = self.space.own(architecture)
        chosen = {f"edge_{architecture[f'input_{node}']}_{node}": architecture[f"activation_{node}"] for node in NODES}
        nothing = (0.0,) * self.decisions[0].size
        return {d.name: one_hot(d, chosen[d.name]) if d.name in chosen else nothing for d in self.decisions}

    def project(self, probabilities: Probabilities, exclude: tuple[Option, ...] = ()) -> Architecture:
        """For every node the edge with the strongest activation, and that activation; `none` is never a result."""
        by_name = {decision.name: decision for decision in self.decisions}
        values: dict[str, Option] = {}
        for node in NODES:
            best: tuple[float, int, Option] | None = None
            for source in self.space[f"input_{node}"].options:
                assert isinstance(source, int)
                decision = by_name[edge_name(source, node)]
                legal = self.space[f"activation_{node}"].options
                weights = probabilities[decision.name]
                index = strongest(decision, weights, (*exclude, *(o for o in decision.options if o not in legal)))
                if best is None or weights[index] > best[0]:
                    best = (float(weights[index]), source, decision.options[index])
            assert best is not None
            values |= {f"input_{node}": best[1], f"activation_{node}": best[2]}
        return self.space.architecture(values)


def _draw(architecture: Architecture) -> Picture:
    names = ("input and state", *(f"node {node}" for node in NODES))
    edges = [
        (names[int(str(architecture[f"input_{n}"]))], names[n], str(architecture[f"activation_{n}"])) for n in NODES
    ]
    return Picture((*names, "mean"), (*edges, *((names[node], "mean", "") for node in NODES)))


@cache
def darts_rnn() -> Space:
    """The space itself.

    Returns:
        The space of 2,642,411,520 cells; the same object at every call.

    Example:
        >>> space = darts_rnn()
        >>> space.size, len(space.relaxation.decisions)
        (2642411520, 36)
        >>> space.parse("DARTS_V2")["activation_1"]
        'sigmoid'
    """
    choices = tuple(
        choice
        for node in NODES
        for choice in (Choice(f"input_{node}", tuple(range(node))), Choice(f"activation_{node}", ACTIVATIONS))
    )
    return Space(
        name="darts-rnn",
        choices=choices,
        codec=Codec(_encode, _decode),
        relax=_OneInput,
        networks="sharewise.spaces.darts_rnn.supernet",
        draw=_draw,
        named=_named(),
        summary="DARTS recurrent cell for language: 8 nodes of one input and one of 4 activations, 2.6e9 cells",
    )
