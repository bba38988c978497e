"""Rows of blocks of searched depth, in a model that executes them as it likes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, final

from torch import Tensor, nn

from sharewise.errors import ConfigurationError
from sharewise.supernet.elastic.binding import Bindings
from sharewise.supernet.gate import Gate
from sharewise.supernet.slices.depth import active_depths, with_prefix

__all__ = ["skip_and_mix"]


@final
class _Row:
    """One row of blocks during one call of the model, which may execute the whole row several times."""

    def __init__(self, path: str, blocks: int, depths: Sequence[int], gate: Gate) -> None:
        self.path, self.blocks, self.gate = path, blocks, gate
        self.options = active_depths(depths, gate, path)
        self.deepest = max(self.options)
        self.plain = gate.unit and len(gate.active) == 1
        """Whether one depth is executed as it is."""
        self._total: Tensor | None = None
        self._next = 0

    def run(self, number: int, forward: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """What block `number` returns in place of what its forward returns."""
        source = args[0] if args else next(iter(kwargs.values()))
        self._follow(number)
        if number == 0:
            self._total = None
            self._end(0, source)
        if number >= self.deepest:
            return self._total if number == 0 and not self.plain else source
        output = forward(*args, **kwargs)
        if not isinstance(output, Tensor):
            raise ConfigurationError(
                f"depth needs blocks that return a tensor, but block {number} of {self.path!r} returns a "
                f"{type(output).__name__}"
            )
        self._end(number + 1, output)
        return self._total if number + 1 == self.deepest and not self.plain else output

    def _follow(self, number: int) -> None:
        if number != self._next:
            raise ConfigurationError(
                f"depth needs blocks that are executed once each, in their order, but block {number} of {self.path!r} "
                f"is executed where block {self._next} should follow"
            )
        self._next = (number + 1) % self.blocks

    def _end(self, depth: int, x: Tensor) -> None:
        """Add the output of a prefix, where a depth ends."""
        if self.plain:
            return
        if self._total is not None and depth in self.options and self._total.shape != x.shape:
            raise ConfigurationError(
                f"depths {tuple(self.options)} of {self.path!r} end in tensors of different shapes, "
                f"{tuple(self._total.shape)} and {tuple(x.shape)}; blocks that can be left out must keep the shape"
            )
        self._total = with_prefix(self._total, x, depth, self.options, self.gate)


def skip_and_mix(bindings: Bindings, blocks: Sequence[nn.Module], depths: Sequence[int], gate: Gate, path: str) -> None:
    """Let a row of blocks compute Σ_i g_i · x^(d_i) over prefix outputs, without executing blocks behind the deepest.

    Args:
        bindings: take the changed forward methods.
        blocks: in order of execution, each called once with a tensor and returning one; the whole row may be repeated.
        depths: one per option.
        gate: of the depth.
        path: of the blocks, for messages.
    """
    row = _Row(path, len(blocks), depths, gate)
    if row.plain and row.deepest == len(blocks):
        return
    for number, block in enumerate(blocks):
        bindings.set(block, "forward", partial(row.run, number, block.forward))
