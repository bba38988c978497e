"""The supernet of the tied-width toy: nested slices of one weight, the width consumed by two layers at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor, nn

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Space
from sharewise.spaces.toy_tied_width.network import Network, activation
from sharewise.supernet import Gates, MixedOperation, Networks, SlicedLinear, Supernet

__all__ = ["NETWORKS", "TiedWidthOptions", "TiedWidthSupernet"]


@final
@dataclass(frozen=True)
class TiedWidthOptions:
    """The network of this space has no options."""


@final
class TiedWidthSupernet(Supernet):
    """All twelve perceptrons in one.

    The width's gate scales the hidden vector once, after the non-linearity: the layer that reads it applies the
    survival vector, the layer that writes it does not.

    Args:
        space: the toy space.
        input_shape: of one example.
        outputs: size of the last layer.
        options: none.
    """

    def __init__(self, space: Space, input_shape: Sequence[int], outputs: int, options: TiedWidthOptions) -> None:
        super().__init__()
        self.space, self.relaxation, self.options = space, space.relaxation, options
        self.input_shape, self.outputs = tuple(input_shape), outputs
        decisions = {d.name: d for d in self.relaxation.decisions}
        features = 1
        for size in input_shape:
            features *= size
        self.enter = SlicedLinear(features, decisions["width"])
        names = [str(option) for option in decisions["activation"].options]
        self.activation = MixedOperation(decisions["activation"], {name: activation(name) for name in names})
        self.leave = SlicedLinear(decisions["width"], outputs)

    def forward(self, inputs: Tensor, gates: Gates) -> Tensor:
        """Outputs `(n, outputs)`."""
        hidden: Tensor = self.activation(self.enter(inputs.flatten(1), gates), gates["activation"])
        outputs: Tensor = self.leave(hidden, gates)
        return outputs

    def plain(self, architecture: Architecture) -> nn.Module:
        """The plain network of `architecture`."""
        return _plain(self.space.own(architecture), self.input_shape, self.outputs, self.options)


def _plain(
    architecture: Architecture, input_shape: Sequence[int], outputs: int, options: TiedWidthOptions
) -> nn.Module:
    width = architecture["width"]
    if not isinstance(width, int):
        raise ConfigurationError(f"the width must be an integer, got {width!r}")
    return Network(width, str(architecture["activation"]), tuple(input_shape), outputs)


NETWORKS = Networks(options=TiedWidthOptions, supernet=TiedWidthSupernet, plain=_plain, input_kinds=("image", "table"))
