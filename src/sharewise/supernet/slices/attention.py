"""Multi-head self-attention with a searched number of heads, of fixed size or of fixed total width."""

from __future__ import annotations

from typing import Literal, final

import torch
from torch import Tensor
from torch.nn import functional as F

from sharewise.errors import ConfigurationError, unknown_name
from sharewise.space.relaxation import Decision
from sharewise.supernet.extract import inherited_state
from sharewise.supernet.gate import Gates
from sharewise.supernet.slices.dimension import Dimension, Size, combinations, dimension
from sharewise.supernet.slices.linear import SlicedLinear
from sharewise.supernet.slices.nesting import is_slice, joint_weights
from sharewise.supernet.supernet import Shared

__all__ = ["RegroupedAttention", "SlicedAttention", "attend"]

Rows = Literal["stacked", "interleaved"]


def attend(queries_keys_values: Tensor, heads: int, *, causal: bool = False, dropout: float = 0.0) -> Tensor:
    """Scaled dot-product attention of every head, heads side by side.

    Args:
        queries_keys_values: shape `(n, tokens, 3, heads · size)`.
        heads: number of heads, which divides the last dimension.
        causal: whether a token attends to itself and earlier ones only.
        dropout: probability of dropping an attention weight.

    Returns:
        Shape `(n, tokens, heads · size)`.

    Example:
        >>> attend(torch.zeros(1, 5, 3, 8), heads=2).shape
        torch.Size([1, 5, 8])
    """
    split = torch.unflatten(queries_keys_values, -1, (heads, -1)).transpose(1, 3)  # (n, heads, 3, tokens, size)
    q, k, v = split.unbind(2)
    mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=causal)
    return mixed.transpose(1, 2).flatten(2)


def _blocks(rows: Tensor, interleaved: bool) -> Tensor:
    """From features of three blocks to shape `(n, tokens, 3, features)`."""
    return torch.unflatten(rows, -1, (-1, 3)).transpose(-1, -2) if interleaved else torch.unflatten(rows, -1, (3, -1))


def _interleaved(qkv: str) -> bool:
    if qkv not in ("stacked", "interleaved"):
        raise unknown_name("order of query, key and value rows", qkv, ("stacked", "interleaved"))
    return qkv == "interleaved"


@final
class SlicedAttention(Shared):
    """Self-attention whose heads have a fixed size and nest: a choice of h keeps the first h heads.

    Heads do not see each other, so the mixture of all choices is one attention with the output of head j scaled by its
    survival s_j: Σ_i g_i · P[:, :h_i] A[:h_i](x) = P (s ⊙ A(x)). The projection P reads the heads and applies s, which
    equals scaling values alone; scaling queries and keys would change the temperature of the attention instead.

    The plain layer has `qkv` and `projection`, two `nn.Linear`.

    Args:
        features: size of a token, read and written.
        heads: their number, or a decision of numbers.
        head_size: of every head.
        qkv: the order of rows in the weight of `qkv`: all of query, key and value in turn (`"stacked"`), or alternating
            as in AutoFormer (`"interleaved"`).
        bias: whether `qkv` and `projection` have one.
        causal: whether a token attends to itself and earlier ones only.
        dropout: probability of dropping an attention weight in training.
        published: the form of TangleNAS: query, key and value rows are scaled by s as well.

    Example:
        >>> from sharewise.supernet import discrete
        >>> layer, gates = SlicedAttention(8, Decision("heads", (1, 2)), 4), discrete({"heads": (1.0, 0.0)})
        >>> layer(torch.zeros(1, 5, 8), gates).shape, layer.inherited(gates)["qkv.weight"].shape
        (torch.Size([1, 5, 8]), torch.Size([12, 8]))

    References:
        M. Chen et al., *AutoFormer*, ICCV 2021 (arXiv 2107.00651), section 3.2.
    """

    def __init__(
        self,
        features: Size,
        heads: int | Decision,
        head_size: int,
        *,
        qkv: Rows = "stacked",
        bias: bool = True,
        causal: bool = False,
        dropout: float = 0.0,
        published: bool = False,
    ) -> None:
        super().__init__()
        self.heads = dimension(heads)
        inner = Dimension(self.heads.decisions, tuple(number * head_size for number in self.heads.sizes))
        self.interleaved, self.causal, self.dropout = _interleaved(qkv), causal, dropout
        self.qkv = SlicedLinear(features, inner, bias=bias, published=published, stacks=3, interleaved=self.interleaved)
        self.projection = SlicedLinear(inner, features, bias=bias, published=published)

    def forward(self, x: Tensor, gates: Gates) -> Tensor:
        """Map `(n, tokens, largest active features)` to the same shape."""
        rows = _blocks(self.qkv(x, gates), self.interleaved)
        dropout = self.dropout if self.training else 0.0
        mixed = attend(rows, self.heads.size(gates), causal=self.causal, dropout=dropout)
        outputs: Tensor = self.projection(mixed, gates)
        return outputs

    def inherited(self, gates: Gates) -> dict[str, Tensor]:
        """The states of `qkv` and `projection`."""
        return inherited_state(self.qkv, gates, "qkv.") | inherited_state(self.projection, gates, "projection.")


