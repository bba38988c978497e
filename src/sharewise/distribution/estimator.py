"""Estimator: from a geometry's θ to gates, and what the gradient through them means."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, final

import torch
from torch import Tensor
from torch.distributions import Dirichlet
from torch.nn import functional as F

from sharewise.distribution.geometry import Concentrations, Geometry
from sharewise.distribution.phase import Phase
from sharewise.distribution.schedule import Bounded, Schedule

__all__ = [
    "Concrete",
    "DirichletPath",
    "Drawn",
    "Estimator",
    "Expectation",
    "Gradient",
    "ScoreFunction",
    "StraightThroughGumbel",
    "Traits",
    "TwoPath",
]

Gradient = Literal["path", "score"]
"""How a gradient reaches θ: through the weights of the gates, or through the log-probability of the draw."""


@dataclass(frozen=True)
class Drawn:
    """One draw of all decisions.

    Args:
        weights: gate weights, shape `(decisions, k)`.
        active: which options are executed, boolean, of the same shape and on the host; `None` for all unmasked ones.
        log_prob: log-probability of each decision's draw, shape `(decisions,)`, where the gradient is a score.
    """

    weights: Tensor
    active: Tensor | None = None
    log_prob: Tensor | None = None


@final
@dataclass(frozen=True)
class Traits:
    """What an estimator is, apart from how it draws: one value, which a wrapper passes on, or changes by `replace`.

    Args:
        sampled: whether a draw decides on the host (which options run, or by a sampler that the host has); then the
            distribution stays there, and no step waits for a device.
        normalised: whether the weights of a gate sum to one in every geometry, also where its options do not compete.
        gradient: how a gradient reaches θ.
        geometry: the geometries that the estimator understands.
        mixes: whether every draw executes all options that are not masked, so that a network can be compiled for it.
        schedules: values that may change over the epochs, by name, with their bounds.
    """

    sampled: bool
    normalised: bool = True
    gradient: Gradient = "path"
    geometry: type = Geometry
    mixes: bool = False
    schedules: Mapping[str, Bounded] = field(default_factory=dict)


class Estimator(ABC):
    """How one set of gates is made from θ in some geometry."""

    @property
    @abstractmethod
    def traits(self) -> Traits:
        """What the estimator is."""

    def describe(self) -> str:
        """The estimator in a word; a wrapper names what it wraps."""
        return type(self).__name__

    @abstractmethod
    def draw(self, geometry: Geometry, theta: Tensor, mask: Tensor, phase: Phase, generator: torch.Generator) -> Drawn:
        """Draw the gates of all decisions.

        Args:
            geometry: how θ becomes probabilities.
            theta: shape `(decisions, k)`.
            mask: same shape, true where an option exists.
            phase: which step asks.
            generator: source of randomness.
        """


@final
@dataclass(frozen=True)
class Expectation(Estimator):
    """The gates are the probabilities: every option is executed.

    Gradient: exact for the mixture's loss, which is not the expected loss of a sampled architecture. Cost and memory
    grow with the number k of options. An option whose probability underflows stays active.

    References:
        H. Liu et al., *DARTS*, ICLR 2019 (arXiv 1806.09055), equation 2.
    """

    @property
    def traits(self) -> Traits:
        """All options run; their weights are those of the geometry, whatever they sum to."""
        return Traits(sampled=False, normalised=False, mixes=True)

    def draw(self, geometry: Geometry, theta: Tensor, mask: Tensor, phase: Phase, generator: torch.Generator) -> Drawn:
        """The mixture weights of the geometry."""
        return Drawn(geometry.mixture(theta, mask))


@final
@dataclass(frozen=True)
class Concrete(Estimator):
    """A soft sample per decision, by the concrete (Gumbel-softmax) distribution.

    With Gumbel noise G and temperature τ the gate is softmax((log p + G) / τ). Every option is executed. Gradient:
    exact for the relaxed sample (reparameterised), whose distribution tends to that of one-hot samples as τ → 0.

    Args:
        temperature: τ over the epochs, positive.

    References:
        S. Xie et al., *SNAS: Stochastic Neural Architecture Search*, ICLR 2019 (arXiv 1812.09926), equation 5;
        C. Maddison et al., *The Concrete Distribution*, ICLR 2017.
    """

    temperature: Schedule

    @property
    def traits(self) -> Traits:
        """All options run, at a temperature."""
        return Traits(sampled=False, mixes=True, schedules={"temperature": Bounded(self.temperature, positive=True)})

    def draw(self, geometry: Geometry, theta: Tensor, mask: Tensor, phase: Phase, generator: torch.Generator) -> Drawn:
        """The relaxed sample."""
        log_p = geometry.log_probabilities(theta, mask)
        return Drawn(torch.softmax((log_p + _gumbel(log_p, generator)) / _at(self.temperature, phase), dim=-1))


@final
@dataclass(frozen=True)
class StraightThroughGumbel(Estimator):
    """One option per decision by the Gumbel-max trick, with the gradient of the relaxed sample.

    With Gumbel noise G and temperature τ: p̃ = softmax((log p + G) / τ), h = one-hot(argmax p̃), and the gate is
    h - stop(p̃) + p̃, whose value is h and whose gradient is that of p̃. Forward executes the chosen option alone, so
    the gradient with respect to the gate is zero for the others; through the softmax it still reaches every entry of θ.
    Biased; variance falls and bias grows with τ.

    Args:
        temperature: τ over the epochs, positive.

    References:
        X. Dong and Y. Yang, *Searching for A Robust Neural Architecture in Four GPU Hours* (GDAS), CVPR 2019
        (arXiv 1910.04465), equations 3 to 5; E. Jang et al., *Categorical Reparameterization with Gumbel-Softmax*.

    Deviations:
        The authors' code adds the zero-valued weights of the unchosen options to the output, which gives those a
        gradient of their own; the paper's equations, and this, do not. Noise is bounded away from infinity instead of
        being redrawn.
    """

    temperature: Schedule

    @property
    def traits(self) -> Traits:
        """Sampled, at a temperature."""
        return Traits(sampled=True, schedules={"temperature": Bounded(self.temperature, positive=True)})

    def draw(self, geometry: Geometry, theta: Tensor, mask: Tensor, phase: Phase, generator: torch.Generator) -> Drawn:
        """The straight-through weights and the one-hot choice."""
        log_p = geometry.log_probabilities(theta, mask)
        relaxed = torch.softmax((log_p + _gumbel(log_p, generator)) / _at(self.temperature, phase), dim=-1)
        chosen = _one_hot(relaxed, relaxed.argmax(dim=-1))
        # In this order the value is exactly h: the bracket is exactly zero.
        return Drawn(chosen + (relaxed - relaxed.detach()), chosen.bool().cpu())


@final
@dataclass(frozen=True)
class TwoPath(Estimator):
    """Binary gates: a weight step runs one sampled option, an architecture step compares two.

    Weight step: h ~ p, one option executed. Architecture step: two different options i, j are drawn from p without
    replacement, all others are treated as absent, q = softmax of the two, h ~ q, and the gate is h - stop(q) + q: both
    options are executed, one with weight one and one with weight zero, so that

        ∂L/∂α_i ≈ Σ_j ∂L/∂g_j · q_j (δ_ij - q_i)

    holds for the pair, and the gradient is exactly zero for every other option. Biased (straight-through).

    References:
        H. Cai, L. Zhu and S. Han, *ProxylessNAS*, ICLR 2019 (arXiv 1812.00332), equations 3 and 4, section 3.2.
    """

    @property
    def traits(self) -> Traits:
        """Sampled."""
        return Traits(sampled=True)

    def draw(self, geometry: Geometry, theta: Tensor, mask: Tensor, phase: Phase, generator: torch.Generator) -> Drawn:
        """One option, or two for an architecture step."""
        log_p = geometry.log_probabilities(theta, mask)
        ranked = log_p.detach() + _gumbel(log_p, generator)  # the largest of it are samples without replacement
        if phase.step != "architecture" or log_p.shape[-1] < 2:
            chosen = _one_hot(log_p, ranked.argmax(dim=-1))
            return Drawn(chosen, chosen.bool().cpu())
        pair = ranked.topk(2, dim=-1).indices
        # Of two options q is a sigmoid of a difference; thus gradients of the other options are zero to the bit, which
        # matters to an optimiser that divides a gradient by its own size.
        first, second = log_p.gather(-1, pair).unbind(dim=-1)
        q = torch.sigmoid(first - second)
        heads = (torch.rand(q.shape, generator=generator, dtype=q.dtype) < q.detach()).to(q.dtype)
        first_gate = heads + (q - q.detach())
        weights = torch.zeros_like(log_p).scatter(-1, pair, torch.stack([first_gate, 1 - first_gate], dim=-1))
        active = torch.zeros_like(mask).scatter(-1, pair, True) & mask
        return Drawn(weights, active.cpu())


@final
@dataclass(frozen=True)
class DirichletPath(Estimator):
    """A soft sample per decision from a Dirichlet distribution, differentiated along its path.

    The gate is x ~ Dir(β) over the options that are not masked, β the concentrations of the geometry. Every option is
    executed. Gradient: the implicit reparameterisation dx/dβ of the Dirichlet distribution, unbiased for E_x[L(x)].

    References:
        X. Chen et al., *DrNAS: Dirichlet Neural Architecture Search*, ICLR 2021 (arXiv 2006.10355), section 3.1;
        M. Jankowiak and F. Obermeyer, *Pathwise Derivatives Beyond the Reparameterization Trick*, ICML 2018.
    """

    @property
    def traits(self) -> Traits:
        """Sampled on the host, from Dirichlet concentrations."""
        return Traits(sampled=True, geometry=Concentrations, mixes=True)

    def draw(self, geometry: Geometry, theta: Tensor, mask: Tensor, phase: Phase, generator: torch.Generator) -> Drawn:
        """The sample."""
        assert isinstance(geometry, Concentrations)
        concentrations, weights = geometry.concentrations(theta), torch.zeros_like(theta)
        sizes = mask.sum(dim=-1)
        # The library's public functions sample from the host's global generator: it is seeded by ours, and restored.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(torch.randint(2**63 - 1, (), generator=generator)))
            for size in sorted(set(sizes.tolist())):  # rows with as many options share one call
                rows = (sizes == size).nonzero().flatten()
                columns = mask[rows].nonzero()[:, 1].view(len(rows), size)
                options = concentrations[rows].gather(-1, columns)
                sample = Dirichlet(options).rsample() if size > 1 else torch.ones_like(options)
                weights = weights.index_put((rows[:, None], columns), sample)
        return Drawn(weights)


@final
@dataclass(frozen=True)
class ScoreFunction(Estimator):
    """One option per decision, drawn from p; the gradient is that of its log-probability (REINFORCE).

    ∇ E_a[R(a)] = E_a[R(a) ∇ log p(a)] with log p(a) = Σ log p_d(a_d): unbiased for any reward, also one that is not
    differentiable, at the price of variance, which a baseline lowers.

    References:
        R. Williams, *Simple Statistical Gradient-Following Algorithms*, Machine Learning 8, 1992.
    """

    @property
    def traits(self) -> Traits:
        """Sampled, with a score."""
        return Traits(sampled=True, gradient="score")

    def draw(self, geometry: Geometry, theta: Tensor, mask: Tensor, phase: Phase, generator: torch.Generator) -> Drawn:
        """A one-hot choice with its log-probability."""
        log_p = geometry.log_probabilities(theta, mask)
        index = (log_p.detach() + _gumbel(log_p, generator)).argmax(dim=-1)
        chosen = _one_hot(log_p, index)
        return Drawn(chosen, chosen.bool().cpu(), log_p.gather(-1, index[:, None])[:, 0])


def _gumbel(log_p: Tensor, generator: torch.Generator) -> Tensor:
    """Standard Gumbel noise, -log of an exponential variate, bounded away from infinity."""
    exponential = torch.empty_like(log_p, device=generator.device).exponential_(generator=generator)
    return -exponential.clamp_min(torch.finfo(log_p.dtype).tiny).log().to(log_p.device, non_blocking=True)


def _one_hot(like: Tensor, index: Tensor) -> Tensor:
    return F.one_hot(index, like.shape[-1]).to(like.dtype)


def _at(temperature: Schedule, phase: Phase) -> float:
    return Bounded(temperature, positive=True).at("temperature", phase.epoch, phase.epochs)
