"""Norms over a searched dimension, as layers."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from sharewise.errors import ConfigurationError
from sharewise.supernet.gate import Gates
from sharewise.supernet.slices.axis import Axis
from sharewise.supernet.slices.dimension import Size, combinations
from sharewise.supernet.slices.nesting import leading
from sharewise.supernet.slices.norms import scaled_batch_norm, weighted_layer_norm, weighted_rms_norm
from sharewise.supernet.slices.plane import Applies, applied
from sharewise.supernet.supernet import Shared

__all__ = ["SlicedBatchNorm1d", "SlicedBatchNorm2d", "SlicedLayerNorm", "SlicedRMSNorm"]


class _SlicedBatchNorm(Shared, _BatchNorm):
    """Batch norm of leading channels; abstract in the number of dimensions."""

    def __init__(
        self,
        channels: Size,
        *,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        applies: Applies = (),
        published: bool = False,
    ) -> None:
        axis = Axis(channels)
        super().__init__(axis.largest, eps, momentum, affine)
        self.channels = axis
        self.applies = applied(applies, published)

    def forward(self, x: Tensor, gates: Gates) -> Tensor:  # type: ignore[override]
        """Map `(n, largest active channels, …)` to the same shape."""
        self._check_input_dim(x)  # type: ignore[no-untyped-call]
        scale = self.channels.survival(gates) if "outputs" in self.applies else None
        return scaled_batch_norm(self, x, scale, self.channels.size(gates))

    def inherited(self, gates: Gates) -> dict[str, Tensor]:
        """The leading parameters and running statistics."""
        channels = self.channels.size(gates)
        return {
            name: value if value.dim() == 0 else value[:channels]
            for name, value in self.state_dict().items()  # detached
        }


@final
class SlicedBatchNorm1d(_SlicedBatchNorm):
    """Batch norm of searched features, `(n, channels)` or `(n, channels, length)`: see `SlicedBatchNorm2d`."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 – torch's name
        if input.dim() not in (2, 3):
            raise ConfigurationError(f"SlicedBatchNorm1d takes 2 or 3 dimensions, got shape {tuple(input.shape)}")


@final
class SlicedBatchNorm2d(_SlicedBatchNorm):
    """Batch norm of searched channels: leading slices of scale, shift and running statistics.

    Channels are normalised one by one, so a slice needs no other statistics than its own. By default nothing is scaled:
    whoever reads the channels applies their survival, which is after this norm, where a scale is not erased.

    Running statistics that were collected under mixtures or under many slices are void for any single slice:
    recalibrate them (`sharewise.supernet.recalibrate`) after extraction.

    Args:
        channels: that are normalised.
        eps: added to variances.
        momentum: of the running statistics.
        affine: whether to learn a scale and a shift.
        applies: `("outputs",)` scales the normalised channels by their survival.
        published: the form of TangleNAS: as `applies=("outputs",)`.

    Example:
        >>> from sharewise.space import Decision
        >>> from sharewise.supernet import discrete
        >>> norm = SlicedBatchNorm2d(Decision("width", (2, 4)))
        >>> norm(torch.randn(3, 2, 5, 5), discrete({"width": (1.0, 0.0)})).shape, len(norm.running_mean)
        (torch.Size([3, 2, 5, 5]), 4)
    """

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 – torch's name
        if input.dim() != 4:
            raise ConfigurationError(f"SlicedBatchNorm2d takes 4 dimensions, got shape {tuple(input.shape)}")