@final
class RegroupedAttention(Shared):
    """Self-attention of fixed total width: a choice of h heads regroups the same features into heads of width / h.

    Choices see different temperatures and different softmaxes, and nothing of them is shared but the linear layers:
    the mixture costs **one attention per active option** (and per active width, where that is searched too),
    y = P Σ_c g_c · pad(A_c(Q x, K x, V x)). Query, key and value are computed once.

    The plain layer has `qkv` and `projection`, two `nn.Linear`.

    Args:
        features: size of a token, read and written, and the width of all heads together.
        heads: their number, or a decision of numbers; each divides every size of `features`.
        qkv: see `SlicedAttention`.
        bias: see `SlicedAttention`.
        causal: see `SlicedAttention`.
        dropout: see `SlicedAttention`.
        published: the form of TangleNAS: weights g scale queries, keys and values instead of outputs, heads of smaller
            widths are padded one by one and added before a single attention per number of heads, and both linear layers
            scale all of their dimensions.

    Raises:
        ConfigurationError: when a number of heads does not divide a size.

    Example:
        >>> from sharewise.supernet import discrete
        >>> layer, gates = RegroupedAttention(8, Decision("heads", (2, 4))), discrete({"heads": (0.5, 0.5)})
        >>> layer(torch.zeros(1, 5, 8), gates).shape
        torch.Size([1, 5, 8])
    """

    def __init__(
        self,
        features: Size,
        heads: int | Decision,
        *,
        qkv: Rows = "stacked",
        bias: bool = True,
        causal: bool = False,
        dropout: float = 0.0,
        published: bool = False,
    ) -> None:
        super().__init__()
        width, number = dimension(features), dimension(heads)
        for size in width.sizes:
            for count in number.sizes:
                if size % count:
                    raise ConfigurationError(
                        f"{count} heads do not divide {size} features; choose sizes that they divide"
                    )
        if set(width.decisions) & set(number.decisions):
            raise ConfigurationError("the number of heads and the features must be different decisions")
        self.features, self.heads = width, number
        # What one combination of options means, the number of heads varying fastest.
        self.combinations = tuple((size, count) for size in width.sizes for count in number.sizes)
        self.interleaved, self.causal, self.dropout = _interleaved(qkv), causal, dropout
        self.qkv = SlicedLinear(
            features, features, bias=bias, published=published, stacks=3, interleaved=self.interleaved
        )
        self.projection = SlicedLinear(features, features, bias=bias, applies=(), published=published)
        self.published = published

    def forward(self, x: Tensor, gates: Gates) -> Tensor:
        """Map `(n, tokens, largest active features)` to the same shape."""
        rows = _blocks(self.qkv(x, gates), self.interleaved)
        dropout = self.dropout if self.training else 0.0
        decisions = self.features.decisions + self.heads.decisions
        weights = None if is_slice(decisions, gates) else joint_weights(decisions, gates)
        mixture = self._mixed_before if self.published and weights is not None else self._mixed_after
        outputs: Tensor = self.projection(mixture(rows, weights, combinations(decisions, gates), dropout), gates)
        return outputs

    def _mixed_after(self, rows: Tensor, weights: Tensor | None, active: list[int], dropout: float) -> Tensor:
        """Σ_c g_c · pad(A_c): one attention per combination."""
        total: Tensor | None = None
        for position, index in enumerate(active):
            size, heads = self.combinations[index]
            term = attend(rows[..., :size], heads, causal=self.causal, dropout=dropout)
            if weights is not None:
                term = weights[position].to(term.dtype) * term
            if size < rows.shape[-1]:
                term = F.pad(term, (0, rows.shape[-1] - size))
            total = term if total is None else total + term
        assert total is not None
        return total

    def _mixed_before(self, rows: Tensor, weights: Tensor | None, active: list[int], dropout: float) -> Tensor:
        """The published form: one attention per number of heads, of scaled and padded queries, keys and values."""
        assert weights is not None
        mixed: dict[int, Tensor] = {}
        for position, index in enumerate(active):
            size, heads = self.combinations[index]
            split = torch.unflatten(rows[..., :size], -1, (heads, -1))
            split = F.pad(split, (0, rows.shape[-1] // heads - size // heads)) * weights[position].to(rows.dtype)
            mixed[heads] = mixed[heads] + split if heads in mixed else split
        terms = [
            attend(split.flatten(-2), heads, causal=self.causal, dropout=dropout) for heads, split in mixed.items()
        ]
        return torch.stack(terms).sum(0)

    def inherited(self, gates: Gates) -> dict[str, Tensor]:
        """The states of `qkv` and `projection`."""
        return inherited_state(self.qkv, gates, "qkv.") | inherited_state(self.projection, gates, "projection.")
