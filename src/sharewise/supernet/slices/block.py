"""Blocks of sliced layers: sequences, perceptrons with a searched ratio, searched depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from torch import Tensor, nn

from sharewise.errors import ConfigurationError
from sharewise.space.relaxation import Decision
from sharewise.supernet.extract import inherited_state
from sharewise.supernet.gate import Gates
from sharewise.supernet.slices.depth import active_depths, with_prefix
from sharewise.supernet.slices.dimension import Size
from sharewise.supernet.slices.linear import SlicedLinear
from sharewise.supernet.supernet import Shared

__all__ = ["SlicedDepth", "SlicedMLP", "SlicedResidual", "SlicedSequential"]


@final
class SlicedSequential(Shared):
    """Layers in a row; those that are `Shared` are given the gates, the others are plain.

    Args:
        layers: in order of execution.

    Example:
        >>> import torch
        >>> from sharewise.supernet import discrete
        >>> width = Decision("width", (2, 4))
        >>> layers = SlicedSequential(SlicedLinear(3, width), nn.ReLU(), SlicedLinear(width, 1))
        >>> layers(torch.zeros(5, 3), discrete({"width": (0.5, 0.5)})).shape
        torch.Size([5, 1])
    """

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, gates: Gates) -> Tensor:
        """Run all layers."""
        for layer in self.layers:
            x = layer(x, gates) if isinstance(layer, Shared) else layer(x)
        return x

    def inherited(self, gates: Gates) -> dict[str, Tensor]:
        """The state of an `nn.Sequential` of the plain layers."""
        return inherited_state(self.layers, gates)


@final
class SlicedResidual(Shared):
    """x + branch(x): a stream of searched width that sub-layers read and add to.

    Nothing on the stream is scaled: whoever reads it applies the survival of its width, once.

    Args:
        branch: layers in a row, as of `SlicedSequential`; they keep the shape.

    Example:
        >>> import torch
        >>> block = SlicedResidual(nn.Identity())
        >>> block(torch.ones(2), {})
        tensor([2., 2.])
    """

    def __init__(self, *branch: nn.Module) -> None:
        super().__init__()
        self.branch = SlicedSequential(*branch)

    def forward(self, x: Tensor, gates: Gates) -> Tensor:
        """Map any shape to itself."""
        total: Tensor = x + self.branch(x, gates)
        return total

    def inherited(self, gates: Gates) -> dict[str, Tensor]:
        """The state of a module whose `branch` is an `nn.Sequential` of the plain layers."""
        return inherited_state(self.branch, gates, "branch.")


@final
class SlicedMLP(Shared):
    """A perceptron with one searched hidden layer: contract(φ(expand(x))).

    The mixture over hidden sizes is exact: the contraction reads the hidden features and applies their survival,
    Σ_i g_i · C[:, :o_i] φ(E[:o_i] x) = C (s ⊙ φ(E x)).

    Args:
        features: read and written.
        hidden: size of the hidden layer, such as `Dimension.product((width, ratio), lambda w, r: int(w * r))`.
        activation: φ, `nn.GELU()` if not given; elementwise.
        bias: whether both linear layers have one.
        published: the form of TangleNAS: every dimension of both layers is scaled.

    Example:
        >>> import torch
        >>> from sharewise.supernet import Dimension, discrete
        >>> layer = SlicedMLP(8, Dimension.over(Decision("ratio", (2, 4)), [16, 32]))
        >>> gates = discrete({"ratio": (1.0, 0.0)})
        >>> layer(torch.zeros(5, 8), gates).shape, layer.inherited(gates)["expand.weight"].shape
        (torch.Size([5, 8]), torch.Size([16, 8]))
    """

    def __init__(
        self,
        features: Size,
        hidden: Size,
        *,
        activation: nn.Module | None = None,
        bias: bool = True,
        published: bool = False,
    ) -> None:
        super().__init__()
        self.expand = SlicedLinear(features, hidden, bias=bias, published=published)
        self.activation = nn.GELU() if activation is None else activation
        self.contract = SlicedLinear(hidden, features, bias=bias, published=published)

    def forward(self, x: Tensor, gates: Gates) -> Tensor:
        """Map `(…, largest active features)` to the same shape."""
        outputs: Tensor = self.contract(self.activation(self.expand(x, gates)), gates)
        return outputs

    def inherited(self, gates: Gates) -> dict[str, Tensor]:
        """The states of `expand`, `activation` and `contract`."""
        return {
            name: value
            for part in ("expand", "activation", "contract")
            for name, value in inherited_state(getattr(self, part), gates, f"{part}.").items()
        }


@final
class SlicedDepth(Shared):
    """A stack of blocks of searched depth: the mixture Σ_i g_i · x^(d_i) of the outputs of its prefixes.

    x^(d) is what the first d blocks compute, so that all choices together cost one pass through the deepest one. Only
    the deepest active choice is executed.

    Args:
        decision: its options are the numbers of leading blocks that are kept; 0 keeps none.
        blocks: called as `block(x, gates)`, all of the same shape, at least as many as the largest option.

    Raises:
        ConfigurationError: when an option is no number of blocks.

    Example:
        >>> import torch
        >>> from sharewise.supernet import Gate
        >>> blocks = [SlicedSequential(nn.Hardtanh(0, bound)) for bound in (4.0, 2.0)]
        >>> depth = SlicedDepth(Decision("depth", (1, 2)), blocks)
        >>> depth(torch.tensor([8.0]), {"depth": Gate(torch.tensor([0.5, 0.5]), (0, 1))})
        tensor([3.])
    """

    def __init__(self, decision: Decision, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        numbers = []
        for option in decision.options:
            if isinstance(option, bool) or not isinstance(option, int) or not 0 <= option <= len(blocks):
                raise ConfigurationError(
                    f"options of depth decision {decision.name!r} must be numbers of its {len(blocks)} blocks, got "
                    f"{option!r}"
                )
            numbers.append(option)
        self.decision = decision
        self._numbers = tuple(numbers)
        self.blocks = nn.ModuleList(blocks)

    def _depths(self, gates: Gates) -> dict[int, int]:
        return active_depths(self._numbers, gates[self.decision.name], self.decision.name)

    def forward(self, x: Tensor, gates: Gates) -> Tensor:
        """Map the shape of one block's input to itself."""
        depths, gate = self._depths(gates), gates[self.decision.name]
        total = with_prefix(None, x, 0, depths, gate)
        for number in range(max(depths)):
            x = self.blocks[number](x, gates)
            total = with_prefix(total, x, number + 1, depths, gate)
        assert total is not None
        return total

    def inherited(self, gates: Gates) -> dict[str, Tensor]:
        """The states of the leading blocks, by their number."""
        deepest = max(self._depths(gates))
        return {
            name: value
            for index in range(deepest)
            for name, value in inherited_state(self.blocks[index], gates, f"{index}.").items()
        }
