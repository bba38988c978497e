"""The sandwich rule: the largest network, some random ones and the smallest share one weight step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, final

import torch
from torch import Tensor

from sharewise.data import Batch, Role
from sharewise.distribution import Gradient
from sharewise.engine.attention import Attention
from sharewise.engine.level import Level, Losses
from sharewise.engine.step import Aim, added, move_weights, taught, weight_draws
from sharewise.engine.teacher import soft_loss
from sharewise.engine.widest import narrowest, widest
from sharewise.errors import ConfigurationError
from sharewise.supernet.gate import Gates

if TYPE_CHECKING:
    from sharewise.engine.state import SearchState

__all__ = ["Sandwich", "Summed"]

Soft = Callable[["SearchState", Tensor, Tensor], Tensor]
"""From outputs and those of the largest network to a loss."""


def _towards(state: SearchState, outputs: Tensor, teacher: Tensor) -> Tensor:
    return soft_loss(state.task, outputs, teacher)


@final
@dataclass(frozen=True)
class Sandwich(Level):
    """Train w alone by the sandwich rule, with in-place distillation.

    Of the n paths a_1 … a_n that are drawn for a batch, the first becomes the largest network and the last the smallest
    one. With f the outputs, y the targets and gradients added up before one update::

        w ← w - η ∇_w [ L(f(largest), y) + Σ_{i=2}^{n-1} L_soft(f(a_i), f(largest)) + L_soft(f(smallest), f(largest)) ]

    No gradient reaches the largest network through the soft targets, which are those of the same step, before w moves.
    Choices without an order have no largest option: there the two keep what was drawn for them.

    Args:
        distil: whether all but the largest learn from it; else from the targets.
        attention: what takes the place of a random path in between (AttentiveNAS); `None` for the path itself.
        soft: the loss towards the outputs of the largest; `None` for the task's own, a cross-entropy at temperature 1.

    References:
        J. Yu et al., *BigNAS*, ECCV 2020 (arXiv 2003.11142), section 3.1; J. Yu and T. Huang, *Universally Slimmable
        Networks and Improved Training Techniques*, ICCV 2019 (arXiv 1903.05134), algorithm 1.

    Deviations:
        Dropout acts on every network as it is built; BigNAS regularises the largest alone.
    """

    distil: bool = True
    attention: Attention | None = None
    soft: Soft | None = None
    gradient: ClassVar[Gradient | None] = None
    roles: ClassVar[tuple[Role, ...]] = ("weights",)

    def check(self, state: SearchState) -> None:
        """Refuse a draw of fewer than two paths, sizes that constraints forbid, and a task without a soft loss."""
        super().check(state)
        with torch.no_grad():
            paths = state.distribution.draw(state.fresh_generator("sandwich"), state.phase("weights"))
        if len(paths) < 2:
            raise ConfigurationError(
                f"level {type(self).__name__} trains the largest network, the smallest and random ones between them, "
                f"but {state.recipe.distribution.describe()} draws {len(paths)} path; use Uniform(paths=4)"
            )
        relaxation = state.distribution.relaxation
        for size, gates in (("largest", self._first(state, paths)), ("smallest", self._last(state, paths))):
            wanted = {name: tuple(gate.weights.tolist()) for name, gate in gates.items()}
            if dict(relaxation.encode(relaxation.project(wanted))) != wanted:
                raise ConfigurationError(
                    f"space {relaxation.space.name!r} has no {size} architecture: its constraints forbid that of "
                    "choices which are each at that end; use spos"
                )
        if self.distil and state.task.soft is None:
            soft_loss(state.task, torch.zeros(()), torch.zeros(()))
        if self.attention is not None:
            self.attention.check(state)

    def weight_step(self, state: SearchState, batch: Batch | None = None) -> Losses:
        """See the class; the reported loss is that of the largest."""
        batch = state.next_batch("weights") if batch is None else batch
        paths = weight_draws(state)
        largest = self._first(state, paths)
        aim, answers = taught(state, batch, [largest]), list[Tensor]()

        def heard(outputs: Any, rows: slice) -> Tensor:
            answers.append(state.task.answer(outputs).detach())
            return aim(outputs, rows)

        loss = added(state, batch, largest, heard if self.distil else aim)
        others = partial(self._softly, state, torch.cat(answers)) if self.distil else aim
        for gates in self._others(state, batch, paths, others):
            added(state, batch, gates, others)
        return {"weights_loss": move_weights(state, [loss])}

    def step(self, state: SearchState, *, architecture: bool) -> Losses:
        """One weight step."""
        return self.weight_step(state)

    def shortened(self) -> Sandwich:
        """With short attention."""
        return self if self.attention is None else replace(self, attention=self.attention.shortened())

    def _first(self, state: SearchState, paths: Sequence[Gates]) -> Gates:
        return widest(state.distribution, paths[0])

    def _last(self, state: SearchState, paths: Sequence[Gates]) -> Gates:
        return narrowest(state.distribution, paths[-1])

    def _others(self, state: SearchState, batch: Batch, paths: Sequence[Gates], aim: Aim) -> list[Gates]:
        """Those in between, then the smallest."""
        between = list(paths[1:-1])
        if self.attention is not None:
            between = [self.attention.chosen(state, batch, gates, aim) for gates in between]
        return [*between, self._last(state, paths)]

    def _softly(self, state: SearchState, teacher: Tensor, outputs: Any, rows: slice) -> Tensor:
        return (_towards if self.soft is None else self.soft)(state, state.task.answer(outputs), teacher[rows])


@final
@dataclass(frozen=True)
class Summed(Level):
    """Train w alone: as `WeightsOnly`, with the losses of the paths of a batch added instead of averaged.

    References:
        H. Cai et al., *Once-for-All*, ICLR 2020 (arXiv 1908.09791), and the released code.
    """

    gradient: ClassVar[Gradient | None] = None
    roles: ClassVar[tuple[Role, ...]] = ("weights",)

    def weight_step(self, state: SearchState, batch: Batch | None = None) -> Losses:
        """One step along all drawn paths."""
        batch = state.next_batch("weights") if batch is None else batch
        paths = weight_draws(state)
        aim = taught(state, batch, paths)
        losses = [added(state, batch, gates, aim) for gates in paths]
        return {"weights_loss": move_weights(state, losses)}

    def step(self, state: SearchState, *, architecture: bool) -> Losses:
        """One weight step."""
        return self.weight_step(state)
