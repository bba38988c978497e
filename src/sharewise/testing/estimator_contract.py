"""The contract of an estimator: it draws what θ says, and its gradient is the one that θ should follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sharewise.distribution import (
    Concentrations,
    Drawn,
    Estimator,
    Geometry,
    Learned,
    Linear,
    Phase,
    SigmoidLogits,
    Simplex,
    SoftmaxLogits,
    Step,
)
from sharewise.space import Choice, Space
from sharewise.testing.ambient import without_ambient_randomness
from sharewise.testing.distribution_contract import check_distribution
from sharewise.testing.expect import expect
from sharewise.testing.frequency import check_frequencies

__all__ = ["check_estimator"]

_GEOMETRIES: tuple[Geometry, ...] = (
    SoftmaxLogits(scale=1.0),
    Simplex(),
    Concentrations(scale=1.0),
    SigmoidLogits(scale=1.0),
)
_MASK = torch.tensor([[True, True, True, True], [True, True, False, True], [True, False, False, True]])
_COSTS = torch.tensor([[1.0, -0.5, 0.25, 2.0], [0.5, 1.5, 0.0, -1.0], [-1.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
_STEPS: tuple[Step, ...] = ("weights", "architecture")
_WIDTH = 5.0
"""Standard errors within which a mean of draws must lie."""
_OPTIONS = ("none", "skip", "conv", "pool")
_SPACE = Space("small", tuple(Choice(name, _OPTIONS) for name in ("a", "b")))


Follows = Callable[[Geometry, Tensor, Tensor, Phase], Tensor]
"""What gates should be on average: from geometry, θ, mask and phase, of shape `(decisions, k)`."""


def check_estimator(
    estimator: Estimator,
    geometries: tuple[Geometry, ...] = _GEOMETRIES,
    *,
    follows: Follows | None = None,
    unbiased: bool = False,
    draws: int = 4000,
    seed: int = 0,
) -> None:
    """Check an estimator under every geometry that its traits name.

    All laws of `check_distribution`, also with an excluded option. Then, with p the probabilities (the mixture weights
    where gates need not sum to one) and many draws of three decisions, two of them with masked options:

    *Draws follow θ*: in at least one of the two steps the mean gate is p, or the strongest option is distributed as p;
    so noise is neither reversed nor left out. *Gradients follow θ*, for c · gate with some costs c. A soft gate is
    differentiable: its gradient is its derivative with the noise held, or its mean is the gradient of c · p. A hard
    gate is one-hot, and straight through: its mean gradient points where that of c · p does (cosine at least 0.6), and
    is not out of all proportion (0.01 to 5 times its size; a warm temperature weakens it). A score is log p of what was
    drawn, in value and gradient, and the gate carries no graph. *Corners*: where a decision is settled, or has a single
    option left, gates and gradients are finite. *Schedules*: every one that the traits name changes what is drawn, or
    its gradient. The global generators stay where they are.

    Args:
        estimator: to be checked.
        geometries: of which those that the estimator understands are used.
        follows: p, for an estimator that does not draw by the probabilities of the geometry; differentiable in θ.
        unbiased: whether the mean gradient of a hard gate is claimed to be that of c · p in these geometries, as it is
            in logits for second-order estimators that ask for every option.
        draws: of each decision.
        seed: of θ and the draws.

    Raises:
        AssertionError: for the first law that is broken, naming the geometry.

    Example:
        >>> from sharewise.distribution import Expectation
        >>> check_estimator(Expectation(), draws=100)
    """
    understood = [geometry for geometry in geometries if isinstance(geometry, estimator.traits.geometry)]
    expect(bool(understood), f"{estimator.describe()} understands none of the geometries {geometries}")
    for geometry in understood:
        for exclude in ((), ("skip",)):
            check_distribution(Learned(geometry, estimator), _SPACE, exclude=exclude, draws=3, seed=seed)
        case = _case(estimator, geometry, draws, seed, follows)
        with without_ambient_randomness(f"a draw of {case.words}"):
            many = {step: _draw(case, step, case.theta, seed) for step in _STEPS}
        _check_frequencies(case, many)
        if estimator.traits.gradient == "score":
            _check_score(case, many)
        else:
            _check_gradient(case, many["architecture"], seed, unbiased)
        _check_corners(case, seed)
    _check_schedules(estimator, understood[0], seed)


class _Case(NamedTuple):
    """Copies of three decisions, one below the other, so that a single draw holds many of each."""

    words: str
    estimator: Estimator
    geometry: Geometry
    theta: Tensor
    mask: Tensor
    copies: int
    follows: Follows | None

    def reference(self, step: Step) -> Tensor:
        """What the gates should be on average, of the copies, differentiable in `theta`."""
        if self.follows is not None:
            return self.follows(self.geometry, self.theta, self.mask, _phase(step))
        normalised = self.estimator.traits.normalised
        source = self.geometry.probabilities if normalised else self.geometry.mixture
        return source(self.theta, self.mask)


def _phase(step: Step, epoch: int = 1) -> Phase:
    return Phase(step, epoch, 4)


def _case(estimator: Estimator, geometry: Geometry, draws: int, seed: int, follows: Follows | None = None) -> _Case:
    raw = 0.1 + 2.9 * torch.rand(_MASK.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    theta = geometry.restricted(raw, _MASK).repeat(draws, 1).requires_grad_()
    words = f"{estimator.describe()} under {type(geometry).__name__}"
    return _Case(words, estimator, geometry, theta, _MASK.repeat(draws, 1), draws, follows)


def _draw(case: _Case, step: Step, theta: Tensor, seed: int) -> Drawn:
    return case.estimator.draw(case.geometry, theta, case.mask, _phase(step), torch.Generator().manual_seed(seed))


def _by_decision(case: _Case, rows: Tensor) -> Tensor:
    """Copies first: `(copies, decisions, options)`."""
    return rows.reshape(case.copies, *_MASK.shape)


def _hard(drawn: Drawn) -> bool:
    weights = drawn.weights.detach()
    return bool(((weights == 0) | (weights == 1)).all())


def _check_frequencies(case: _Case, many: dict[Step, Drawn]) -> None:
    complaints = []
    for step, drawn in many.items():
        p = _by_decision(case, case.reference(step).detach())[0]
        weights = _by_decision(case, drawn.weights.detach())
        mean, error = weights.mean(0), weights.std(0) / case.copies**0.5
        if not _hard(drawn) and bool(((mean - p).abs() <= _WIDTH * error + 1e-6).all()):
            return
        counts = torch.stack([weights.argmax(-1) == option for option in range(p.shape[-1])], -1).sum(0)
        try:
            for row, expected in zip(counts, p, strict=True):
                check_frequencies(_OPTIONS, row.tolist(), expected.tolist(), f"the {step} step of {case.words}")
        except AssertionError as error_:
            complaints.append(str(error_))
        else:
            return
    raise AssertionError(
        f"neither the mean gate of {case.words} nor its strongest option follows the probabilities: {complaints[0]}"
    )


def _check_score(case: _Case, many: dict[Step, Drawn]) -> None:
    for step, drawn in many.items():
        log_p = case.reference(step).clamp_min(torch.finfo(torch.float64).tiny).log()
        expect(
            _hard(drawn) and not drawn.weights.requires_grad,
            f"a score needs one-hot gates without a graph, which those of {case.words} are not",
        )
        assert drawn.log_prob is not None, f"{case.words} reports no log-probability"
        chosen = log_p.gather(-1, drawn.weights.argmax(-1, keepdim=True))[:, 0]
        gap = float((drawn.log_prob - chosen).detach().abs().max())
        expect(gap <= 1e-9, f"the log-probability that {case.words} reports differs from that of its draw by {gap:.3g}")
        expect(drawn.log_prob.requires_grad, f"the log-probability that {case.words} reports carries no graph to θ")
        mine, own = (
            torch.autograd.grad(part.sum(), case.theta, retain_graph=True)[0] for part in (drawn.log_prob, chosen)
        )
        expect(
            torch.allclose(mine, own, rtol=1e-8, atol=1e-10),
            f"the gradient of the log-probability that {case.words} reports is not that of its draw",
        )


def _check_gradient(case: _Case, drawn: Drawn, seed: int, unbiased: bool) -> None:
    costs = _COSTS.repeat(case.copies, 1)
    reference = _by_decision(case, _gradient(case.reference("architecture"), costs, case.theta))[0]
    expect(
        drawn.weights.requires_grad,
        f"the gates of {case.words} carry no graph to θ in an architecture step: are they detached?",
    )
    hard = _hard(drawn)
    if hard and drawn.active is not None:  # what reaches the gates of options that are not executed is zero
        costs = (costs - (case.reference("architecture").detach() * costs).sum(-1, keepdim=True)) * drawn.active
    single = _by_decision(case, _gradient(drawn.weights, costs, case.theta))
    expect(bool(single.isfinite().all()), f"the gradient of {case.words} is not finite")
    mean, error = single.mean(0), single.std(0) / case.copies**0.5
    if hard:
        _check_straight(case, mean, reference)
        expect(
            not unbiased or bool(((mean - reference).abs() <= _WIDTH * error + 1e-6).all()),
            f"the mean gradient of {case.words} is {float(mean.norm() / reference.norm()):.3g} times that of the "
            f"probabilities, or {float((mean - reference).norm() / reference.norm()):.2g} of its size away: it is not "
            "unbiased",
        )
        return
    # agreement with p on average says something only where the gates themselves average to p
    if _follows(case, drawn) and bool(((mean - reference).abs() <= _WIDTH * error + 1e-6).all()):
        return
    gap = _derivative_gap(case, costs, single, seed)
    expect(
        gap <= 1e-3,
        f"the gradient of {case.words} is not the derivative of its gates: along a direction of θ they differ by "
        f"{gap:.2g} of its size, and on average it is not that of the probabilities either",
    )


def _gradient(rows: Tensor, costs: Tensor, theta: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad((rows * costs).sum(), theta, retain_graph=True)
    return gradient


def _follows(case: _Case, drawn: Drawn) -> bool:
    weights, p = (
        _by_decision(case, drawn.weights.detach()),
        _by_decision(case, case.reference("architecture").detach())[0],
    )
    return bool(((weights.mean(0) - p).abs() <= _WIDTH * weights.std(0) / case.copies**0.5 + 1e-6).all())


def _check_straight(case: _Case, mean: Tensor, reference: Tensor) -> None:
    cosine = float((mean * reference).sum() / (mean.norm() * reference.norm()).clamp_min(1e-300))
    expect(
        cosine >= 0.6,
        f"the mean gradient of {case.words} has a cosine of {cosine:.2f} with that of the probabilities: "
        + ("it points the other way" if cosine < -0.6 else "it points elsewhere"),
    )
    ratio = float(mean.norm() / reference.norm())
    expect(0.01 <= ratio <= 5, f"the mean gradient of {case.words} is {ratio:.3g} times that of the probabilities")


def _derivative_gap(case: _Case, costs: Tensor, single: Tensor, seed: int) -> float:
    """Of the gates with their noise held, by central differences, relative."""
    generator, step = torch.Generator().manual_seed(seed + 1), 1e-6
    direction = torch.randn(case.theta.shape, generator=generator, dtype=torch.float64) * case.mask
    with torch.no_grad():
        ends = [
            (_draw(case, "architecture", case.theta + sign * step * direction, seed).weights * costs).sum(-1)
            for sign in (1.0, -1.0)
        ]
    expected = (ends[0] - ends[1]) / (2 * step)
    actual = (single.reshape(case.theta.shape) * direction).sum(-1)
    return float((expected - actual).norm() / expected.norm().clamp_min(1e-12))


def _check_corners(case: _Case, seed: int) -> None:
    corner = torch.zeros(_MASK.shape, dtype=torch.float64)
    corner[:, 0] = 1.0
    settled = 30.0 * (2 * corner - 1) * _MASK if not isinstance(case.geometry, Simplex) else corner
    alone = torch.zeros_like(_MASK)
    alone[:, 3] = True
    raw = case.geometry.restricted(torch.full(_MASK.shape, 0.5, dtype=torch.float64), alone)
    for theta, mask in ((settled, _MASK), (raw, alone)):
        theta = theta.clone().requires_grad_()
        for step in _STEPS:
            generator = torch.Generator().manual_seed(seed)
            drawn = case.estimator.draw(case.geometry, theta, mask, _phase(step), generator)
            result = drawn.weights.sum() if drawn.log_prob is None else drawn.log_prob.sum()
            finite = bool(drawn.weights.isfinite().all()) and bool(result.isfinite())
            if result.requires_grad:
                (gradient,) = torch.autograd.grad((drawn.weights * _COSTS).sum() + result, theta)
                finite = finite and bool(gradient.isfinite().all())
            expect(finite, f"{case.words} is not finite where a decision is settled, or its gradient is not")


def _check_schedules(estimator: Estimator, geometry: Geometry, seed: int) -> None:
    own = getattr(type(estimator), "__dataclass_fields__", {})
    for name in [name for name in estimator.traits.schedules if name in own]:  # those of what it wraps are not its own
        changing = cast("Estimator", replace(cast("Any", estimator), **{name: Linear(5.0, 0.5)}))
        case = _case(changing, geometry, 50, seed)
        changed = False
        for step in _STEPS:
            first, last = (_effect(case, _phase(step, epoch), seed) for epoch in (0, 3))
            changed = changed or not all(map(torch.equal, first, last))
        expect(
            changed, f"the schedule {name!r} of {case.words} changes neither gates nor gradients: it is not followed"
        )


def _effect(case: _Case, phase: Phase, seed: int) -> list[Tensor]:
    """The gates of a draw and their gradient."""
    drawn = case.estimator.draw(case.geometry, case.theta, case.mask, phase, torch.Generator().manual_seed(seed))
    weights, costs = drawn.weights, _COSTS.repeat(case.copies, 1)
    return [weights.detach(), _gradient(weights, costs, case.theta) if weights.requires_grad else costs]
