"""The two searched axes of a weight: how survival vectors of inputs and outputs combine."""

from __future__ import annotations

from typing import Literal, final

from torch import Tensor, nn

from sharewise.errors import ConfigurationError
from sharewise.space.relaxation import Decision
from sharewise.supernet.gate import Gates
from sharewise.supernet.slices.axis import Axis, Mask
from sharewise.supernet.slices.dimension import Size
from sharewise.supernet.slices.nesting import full_precision, is_slice

__all__ = ["Applies", "Plane", "applied"]

Applies = tuple[Literal["inputs", "outputs"], ...]
"""Which of its searched dimensions a layer scales by their survival vectors.

A dimension between two layers must be scaled once, after any norm: by default the layer that *reads* it does.
"""


def applied(applies: Applies, published: bool) -> frozenset[str]:
    """The axes that a layer scales; the published form scales both."""
    if set(applies) - {"inputs", "outputs"}:
        raise ConfigurationError(f"applies names 'inputs', 'outputs', both or neither, got {applies!r}")
    return frozenset(("inputs", "outputs") if published else applies)


@final
class Plane(nn.Module):
    """The output and input axis of a weight matrix, with the mask that superposes its nested slices.

    With combinations c of options of weight g_c, the superposition Σ_c g_c · pad(W[:A_c, :B_c]) is W times a mask:
    the outer product of the survival vectors where the axes belong to different decisions, and
    mask_ab = Σ_{c : A_c > a, B_c > b} g_c where they share one, which for nested sizes is min(s_a, s_b).

    Args:
        outputs: size of the first axis.
        inputs: size of the second axis.
        applies: which axes are scaled.
        published: scale both axes, whatever `applies` says.
    """

    def __init__(self, outputs: Size, inputs: Size, applies: Applies, published: bool) -> None:
        super().__init__()
        self.outputs, self.inputs = Axis(outputs), Axis(inputs)
        self.applies = applied(applies, published)
        self._rows: Mask | None = None
        self._columns: Mask | None = None
        shared = set(self.outputs.decisions) & set(self.inputs.decisions)
        if shared and len(self.applies) == 2:
            union = tuple(dict.fromkeys(self.outputs.decisions + self.inputs.decisions))
            self._rows, self._columns = (
                Mask(union, _expanded(axis.mask, union)) for axis in (self.outputs, self.inputs)
            )

    def size(self, gates: Gates) -> tuple[int, int]:
        """Rows and columns of the largest active slice."""
        return self.outputs.size(gates), self.inputs.size(gates)

    def check(self, size: int, gates: Gates) -> None:
        """Refuse activations whose size is not that of the largest active choice.

        Raises:
            ConfigurationError: naming the decisions.
        """
        expected = self.inputs.size(gates)
        if size != expected:
            names = ", ".join(repr(d.name) for d in self.inputs.decisions) or "none"
            raise ConfigurationError(
                f"a layer that reads {expected} features under these gates (decisions: {names}) was given {size}; the "
                "layer before it must write the same dimension"
            )

    def rows(self, gates: Gates) -> Tensor | None:
        """What a bias is scaled by: the survival of outputs, where this layer applies it."""
        return self.outputs.survival(gates) if "outputs" in self.applies else None

    def columns(self, gates: Gates) -> Tensor | None:
        """The survival of inputs, where this layer applies it."""
        return self.inputs.survival(gates) if "inputs" in self.applies else None

    def mask(self, gates: Gates) -> Tensor | None:
        """Shape `(rows or 1, columns or 1)`, or `None` where nothing is scaled."""
        if self._rows is not None and self._columns is not None:
            return self._tied(self._rows, self._columns, gates)
        rows, columns = self.rows(gates), self.columns(gates)
        if rows is None:
            return None if columns is None else columns[None, :]
        return rows[:, None] if columns is None else rows[:, None] * columns

    def _tied(self, rows: Mask, columns: Mask, gates: Gates) -> Tensor | None:
        if is_slice(rows.decisions, gates):
            return None
        height, width = self.size(gates)
        g = rows.weights(gates)
        # A sum over combinations, not torch.minimum: at ties of different combinations the minimum has another
        # gradient than the superposition. Automatic mixed precision would round the masks.
        with full_precision(g.device):
            left, right = rows.active(gates)[:height].to(g.dtype) * g, columns.active(gates)[:width].to(g.dtype)
            return left @ right.T


def _expanded(mask: Mask, union: tuple[Decision, ...]) -> Tensor:
    """The reach of one axis over the combinations of more decisions."""
    positions = mask.reach.shape[0]
    own = [d for d in union if d in mask.decisions]
    reach = mask.reach.view(positions, *(d.size for d in mask.decisions))
    reach = reach.permute(0, *(1 + mask.decisions.index(d) for d in own))
    reach = reach.reshape(positions, *(d.size if d in mask.decisions else 1 for d in union))
    return reach.expand(positions, *(d.size for d in union)).reshape(positions, -1)
