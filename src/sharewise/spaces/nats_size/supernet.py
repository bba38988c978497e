"""The supernet of the NATS-Bench size space: widths nest in the largest network.

Channels are leading slices, and a layer that reads a searched width scales it by its survival. The skip connection of
a cell is the identity where the cell keeps its width, else a 1×1 convolution and batch norm, which no slice of the
largest network holds; so it is written out here as what it is, two operations whose weights are those of equal and of
unequal widths under the gates g and h of what the cell reads and writes:

    shortcut(x) = (Σ_{i = j} g_i h_j) x + (Σ_{i ≠ j} g_i h_j) BN(W (s ⊙ x)).

Deviations:
    The authors' supernet masks 64 channels of what every cell returns, so that its skip connection is the identity
    whatever the widths are (AutoDL-Projects, `generic_size_tiny_cell_model.py`, commit 1c6c3e7). What is extracted from
    it would compute something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor, nn
from torch.nn import functional as F

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Space
from sharewise.spaces.limits import DIVISOR, keep_limits
from sharewise.spaces.nats_size.network import Network
from sharewise.spaces.nats_size.space import LAYERS
from sharewise.supernet import (
    Dimension,
    Gates,
    Networks,
    Shared,
    SlicedBatchNorm2d,
    SlicedConv2d,
    SlicedLinear,
    SlicedSequential,
    Supernet,
)

__all__ = ["NETWORKS", "NatsSizeOptions", "NatsSizeSupernet", "Shortcut"]


@final
@dataclass(frozen=True)
class NatsSizeOptions:
    """Options of the network, none of which is part of an architecture's identity.

    Args:
        divisor: divides all widths, for quick looks; 1 (the benchmark), 2, 4 or 8.
    """

    divisor: int = 1

    def __post_init__(self) -> None:
        keep_limits(self, divisor=DIVISOR)


def _convolution(before: Dimension, after: Dimension, stride: int = 1) -> SlicedSequential:
    """ReLU, 3×3 convolution, batch norm."""
    return SlicedSequential(
        nn.ReLU(), SlicedConv2d(before, after, 3, stride=stride, padding=1, bias=False), SlicedBatchNorm2d(after)
    )


@final
class Shortcut(Shared):
    """The skip connection of a cell of two searched widths.

    Args:
        before: the width that is read.
        after: the width that is written, of the same sizes.

    Example:
        >>> import torch
        >>> from sharewise.space import Decision
        >>> from sharewise.supernet import discrete
        >>> shortcut = Shortcut(Dimension.over(Decision("a", (1, 2))), Dimension.over(Decision("b", (1, 2))))
        >>> x, small, large = torch.ones(3, 2, 4, 4), (1.0, 0.0), (0.0, 1.0)
        >>> bool((shortcut(x, discrete({"a": large, "b": large})) == x).all())
        True
        >>> shortcut(x, discrete({"a": large, "b": small})).shape
        torch.Size([3, 1, 4, 4])
    """

    def __init__(self, before: Dimension, after: Dimension) -> None:
        super().__init__()
        self.before, self.after = before, after
        self.project = SlicedSequential(SlicedConv2d(before, after, 1, bias=False), SlicedBatchNorm2d(after))

    def _pairs(self, gates: Gates, *, equal: bool) -> list[tuple[int, int]]:
        """The active options of both widths, of those pairs that are equal, or that are not."""
        (a,), (b,) = self.before.decisions, self.after.decisions
        return [
            (i, j)
            for i in gates[a.name].active
            for j in gates[b.name].active
            if (self.before.sizes[i] == self.after.sizes[j]) == equal
        ]

    def _weight(self, gates: Gates, pairs: Sequence[tuple[int, int]]) -> Tensor:
        (a,), (b,) = self.before.decisions, self.after.decisions
        g, h = gates[a.name].weights, gates[b.name].weights
        return sum((g[i] * h[j] for i, j in pairs[1:]), g[pairs[0][0]] * h[pairs[0][1]])

    def _scaled(self, x: Tensor, gates: Gates, pairs: Sequence[tuple[int, int]]) -> Tensor:
        names = {d.name for d in (*self.before.decisions, *self.after.decisions)}
        plain = all(gates[name].unit and len(gates[name].active) == 1 for name in names)
        return x if plain else self._weight(gates, pairs).to(x.dtype) * x

    def forward(self, x: Tensor, gates: Gates) -> Tensor:
        """Map `(n, largest active width that is read, h, w)` to `(n, largest active width that is written, h, w)`."""
        same, others = self._pairs(gates, equal=True), self._pairs(gates, equal=False)
        if not others:
            return self._scaled(x, gates, same)
        total = self._scaled(self.project(x, gates), gates, others)
        if same:
            kept = x[:, : total.shape[1]]
            total = total + self._scaled(F.pad(kept, (0, 0, 0, 0, 0, total.shape[1] - kept.shape[1])), gates, same)
        return total

    def inherited(self, gates: Gates) -> dict[str, Tensor]:
        """The state of the convolution and its norm; nothing for the identity."""
        return {} if self._pairs(gates, equal=True) else self.project.inherited(gates)


@final
class _Cell(nn.Module):
    """The fixed cell, of searched widths."""

    def __init__(self, before: Dimension, after: Dimension) -> None:
        super().__init__()
        self.edge_0_1 = _convolution(before, after)
        self.edge_0_2 = _convolution(before, after)
        self.edge_1_2 = _convolution(after, after)
        self.edge_0_3 = SlicedSequential() if before == after else Shortcut(before, after)
        self.edge_1_3 = _convolution(after, after)
        self.edge_2_3 = _convolution(after, after)

    def forward(self, x: Tensor, gates: Gates) -> Tensor:
        first: Tensor = self.edge_0_1(x, gates)
        second: Tensor = self.edge_0_2(x, gates) + self.edge_1_2(first, gates)
        output: Tensor = self.edge_0_3(x, gates) + self.edge_1_3(first, gates) + self.edge_2_3(second, gates)
        return output


@final
class _ResidualBlock(nn.Module):
    """The block between stages, of searched widths."""

    def __init__(self, before: Dimension, after: Dimension) -> None:
        super().__init__()
        self.first, self.second = _convolution(before, after, stride=2), _convolution(after, after)
        self.shortcut = SlicedSequential(
            nn.AvgPool2d(2, stride=2, ceil_mode=True), SlicedConv2d(before, after, 1, bias=False)
        )

    def forward(self, x: Tensor, gates: Gates) -> Tensor:
        shortcut: Tensor = self.shortcut(x, gates)
        residual: Tensor = self.second(self.first(x, gates), gates)
        return shortcut + residual


@final
class NatsSizeSupernet(Supernet):
    """All 32,768 networks in the largest one.

    Args:
        space: the size space.
        input_shape: channels, height and width of one image.
        outputs: number of classes.
        options: of the network.
    """

    def __init__(self, space: Space, input_shape: Sequence[int], outputs: int, options: NatsSizeOptions) -> None:
        super().__init__()
        _require_images(input_shape)
        self.space, self.relaxation, self.options = space, space.relaxation, options
        self.input_shape, self.outputs = tuple(input_shape), outputs
        widths = [
            Dimension.over(decision, [int(str(option)) // options.divisor for option in decision.options])
            for decision in self.relaxation.decisions
        ]
        self.stem = SlicedSequential(
            SlicedConv2d(input_shape[0], widths[0], 3, padding=1, bias=False), SlicedBatchNorm2d(widths[0])
        )
        befores = [widths[0], *widths]
        self.layers = nn.ModuleList(
            (_Cell if i % 2 == 0 else _ResidualBlock)(befores[i], widths[i]) for i in range(LAYERS)
        )
        self.head = SlicedSequential(
            SlicedBatchNorm2d(widths[-1]),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            SlicedLinear(widths[-1], outputs),
        )

    def forward(self, inputs: Tensor, gates: Gates) -> Tensor:
        """Class scores `(n, outputs)`."""
        x = self.stem(inputs, gates)
        for layer in self.layers:
            x = layer(x, gates)
        outputs: Tensor = self.head(x, gates)
        return outputs

    def plain(self, architecture: Architecture) -> nn.Module:
        """The plain network of `architecture`."""
        return _plain(self.space.own(architecture), self.input_shape, self.outputs, self.options)


def _require_images(input_shape: Sequence[int]) -> None:
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise ConfigurationError(
            f"networks of the size space take images of shape (channels, height, width), got {tuple(input_shape)}"
        )


def _plain(architecture: Architecture, input_shape: Sequence[int], outputs: int, options: NatsSizeOptions) -> nn.Module:
    _require_images(input_shape)
    channels = [int(str(architecture[f"channels_{layer}"])) // options.divisor for layer in range(LAYERS)]
    return Network(channels, (input_shape[0], input_shape[1], input_shape[2]), outputs)


NETWORKS = Networks(options=NatsSizeOptions, supernet=NatsSizeSupernet, plain=_plain, input_kinds=("image",))
