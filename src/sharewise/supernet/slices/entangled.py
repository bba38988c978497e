"""Operations of one decision that differ in their kernels only, as one operation with nested kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sharewise.errors import ConfigurationError
from sharewise.space.relaxation import Decision
from sharewise.supernet.gate import Gate, Gates
from sharewise.supernet.slices.block import SlicedSequential
from sharewise.supernet.slices.convolution import SlicedConv2d, depthwise
from sharewise.supernet.slices.norms import scaled_batch_norm
from sharewise.supernet.supernet import Shared

__all__ = ["EntangledConvolution", "convolution_layers", "separable_layers"]

_SPECK = 1e-30
"""Far below the rounding of any gate, and far above the smallest float, so that gradients through it stay finite."""


@final
class EntangledConvolution(Shared):
    """The options of a decision that are the same operation with kernels of different sizes, executed as one.

    For the options i of the group (1×1 and 3×3 convolutions; separable convolutions of 3 and 5), with kernels W_i that
    are centred in one largest kernel, a mass m = Σ_i g_i over the group, and a batch norm at the end, the mixture is

        m · BN(conv(x, Σ_i (g_i / m) · W_i)),

    one convolution for any number of options. Dividing by m and multiplying again is not idle: BN(c·z) ≈ BN(z), so that
    without it the group would count as a whole, however little weight it has against skip connections or pooling, and
    the gradient to m would vanish. It is a mixture of weights, not of outputs: options with separate norms are another
    function, equal where the gate is one-hot.

    Where m = 0 the group contributes zero, and shares are taken as equal; the gradient to its gate is then that of an
    equal mixture, since the true one depends on the direction from which zero is approached.

    Args:
        decision: it may have other options (`none`, skip), which are somebody else's.
        kernels: size of the kernel by option of the group.
        layers: builds the layers from the decision over kernels that it is given, the last one a batch norm.
        published: the form of TangleNAS, BN(conv(x, Σ_i g_i · W_i)).

    Raises:
        ConfigurationError: when an option is unknown, or the last layer is no batch norm.

    Example:
        >>> from functools import partial
        >>> edge = Decision("edge", ("none", "conv_1x1", "conv_3x3"))
        >>> group = EntangledConvolution(edge, {"conv_1x1": 1, "conv_3x3": 3}, partial(convolution_layers, 2, 2))
        >>> x = torch.zeros(1, 2, 4, 4)
        >>> group(x, {"edge": Gate(torch.tensor([0.2, 0.3, 0.5]), (0, 1, 2))}).shape
        torch.Size([1, 2, 4, 4])
        >>> group(x, {"edge": Gate(torch.tensor([1.0, 0.0, 0.0]), (0,))}) is None
        True

    References:
        R. Sukthanker et al., AutoML 2024 (arXiv 2312.10440), section 3; A. Pourchot et al., *To Share or Not To Share*
        (arXiv 2002.04289): SINGLE-K, one kernel and one norm for 1×1 and 3×3.

    Deviations:
        The mass, see above; `published` leaves it out.
    """

    def __init__(
        self,
        decision: Decision,
        kernels: Mapping[str, int],
        layers: Callable[[Decision], Sequence[nn.Module]],
        *,
        published: bool = False,
    ) -> None:
        super().__init__()
        for option in kernels:
            if option not in decision.options:
                raise ConfigurationError(f"operation {option!r} is not an option of decision {decision.name!r}")
        self.decision = decision
        self.group = tuple(i for i, option in enumerate(decision.options) if option in kernels)
        self.kernel = Decision(f"{decision.name}: kernel", tuple(kernels[str(decision.options[i])] for i in self.group))
        self.layers = SlicedSequential(*layers(self.kernel))
        self.published = published
        if not isinstance(self.layers.layers[-1], _BatchNorm) or isinstance(self.layers.layers[-1], Shared):
            raise ConfigurationError(
                "an entangled group of operations ends with a plain batch norm, whose scale takes the group's mass; "
                f"got {type(self.layers.layers[-1]).__name__}"
            )

    def _active(self, gate: Gate) -> tuple[int, ...]:
        """Positions within the group of the options that are active."""
        return tuple(position for position, index in enumerate(self.group) if index in gate.active)

    def _split(self, gate: Gate, active: tuple[int, ...]) -> tuple[Gate, Tensor | None]:
        """The gate over kernels, and the mass of the group, `None` where nothing is scaled by it."""
        zero = gate.weights.new_zeros(())
        weights = torch.stack([gate.weights[i] if p in active else zero for p, i in enumerate(self.group)])
        if self.published:
            return Gate(weights, active, unit=gate.unit), None
        if len(active) == 1:
            # The share of one kernel is one, whatever its weight: a true slice.
            return Gate(weights, active, unit=True), None if gate.unit else weights[active[0]]
        # Equal shares where the mass is zero; otherwise too little to change a bit of a share that counts.
        lifted = weights + _SPECK
        return Gate(lifted / lifted.sum(), active), weights.sum()

    def share(self, gates: Gates) -> tuple[Gates, Tensor | None] | None:
        """The gates of its layers, and the mass that scales its norm (`None` for one); nothing where none is active."""
        gate = gates[self.decision.name]
        active = self._active(gate)
        if not active:
            return None
        kernel, mass = self._split(gate, active)
        return {**gates, self.kernel.name: kernel}, mass

    def forward(self, x: Tensor, gates: Gates) -> Tensor | None:
        """The group's term of the mixture, or `None` where none of its options is active."""
        share = self.share(gates)
        if share is None:
            return None
        inner, mass = share
        *body, norm = self.layers.layers
        for layer in body:
            x = layer(x, inner) if isinstance(layer, Shared) else layer(x)
        assert isinstance(norm, _BatchNorm)
        return norm(x) if mass is None else scaled_batch_norm(norm, x, mass)

    def inherited(self, gates: Gates) -> dict[str, Tensor]:
        """The state of an `nn.Sequential` of the plain layers; nothing where no option of the group is active."""
        gate = gates[self.decision.name]
        active = self._active(gate)
        if not active:
            return {}
        if len(active) > 1:
            raise ConfigurationError(
                f"decision {self.decision.name!r} has {len(active)} active options; an architecture has at most one"
            )
        inner = {**gates, self.kernel.name: replace(gate, weights=gate.weights[: len(self.group)], active=active)}
        return self.layers.inherited(inner)


