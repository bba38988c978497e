"""Examples: inputs and targets side by side, as they are stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from sharewise.data.columns import Inputs
from sharewise.errors import DataError

__all__ = ["Examples"]


@final
@dataclass(frozen=True, eq=False)
class Examples:
    """A set of examples in memory, in the form in which they are stored.

    Args:
        inputs: shape `(n, …)`: images `(n, channels, height, width)` of uint8, tables `(n, features)` of
            float32, text `(n, length)` of int64, arrays of floating point of any shape, or `Columns` of these.
        targets: shape `(n, …)`: class indices `(n,)` of int64, real values `(n, outputs)`, or tokens `(n,
            length)`.

    Raises:
        DataError: when the two differ in length.

    Example:
        >>> import torch
        >>> examples = Examples(torch.zeros(3, 2), torch.tensor([0, 1, 0]))
        >>> len(examples)
        3
        >>> examples
        Examples(3, inputs (2,) float32, targets () int64)
    """

    inputs: Inputs
    targets: Tensor

    def __post_init__(self) -> None:
        if self.targets.dim() == 0 or len(self.inputs) != len(self.targets):
            shape = tuple(self.inputs.shape) if isinstance(self.inputs, Tensor) else self.inputs
            raise DataError(
                f"there must be one target for each input, got inputs of shape {shape} "
                f"and targets of shape {tuple(self.targets.shape)}; check the two files or arrays"
            )

    def __len__(self) -> int:
        return len(self.inputs)

    def __repr__(self) -> str:
        def kind(tensor: Tensor) -> str:
            return f"{tuple(tensor.shape[1:])} {str(tensor.dtype).removeprefix('torch.')}"

        inputs = kind(self.inputs) if isinstance(self.inputs, Tensor) else self.inputs
        return f"Examples({len(self)}, inputs {inputs}, targets {kind(self.targets)})"

    def subset(self, indices: Tensor) -> Examples:
        """Pick some of the examples, so that a part can be handed on without the rest.

        Args:
            indices: shape `(m,)` of integers in `[0, n)`.

        Returns:
            A copy of those examples, in the order of `indices`.

        Example:
            >>> import torch
            >>> Examples(torch.zeros(3, 2), torch.tensor([5, 6, 7])).subset(torch.tensor([2, 0])).targets
            tensor([7, 5])
        """
        return Examples(self.inputs.index_select(0, indices), self.targets.index_select(0, indices))
