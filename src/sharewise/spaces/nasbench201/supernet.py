"""The NAS-Bench-201 supernet: the plain network with a mixture on each of the six edges of every cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Decision, Space
from sharewise.spaces.nasbench201.network import Network, ResidualBlock, operation
from sharewise.spaces.nasbench201.space import EDGES, NODES, edge_name
from sharewise.supernet import Gate, Gates, MixedOperation, Networks, Supernet
from sharewise.supernet.mixed import add, weighted

__all__ = ["NETWORKS", "NasBench201Options", "NasBench201Supernet", "SharedCell"]


@final
@dataclass(frozen=True)
class NasBench201Options:
    """Options of the macro network, none of which is part of an architecture's identity.

    Args:
        channels: C of the first stage (the benchmark has 16, GAEA's search 24).
        cells: cells per stage (the benchmark has 5).
        affine: whether batch norms inside the cells of the *supernet* learn a scale and a shift; off as in DARTS, since
            a learned scale would compete with the gate. A network that is trained on its own always has them.
        fused: whether cells share work among their edges (default), or run edge by edge, the readable oracle.
    """

    channels: int = 16
    cells: int = 5
    affine: bool = False
    fused: bool = True

    def __post_init__(self) -> None:
        for name in ("channels", "cells"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"network option {name} must be at least 1, got {getattr(self, name)}")


@final
class SharedCell(nn.Module):
    """A cell that consumes the gates of its six edges.

    Node j is Σ_{i<j} Σ_o g_{ij,o} · o(node i). The fused form computes the ReLU and the pooled input of a node once for
    all of its outgoing edges and folds a gate's weight into the scale of the batch norm that follows the convolution,
    g · BN(z) = BN(z) with scale g; the plain form runs each edge by itself.

    Args:
        decisions: one per edge, in the order of `EDGES`.
        channels: of input and output.
        affine: of the batch norms.
        fused: which of the two forms to run.
    """

    def __init__(self, decisions: Sequence[Decision], channels: int, affine: bool, fused: bool) -> None:
        super().__init__()
        self.edges = nn.ModuleDict(
            {
                d.name: MixedOperation(
                    d, {str(o): operation(str(o), channels, affine) for o in d.options if o != "none"}
                )
                for d in decisions
            }
        )
        self.fused = fused

    def forward(self, x: Tensor, gates: Gates) -> Tensor:
        """Map `(n, channels, height, width)` to the same shape."""
        nodes = [x]
        # The rectified and the pooled node, computed at most once, by (operation, node).
        shared: dict[tuple[str, int], Tensor] = {}
        for target in range(1, NODES):
            total: Tensor | None = None
            for source in range(target):
                name = edge_name(source, target)
                edge = self.edges[name]
                assert isinstance(edge, MixedOperation)
                if self.fused:
                    total = add(total, self._fused_edge(edge, nodes[source], gates[name], source, shared))
                else:
                    total = add(total, edge(nodes[source], gates[name]))
            nodes.append(torch.zeros_like(x) if total is None else total)
        return nodes[-1]

    def _fused_edge(
        self, edge: MixedOperation, x: Tensor, gate: Gate, source: int, shared: dict[tuple[str, int], Tensor]
    ) -> Tensor | None:
        total: Tensor | None = None
        for index in gate.active:
            option = str(edge.decision.options[index])
            if option not in edge.operations:
                continue
            module = edge.operations[option]
            if option == "skip_connect":
                term = weighted(gate, index, x)
            elif option == "avg_pool_3x3":
                if (option, source) not in shared:
                    shared[option, source] = module(x)
                term = weighted(gate, index, shared[option, source])
            else:
                assert isinstance(module, nn.Sequential)
                if ("relu", source) not in shared:
                    shared["relu", source] = module[0](x)
                norm = module[2]
                assert isinstance(norm, nn.BatchNorm2d)
                term = _scaled_norm(norm, module[1](shared["relu", source]), gate, index)
            total = add(total, term)
        return total


def _scaled_norm(norm: nn.BatchNorm2d, z: Tensor, gate: Gate, index: int) -> Tensor:
    """g · BN(z) in one pass, with g as (part of) the scale."""
    if gate.unit or norm.momentum is None:  # a cumulative average needs the layer's own bookkeeping
        return weighted(gate, index, norm(z))
    track = norm.training and norm.track_running_stats
    if track and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    weight = gate.weights[index].to(norm.running_mean.dtype if norm.running_mean is not None else z.dtype)
    # Contiguous, since torch's channels-last kernel reads an expanded scale beyond its end.
    scale = weight.expand(z.shape[1]).contiguous() if norm.weight is None else weight * norm.weight
    shift = None if norm.bias is None else weight * norm.bias
    keep = not norm.training or norm.track_running_stats
    return F.batch_norm(
        z,
        norm.running_mean if keep else None,
        norm.running_var if keep else None,
        scale,
        shift,
        norm.training,
        norm.momentum,
        norm.eps,
    )


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
        self.space = space
        self.relaxation = space.relaxation
        self.options = options
        self.input_shape, self.outputs = _image_shape(input_shape), outputs
        channels = options.channels
        frame = Network(
            architecture_of_nothing(space),
            self.input_shape,
            outputs,
            channels,
            cells=1,
            affine=options.affine,
        )
        self.stem, self.head = frame.stem, frame.head
        self.stages = nn.ModuleList(
            nn.ModuleList(
                SharedCell(self.relaxation.decisions, channels * 2**stage, options.affine, options.fused)
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
                x = cell(x, gates)
        outputs: Tensor = self.head(x)
        return outputs

    def plain(self, architecture: Architecture) -> nn.Module:
        """The plain network with the same options."""
        return Network(
            str(architecture),
            self.input_shape,
            self.outputs,
            self.options.channels,
            self.options.cells,
            affine=self.options.affine,
        )


def architecture_of_nothing(space: Space) -> str:
    """The standard string of the cell whose edges are all `none`."""
    return str(space.architecture({edge_name(*edge): "none" for edge in EDGES}))


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
