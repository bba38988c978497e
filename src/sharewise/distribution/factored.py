"""The factored distribution: every decision independent, geometry × estimator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sharewise.distribution.distribution import Distribution
from sharewise.distribution.estimator import Estimator
from sharewise.distribution.geometry import Geometry
from sharewise.distribution.phase import Phase
from sharewise.errors import ConfigurationError, unknown_name
from sharewise.space import Architecture, Decision, Option, Relaxation, Space
from sharewise.supernet.gate import Gate, Gates

__all__ = ["Factored", "drawable", "narrowed", "option_mask", "require_independent"]


def option_mask(decisions: tuple[Decision, ...], exclude: tuple[Option, ...] = ()) -> Tensor:
    """Which entries of the parameter matrix are options: not padding and not excluded.

    Args:
        decisions: one row each.
        exclude: options that no decision may take; `none` may be excluded from any space, also one that lacks it.

    Returns:
        A boolean tensor of shape `(decisions, largest k)`.

    Raises:
        ConfigurationError: when an excluded option exists nowhere, or a decision would be left without options.

    Example:
        >>> option_mask((Decision("a", ("none", "skip")), Decision("b", ("x",))), exclude=("none",))
        tensor([[False,  True],
                [ True, False]])
    """
    known = {option for decision in decisions for option in decision.options}
    for option in exclude:
        if option not in known and option != "none":
            raise unknown_name("option to exclude", option, known)
    mask = torch.zeros(len(decisions), max((d.size for d in decisions), default=0), dtype=torch.bool)
    for row, decision in enumerate(decisions):
        for column, option in enumerate(decision.options):
            mask[row, column] = option not in exclude
        if not mask[row].any():
            raise ConfigurationError(f"excluding {exclude} leaves decision {decision.name!r} without options")
    return mask


def narrowed(decisions: tuple[Decision, ...], mask: Tensor, keep: Mapping[str, Tensor]) -> Tensor:
    """A mask with fewer options.

    Args:
        decisions: one row each.
        mask: as `option_mask` returns it.
        keep: by decision, true for the options that remain; decisions that are absent stay as they are.

    Raises:
        ConfigurationError: when a decision would be left without options.
    """
    mask = mask.clone()
    for row, decision in enumerate(decisions):
        if decision.name in keep:
            mask[row, : decision.size] &= keep[decision.name].to(mask.device)
        if not mask[row].any():
            raise ConfigurationError(f"decision {decision.name!r} would be left without options")
    return mask


def require_independent(relaxation: Relaxation, words: str) -> None:
    """Refuse a relaxation whose decisions only whole architectures may take.

    Args:
        relaxation: names the decisions.
        words: what the distribution does with each decision, for the message.

    Raises:
        ConfigurationError: when the decisions are not independent.
    """
    if not relaxation.independent:
        raise ConfigurationError(
            f"space {relaxation.space.name!r} is searched by whole architectures: its decisions depend on each other, "
            f"but this method {words}. Use a method that draws whole architectures: spos (also with "
            "sampling=proportional, or paths=3) or rs-ws"
        )


def drawable(relaxation: Relaxation, exclude: tuple[Option, ...]) -> Space:
    """The sub-space whose architectures take none of the excluded options.

    An option may exist in the decisions alone (`none`, where a result never contains it): then nothing is lost.
    """
    known = {option for choice in relaxation.space.choices for option in choice.options}
    present = tuple(o for option in exclude for o in relaxation.choosing(option) if o in known)
    return relaxation.space.without(present) if present else relaxation.space


@final
class Factored(Distribution):
    """Independent decisions, all in one matrix θ with a row per decision.

    Args:
        relaxation: names the decisions.
        geometry: what θ is.
        estimator: how gates are drawn.
        generator: of the initial θ.
        exclude: options that are masked from the start (`("none",)` in GAEA).

    Example:
        >>> from sharewise.distribution import Expectation, Simplex
        >>> from sharewise.spaces import load
        >>> g = torch.Generator().manual_seed(0)
        >>> theta = Factored(load("nasbench201").relaxation, Simplex(), Expectation(), g, exclude=("none",))
        >>> theta.probabilities()["edge_0_1"]
        tensor([0.0000, 0.2500, 0.2500, 0.2500, 0.2500])
    """

    theta: nn.Parameter
    mask: Tensor
    settled: Mapping[str, int | None]
    """The option that a decision has taken for good, or `None` for one that has none left (see `settle`)."""

    def __init__(
        self,
        relaxation: Relaxation,
        geometry: Geometry,
        estimator: Estimator,
        generator: torch.Generator,
        exclude: tuple[Option, ...] = (),
    ) -> None:
        require_independent(relaxation, "learns a probability for every option of each")
        super().__init__()
        self.relaxation, self.geometry, self.estimator = relaxation, geometry.among(relaxation.decisions), estimator
        self.sampled, self.constant = estimator.traits.sampled, estimator.traits.mixes
        self.competing = geometry.competing or estimator.traits.normalised
        mask = option_mask(relaxation.decisions, exclude)
        self.space, self.exclude = drawable(relaxation, exclude), exclude
        self.register_buffer("mask", mask)
        self.theta = nn.Parameter(geometry.initial(mask, generator))
        self._options: list[tuple[int, ...]] | None = None  # unmasked options by decision, kept on the host
        self.settled: dict[str, int | None] = {}

    def draw(self, generator: torch.Generator, phase: Phase) -> list[Gates]:
        """One set of gates."""
        drawn = self.estimator.draw(self.geometry, self.theta, self.mask, phase, generator)
        chosen = self._unmasked() if drawn.active is None else [_indices(flags) for flags in drawn.active.tolist()]
        scores = [None] * len(chosen) if drawn.log_prob is None else list(drawn.log_prob.unbind())
        rows = zip(self.relaxation.decisions, drawn.weights.unbind(), chosen, scores, strict=True)
        return [
            {
                decision.name: Gate(row[: decision.size], options, score, unit=score is not None)
                if decision.name not in self.settled
                else self.settled_gate(decision, score)
                for decision, row, options, score in rows
            }
        ]

    def settled_gate(self, decision: Decision, score: Tensor | None = None) -> Gate:
        """The gate of a decision that is settled: its option with weight one, or nothing at all.

        Args:
            decision: one of the settled ones.
            score: of a drawn gate, log p, to which it adds zero; `None` where it has none.
        """
        chosen = self.settled[decision.name]
        weights = self._constant(decision).to(self.theta)
        return Gate(weights, () if chosen is None else (chosen,), None if score is None else torch.zeros_like(score))

    def _constant(self, decision: Decision) -> Tensor:
        """The weights of a settled decision."""
        return torch.tensor([float(i == self.settled[decision.name]) for i in range(decision.size)])

    def sample(self, generator: torch.Generator) -> Architecture:
        """An option for every decision that picks, drawn from the probabilities and projected."""
        rows = self.probabilities()
        given = {*self.settled, *(d.name for d in self.relaxation.decisions if d.weighs)}
        chosen = {name: row.tolist() if name in given else one_hot_sample(row, generator) for name, row in rows.items()}
        return self.relaxation.project(chosen, self.exclude)

    def _unmasked(self) -> list[tuple[int, ...]]:
        if self._options is None:
            self._options = [_indices(flags) for flags in self.mask.tolist()]
        return self._options

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._options = None

    def probabilities(self) -> Mapping[str, Tensor]:
        """The probabilities of every decision."""
        with torch.no_grad():
            return self._rows(self.geometry.probabilities(self.theta, self.mask).cpu())

    def mixture(self) -> Mapping[str, Tensor]:
        """The mixture weights of the geometry."""
        with torch.no_grad():
            return self._rows(self.geometry.mixture(self.theta, self.mask).cpu())

    def _rows(self, matrix: Tensor) -> Mapping[str, Tensor]:
        """Its rows by decision, where decisions are open."""
        return {
            d.name: self._constant(d).to(row) if d.name in self.settled else row[: d.size]
            for d, row in zip(self.relaxation.decisions, matrix, strict=True)
        }

    def optimizer(self) -> Optimizer:
        """The optimiser of the geometry."""
        return self.geometry.optimizer(self.theta)

    def restrict(self, keep: Mapping[str, Tensor]) -> None:
        """Mask options for good and bring θ back into the geometry."""
        mask = narrowed(self.relaxation.decisions, self.mask, keep)
        self.mask.copy_(mask)
        with torch.no_grad():
            self.theta.copy_(self.geometry.restricted(self.theta, mask))
        self._options = None

    def goes_on(self, optimizer: Optimizer) -> Optimizer:
        """The same one, of whose moments those of masked options are zero."""
        for moment in optimizer.state[self.theta].values() if self.theta in optimizer.state else ():
            if isinstance(moment, Tensor) and moment.shape == self.mask.shape:
                moment.mul_(self.mask)
        return optimizer

    def settle(self, chosen: Mapping[str, int | None]) -> None:
        """Take decisions out of the mixture for good: from now on their gates are constants, whatever the estimator.

        A settled decision weighs its option by one, also where options do not compete, or has no active option at all.
        θ goes on to exist, without a gradient from the loss. Checkpoints do not hold this: who settles is a surgery,
        which a resume repeats.

        Args:
            chosen: index of an option by decision, or `None` to leave the decision without any.

        Raises:
            ConfigurationError: for an option that is masked.
        """
        keep = {}
        for row, decision in enumerate(self.relaxation.decisions):
            index = chosen.get(decision.name)
            if index is not None:
                if not self.mask[row, index]:
                    raise ConfigurationError(
                        f"decision {decision.name!r} cannot take option {decision.options[index]!r}, which is masked"
                    )
                keep[decision.name] = torch.arange(decision.size) == index
        self.restrict(keep)  # so that penalties see it
        self.settled = {**self.settled, **chosen}


def one_hot_sample(probabilities: Tensor, generator: torch.Generator) -> list[float]:
    """A one-hot list at an index drawn from a row of probabilities."""
    index = int(torch.multinomial(probabilities, 1, generator=generator))
    return [float(i == index) for i in range(len(probabilities))]


def _indices(flags: list[bool]) -> tuple[int, ...]:
    return tuple(index for index, flag in enumerate(flags) if flag)
