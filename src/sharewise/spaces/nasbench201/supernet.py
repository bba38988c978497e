"""The NAS-Bench-201 supernet: the plain network with a mixture on each of the six edges of every cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, final

from torch import Tensor, nn

from sharewise.errors import ConfigurationError, unknown_name
from sharewise.space import Architecture, Decision, EdgeWeights, Option, Space
from sharewise.spaces.limits import AT_LEAST_ONE, keep_limits
from sharewise.spaces.nasbench201.network import Network, ResidualBlock, operation
from sharewise.spaces.nasbench201.space import EDGES, NODES, edge_name
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
    convolution_layers,
    execute,
)
from sharewise.supernet.executed import weights_executed, weights_of_edges
from sharewise.supernet.recomputation import recomputed

__all__ = ["NETWORKS", "NasBench201Options", "NasBench201Supernet", "SharedCell"]


@final
@dataclass(frozen=True)
class NasBench201Options:
    """Options of the macro network, none of which is part of an architecture's identity.

    Args:
        channels: C of the first stage (the benchmark has 16, GAEA's search 24).
        cells: cells per stage (the benchmark has 5).
        affine: whether batch norms inside the cells of the *supernet* learn a scale and a shift; off as in DARTS, since
            a learned scale would compete with the gate. Gates of single paths (spos, fairnas, enas) compete with none:
            small supernets of spos ranked cells better with scales (`experiments/own_supernets`). A network that is
            trained on its own always has them.
        fused: whether cells share work among their edges (default), or run edge by edge, the readable oracle.
        sharing: `"disjoint"`, where every operation has weights of its own, or `"entangled"`, where the 1×1 convolution
            of an edge is the centre of its 3×3 convolution and both share one norm.
        published: whether convolutions are entangled as the authors of TangleNAS do, or so that the mass of their gate
            against the other operations is kept (default).
        partial: K: operations of the supernet see 1/K of the channels, a divisor of `channels`; 1 for all of them.
        edge_weights: whether the supernet weighs the edges that lead to a node against each other.
        recompute: whether cells are computed a second time in the backward pass instead of being kept, for less memory.
    """

    channels: int = 16
    cells: int = 5
    affine: bool = False
    fused: bool = True
    sharing: Literal["disjoint", "entangled"] = "disjoint"
    published: bool = False
    partial: int = 1
    edge_weights: bool = False
    recompute: bool = False

    def __post_init__(self) -> None:
        keep_limits(self, channels=AT_LEAST_ONE, cells=AT_LEAST_ONE, partial=AT_LEAST_ONE)
        if self.sharing not in ("disjoint", "entangled"):
            raise unknown_name("sharing", self.sharing, ("disjoint", "entangled"))
        if self.published and self.sharing == "disjoint":
            raise ConfigurationError("network option published is a form of sharing='entangled'; leave it out")


_KERNELS = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}

_NOTHING = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"  # also where the space has no such operation

_WIRING = Wiring(1, {edge_name(*edge): edge for edge in EDGES}, outputs=(NODES - 1,))

_INPUTS = _WIRING.inputs_of_nodes()


def _edge(decision: Decision, channels: int, options: NasBench201Options) -> Mixture:
    """The mixture on an edge."""
    words = [str(option) for option in decision.options if option != "none"]
    kernels = {word: _KERNELS[word] for word in words if word in _KERNELS and options.sharing == "entangled"}
    separate = {word: operation(word, channels, options.affine) for word in words if word not in kernels}
    if not kernels:
        return MixedOperation(decision, separate)
    layers = partial(convolution_layers, channels, channels, affine=options.affine)
    group = EntangledConvolution(decision, kernels, layers, published=options.published)
    return GroupedOperation(decision, {"convolution": group}, separate)


@final
class SharedCell(nn.Module):
    """A cell that consumes the gates of its six edges.

    Node j is Σ_{i<j} Σ_o g_{ij,o} · o(node i). With entangled sharing the convolutions of an edge are one 3×3 kernel,
    with the 1×1 kernel at its centre: m · BN(conv(x_i, (g_1 W_1 + g_3 W_3) / m)) with m = g_1 + g_3; see
    `EntangledConvolution`.

    Args:
        decisions: one per edge, in the order of `EDGES`.
        channels: of input and output.
        options: of the network, which say how operations are shared and whether work is.
        weights: what weighs each edge, as `EdgeWeights.of` says it.
    """

    def __init__(
        self,
        decisions: Sequence[Decision],
        channels: int,
        options: NasBench201Options,
        weights: Callable[[str], tuple[Decision, Option] | None] = lambda edge: None,
    ) -> None:
        super().__init__()
        self.edges = nn.ModuleDict(
            {
                d.name: cell_edge(
                    partial(_edge, d, options=options), channels, partial=options.partial, weight=weights(d.name)
                )
                for d in decisions
            }
        )
        self.fused = options.fused

    def forward(self, x: Tensor, gates: Gates) -> Tensor:
        """Map `(n, channels, height, width)` to the same shape."""
        return execute(_WIRING, self.edges, [x], gates, fused=self.fused)


@final
class NasBench201Supernet(Supernet):
    """All 15,625 networks in one.

    Args:
        space: NAS-Bench-201.
        input_shape: channels, height and width of one image.
        outputs: number of classes.
        options: of the macro network.

    Deviations:
        Batch norms keep running statistics (the reference search network has none), so that a single architecture can
        be recalibrated and extracted; in training mode both compute the same function.
    """

    def __init__(self, space: Space, input_shape: Sequence[int], outputs: int, options: NasBench201Options) -> None:
        super().__init__()
        self.space, self.options = space, options
        self.relaxation = weighed = EdgeWeights(space.relaxation, _INPUTS if options.edge_weights else {})
        self.input_shape, self.outputs = _image_shape(input_shape), outputs
        channels = options.channels
        frame = Network(
            _NOTHING,
            self.input_shape,
            outputs,
            channels,
            cells=1,
            affine=options.affine,
        )
        self.stem, self.head = frame.stem, frame.head
        self.stages = nn.ModuleList(
            nn.ModuleList(
                SharedCell(weighed.within.decisions, channels * 2**stage, options, weighed.of)
                for _ in range(options.cells)
            )
            for stage in range(3)
        )
        self.reductions = nn.ModuleList(ResidualBlock(channels * 2**i, channels * 2 ** (i + 1)) for i in range(2))

    def forward(self, inputs: Tensor, gates: Gates) -> Tensor:
        """Class scores `(n, outputs)` of images `(n, channels, height, width)`."""
        x: Tensor = self.stem(inputs)
        for index, stage in enumerate(self.stages):
            if index > 0:
                x = self.reductions[index - 1](x)
            for cell in stage:  # type: ignore[attr-defined]
                x = recomputed(cell, x, gates=gates) if self.options.recompute else cell(x, gates)
        outputs: Tensor = self.head(x)
        return outputs

    def multiply_accumulates(self, gates: Gates) -> int:
        """See `Supernet.multiply_accumulates`: in closed form, since nearly every draw is a cell not met before."""
        _, height, width = self.input_shape
        total = weights_executed(self.stem) * height * width
        for index, stage in enumerate(self.stages):
            if index > 0:
                height, width = -(-height // 2), -(-width // 2)
                total += weights_executed(self.reductions[index - 1]) * height * width
            one, *others = (cell.edges for cell in stage)  # type: ignore[attr-defined]
            total += (1 + len(others)) * weights_of_edges(one, gates) * height * width
        classify = self.head[-1]
        return total + sum(parameter.numel() for parameter in classify.parameters())

    def plain(self, architecture: Architecture) -> nn.Module:
        """The plain network with the same options."""
        return Network(
            str(self.space.own(architecture)),
            self.input_shape,
            self.outputs,
            self.options.channels,
            self.options.cells,
            affine=self.options.affine,
        )


def _image_shape(input_shape: Sequence[int]) -> tuple[int, int, int]:
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise ConfigurationError(
            f"NAS-Bench-201 networks take images of shape (channels, height, width), got {tuple(input_shape)}"
        )
    return (input_shape[0], input_shape[1], input_shape[2])


def _plain(
    architecture: Architecture, input_shape: Sequence[int], outputs: int, options: NasBench201Options
) -> nn.Module:
    return Network(str(architecture), _image_shape(input_shape), outputs, options.channels, options.cells, affine=True)


NETWORKS = Networks(options=NasBench201Options, supernet=NasBench201Supernet, plain=_plain, input_kinds=("image",))