def convolution_layers(
    channels_in: int, channels_out: int, kernel: Decision, *, stride: int = 1, affine: bool = True
) -> list[nn.Module]:
    """ReLU, convolution without bias, batch norm: the operation of NAS-Bench-201.

    Args:
        channels_in: that are read.
        channels_out: that are written.
        kernel: decision over kernel sizes.
        stride: of the convolution.
        affine: whether the batch norm learns a scale and a shift.

    Example:
        >>> len(convolution_layers(2, 2, Decision("kernel", (1, 3))))
        3
    """
    return [
        nn.ReLU(),
        SlicedConv2d(channels_in, channels_out, kernel, stride=stride, bias=False),
        nn.BatchNorm2d(channels_out, affine=affine),
    ]


def separable_layers(
    channels_in: int,
    channels_out: int,
    kernel: Decision,
    *,
    stride: int = 1,
    dilation: int = 1,
    repeats: int = 1,
    affine: bool = True,
) -> list[nn.Module]:
    """ReLU, depthwise and pointwise convolution without bias, batch norm, once or twice: operations of DARTS.

    A separable convolution is repeated twice, the first time with the stride; a dilated one is not repeated and has a
    dilation of 2. All depthwise kernels of the operation follow the one decision.

    Args:
        channels_in: that are read.
        channels_out: that are written.
        kernel: decision over kernel sizes.
        stride: of the first depthwise convolution.
        dilation: of the depthwise convolutions.
        repeats: 2 for DARTS' separable, 1 for its dilated convolution.
        affine: whether batch norms learn a scale and a shift.

    Example:
        >>> len(separable_layers(2, 2, Decision("kernel", (3, 5)), repeats=2))
        8
    """
    layers: list[nn.Module] = []
    for repeat in range(repeats):
        written = channels_out if repeat == repeats - 1 else channels_in
        layers += [
            nn.ReLU(),
            depthwise(channels_in, kernel, stride=stride if repeat == 0 else 1, dilation=dilation, bias=False),
            nn.Conv2d(channels_in, written, 1, bias=False),
            nn.BatchNorm2d(written, affine=affine),
        ]
    return layers
