"""Relaxation: the bridge from the choices of a space to the decisions that a supernet can mix.

Decisions are not choices. An architecture of the DARTS cell picks two inputs per node, while its supernet mixes the
operations of *every* edge. A relaxation names the decisions, turns an architecture into weights for them (`encode`)
and turns any probabilities back into a legal architecture (`project`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from sharewise.errors import ConfigurationError
from sharewise.space.architecture import Architecture
from sharewise.space.choice import Option
from sharewise.space.space import Space

__all__ = [
    "ConditionalRelaxation",
    "Decision",
    "DirectRelaxation",
    "Encoding",
    "Join",
    "Probabilities",
    "Relaxation",
]

Encoding = Mapping[str, tuple[float, ...]]
"""For each decision the weight of each option; an option of weight zero is not executed."""

Probabilities = Mapping[str, Sequence[float]]
"""For each decision a non-negative weight per option."""


@dataclass(frozen=True)
class Decision:
    """One vector of gate weights: what a distribution parametrises and a layer consumes.

    Args:
        name: unique within the relaxation; the same name in two layers is one shared decision.
        options: what is mixed, in order.
        weighs: whether it weighs options that may all stay, as the inputs of a node, instead of picking one: it is not
            pruned, and its weights may approach zero.
    """

    name: str
    options: tuple[Option, ...]
    weighs: bool = False

    @property
    def size(self) -> int:
        """The number k of options; it never changes during a run (pruning is a mask)."""
        return len(self.options)


@dataclass(frozen=True)
class Join:
    """A node that several edges lead to, of which a result keeps only some.

    Args:
        edges: the decisions on operations of these edges, by name and in the order of their sources.
        keep: how many of the edges a result has.
    """

    edges: tuple[str, ...]
    keep: int


class Relaxation(ABC):
    """How a space is made continuous.

    Laws, checked by `sharewise.testing.check_relaxation`: `project(encode(a)) == a` for every architecture, and every
    projection is legal.
    """

    space: Space
    decisions: tuple[Decision, ...]
    independent: bool = True
    """Whether every decision may be mixed or drawn by itself; if not, only whole architectures are drawn."""
    joins: tuple[Join, ...] = ()
    """The nodes that lose edges on the way from a mixture to a result."""
    sparse: bool = False
    """Whether results may do without any option of a decision: one of weight zero is never part of a projection."""

    def choosing(self, option: Option) -> tuple[Option, ...]:
        """The options of choices that stand for an option of decisions: itself, where both have the same names."""
        return (option,)

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Decisions on operations by the kind of cell that they belong to; where one is settled after the other, one of
        each group is settled at a time."""
        return (tuple(decision.name for decision in self.decisions),)

    @abstractmethod
    def encode(self, architecture: Architecture) -> Encoding:
        """The gate weights under which a supernet computes exactly this architecture.

        Raises:
            ConfigurationError: when it is not of the space (`Space.own`).
        """

    @abstractmethod
    def project(self, probabilities: Probabilities, exclude: tuple[Option, ...] = ()) -> Architecture:
        """The architecture nearest to the probabilities, by the rule of the space.

        Args:
            probabilities: for every decision a non-negative value per option; they need not sum to one.
            exclude: options that must not be part of the result (`("none",)` for the DARTS rule).

        Returns:
            A legal architecture; ties go to the option of lower index.
        """


@final
class DirectRelaxation(Relaxation):
    """The simplest bridge: every choice is one decision, encoded one-hot and projected by the largest entry.

    Args:
        space: an unconstrained space without conditional choices.

    Raises:
        ConfigurationError: when the space is constrained or has conditional choices.

    Example:
        >>> from sharewise.space import Choice, Space
        >>> space = Space("toy", (Choice("operation", ("a", "b")),))
        >>> relaxation = DirectRelaxation(space)
        >>> relaxation.project({"operation": [0.3, 0.7]})["operation"]
        'b'
    """

    def __init__(self, space: Space) -> None:
        if space.constraints or any(choice.condition for choice in space.choices):
            raise ConfigurationError(
                f"space {space.name!r} has constraints or conditional choices; write a Relaxation of its own, or "
                "take ConditionalRelaxation where choices only depend on earlier ones"
            )
        self.space = space
        self.decisions = tuple(Decision(choice.name, choice.options) for choice in space.choices)

    def encode(self, architecture: Architecture) -> Encoding:
        """One-hot vectors, one per choice."""
        architecture = self.space.own(architecture)
        return {d.name: one_hot(d, architecture[d.name]) for d in self.decisions}

    def project(self, probabilities: Probabilities, exclude: tuple[Option, ...] = ()) -> Architecture:
        """The option of largest probability for every choice."""
        return self.space.architecture(
            {d.name: d.options[strongest(d, probabilities[d.name], exclude)] for d in self.decisions}
        )


@final
class ConditionalRelaxation(Relaxation):
    """Every choice is one decision; a choice that does not matter is encoded by its first option.

    For spaces in which a choice depends on an earlier one, such as a block's width on the depth. What a decision
    without effect is encoded by must not change an output: supernets do not execute the blocks that would read it.

    Args:
        space: without constraints; conditions are what this relaxation is for.

    Raises:
        ConfigurationError: when the space has constraints.

    Example:
        >>> from sharewise.space import Choice, Condition, Space
        >>> width = Choice("width", (4, 8), condition=Condition("depth", (2,)))
        >>> relaxation = ConditionalRelaxation(Space("toy", (Choice("depth", (1, 2)), width)))
        >>> str(relaxation.project({"depth": [0.9, 0.1], "width": [0.2, 0.8]}))
        '{"depth": 1}'
    """

    def __init__(self, space: Space) -> None:
        if space.constraints:
            raise ConfigurationError(f"space {space.name!r} has constraints; write a Relaxation of its own for it")
        self.space = space
        self.decisions = tuple(Decision(choice.name, choice.options) for choice in space.choices)

    def encode(self, architecture: Architecture) -> Encoding:
        """One-hot vectors, one per choice."""
        architecture = self.space.own(architecture)
        return {d.name: one_hot(d, architecture.get(d.name, d.options[0])) for d in self.decisions}

    def project(self, probabilities: Probabilities, exclude: tuple[Option, ...] = ()) -> Architecture:
        """The option of largest probability for every choice that matters."""
        return self.space.architecture(
            {d.name: d.options[strongest(d, probabilities[d.name], exclude)] for d in self.decisions}
        )


def one_hot(decision: Decision, option: Option) -> tuple[float, ...]:
    """The vector that is one at `option` and zero elsewhere."""
    return tuple(float(candidate == option) for candidate in decision.options)


def strongest(decision: Decision, weights: Sequence[float], exclude: tuple[Option, ...] = ()) -> int:
    """Index of the largest weight among the options that are not excluded; ties go to the lower index.

    Raises:
        ConfigurationError: when every option is excluded.
    """
    allowed = [i for i, option in enumerate(decision.options) if option not in exclude]
    if not allowed:
        raise ConfigurationError(f"decision {decision.name!r} has no option left once {exclude} are excluded")
    return max(allowed, key=lambda i: (weights[i], -i))
