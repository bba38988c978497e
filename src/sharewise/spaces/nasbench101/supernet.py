"""The NAS-Bench-101 supernet of *To Share or Not To Share*: whole cells that share the first filters of each vertex."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Space
from sharewise.spaces.nasbench101.cell import EDGES, INNER, OPERATIONS, VERTICES, bit
from sharewise.spaces.nasbench101.enumeration import output_degrees
from sharewise.spaces.nasbench101.network import Network, convolution, vertex_channels
from sharewise.spaces.nasbench101.options import NasBench101Options, image_shape, plain
from sharewise.spaces.nasbench101.relaxation import EDGE_DECISIONS, OPERATION_DECISIONS, representatives
from sharewise.supernet import Gate, Gates, Shared, Supernet
from sharewise.supernet.convolution import convolve
from sharewise.supernet.gate import add, weighted
from sharewise.supernet.layout import aligned
from sharewise.supernet.slices import scaled_batch_norm

__all__ = ["NasBench101Supernet", "SharedCell", "SlicedConvolution", "Wiring", "wiring"]

_CONV3X3, _CONV1X1, _POOL = OPERATIONS
_OUTPUT = VERTICES - 1


@final
@dataclass(frozen=True)
class Wiring:
    """Which vertices of a cell are in use, and what they read.

    Args:
        inner: the inner vertices on a path from input to output, ascending.
        sources: of each of them, and at last of the output, the vertices it reads, ascending; 0 is the input.
    """

    inner: tuple[int, ...]
    sources: tuple[tuple[int, ...], ...]

    def widths(self, channels_out: int) -> tuple[int, ...]:
        """The channels of the inner vertices in use, by the rule of the benchmark.

        Raises:
            ConfigurationError: when there are fewer channels than vertices that share them.

        Example:
            >>> Wiring((1, 2), ((0,), (0,), (1, 2))).widths(15)
            (8, 7)
        """
        return _widths(self, channels_out)


@lru_cache(maxsize=1 << 16)
def _widths(cell: Wiring, channels_out: int) -> tuple[int, ...]:
    place = {0: 0, **{v: number for number, v in enumerate(cell.inner, start=1)}}
    try:
        widths = vertex_channels([[place[s] for s in sources] for sources in cell.sources], 1, channels_out)
    except ValueError as error:
        raise ConfigurationError(f"{error}; raise the network option channels") from None
    return tuple(widths[1:-1])


def wiring(gates: Gates) -> Wiring:
    """The graph of the active edges without vertices that have no effect.

    Raises:
        ConfigurationError: when no path leads from the input to the output.
    """
    return _wiring(sum(1 << place for place, name in enumerate(EDGE_DECISIONS) if gates[name].active))


@lru_cache(maxsize=1 << 16)
def _wiring(edges: int) -> Wiring:
    reached, needed = {0}, {_OUTPUT}
    for s, t in EDGES:  # by target, so that a source is complete before it is read
        if edges >> bit(s, t) & 1 and s in reached:
            reached.add(t)
    for s, t in sorted(EDGES, reverse=True):
        if edges >> bit(s, t) & 1 and t in needed:
            needed.add(s)
    used = reached & needed
    if _OUTPUT not in used:
        raise ConfigurationError("the active edges of a cell lead from its input to no output")
    inner = tuple(v for v in range(1, _OUTPUT) if v in used)
    sources = tuple(tuple(s for s in range(t) if s in used and edges >> bit(s, t) & 1) for t in (*inner, _OUTPUT))
    return Wiring(inner, sources)


@final
class SlicedConvolution(nn.Module):
    """Convolution, batch norm and ReLU, of which the first filters serve narrower vertices.

    Scale, shift and running statistics of the other channels stay as they are.

    Args:
        channels_in: of the largest input.
        channels_out: filters.
        kernel: size of the kernel.
        momentum: of the running statistics.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int, momentum: float) -> None:
        super().__init__()
        weight = convolution(channels_in, channels_out, kernel)[0].weight
        assert isinstance(weight, nn.Parameter)
        self.weight = weight
        self.norm = nn.BatchNorm2d(channels_out, eps=1e-5, momentum=momentum)

    def kernel(self, channels_in: int, channels_out: int, *, centre: bool = False) -> Tensor:
        """The weight of the first filters for the first channels, or its centre tap alone."""
        weight: Tensor = self.weight
        if centre:
            middle = weight.shape[-1] // 2
            weight = weight[:, :, middle : middle + 1, middle : middle + 1]
        if weight.shape[:2] == (channels_out, channels_in) and not centre:
            return weight
        # A copy of its own strides, as extraction makes one, so that both convolve the same layout.
        return weight[:channels_out, :channels_in].clone()

    def forward(self, x: Tensor, width: int, *, centre: bool = False) -> Tensor:
        """Map `(n, c, height, width)` to `width` channels, by the whole kernel or as a 1×1 convolution."""
        weight = self.kernel(x.shape[1], width, centre=centre)
        y = convolve(x, weight, None, (1, 1), (weight.shape[-1] // 2,) * 2, (1, 1), 1)
        return F.relu(scaled_batch_norm(self.norm, y, None))

    def inherited(self, channels_in: int, width: int, *, centre: bool = False) -> dict[str, Tensor]:
        """The state of the plain convolution, batch norm and ReLU that this one becomes."""
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.num_batches_tracked is not None
        return {
            "0.weight": self.kernel(channels_in, width, centre=centre).detach(),
            "1.weight": norm.weight.detach()[:width],
            "1.bias": norm.bias.detach()[:width],
            "1.running_mean": norm.running_mean[:width],
            "1.running_var": norm.running_var[:width],
            "1.num_batches_tracked": norm.num_batches_tracked,
        }


@final
class SharedCell(Shared):
    """All cells of a space in one.

    Each inner vertex v owns a 1×1 and a 3×3 convolution, a max pooling and a projection of the cell's input, all of the
    largest width that any cell of the space gives to a vertex, ⌈channels_out / least output degree⌉; the output owns a
    projection of full width. A cell executes its own edges and operations alone, each with its first filters. With
    gate weights e of edges and g of operations::

        v = Σ_o g_o · o(Σ_{s > 0} e_{s,v} · s[: width_v] + e_{0,v} · projection_v(input)[: width_v])

    Args:
        channels_in: of the input.
        channels_out: of the output.
        width: the largest of an inner vertex.
        single_kernel: whether the 1×1 convolution is the centre tap of the 3×3 one, batch norm included.
        momentum: of the running statistics.
    """

    def __init__(self, channels_in: int, channels_out: int, width: int, single_kernel: bool, momentum: float) -> None:
        super().__init__()
        self.channels_in, self.channels_out = channels_in, channels_out
        self.width, self.single_kernel = width, single_kernel
        kernels = {_CONV3X3: 3} if single_kernel else {_CONV3X3: 3, _CONV1X1: 1}
        self.operations = nn.ModuleList(
            nn.ModuleDict({name: SlicedConvolution(width, width, size, momentum) for name, size in kernels.items()})
            for _ in range(INNER)
        )
        self.projections = nn.ModuleList(
            SlicedConvolution(channels_in, outputs, 1, momentum) for outputs in (*[width] * INNER, channels_out)
        )
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)

    def _convolution(self, vertex: int, option: str) -> tuple[SlicedConvolution, bool]:
        """The convolution that serves an operation of a vertex, and whether only its centre tap does."""
        centre = self.single_kernel and option == _CONV1X1
        operations = self.operations[vertex - 1]
        assert isinstance(operations, nn.ModuleDict)
        chosen = operations[_CONV3X3 if centre else option]
        assert isinstance(chosen, SlicedConvolution)
        return chosen, centre

    def _operated(self, vertex: int, x: Tensor, gate: Gate) -> Tensor:
        total: Tensor | None = None
        for index in gate.active:
            option = OPERATIONS[index]
            if option == _POOL:
                term: Tensor = self.pool(x)
            else:
                layer, centre = self._convolution(vertex, option)
                term = layer(x, x.shape[1], centre=centre)
            total = add(total, weighted(gate, index, term))
        if total is None:
            raise ConfigurationError(f"vertex {vertex} of a cell has no active operation")
        return total

    def _read(self, target: int, x: Tensor, width: int, gates: Gates) -> Tensor:
        """The projection of the input for a target, weighted by its edge."""
        projected: Tensor = self.projections[target - 1](x, width)
        return weighted(gates[EDGE_DECISIONS[bit(0, target)]], 0, projected)

    def forward(self, x: Tensor, gates: Gates, cell: Wiring) -> Tensor:
        """Map `(n, channels_in, height, width)` to `(n, channels_out, height, width)`."""
        self._require_width(cell)
        vertices: dict[int, Tensor] = {}
        for vertex, sources, width in zip(cell.inner, cell.sources, cell.widths(self.channels_out), strict=False):
            total: Tensor | None = None
            for s in sources:
                if s > 0:
                    edge = gates[EDGE_DECISIONS[bit(s, vertex)]]
                    total = add(total, weighted(edge, 0, vertices[s][:, :width]))
            if 0 in sources:
                total = add(total, self._read(vertex, x, width, gates))
            assert total is not None
            vertices[vertex] = aligned(self._operated(vertex, total, gates[OPERATION_DECISIONS[vertex - 1]]))
        feeding = [weighted(gates[EDGE_DECISIONS[bit(s, _OUTPUT)]], 0, vertices[s]) for s in cell.sources[-1] if s > 0]
        output: Tensor | None = None
        if feeding:
            output = feeding[0] if len(feeding) == 1 else torch.cat(feeding, dim=1)
        if 0 in cell.sources[-1]:
            output = add(output, self._read(_OUTPUT, x, self.channels_out, gates))
        assert output is not None
        return output

    def _require_width(self, cell: Wiring) -> None:
        if max(cell.widths(self.channels_out), default=0) > self.width:
            raise ConfigurationError(
                f"a cell whose output reads {len([s for s in cell.sources[-1] if s > 0])} inner vertices gives them "
                f"up to {max(cell.widths(self.channels_out))} of {self.channels_out} channels, but the vertices of "
                f"this supernet have {self.width}: it serves a sub-space that the cell does not belong to"
            )

    def inherited(self, gates: Gates) -> dict[str, Tensor]:
        """The state of the plain cell."""
        cell = wiring(gates)
        self._require_width(cell)
        widths = (*cell.widths(self.channels_out), self.channels_out)
        state: dict[str, Tensor] = {}
        for place, (vertex, sources, width) in enumerate(
            zip((*cell.inner, _OUTPUT), cell.sources, widths, strict=True), start=1
        ):
            if 0 in sources:
                projection = self.projections[vertex - 1]
                assert isinstance(projection, SlicedConvolution)
                part = projection.inherited(self.channels_in, width)
                state |= {f"projections.{place}.{name}": value for name, value in part.items()}
            if vertex == _OUTPUT:
                continue
            active = gates[OPERATION_DECISIONS[vertex - 1]].active
            if len(active) != 1:
                raise ConfigurationError(f"vertex {vertex} has {len(active)} active operations; an architecture has 1")
            if OPERATIONS[active[0]] != _POOL:
                layer, centre = self._convolution(vertex, OPERATIONS[active[0]])
                part = layer.inherited(width, width, centre=centre)
                state |= {f"operations.{place - 1}.{name}": value for name, value in part.items()}
        return state

    def multiply_accumulates(self, gates: Gates, cell: Wiring) -> int:
        """Of one pixel."""
        total = 0
        for vertex, sources, width in zip(
            (*cell.inner, _OUTPUT), cell.sources, (*cell.widths(self.channels_out), self.channels_out), strict=True
        ):
            total += self.channels_in * width * (0 in sources)
            if vertex != _OUTPUT:
                total += sum((9, 1, 0)[o] for o in gates[OPERATION_DECISIONS[vertex - 1]].active) * width**2
        return total


@final
class NasBench101Supernet(Supernet):
    """All cells of NAS-Bench-101 or of a sub-space in one.

    Args:
        space: `nasbench101()` or a sub-space.
        input_shape: channels, height and width of one image.
        outputs: number of classes.
        options: of the macro network.

    References:
        A. Pourchot, A. Ducarouge and O. Sigaud, *To Share or Not To Share* (arXiv 2002.04289), sections 3 and 4.

    Deviations:
        Inner vertices that read both the input and other vertices add the projection last, as the plain network does;
        the released code adds it first, which differs in the last bits. Weight decay and momentum also move the filters
        that a sampled cell of narrower vertices leaves out, since a slice has zero gradient there; operations that are
        not part of the cell have none, and rest.

    Example:
        >>> import sharewise as sw
        >>> space = sw.spaces.load("nasbench101:A_4")
        >>> supernet = sw.build_supernet(space, (3, 8, 8), outputs=10, network={"channels": 8, "cells": 1})
        >>> supernet.width
        2
    """

    def __init__(self, space: Space, input_shape: Sequence[int], outputs: int, options: NasBench101Options) -> None:
        super().__init__()
        self.space, self.relaxation, self.options = space, space.relaxation, options
        self.input_shape, self.outputs = image_shape(input_shape), outputs
        degrees = output_degrees(representatives(space))
        most, least = int(degrees.max()), int(degrees[degrees > 0].min(initial=max(1, int(degrees.max()))))
        if options.channels < most:
            raise ConfigurationError(
                f"up to {most} vertices of the cells of {space.name!r} share {options.channels} channels; set the "
                f"network option channels to at least {most}"
            )
        self.width = -(-options.channels // least)
        """Of the inner vertices of the first stack."""
        frame = Network("output~0", self.input_shape, outputs, options.channels, cells=1)
        self.stem, self.classifier = frame.stem, frame.classifier
        for layer in self.stem:
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = options.norm_momentum
        self.stacks, before = nn.ModuleList(), options.channels
        for stack in range(3):
            after = options.channels * 2**stack
            # As in the plain network, whose pooling between stacks takes the first place of its sequence.
            layers: list[nn.Module] = [] if stack == 0 else [nn.MaxPool2d(2, stride=2, ceil_mode=True)]
            for _ in range(options.cells):
                layers.append(
                    SharedCell(before, after, -(-after // least), options.single_kernel, options.norm_momentum)
                )
                before = after
            self.stacks.append(nn.ModuleList(layers))

    def forward(self, inputs: Tensor, gates: Gates) -> Tensor:
        """Class scores `(n, outputs)` of images `(n, channels, height, width)`."""
        cell = wiring(gates)
        x: Tensor = self.stem(inputs)
        for stack in self.stacks:
            for layer in stack:  # type: ignore[attr-defined]
                x = layer(x, gates, cell) if isinstance(layer, SharedCell) else layer(x)
        outputs: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return outputs

    def plain(self, architecture: Architecture) -> nn.Module:
        """The plain network with the same options."""
        return plain(self.space.own(architecture), self.input_shape, self.outputs, self.options)

    def multiply_accumulates(self, gates: Gates) -> int:
        """See `Supernet.multiply_accumulates`: in closed form, since nearly every draw is a cell not met before."""
        cell = wiring(gates)
        channels, height, width = self.input_shape
        total = 9 * channels * self.options.channels * height * width
        for stack in self.stacks:
            for layer in stack:  # type: ignore[attr-defined]
                if isinstance(layer, SharedCell):
                    total += layer.multiply_accumulates(gates, cell) * height * width
                else:
                    height, width = -(-height // 2), -(-width // 2)
        return total + (self.classifier.in_features + 1) * self.outputs
