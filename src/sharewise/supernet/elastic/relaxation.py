"""The bridge for spaces in which a choice may depend on an earlier one, such as a block's width on the depth."""

from __future__ import annotations

from typing import final

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Decision, Encoding, Option, Probabilities, Relaxation, Space
from sharewise.space.relaxation import one_hot, strongest

__all__ = ["ConditionalRelaxation"]


@final
class ConditionalRelaxation(Relaxation):
    """Every choice is one decision; a choice that does not matter is encoded by its first option.

    What a decision without effect is encoded by cannot change an output, since the blocks that would read it are not
    executed.

    Args:
        space: without constraints; conditions are what this relaxation is for.

    Raises:
        ConfigurationError: when the space has constraints.

    Example:
        >>> from sharewise.space import Choice, Condition
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
        return {d.name: one_hot(d, architecture.get(d.name, d.options[0])) for d in self.decisions}

    def project(self, probabilities: Probabilities, exclude: tuple[Option, ...] = ()) -> Architecture:
        """The option of largest probability for every choice that matters."""
        return self.space.architecture(
            {d.name: d.options[strongest(d, probabilities[d.name], exclude)] for d in self.decisions}
        )
