"""Level: which problem is descended, as one step on shared weights w and architecture parameters θ.

`WeightsOnly` trains w under sampled gates. `Alternating` is first-order bilevel descent; with the role `architecture`
drawn from the same examples as `weights` it is single-level empirical risk minimisation. Levels are made of the same
two steps, `weight_step` and `architecture_step`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, final

import torch
from torch import Tensor

from sharewise.data import Role
from sharewise.distribution import Factored
from sharewise.errors import unknown_name
from sharewise.ledger import GATES_ONLY, TRAINING
from sharewise.supernet import Gates, cut, frozen_statistics, to_device

if TYPE_CHECKING:
    from sharewise.engine.state import SearchState

__all__ = ["Alternating", "Level", "WeightsOnly", "architecture_step", "weight_step"]


class Level(ABC):
    """One step of a search."""

    learns: bool
    """Whether the level trains architecture parameters, and so needs a distribution that has some."""
    roles: tuple[Role, ...]
    """The data roles that a step draws batches from."""

    @abstractmethod
    def step(self, state: SearchState, *, architecture: bool) -> Mapping[str, Tensor]:
        """Advance w (and θ, unless `architecture` is false in the present stage).

        Returns:
            Scalars for the history, detached and still on the device.
        """


def weight_step(state: SearchState) -> Tensor:
    """One descent step on w along gates drawn for it; θ is not touched.

    Args:
        state: the search; its weight stream yields the batch.

    Returns:
        The mean loss over the drawn paths, detached.
    """
    batch = state.next_batch("weights")
    with torch.no_grad():
        paths = state.distribution.draw(state.generators["weights"], state.phase("weights"))
    state.weight_optimizer.zero_grad(set_to_none=True)
    total: Tensor | None = None
    for gates in paths:
        leaves = cut(to_device(gates, state.numerics.device, state.numerics.dtype), differentiable=False)
        with state.numerics.autocast():
            loss = state.loss(state.supernet(batch.inputs, leaves), batch.targets) / len(paths)
        torch.autograd.backward(loss)
        total = loss.detach() if total is None else total + loss.detach()
        state.charge("weights", leaves, len(batch.inputs), TRAINING)
    clip = state.recipe.weights.gradient_clip
    if clip is not None:
        torch.nn.utils.clip_grad_norm_(state.supernet.parameters(), clip)
    state.weight_optimizer.step()
    assert total is not None
    return total


def architecture_step(state: SearchState) -> Tensor:
    """One descent step on θ at the present w; neither w nor running statistics are touched.

    The network sees leaf gates; only their gradient is asked for, so no weight gradient is computed. One
    vector-Jacobian product carries it to θ, where penalties are added.

    Args:
        state: the search; its architecture stream yields the batch.

    Returns:
        The mean loss over the drawn paths without penalties, detached.
    """
    assert state.architecture_optimizer is not None
    batch = state.next_batch("architecture")
    paths = state.distribution.draw(state.generators["architecture"], state.phase("architecture"))
    state.architecture_optimizer.zero_grad(set_to_none=True)
    total: Tensor | None = None
    for gates in paths:
        leaves = cut(to_device(gates, state.numerics.device, state.numerics.dtype), differentiable=True)
        with frozen_statistics(state.supernet), state.numerics.autocast():
            loss = state.loss(state.supernet(batch.inputs, leaves), batch.targets) / len(paths)
        state.distribution.pullback(gates, gate_gradients(loss, leaves))
        total = loss.detach() if total is None else total + loss.detach()
        state.charge("architecture", leaves, len(batch.inputs), GATES_ONLY)
    if isinstance(state.distribution, Factored):
        for penalty in state.recipe.penalties:
            torch.autograd.backward(penalty(state.distribution))
    state.architecture_optimizer.step()
    assert total is not None
    return total


def gate_gradients(loss: Tensor, leaves: Gates) -> dict[str, Tensor]:
    """dL/dgate for the gates that had an effect, by decision name."""
    names = [name for name, gate in leaves.items() if gate.active]
    if not loss.requires_grad:  # every active option computes zero: the loss does not depend on any gate
        return {}
    gradients = torch.autograd.grad(loss, [leaves[name].weights for name in names], allow_unused=True)
    return {name: g for name, g in zip(names, gradients, strict=True) if g is not None}


@final
@dataclass(frozen=True)
class WeightsOnly(Level):
    """Train w alone, under gates that the sampler draws (SPOS, RS-WS).

    References:
        Z. Guo et al., *Single Path One-Shot*, ECCV 2020 (arXiv 1904.00420), equation 7.
    """

    learns: bool = False
    roles: tuple[Role, ...] = ("weights",)

    def step(self, state: SearchState, *, architecture: bool) -> Mapping[str, Tensor]:
        """One weight step."""
        return {"weights_loss": weight_step(state)}


@final
@dataclass(frozen=True)
class Alternating(Level):
    """One architecture step, one weight step: first-order bilevel descent.

    min over θ of L_architecture(w*(θ), θ) with w*(θ) = argmin over w of L_weights(w, θ), taking the present w for
    w*(θ). When both roles read the same examples, this is block-coordinate descent on one empirical risk.

    Args:
        first: which of the two steps comes first.

    References:
        H. Liu et al., *DARTS*, ICLR 2019 (arXiv 1806.09055), algorithm 1 with ξ = 0; L. Li et al., *GAEA*, ICLR 2021
        (arXiv 2004.07802), section 2 (single-level).
    """

    first: Literal["architecture", "weights"] = "architecture"
    learns: bool = True
    roles: tuple[Role, ...] = ("weights", "architecture")

    def __post_init__(self) -> None:
        if self.first not in ("architecture", "weights"):
            raise unknown_name("step to come first:", self.first, ("architecture", "weights"))

    def step(self, state: SearchState, *, architecture: bool) -> Mapping[str, Tensor]:
        """Both steps, or the weight step alone during a warm-up."""
        losses: dict[str, Tensor] = {}
        if architecture and self.first == "architecture":
            losses["architecture_loss"] = architecture_step(state)
        losses["weights_loss"] = weight_step(state)
        if architecture and self.first == "weights":
            losses["architecture_loss"] = architecture_step(state)
        return losses
