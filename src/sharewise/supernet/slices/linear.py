"""Sliced linear layers and embeddings."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sharewise.errors import ConfigurationError
from sharewise.supernet.gate import Gates
from sharewise.supernet.slices.axis import Axis
from sharewise.supernet.slices.dimension import Size
from sharewise.supernet.slices.nesting import leading
from sharewise.supernet.slices.plane import Applies, Plane, applied
from sharewise.supernet.slices.superposed import superposed_linear
from sharewise.supernet.supernet import Shared

__all__ = ["SlicedEmbedding", "SlicedLinear"]


@final
class SlicedLinear(Shared):
    """A linear layer whose leading input and output features are chosen by decisions.

    Under mixtures the weight is superposed in closed form, one forward pass for any number of choices:
    y = (W ⊙ mask) x + b, with the mask of `Plane`. By default the layer scales the columns that *read* a searched
    dimension by its survival vector and leaves its outputs to their reader, so that a dimension between two layers
    counts once: then W₂ · s ⊙ φ(W₁ x) is the exact mixture Σ_i g_i · W₂[:, :o_i] φ(W₁[:o_i] x).

    A bias that is not scaled counts once, as Σ_i g_i · b does where gates sum to one; their gradients then differ from
    the mixture's by one number common to all options, which neither softmax nor the simplex sees (a sampled path does,
    whose own option alone has a gradient).

    One weight holds all slices, so what lies outside the active slice has a gradient of zeros rather than none, and an
    optimizer with momentum or weight decay still moves it.

    Args:
        inputs: size of the features that are read.
        outputs: size of the features that are written.
        bias: whether to add b, scaled by the survival of outputs where this layer applies that.
        applies: which of its dimensions the layer scales.
        published: the form of TangleNAS: every layer scales both of its dimensions, so that what lies between two
            layers is scaled twice.
        stacks: how many blocks of `outputs` features the layer writes, each sliced by itself (3 for attention).
        interleaved: rows of the blocks alternate (row i of block t is row i · stacks + t), so that a slice of all
            blocks is a leading slice of the weight, as in AutoFormer; otherwise blocks follow each other.

    Example:
        >>> import torch
        >>> from sharewise.space import Decision
        >>> from sharewise.supernet import discrete
        >>> layer = SlicedLinear(2, Decision("width", (2, 4)))
        >>> layer(torch.ones(1, 2), discrete({"width": (1.0, 0.0)})).shape
        torch.Size([1, 2])

    References:
        R. Sukthanker et al., *Weight-Entanglement Meets Gradient-Based Neural Architecture Search*, AutoML 2024 (arXiv
        2312.10440), algorithm 2. M. Chen et al., *AutoFormer*, ICCV 2021 (arXiv 2107.00651).

    Deviations:
        With `published` off, activations that one layer scales are not scaled again by the next.
    """

    def __init__(
        self,
        inputs: Size,
        outputs: Size,
        *,
        bias: bool = True,
        applies: Applies = ("inputs",),
        published: bool = False,
        stacks: int = 1,
        interleaved: bool = False,
    ) -> None:
        super().__init__()
        if stacks < 1:
            raise ConfigurationError(f"a linear layer has at least one stack of outputs, got {stacks}")
        self.plane = Plane(outputs, inputs, applies, published)
        plain = nn.Linear(self.plane.inputs.largest, stacks * self.plane.outputs.largest, bias)
        self.weight, self.bias = plain.weight, plain.bias
        self.stacks, self.interleaved = stacks, interleaved

    def _rows(self, parameter: Tensor, rows: int) -> Tensor:
        """The leading rows of every block."""
        if self.interleaved or self.stacks == 1 or rows == self.plane.outputs.largest:
            return leading(parameter, self.stacks * rows)
        return torch.unflatten(parameter, 0, (self.stacks, -1))[:, :rows].flatten(0, 1)

    def _repeated(self, rows: Tensor) -> Tensor:
        if self.stacks == 1 or rows.shape[0] == 1:
            return rows
        if self.interleaved:
            return rows.repeat_interleave(self.stacks, 0)
        return rows.repeat(self.stacks, *[1] * (rows.dim() - 1))

    def _slice(self, gates: Gates) -> tuple[Tensor, Tensor | None]:
        rows, columns = self.plane.size(gates)
        weight = self._rows(leading(self.weight, columns, 1), rows)
        return weight, None if self.bias is None else self._rows(self.bias, rows)

    def forward(self, x: Tensor, gates: Gates) -> Tensor:
        """Map `(…, largest active inputs)` to `(…, stacks · largest active outputs)`."""
        self.plane.check(x.shape[-1], gates)
        weight, bias = self._slice(gates)
        mask, scale = self.plane.mask(gates), self.plane.rows(gates)
        if bias is not None and scale is not None:
            bias = bias * self._repeated(scale.to(bias.dtype))
        mask = None if mask is None else self._repeated(mask.to(weight.dtype))
        return superposed_linear(x, weight, mask, bias)

    def inherited(self, gates: Gates) -> dict[str, Tensor]:
        """The state of a plain `nn.Linear`: the leading slice of weight and bias."""
        weight, bias = self._slice(gates)
        return {"weight": weight.detach()} | ({} if bias is None else {"bias": bias.detach()})


@final
class SlicedEmbedding(Shared):
    """An embedding whose leading features are chosen by decisions, and the classifier that may be tied to it.

    Args:
        count: number of indices.
        features: size of a vector.
        applies: `("outputs",)` scales the vectors by the survival of `features`; by default their readers do.
        published: the form of TangleNAS: vectors are scaled, and so are the features that `logits` reads.

    Example:
        >>> import torch
        >>> from sharewise.space import Decision
        >>> from sharewise.supernet import discrete
        >>> layer, gates = SlicedEmbedding(10, Decision("width", (2, 4))), discrete({"width": (1.0, 0.0)})
        >>> vectors = layer(torch.tensor([[1, 2, 3]]), gates)
        >>> vectors.shape, layer.logits(vectors, gates).shape
        (torch.Size([1, 3, 2]), torch.Size([1, 3, 10]))
    """

    def __init__(self, count: int, features: Size, *, applies: Applies = (), published: bool = False) -> None:
        super().__init__()
        self.features = Axis(features)
        self.weight = nn.Embedding(count, self.features.largest).weight
        self.applies = applied(applies, published)

    def forward(self, indices: Tensor, gates: Gates) -> Tensor:
        """Map indices `(…,)` to vectors `(…, largest active features)`."""
        vectors = F.embedding(indices, leading(self.weight, self.features.size(gates), 1))
        scale = self.features.survival(gates) if "outputs" in self.applies else None
        return vectors if scale is None else vectors * scale.to(vectors.dtype)

    def logits(self, x: Tensor, gates: Gates) -> Tensor:
        """Map features `(…, largest active features)` to scores `(…, count)` by the same weight, reading once."""
        weight = leading(self.weight, self.features.size(gates), 1)
        scale = self.features.survival(gates)
        return F.linear(x, weight if scale is None else weight * scale.to(weight.dtype))

    def inherited(self, gates: Gates) -> dict[str, Tensor]:
        """The state of a plain `nn.Embedding`."""
        return {"weight": self.weight.detach()[:, : self.features.size(gates)]}
