"""The supernet of the toy separable cell: 3×3 within 5×5 (entangled), or every operation by itself (disjoint)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sharewise.errors import ConfigurationError, unknown_name
from sharewise.space import Architecture, Decision, EdgeWeights, Option, Space
from sharewise.spaces.limits import AT_LEAST_ONE, PROBABILITY, keep_limits
from sharewise.spaces.toy_separable_cell.network import CELLS, Network, operation, preprocess
from sharewise.spaces.toy_separable_cell.space import EDGES, KINDS, edge_name
from sharewise.supernet import (
    EntangledConvolution,
    Gates,
    GroupedOperation,
    Networks,
    Supernet,
    Wiring,
    cell_edge,
    execute,
    separable_layers,
)

__all__ = ["NETWORKS", "SeparableCellOptions", "SeparableCellSupernet", "SharedCell"]


@final
@dataclass(frozen=True)
class SeparableCellOptions:
    """Options of the network, none of which is part of an architecture's identity.

    Args:
        channels: C of the first cell (32 in the paper).
        dropout: probability, in [0, 1).
        affine: whether batch norms learn a scale and a shift (not in the paper, also where a network is trained alone).
        sharing: `"entangled"`, where 3×3 kernels are the centres of 5×5 ones, or `"disjoint"`.
        published: whether operations are entangled as the authors do, or so that the mass of a gate is kept (default).
        fused: whether cells share work among their edges (default), or run edge by edge, the readable oracle.
        partial: K: operations of the supernet see 1/K of the channels, a divisor of `channels`; 1 for all of them.
        edge_weights: whether the supernet weighs the edges that lead to a node against each other.
    """

    channels: int = 32
    dropout: float = 0.2
    affine: bool = False
    sharing: Literal["disjoint", "entangled"] = "entangled"
    published: bool = False
    fused: bool = True
    partial: int = 1
    edge_weights: bool = False

    def __post_init__(self) -> None:
        keep_limits(self, channels=AT_LEAST_ONE, partial=AT_LEAST_ONE, dropout=PROBABILITY)
        if self.sharing not in ("disjoint", "entangled"):
            raise unknown_name("sharing", self.sharing, ("disjoint", "entangled"))
        if self.published and self.sharing == "disjoint":
            raise ConfigurationError("network option published is a form of sharing='entangled'; leave it out")


_WIRING = Wiring(1, {f"{source}_{target}": (source, target) for source, target in EDGES}, outputs=(1, 2))

_FAMILIES: Mapping[str, Mapping[str, Any]] = {"sep": {"repeats": 2}, "dil": {"dilation": 2}}
"""What tells the two families of operations apart; within one, options differ in their kernel alone."""


def _edge(channels: int, decision: Decision, stride: int, options: SeparableCellOptions) -> GroupedOperation:
    """The mixture on an edge."""
    words = [str(option) for option in decision.options]
    if options.sharing == "disjoint":
        return GroupedOperation(decision, {}, {o: operation(o, channels, stride, options.affine) for o in words})
    kernels = {f: {word: int(word[-1]) for word in words if word.startswith(f)} for f in _FAMILIES}
    groups = {
        family: EntangledConvolution(
            decision,
            kernels[family],
            partial(separable_layers, channels, channels, stride=stride, affine=options.affine, **settings),
            published=options.published,
        )
        for family, settings in _FAMILIES.items()
        if kernels[family]
    }
    return GroupedOperation(decision, groups)


@final
class SharedCell(nn.Module):
    """A cell that consumes the gates of its three edges.

    Args:
        edges: decision of each edge, by `"0_1"`, `"0_2"`, `"1_2"`.
        channels_in: of the input.
        channels: of each node.
        reduction: whether edges from the input have stride 2.
        options: of the network.
        weights: what weighs the edge of a decision, as `EdgeWeights.of` says it.
    """

    def __init__(
        self,
        edges: Mapping[str, Decision],
        channels_in: int,
        channels: int,
        reduction: bool,
        options: SeparableCellOptions,
        weights: Callable[[str], tuple[Decision, Option] | None] = lambda decision: None,
    ) -> None:
        super().__init__()
        self.wiring = replace(_WIRING, stride=2 if reduction else 1)
        self.fused = options.fused
        self.preprocess = preprocess(channels_in, channels, options.affine)
        self.edges = nn.ModuleDict()
        for edge, decision in edges.items():
            stride = 2 if reduction and edge.startswith("0") else 1
            mixture = partial(_edge, decision=decision, stride=stride, options=options)
            self.edges[edge] = cell_edge(
                mixture, channels, stride=stride, partial=options.partial, weight=weights(decision.name)
            )

    def forward(self, x: Tensor, gates: Gates) -> Tensor:
        """Map `(n, channels_in, h, w)` to `(n, 2 · channels, h, w)`, or half of that resolution."""
        return execute(self.wiring, self.edges, [self.preprocess(x)], gates, fused=self.fused)


@final
class SeparableCellSupernet(Supernet):
    """All 4,096 networks in one; both reduction cells read the same three decisions.

    Args:
        space: the toy separable cell.
        input_shape: channels, height and width of one image.
        outputs: number of classes.
        options: of the network.
    """

    def __init__(self, space: Space, input_shape: Sequence[int], outputs: int, options: SeparableCellOptions) -> None:
        super().__init__()
        self.space, self.options = space, options
        nodes = {name: edges for kind in KINDS for name, edges in _WIRING.inputs_of_nodes(f"{kind}_").items()}
        self.relaxation = weighed = EdgeWeights(space.relaxation, nodes if options.edge_weights else {})
        self.input_shape, self.outputs = _image_shape(input_shape), outputs
        decisions = {d.name: d for d in weighed.within.decisions}
        before, cells = self.input_shape[0], []
        for kind, factor in CELLS:
            edges = {f"{source}_{target}": decisions[edge_name(kind, source, target)] for source, target in EDGES}
            cells.append(SharedCell(edges, before, factor * options.channels, kind == "reduction", options, weighed.of))
            before = 2 * factor * options.channels
        self.cells = nn.ModuleList(cells)
        frame = Network({}, self.input_shape, outputs, options.channels, options.affine, options.dropout)
        self.dropout, self.project, self.classify = frame.dropout, frame.project, frame.classify

    def forward(self, inputs: Tensor, gates: Gates) -> Tensor:
        """Class scores `(n, outputs)` of images `(n, channels, height, width)`."""
        x = inputs
        for cell in self.cells:
            x = self.dropout(cell(x, gates))
        x = torch.relu(self.project(F.max_pool2d(x, 2).flatten(1)))
        outputs: Tensor = self.classify(self.dropout(x))
        return outputs

    def plain(self, architecture: Architecture) -> nn.Module:
        """The plain network with the same options."""
        return _plain(self.space.own(architecture), self.input_shape, self.outputs, self.options)


def _image_shape(input_shape: Sequence[int]) -> tuple[int, int, int]:
    if len(input_shape) != 3 or min(input_shape) < 1 or min(input_shape[1:]) < 5:
        raise ConfigurationError(
            "networks of the toy separable cell take images of shape (channels, height, width), height and width of at "
            f"least 5, got {tuple(input_shape)}"
        )
    return (input_shape[0], input_shape[1], input_shape[2])


def _plain(
    architecture: Architecture, input_shape: Sequence[int], outputs: int, options: SeparableCellOptions
) -> nn.Module:
    operations = {name: str(option) for name, option in architecture.items()}
    shape = _image_shape(input_shape)
    return Network(operations, shape, outputs, options.channels, options.affine, options.dropout)


NETWORKS = Networks(options=SeparableCellOptions, supernet=SeparableCellSupernet, plain=_plain, input_kinds=("image",))
