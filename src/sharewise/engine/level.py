"""Level: which problem is descended, as one step on shared weights w and architecture parameters θ.

`WeightsOnly` trains w under sampled gates. `Joint` moves w and θ by one backward pass. `Alternating` is first-order
bilevel descent; with the role `architecture` drawn from the same examples as `weights` it is single-level empirical
risk minimisation. `Unrolled` looks one weight step ahead (second order). `Reward` trains w, and θ by the score of a
metric. All are made of the few functions in `sharewise.engine.step`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal, final

import torch
from torch import Tensor

from sharewise.data import Role
from sharewise.distribution import Gradient
from sharewise.engine.step import architecture_step, joint_step, reward_step, unrolled_step, weight_step
from sharewise.errors import ConfigurationError, unknown_name

if TYPE_CHECKING:
    from sharewise.engine.state import SearchState

__all__ = ["Alternating", "Joint", "Level", "Reward", "Unrolled", "WeightsOnly"]


class Level(ABC):
    """One step of a search."""

    gradient: ClassVar[Gradient | None]
    """How the level reaches architecture parameters, which the distribution must allow; `None` if it trains none."""
    roles: ClassVar[tuple[Role, ...]]
    """The data roles that a step draws batches from."""

    @property
    def learns(self) -> bool:
        """Whether the level trains architecture parameters, and so needs a distribution that has some."""
        return self.gradient is not None

    @abstractmethod
    def step(self, state: SearchState, *, architecture: bool) -> Mapping[str, Tensor]:
        """Advance w (and θ, unless `architecture` is false in the present stage).

        Returns:
            Scalars for the history, detached and still on the device.
        """


@final
@dataclass(frozen=True)
class WeightsOnly(Level):
    """Train w alone, under gates that the sampler draws (SPOS, RS-WS, FairNAS).

    References:
        Z. Guo et al., *Single Path One-Shot*, ECCV 2020 (arXiv 1904.00420), equation 7.
    """

    gradient: ClassVar[Gradient | None] = None
    roles: ClassVar[tuple[Role, ...]] = ("weights",)

    def step(self, state: SearchState, *, architecture: bool) -> Mapping[str, Tensor]:
        """One weight step."""
        return {"weights_loss": weight_step(state)}


@final
@dataclass(frozen=True)
class Joint(Level):
    """One step on w and θ together: both descend the training loss of the same draw.

    min over (w, θ) of E_{g ~ p(θ)} L_train(w, g), one backward pass for both (SNAS).

    References:
        S. Xie et al., *SNAS: Stochastic Neural Architecture Search*, ICLR 2019 (arXiv 1812.09926), equation 6.
    """

    gradient: ClassVar[Gradient | None] = "path"
    roles: ClassVar[tuple[Role, ...]] = ("weights",)

    def step(self, state: SearchState, *, architecture: bool) -> Mapping[str, Tensor]:
        """Both at once, or the weight step alone during a warm-up."""
        return {"weights_loss": joint_step(state) if architecture else weight_step(state)}


@final
@dataclass(frozen=True)
class Alternating(Level):
    """One architecture step, one weight step: first-order bilevel descent.

    min over θ of L_architecture(w*(θ), θ) with w*(θ) = argmin over w of L_weights(w, θ), taking the present w for
    w*(θ). When both roles read the same examples, this is block-coordinate descent on one empirical risk.

    Args:
        first: which of the two steps comes first.
        every: weight steps per architecture step, at least 1.

    Raises:
        ConfigurationError: when an argument is out of range.

    References:
        H. Liu et al., *DARTS*, ICLR 2019 (arXiv 1806.09055), algorithm 1 with ξ = 0; L. Li et al., *GAEA*, ICLR 2021
        (arXiv 2004.07802), section 2 (single-level).
    """

    first: Literal["architecture", "weights"] = "architecture"
    every: int = 1
    gradient: ClassVar[Gradient | None] = "path"
    roles: ClassVar[tuple[Role, ...]] = ("weights", "architecture")

    def __post_init__(self) -> None:
        if self.first not in ("architecture", "weights"):
            raise unknown_name("step to come first:", self.first, ("architecture", "weights"))
        if self.every < 1:
            raise ConfigurationError(f"an architecture step comes every 1 or more weight steps, got {self.every}")

    def step(self, state: SearchState, *, architecture: bool) -> Mapping[str, Tensor]:
        """Both steps, or the weight step alone during a warm-up and in between."""
        losses: dict[str, Tensor] = {}
        architecture = architecture and (state.step + 1) % self.every == 0
        if architecture and self.first == "architecture":
            losses["architecture_loss"] = architecture_step(state)
        losses["weights_loss"] = weight_step(state)
        if architecture and self.first == "weights":
            losses["architecture_loss"] = architecture_step(state)
        return losses


@final
@dataclass(frozen=True)
class Unrolled(Level):
    """One architecture step through an unrolled weight step, then that weight step: second-order bilevel descent.

    As `Alternating`, with w*(θ) approximated by w - ξ ∇_w L_weights(w, θ), whose dependence on θ is differentiated (see
    `unrolled_step`). Both steps see the same batch of the role `weights`.

    Args:
        inner_learning_rate: ξ, not negative; `None` for the present learning rate of the weights, as in the paper.
        radius: of the finite difference that replaces the exact Hessian-vector product, or `None`.

    References:
        H. Liu et al., *DARTS*, ICLR 2019 (arXiv 1806.09055), equations 7 and 8.

    Deviations:
        The authors' code always uses the finite difference with radius 0.01. As there, the gradient clip of the weights
        is not part of the unrolled step.
    """

    inner_learning_rate: float | None = None
    radius: float | None = None
    gradient: ClassVar[Gradient | None] = "path"
    roles: ClassVar[tuple[Role, ...]] = ("weights", "architecture")

    def __post_init__(self) -> None:
        if self.inner_learning_rate is not None and not 0 <= self.inner_learning_rate < math.inf:
            raise ConfigurationError(
                f"the inner learning rate must be finite and not negative, got {self.inner_learning_rate}"
            )
        if self.radius is not None and not 0 < self.radius < math.inf:
            raise ConfigurationError(f"the radius of a finite difference must be positive, got {self.radius}")

    def step(self, state: SearchState, *, architecture: bool) -> Mapping[str, Tensor]:
        """Both steps, or the weight step alone during a warm-up."""
        losses: dict[str, Tensor] = {}
        batch = state.next_batch("weights")
        if architecture:
            losses["architecture_loss"] = unrolled_step(
                state, batch, inner_learning_rate=self.inner_learning_rate, radius=self.radius
            )
        losses["weights_loss"] = weight_step(state, batch)
        return losses


@final
@dataclass(frozen=True)
class Reward(Level):
    """Weight steps along sampled architectures; at the end of every epoch, score-function steps on θ.

    max over θ of E_{a ~ p(θ)} [metric of w(a) on the role `architecture`] by REINFORCE with a moving baseline, in turn
    with min over w of E_{a ~ p(θ)} L_weights(w(a)) (ENAS). See `reward_step`.

    Args:
        steps: on θ per epoch, at least 1.
        samples: architectures per step, at least 1.
        decay: of the baseline, in (0, 1).
        surprise: strength of the entropy bonus, not negative.
        gradient_clip: largest norm of the score gradient of θ, before penalties, or `None`.

    References:
        H. Pham et al., *ENAS*, ICML 2018 (arXiv 1802.03268), section 2.2.

    Deviations:
        The authors' bonus is the entropy of each conditional distribution along the sequence, held constant; its score
        gradient is zero for independent decisions. Here it is -log p(a), whose expected score gradient is the gradient
        of the entropy of p.
    """

    steps: int = 50
    samples: int = 20
    decay: float = 0.99
    surprise: float = 1e-4
    gradient_clip: float | None = 5.0
    gradient: ClassVar[Gradient | None] = "score"
    roles: ClassVar[tuple[Role, ...]] = ("weights", "architecture")

    def __post_init__(self) -> None:
        if self.steps < 1 or self.samples < 1:
            raise ConfigurationError(
                f"a reward level needs at least 1 step and 1 sample, got steps={self.steps}, samples={self.samples}"
            )
        if not 0 < self.decay < 1:
            raise ConfigurationError(f"the decay of the baseline must lie in (0, 1), got {self.decay}")
        if not 0 <= self.surprise < math.inf:
            raise ConfigurationError(f"the entropy bonus must be finite and not negative, got {self.surprise}")
        if self.gradient_clip is not None and not self.gradient_clip > 0:
            raise ConfigurationError(f"the gradient clip must be positive or absent, got {self.gradient_clip}")

    def step(self, state: SearchState, *, architecture: bool) -> Mapping[str, Tensor]:
        """A weight step; after the last one of an epoch, or of the run, all steps on θ."""
        losses = {"weights_loss": weight_step(state)}
        done = state.step + 1
        if architecture and (done % state.steps_per_epoch == 0 or done == state.total_steps):
            ascend = partial(
                reward_step,
                samples=self.samples,
                decay=self.decay,
                surprise=self.surprise,
                clip=self.gradient_clip,
            )
            rewards = [ascend(state) for _ in range(self.steps)]
            losses["reward"] = torch.stack(rewards).mean()
        return losses
