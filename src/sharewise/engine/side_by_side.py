"""Training several small networks at once, each as if it were trained alone.

One forward and one backward pass serve all of them (`sharewise.supernet.side_by_side`); what follows is theirs alone:
batches, losses, clipping by their own norms, moments, meters, ledgers and histories. Rules for weights that treat every
number by itself (all of `Optimization`) move all at once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from sharewise.data import Batch
from sharewise.engine.loop import begin_epoch, end_epoch
from sharewise.engine.reaction import goes_on
from sharewise.engine.state import SearchState
from sharewise.errors import ConfigurationError, NonFiniteError
from sharewise.ledger import TRAINING
from sharewise.supernet.side_by_side import SideBySide

__all__ = ["Trainings", "train_side_by_side"]

_TINY = 1e-6
"""What torch adds to a norm by which it divides."""


@final
class Trainings:
    """Trainings of networks without decisions that make their steps together.

    Args:
        states: at step 0, equal but for the network and the seed; two of one seed see the same batches.
        networks: those in the supernets of `states`, in their order.

    Raises:
        ConfigurationError: when they cannot be computed at once, or differ in more.

    Example:
        >>> import sharewise as sw
        >>> from sharewise.run.train import Training
        >>> space, data = sw.spaces.toy_tied_width(), sw.data.digits()
        >>> recipe = sw.TrainingRecipe(epochs=1, validation_fraction=0.5)
        >>> prepared = [Training(space, space.listing.at(i), data, recipe).prepare() for i in range(2)]
        >>> steps = Trainings([state for state, _ in prepared], [network for _, network in prepared])
        >>> len(steps.step())
        2
    """

    def __init__(self, states: Sequence[SearchState], networks: Sequence[nn.Module]) -> None:
        self.states = states
        self.pace = first = states[0]  # whose learning rate all have
        for state in states:
            _require_alike(state, first)
            state.supernet.train()
        for state in states:
            if _same_batches(state, first):
                state.streams = first.streams
        inputs = first.evaluation_batches("weights", 2)[0].inputs
        self._network = SideBySide(networks, inputs)
        self._optimizer = first.recipe.weights.build(self._network.weights)

    def step(self) -> list[Tensor]:
        """One weight step of each at its present learning rate, and its loss, detached."""
        batches: dict[int, Batch] = {}
        for state in self.states:
            if id(state.streams) not in batches:
                batches[id(state.streams)] = state.next_batch("weights")
        own = [batches[id(state.streams)] for state in self.states]
        for group in self._optimizer.param_groups:
            group["lr"] = self.pace.weight_optimizer.param_groups[0]["lr"]
        self._optimizer.zero_grad(set_to_none=True)
        inputs = [batch.inputs for batch in own]
        outputs = self._network(inputs[0] if len(batches) == 1 else inputs)
        losses = [state.loss(y, batch.targets) for state, y, batch in zip(self.states, outputs, own, strict=True)]
        torch.autograd.backward(losses)
        for state, batch in zip(self.states, own, strict=True):
            state.charge("weights", {}, batch.examples, TRAINING)
        self._clip(self.states[0].recipe.weights.gradient_clip)
        self._optimizer.step()
        return [loss.detach() for loss in losses]

    def _clip(self, largest: float | None) -> None:
        """Scale the gradient of every network whose norm is too large, as `torch.nn.utils.clip_grad_norm_` does."""
        found = [(w.grad, of) for w, of in zip(self._network.weights, self._network.owners, strict=True)]
        moving = [(gradient, of) for gradient, of in found if gradient is not None]
        if largest is None or not moving:
            return
        rows = torch.cat([torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient, _ in moving])
        owners = torch.cat([of for _, of in moving])
        norms = rows.new_zeros(len(self.states)).index_add_(0, owners, rows.square()).sqrt()
        factors = (largest / (norms + _TINY)).clamp(max=1.0)
        scales = [factors[of].view(-1, *[1] * (gradient.dim() - 1)) for gradient, of in moving]
        torch._foreach_mul_([gradient for gradient, _ in moving], scales)

    def hand_back(self) -> None:
        """Give the optimiser of every training its moments."""
        network = self._network
        for weight, owners, parts in zip(network.weights, network.owners, network.parts, strict=True):
            moments = self._optimizer.state.get(weight, {})
            for row, (owner, part) in enumerate(zip(owners.tolist(), parts, strict=True)):
                if moments:
                    self.states[owner].weight_optimizer.state[part] = {
                        name: value[row] if value.shape == weight.shape else value.clone()
                        for name, value in moments.items()
                    }


def train_side_by_side(trainings: Trainings) -> list[NonFiniteError | None]:
    """The epochs of all trainings, as `sharewise.engine.train` runs those of one.

    Every ledger is charged its own passes, and an equal share of the seconds.

    Args:
        trainings: at step 0; their states are advanced in place.

    Returns:
        For each what ended it early, or `None`; one that diverges does not disturb the others.
    """
    failed: dict[int, NonFiniteError] = {}
    states = trainings.states
    running = list(range(len(states)))
    while running and goes_on(states[running[0]]):
        began = time.perf_counter()
        for number in running:
            begin_epoch(states[number])
        trainings.pace = first = states[running[0]]
        for _ in range(first.step, min((first.epoch + 1) * first.steps_per_epoch, first.total_steps)):
            losses = trainings.step()
            for number in running:
                states[number].meter("weights_loss", losses[number])
                states[number].step += 1
        trainings.hand_back()
        share = (time.perf_counter() - began) / len(states)
        for number in running:
            try:
                _end_epoch(states[number], share)
            except NonFiniteError as error:
                failed[number] = error
        running = [number for number in running if number not in failed]
    return [failed.get(number) for number in range(len(states))]


def _end_epoch(state: SearchState, seconds: float) -> None:
    state.ledger.spend("search", seconds)
    state.restart_clock()
    end_epoch(state)


def _same_batches(state: SearchState, first: SearchState) -> bool:
    """Whether two trainings read the same examples in the same order."""
    data, other = state.data.dataset, first.data.dataset
    same = data.train is other.train and data.augmentation == other.augmentation
    return same and state.recipe.roles == first.recipe.roles and state.seed == first.seed


def _require_alike(state: SearchState, first: SearchState) -> None:
    recipe, numerics = state.recipe, state.numerics
    if state.teacher is not None or state.on_epoch is not None or recipe.reactions or len(state.course.stages) > 1:
        raise ConfigurationError("trainings side by side have no teacher, drop no paths and follow one schedule")
    many = numerics.accumulate > 1 or numerics.compile
    if numerics.device.type != "cpu" or numerics.precision == "bfloat16" or many:
        raise ConfigurationError(
            "trainings side by side compute on the CPU, in float32 or float64, in one batch and not compiled"
        )
    if not recipe.weights.continuous:
        raise ConfigurationError("Adam divides errors of rounding by their own size, so that its trainings differ")
    own, others = ((s.total_steps, s.recipe.batch_size, s.recipe.weights, s.numerics) for s in (state, first))
    if own != others or not numerics.ranks.alone or state.supernet.relaxation.decisions:
        raise ConfigurationError("trainings side by side differ in their networks and seeds alone")
