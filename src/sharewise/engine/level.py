"""Level: which problem is descended, as one step on shared weights w and architecture parameters θ.

`WeightsOnly` trains w under sampled gates. `Joint` moves w and θ by one backward pass. `Alternating` is first-order
bilevel descent; with the role `architecture` drawn from the same examples as `weights` it is single-level empirical
risk minimisation. `Unrolled` looks one weight step ahead (second order). `Reward` trains w, and θ by the score of a
metric. All are made of the few functions in `sharewise.engine.step`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, final

import torch
from torch import Tensor

from sharewise.data import Batch, Role
from sharewise.distribution import Bounded, Gradient
from sharewise.engine.part import Part
from sharewise.engine.perturbation import Perturbation
from sharewise.engine.step import architecture_step, joint_step, reward_step, unrolled_step, weight_step
from sharewise.errors import ConfigurationError, unknown_name
from sharewise.supernet import norms

if TYPE_CHECKING:
    from sharewise.engine.recipe import Recipe
    from sharewise.engine.state import SearchState

__all__ = ["Alternating", "Joint", "Level", "Losses", "Reward", "Unrolled", "WeightsOnly"]

Losses = Mapping[str, Tensor]
"""Scalars for the history by name, detached and still on the device."""

_REACHED: Mapping[Gradient, str] = {
    "path": "through the weights of gates",
    "score": "through the log-probability of a draw",
}
_REMEDY: Mapping[Gradient, str] = {
    "path": "the level Reward, or a distribution with Expectation, StraightThroughGumbel, …",
    "score": "the level Alternating, or a distribution with ScoreFunction, Autoregressive",
}
"""For a level that needs this gradient and does not get it."""


class Level(Part):
    """One step of a search, on w, on θ, or on both.

    A level owns its two halves, so that whoever doubts it can take them one by one, and `step`, which is their order.
    """

    gradient: ClassVar[Gradient | None]
    """How the level reaches architecture parameters, which the distribution must allow; `None` if it trains none."""
    roles: ClassVar[tuple[Role, ...]]
    """The data roles that a step draws batches from; the architecture step draws from the last one."""
    perturbation: Perturbation | None = None
    """What alters the gates of weight steps, and of nothing else."""
    teachable: ClassVar[bool] = True
    """Whether weight steps may learn from a teacher as well."""

    @property
    def learns(self) -> bool:
        """Whether the level trains architecture parameters, and so needs a distribution that has some."""
        return self.gradient is not None

    def weight_step(self, state: SearchState, batch: Batch | None = None) -> Losses:
        """Advance w by one step; θ is not touched.

        Args:
            state: the search; its weight stream yields the batch.
            batch: use this one instead.
        """
        perturbation = self.perturbation
        if perturbation is None:
            return {"weights_loss": weight_step(state, batch)}
        loss = weight_step(state, batch, altered=lambda gates, batch: perturbation.altered(state, gates, batch))
        return {"weights_loss": loss}

    def architecture_step(self, state: SearchState) -> Losses | None:
        """Advance θ by one step; neither w nor running statistics are touched.

        Returns:
            Scalars for the history; `None`, and nothing is done, where the level has no step on θ alone.
        """
        return None

    @property
    def schedules(self) -> Mapping[str, Bounded]:
        """Those of the perturbation, where there is one."""
        return {} if self.perturbation is None else self.perturbation.schedules

    def describe(self) -> str:
        """The level, and what perturbs it."""
        name = type(self).__name__
        return name if self.perturbation is None else f"{name} under {self.perturbation.describe()}"

    @abstractmethod
    def step(self, state: SearchState, *, architecture: bool) -> Losses:
        """Advance w (and θ, unless `architecture` is false in the present stage)."""

    def fits(self, recipe: Recipe) -> None:
        """Refuse a distribution whose θ nobody would train or reach, and roles without the examples of a step."""
        level, distribution = type(self).__name__, type(recipe.distribution).__name__
        offered, whole = recipe.distribution.gradient, recipe.distribution.describe()
        if offered is None and self.gradient is not None:
            raise ConfigurationError(
                f"level {level} trains architecture parameters, but distribution {distribution} has none; "
                "use Learned(geometry, estimator), or the level WeightsOnly"
            )
        if offered is not None and self.gradient is None:
            raise ConfigurationError(
                f"distribution {distribution} has architecture parameters that level {level} would never train; "
                "use the level Alternating, or the distribution Uniform"
            )
        if offered is not None and self.gradient is not None and offered != self.gradient:
            raise ConfigurationError(
                f"level {level} differentiates {_REACHED[self.gradient]}, but distribution {whole} passes its gradient "
                f"{_REACHED[offered]}; use {_REMEDY[self.gradient]}"
            )
        if "architecture" in self.roles and recipe.roles.architecture is None:
            raise ConfigurationError(
                f"level {level} draws from the role 'architecture', which these data roles leave empty; "
                "use sharewise.data.bilevel() or sharewise.data.single_level()"
            )

    def check(self, state: SearchState) -> None:
        """Refuse batches that are too small for a batch norm or for micro-batches, and a perturbation of nothing."""
        if self.perturbation is not None:
            self.perturbation.check(state)
        parts = state.numerics.accumulate
        for role in self.roles:
            size = state.data.size(role)
            least = 2 if norms(state.supernet) else 1
            if parts > 1 and min(state.recipe.batch_size, size) < least * parts:
                raise ConfigurationError(
                    f"accumulate={parts} cuts a batch of {min(state.recipe.batch_size, size)} examples into micro-"
                    f"batches of fewer than {least}{', which batch norm needs' if least > 1 else ''}; take fewer of "
                    "them or a larger batch_size"
                )
            if min(state.recipe.batch_size, size) < least:
                raise ConfigurationError(
                    f"batch norm needs at least 2 examples per batch, but batch_size is {state.recipe.batch_size} and "
                    f"role {role!r} has {size} examples; raise the smaller one"
                )


@final
@dataclass(frozen=True)
class WeightsOnly(Level):
    """Train w alone, under gates that the sampler draws (SPOS, RS-WS, FairNAS).

    References:
        Z. Guo et al., *Single Path One-Shot*, ECCV 2020 (arXiv 1904.00420), equation 7.
    """

    gradient: ClassVar[Gradient | None] = None
    roles: ClassVar[tuple[Role, ...]] = ("weights",)

    def step(self, state: SearchState, *, architecture: bool) -> Losses:
        """One weight step."""
        return self.weight_step(state)


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

    def step(self, state: SearchState, *, architecture: bool) -> Losses:
        """Both at once, or the weight step alone during a warm-up."""
        return {"weights_loss": joint_step(state)} if architecture else self.weight_step(state)


@final
@dataclass(frozen=True)
class Alternating(Level):
    """One architecture step, one weight step: first-order bilevel descent.

    min over θ of L_architecture(w*(θ), θ) with w*(θ) = argmin over w of L_weights(w, θ), taking the present w for
    w*(θ). When both roles read the same examples, this is block-coordinate descent on one empirical risk.

    Args:
        first: which of the two steps comes first.
        every: weight steps per architecture step, at least 1.
        perturbation: alters the gates of weight steps, so that w does well around θ (SDARTS); `None` for none.

    Raises:
        ConfigurationError: when an argument is out of range.

    References:
        H. Liu et al., *DARTS*, ICLR 2019 (arXiv 1806.09055), algorithm 1 with ξ = 0; L. Li et al., *GAEA*, ICLR 2021
        (arXiv 2004.07802), section 2 (single-level).

    Deviations:
        Running statistics are frozen in architecture steps; in most released code they follow the batches of these
        steps as well. No training step reads them.
    """

    first: Literal["architecture", "weights"] = "architecture"
    every: int = 1
    perturbation: Perturbation | None = None
    gradient: ClassVar[Gradient | None] = "path"
    roles: ClassVar[tuple[Role, ...]] = ("weights", "architecture")

    def __post_init__(self) -> None:
        if self.first not in ("architecture", "weights"):
            raise unknown_name("step to come first:", self.first, ("architecture", "weights"))
        if self.every < 1:
            raise ConfigurationError(f"an architecture step comes every 1 or more weight steps, got {self.every}")

    def architecture_step(self, state: SearchState) -> Losses:
        """One descent step on θ at the present w."""
        return {"architecture_loss": architecture_step(state)}

    def step(self, state: SearchState, *, architecture: bool) -> Losses:
        """Both steps, or the weight step alone during a warm-up and in between."""
        if not architecture or (state.step + 1) % self.every:
            return self.weight_step(state)
        steps = (self.architecture_step, self.weight_step)
        first, second = steps if self.first == "architecture" else reversed(steps)
        return {**first(state), **second(state)}


@final
@dataclass(frozen=True)
class Unrolled(Level):
    """One architecture step through an unrolled weight step, then that weight step: second-order bilevel descent.

    As `Alternating`, with w*(θ) approximated by w - ξ ∇_w L_weights(w, θ), whose dependence on θ is differentiated (see
    `unrolled_step`). Both steps see the same batch of the role `weights`.

    Args:
        inner_learning_rate: ξ, not negative; `None` for the present learning rate of the weights, as in the paper.
        radius: of the finite difference that replaces the exact Hessian-vector product, or `None`.
        perturbation: alters the gates of weight steps; the step that is looked ahead is an unperturbed one.

    References:
        H. Liu et al., *DARTS*, ICLR 2019 (arXiv 1806.09055), equations 7 and 8.

    Deviations:
        The authors' code always uses the finite difference with radius 0.01. As there, the gradient clip of the weights
        is not part of the unrolled step.
    """

    inner_learning_rate: float | None = None
    radius: float | None = None
    perturbation: Perturbation | None = None
    teachable: ClassVar[bool] = False
    gradient: ClassVar[Gradient | None] = "path"
    roles: ClassVar[tuple[Role, ...]] = ("weights", "architecture")

    def __post_init__(self) -> None:
        if self.inner_learning_rate is not None and not 0 <= self.inner_learning_rate < math.inf:
            raise ConfigurationError(
                f"the inner learning rate must be finite and not negative, got {self.inner_learning_rate}"
            )
        if self.radius is not None and not 0 < self.radius < math.inf:
            raise ConfigurationError(f"the radius of a finite difference must be positive, got {self.radius}")

    def fits(self, recipe: Recipe) -> None:
        """As every level, and the step that is looked ahead is one of stochastic gradient descent."""
        super().fits(recipe)
        if not recipe.weights.unrollable:
            raise ConfigurationError(
                f"level {type(self).__name__} looks one step of stochastic gradient descent ahead, but the weights "
                f"move by {type(recipe.weights).__name__}; use WeightOptimization"
            )

    def check(self, state: SearchState) -> None:
        """As every level; the step that is looked ahead is one of a whole batch."""
        super().check(state)
        if state.numerics.ranks.sharded:
            raise ConfigurationError(
                f"level {type(self).__name__} computes at other weights than those of the network, which sharded ones "
                "do not allow; leave shard out, or use level Alternating"
            )
        for option in ("compile", "capture"):
            if getattr(state.numerics, option):
                raise ConfigurationError(
                    f"level {type(self).__name__} differentiates twice, which programs do not allow; leave {option} "
                    "out, or use level Alternating"
                )
        if state.numerics.accumulate > 1:
            raise ConfigurationError(
                f"level {type(self).__name__} differentiates through a step on a whole batch, which micro-batches "
                f"cannot replace, got accumulate={state.numerics.accumulate}; leave it out, or use level Alternating"
            )

    def architecture_step(self, state: SearchState) -> Losses:
        """One descent step on θ through a weight step on the next batch of the role `weights`."""
        return self._look_ahead(state, state.next_batch("weights"))

    def step(self, state: SearchState, *, architecture: bool) -> Losses:
        """Both steps on one batch, or the weight step alone during a warm-up."""
        batch = state.next_batch("weights")
        ahead = self._look_ahead(state, batch) if architecture else {}
        return {**ahead, **self.weight_step(state, batch)}

    def _look_ahead(self, state: SearchState, batch: Batch) -> Losses:
        loss = unrolled_step(state, batch, inner_learning_rate=self.inner_learning_rate, radius=self.radius)
        return {"architecture_loss": loss}


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

    def shortened(self) -> Reward:
        """Two steps of two samples."""
        return replace(self, steps=2, samples=2)

    def architecture_step(self, state: SearchState) -> Losses:
        """One ascent step on θ along the score of rewards."""
        mean = reward_step(
            state, samples=self.samples, decay=self.decay, surprise=self.surprise, clip=self.gradient_clip
        )
        return {"reward": mean}

    def step(self, state: SearchState, *, architecture: bool) -> Losses:
        """A weight step; after the last one of an epoch, or of the run, all steps on θ."""
        losses = self.weight_step(state)
        done = state.step + 1
        if not architecture or (done % state.steps_per_epoch and done != state.total_steps):
            return losses
        rewards = [self.architecture_step(state)["reward"] for _ in range(self.steps)]
        return {**losses, "reward": torch.stack(rewards).mean()}