@final
class SlicedLayerNorm(Shared, nn.LayerNorm):
    """Layer norm over a searched dimension.

    Under mixtures, statistics are weighted by the survival vector s of the dimension,

        μ = Σ_j s_j x_j / Σ_j s_j,   v = Σ_j s_j (x_j − μ)² / Σ_j s_j,   y_j = γ_j (x_j − μ) / √(v + ε) + β_j,

    which is the layer norm of a slice where the gate is one-hot. Scaling γ over statistics of the full width would not
    be: the positions that a slice does not have would still move its mean and variance.

    Args:
        features: that are normalised, the last dimension of inputs.
        eps: ε.
        bias: whether to learn β.
        applies: `("outputs",)` scales y by s; by default its readers do.
        published: the form of TangleNAS: statistics of the largest active width, γ and β scaled by s.

    Example:
        >>> from sharewise.space import Decision
        >>> from sharewise.supernet import Gate
        >>> norm, g = SlicedLayerNorm(Decision("width", (2, 4))), torch.tensor([1.0, 0.0])
        >>> x = torch.tensor([1.0, 3.0, 50.0, 70.0])
        >>> norm(x, {"width": Gate(g, (0, 1))})[:2].allclose(norm(x[:2], {"width": Gate(g, (0,))}))
        True
    """

    def __init__(
        self,
        features: Size,
        *,
        eps: float = 1e-5,
        bias: bool = True,
        applies: Applies = (),
        published: bool = False,
    ) -> None:
        axis = Axis(features)
        super().__init__(axis.largest, eps, bias=bias)
        self.features = axis
        self.applies, self.published = applied(applies, published), published

    def forward(self, x: Tensor, gates: Gates) -> Tensor:  # type: ignore[override]
        """Map `(…, largest active features)` to the same shape."""
        size, s = self.features.size(gates), self.features.survival(gates)
        weight, bias = leading(self.weight, size), leading(self.bias, size)
        s = None if s is None else s.to(weight.dtype)
        scale = s if "outputs" in self.applies else None
        if s is not None and not self.published and len(combinations(self.features.decisions, gates)) > 1:
            y = weighted_layer_norm(x, s, weight, bias, self.eps)
            return y if scale is None else y * scale
        if scale is not None:
            weight, bias = weight * scale, None if bias is None else bias * scale
        return F.layer_norm(x, (size,), weight, bias, self.eps)

    def inherited(self, gates: Gates) -> dict[str, Tensor]:
        """The leading parameters."""
        size = self.features.size(gates)
        return {name: value[:size] for name, value in self.state_dict().items()}


@final
class SlicedRMSNorm(Shared, nn.RMSNorm):
    """Root-mean-square norm over a searched dimension: y_j = γ_j x_j / √(Σ_i s_i x_i² / Σ_i s_i + ε).

    Args:
        features: that are normalised, the last dimension of inputs.
        eps: ε; `None` for the machine epsilon of the inputs.
        applies: see `SlicedLayerNorm`.
        published: see `SlicedLayerNorm`.

    Example:
        >>> from sharewise.space import Decision
        >>> from sharewise.supernet import Gate
        >>> norm, g = SlicedRMSNorm(Decision("width", (2, 4))), torch.tensor([1.0, 0.0])
        >>> x = torch.tensor([1.0, 3.0, 50.0, 70.0])
        >>> norm(x, {"width": Gate(g, (0, 1))})[:2].allclose(norm(x[:2], {"width": Gate(g, (0,))}))
        True
    """

    def __init__(
        self, features: Size, *, eps: float | None = None, applies: Applies = (), published: bool = False
    ) -> None:
        axis = Axis(features)
        super().__init__(axis.largest, eps)
        self.features = axis
        self.applies, self.published = applied(applies, published), published

    def forward(self, x: Tensor, gates: Gates) -> Tensor:  # type: ignore[override]
        """Map `(…, largest active features)` to the same shape."""
        size, s = self.features.size(gates), self.features.survival(gates)
        weight = leading(self.weight, size)
        s = None if s is None else s.to(weight.dtype)
        if s is not None and "outputs" in self.applies:
            weight = weight * s
        if s is not None and not self.published and len(combinations(self.features.decisions, gates)) > 1:
            eps = torch.finfo(x.dtype).eps if self.eps is None else self.eps
            return weighted_rms_norm(x, s, weight, eps)
        return F.rms_norm(x, (size,), weight, self.eps)

    def inherited(self, gates: Gates) -> dict[str, Tensor]:
        """The leading parameters."""
        size = self.features.size(gates)
        return {name: value[:size] for name, value in self.state_dict().items()}
