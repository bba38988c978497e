"""The supernet of the DARTS cells: the plain network with a mixture on each of the 14 edges of every cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Protocol, final

from torch import Tensor, nn

from sharewise.errors import ConfigurationError, unknown_name
from sharewise.space import Architecture, Decision, EdgeWeights, Option, Space
from sharewise.spaces.darts.genotype import INPUTS, KINDS, NODES, Cell
from sharewise.spaces.darts.network import Network, classifier, operation, plan, preprocess, stemmed, stems
from sharewise.spaces.darts.space import EDGES, cells_of
from sharewise.spaces.limits import AT_LEAST_ONE, keep_limits
from sharewise.supernet import (
    EntangledConvolution,
    Gates,
    GroupedOperation,
    MixedOperation,
    Mixture,
    Networks,
    Supernet,
    Wiring,
    cell_edge,
    execute,
    separable_layers,
)
from sharewise.supernet.executed import weights_executed, weights_of_edges
from sharewise.supernet.recomputation import recomputed

__all__ = ["NETWORKS", "DartsOptions", "DartsSupernet", "Macro", "SharedCell", "check_macro", "plain_network"]

_STEMS = ("cifar", "imagenet")
_SHARINGS = ("disjoint", "entangled")


def check_macro(channels: int, layers: int, stem: str) -> None:
    """Refuse options of the macro network that no network can have.

    Args:
        channels: C.
        layers: L.
        stem: its name.

    Raises:
        ConfigurationError: naming the option.
    """
    for name, value, least in (("channels", channels, 1), ("layers", layers, 3)):
        if value < least:
            raise ConfigurationError(f"network option {name} must be at least {least}, got {value}")
    if stem not in _STEMS:
        raise unknown_name("stem", stem, _STEMS)
    if stem == "imagenet" and channels % 2:
        raise ConfigurationError(f"the imagenet stem needs an even number of channels, got {channels}")


class Macro(Protocol):
    """Options of a macro network."""

    @property
    def channels(self) -> int:
        """C."""

    @property
    def layers(self) -> int:
        """L."""

    @property
    def stem(self) -> str:
        """Its name."""


def plain_network(
    cells: Mapping[str, Cell],
    input_shape: Sequence[int],
    outputs: int,
    options: Macro,
    *,
    affine: bool = True,
    normed_pools: bool = False,
    narrow: bool = True,
) -> nn.Module:
    """The plain network of two cells; by default in the published form.

    Args:
        cells: operations by kind.
        input_shape: channels, height and width of one image.
        outputs: number of classes.
        options: of the macro network.
        affine: whether batch norms inside cells learn a scale and a shift.
        normed_pools: whether a batch norm follows each pooling.
        narrow: whether nodes without inputs leave the output of their cell.
    """
    macro = (options.channels, options.layers, options.stem)
    shape, form = _image_shape(input_shape), (affine, normed_pools)
    return Network(cells["normal"], cells["reduce"], shape, outputs, *macro, *form, narrow=narrow)


@final
@dataclass(frozen=True)
class DartsOptions:
    """Options of the network, none of which is part of an architecture's identity.

    Args:
        channels: C (16 in the search of DARTS, 36 and 48 in its networks for CIFAR and ImageNet).
        layers: L, the number of cells, at least 3 (8 in the search, 20 and 14 in the networks).
        stem: `"cifar"`, one convolution, or `"imagenet"`, which makes images 8 times smaller first.
        affine: whether batch norms inside the cells of the *supernet* learn a scale and a shift; off as in DARTS, since
            a learned scale would compete with the gate. A network that is trained on its own always has them.
        fused: whether cells share work among their edges (default), or run edge by edge, the readable oracle.
        sharing: `"disjoint"`, where every operation has weights of its own, or `"entangled"`, where the kernels of 3×3
            of separable and of dilated convolutions are the centres of those of 5×5.
        published: whether convolutions are entangled as the authors of TangleNAS do, or so that the mass of their gate
            against the other operations is kept (default).
        partial: K: operations of the supernet see 1/K of the channels, a divisor of `channels`; 1 for all of them.
        edge_weights: whether the supernet weighs the edges that lead to a node against each other.
        recompute: whether cells are computed a second time in the backward pass instead of being kept, for less memory.
    """

    channels: int = 16
    layers: int = 8
    stem: Literal["cifar", "imagenet"] = "cifar"
    affine: bool = False
    fused: bool = True
    sharing: Literal["disjoint", "entangled"] = "disjoint"
    published: bool = False
    partial: int = 1
    edge_weights: bool = False
    recompute: bool = False

    def __post_init__(self) -> None:
        check_macro(self.channels, self.layers, self.stem)
        keep_limits(self, partial=AT_LEAST_ONE)
        if self.sharing not in _SHARINGS:
            raise unknown_name("sharing", self.sharing, _SHARINGS)
        if self.published and self.sharing == "disjoint":
            raise ConfigurationError("network option published is a form of sharing='entangled'; leave it out")


_FAMILIES: Mapping[str, Mapping[str, Any]] = {"sep_conv": {"repeats": 2}, "dil_conv": {"dilation": 2}}
"""What tells the two families of convolutions apart; within one, options differ in their kernel alone."""


def edge(channels: int, decision: Decision, stride: int, options: DartsOptions) -> Mixture:
    """The mixture on one edge.

    Args:
        channels: of its input and output.
        decision: over its operations.
        stride: of its operations.
        options: of the network.
    """
    words = [str(option) for option in decision.options if option != "none"]
    families = _FAMILIES if options.sharing == "entangled" else {}
    kernels = {family: {word: int(word[-1]) for word in words if word.startswith(family)} for family in families}
    layers = partial(separable_layers, channels, channels, stride=stride, affine=options.affine)
    groups = {
        family: EntangledConvolution(
            decision, kernels[family], partial(layers, **settings), published=options.published
        )
        for family, settings in families.items()
        if kernels[family]
    }
    taken = {word for family in kernels.values() for word in family}
    separate = {
        word: operation(word, channels, stride, options.affine, normed_pools=True)
        for word in words
        if word not in taken
    }
    return GroupedOperation(decision, groups, separate) if groups else MixedOperation(decision, separate)


_WIRING = Wiring(INPUTS, {f"{source}_{target}": (source, target) for source, target in EDGES}, outputs=NODES)

_INPUTS = {name: edges for kind in KINDS for name, edges in _WIRING.inputs_of_nodes(f"{kind}_").items()}


@final
class SharedCell(nn.Module):
    """A cell that consumes the gates of its 14 edges.

    Node j is Σ_{i<j} Σ_o g_{ij,o} · o(node i), the output the concatenation of nodes 2 to 5.

    Args:
        decisions: of each edge by `"0_2"`, `"1_2"` and so on, in the order of `EDGES`.
        channels_in: of the two inputs.
        channels: of each node.
        reduction: whether edges from the inputs have stride 2.
        halve: whether the first input is of twice the resolution of the second.
        options: of the network.
        weights: what weighs the edge of a decision, as `EdgeWeights.of` says it.
    """

    def __init__(
        self,
        decisions: Mapping[str, Decision],
        channels_in: tuple[int, int],
        channels: int,
        reduction: bool,
        halve: bool,
        options: DartsOptions,
        weights: Callable[[str], tuple[Decision, Option] | None] = lambda decision: None,
    ) -> None:
        super().__init__()
        self.preprocess0 = preprocess(channels_in[0], channels, halve, options.affine)
        self.preprocess1 = preprocess(channels_in[1], channels, False, options.affine)
        self.edges = nn.ModuleDict()
        for name, (source, _) in _WIRING.edges.items():
            stride, decision = 2 if reduction and source < INPUTS else 1, decisions[name]
            mixture = partial(edge, decision=decision, stride=stride, options=options)
            self.edges[name] = cell_edge(
                mixture, channels, stride=stride, partial=options.partial, weight=weights(decision.name)
            )
        self.wiring = replace(_WIRING, stride=2 if reduction else 1)
        self.fused = options.fused

    def multiply_accumulates(self, gates: Gates, area: int, area_out: int) -> int:
        """Of one image.

        Args:
            gates: of its decisions.
            area: pixels of the inputs, the first of which may be halved on entry.
            area_out: pixels of the output, at which every convolution of an edge works.
        """
        entry = sum(weights_executed(layer) for layer in (self.preprocess0, self.preprocess1))
        return entry * area + weights_of_edges(self.edges, gates) * area_out

    def forward(self, before: Tensor, last: Tensor, gates: Gates) -> Tensor:
        """Map the outputs of the cell before the last and of the last one to that of this cell."""
        inputs = [self.preprocess0(before), self.preprocess1(last)]
        return execute(self.wiring, self.edges, inputs, gates, fused=self.fused)


@final
class DartsSupernet(Supernet):
    """All networks in one; cells of a kind read the same 14 decisions.

    Args:
        space: that of DARTS, a reduced one, or that of Fair-DARTS.
        input_shape: channels, height and width of one image.
        outputs: number of classes.
        options: of the macro network.
        cells: reads the operations of both cells from an architecture's choices.

    Deviations:
        Batch norms keep running statistics, and the same module serves training and evaluation. What is extracted has
        the batch norm without scale and shift that follows each pooling in the search, and no scales anywhere unless
        the supernet is `affine`, and its cells have four nodes, of which those without inputs are zero; a network of
        the same architecture that is trained on its own has the published form, without norms after poolings, with
        scales, and narrower where nodes are empty.
    """

    def __init__(
        self,
        space: Space,
        input_shape: Sequence[int],
        outputs: int,
        options: DartsOptions,
        cells: Callable[[Mapping[str, Option]], Mapping[str, Cell]] = cells_of,
    ) -> None:
        super().__init__()
        self.space, self.options, self._cells_of = space, options, cells
        self.relaxation = weighed = EdgeWeights(space.relaxation, _INPUTS if options.edge_weights else {})
        self.input_shape, self.outputs = _image_shape(input_shape), outputs
        decisions = {d.name: d for d in weighed.within.decisions}
        planned = plan(options.stem, options.channels, options.layers, dict.fromkeys((False, True), len(NODES)))
        self.stems = nn.ModuleList(stems(options.stem, self.input_shape[0], options.channels))
        self.cells = nn.ModuleList(
            SharedCell(
                {f"{s}_{t}": decisions[f"{'reduce' if reduction else 'normal'}_{s}_{t}"] for s, t in EDGES},
                *(inputs, width, reduction, halve, options, weighed.of),
            )
            for inputs, width, reduction, halve in planned
        )
        self.head = classifier(len(NODES) * planned[-1][1], outputs)

    def forward(self, inputs: Tensor, gates: Gates) -> Tensor:
        """Class scores `(n, outputs)` of images `(n, channels, height, width)`."""
        before, last = stemmed(self.stems, inputs)
        recompute = self.options.recompute
        for cell in self.cells:
            both = (before, last)
            before, last = last, recomputed(cell, *both, gates=gates) if recompute else cell(*both, gates)
        outputs: Tensor = self.head(last)
        return outputs

    def multiply_accumulates(self, gates: Gates) -> int:
        """See `Supernet.multiply_accumulates`: in closed form, since tables of 224 options take long to trace."""
        height, width = self.input_shape[1:]
        total = 0
        for layer in self.stems.modules():
            if isinstance(layer, nn.Conv2d):
                height, width = -(-height // layer.stride[0]), -(-width // layer.stride[0])
                total += layer.weight.numel() * height * width
        for cell in self.cells:
            assert isinstance(cell, SharedCell)
            area, stride = height * width, cell.wiring.stride
            height, width = -(-height // stride), -(-width // stride)
            total += cell.multiply_accumulates(gates, area, height * width)
        classify = self.head[-1]
        return total + sum(parameter.numel() for parameter in classify.parameters())

    def plain(self, architecture: Architecture) -> nn.Module:
        """The plain network with the same options, its poolings followed by the norms of the search."""
        cells, options = self._cells_of(self.space.own(architecture)), self.options
        form = {"affine": options.affine, "normed_pools": True, "narrow": False}
        return plain_network(cells, self.input_shape, self.outputs, options, **form)


def _image_shape(input_shape: Sequence[int]) -> tuple[int, int, int]:
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise ConfigurationError(
            f"networks of DARTS cells take images of shape (channels, height, width), got {tuple(input_shape)}"
        )
    return (input_shape[0], input_shape[1], input_shape[2])


def _plain(architecture: Architecture, input_shape: Sequence[int], outputs: int, options: DartsOptions) -> nn.Module:
    return plain_network(cells_of(architecture), input_shape, outputs, options)


NETWORKS = Networks(options=DartsOptions, supernet=DartsSupernet, plain=_plain, input_kinds=("image",))
