"""Expected costs: of an architecture that is drawn by the probabilities of a supernet's decisions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sharewise.cost.architectures import ArchitectureCosts
from sharewise.cost.prices import Prices
from sharewise.errors import ConfigurationError
from sharewise.space import Option, Relaxation, sample

__all__ = ["Blocks", "expectation"]

_BASES = 8
"""Random architectures around which every option is tried alone, to see which decisions it moves."""
_PROBES = 32
"""Random architectures which the blocks must encode as the relaxation does."""
_LARGEST_BLOCK = 4096
"""Combinations of options in a block."""


def expectation(costs: ArchitectureCosts, relaxation: Relaxation) -> Callable[[Tensor], Tensor]:
    """E[cost] as a differentiable function of the probabilities of decisions, shape `(decisions, largest size)`.

    Where every choice is a decision, each is drawn by itself. Elsewhere architectures are drawn as `Blocks` says.

    Args:
        costs: of the architectures of the relaxation's space.
        relaxation: whose decisions have probabilities.

    Raises:
        ConfigurationError: when costs are no sum over small groups of choices, or decisions follow no small blocks.
    """
    prices = costs.sums
    if [(d.name, d.options) for d in relaxation.decisions] == [(c.name, c.options) for c in costs.space.choices]:
        return prices.expected
    return Blocks(relaxation).expectation(prices)


@final
class Blocks:
    """Choices of a space in blocks, such that every decision of its relaxation depends on the choices of one block.

    An architecture of a DARTS cell picks two inputs for every node and an operation for each, while its supernet mixes
    operations on all edges: the choices of a node are a block. With x(a) the encoding of an architecture and p the
    probabilities of options, draws of all decisions agree with a, in those that it takes, with probability Π p^x(a).
    So a is drawn with

        q(a) ∝ Π_{d, o} p_{d, o} ^ x_{d, o}(a),   q(a) = Π_B q_B(a_B)

    which is a softmax of Σ log p over the combinations of options within each block B, and exact. With a block per
    choice it is Π p; it ranks architectures as the projection within a budget does.

    Args:
        relaxation: of a space of independent choices.

    Raises:
        ConfigurationError: when choices depend on each other, or no small blocks explain the encoding.

    Example:
        >>> from sharewise.spaces import load
        >>> blocks = Blocks(load("toy-two-inputs").relaxation)
        >>> blocks.choices
        ((0,), (1,), (2,), (3, 4, 5))
        >>> blocks.probabilities(torch.full((5, 4), 0.25)).sum(1)
        tensor([1., 1., 1., 1.])
    """

    def __init__(self, relaxation: Relaxation) -> None:
        self._relaxation, self._space = relaxation, relaxation.space
        if not self._space.independent:
            raise self._unknown("whose choices depend on each other")
        moved = self._moved()
        self.choices = _joined(moved)
        sizes = [[len(self._space.choices[c].options) for c in block] for block in self.choices]
        if any(math.prod(numbers) > _LARGEST_BLOCK for numbers in sizes):
            raise self._unknown(f"whose decisions depend on more than {_LARGEST_BLOCK:,} combinations of choices")
        self._options = [np.indices(numbers).reshape(len(numbers), -1).T for numbers in sizes]
        self._encodings = [
            self._encoded(block, options, sorted(set().union(*(moved[c] for c in block))))
            for block, options in zip(self.choices, self._options, strict=True)
        ]
        self._require_exact(sorted(set().union(*moved)))

    def probabilities(self, probabilities: Tensor) -> Tensor:
        """q_B of every combination of options, a block per row, zero behind its last one; differentiable.

        Args:
            probabilities: of the options of decisions, shape `(decisions, largest size)`; zero for masked ones.
        """
        logs = probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log().flatten()
        rows = [torch.from_numpy(x).flatten(1).to(logs) @ logs for x in self._encodings]
        return pad_sequence([row.softmax(0) for row in rows], batch_first=True)

    def prices(self, prices: Prices) -> Prices:
        """The same prices as sums over groups of blocks.

        Args:
            prices: as sums over groups of choices.
        """
        home = {choice: (b, place) for b, block in enumerate(self.choices) for place, choice in enumerate(block)}
        terms: dict[tuple[int, ...], npt.NDArray[np.float64]] = {}
        for group, table in prices.terms.items():
            blocks = tuple(sorted({home[choice][0] for choice in group}))
            axes = {b: [-1 if b == other else 1 for other in blocks] for b in blocks}
            places = [home[choice] for choice in group]
            whole = table[tuple(self._options[b][:, place].reshape(axes[b]) for b, place in places)]
            terms[blocks] = terms[blocks] + whole if blocks in terms else whole
        return Prices(tuple(map(len, self._options)), prices.fixed, terms)

    def expectation(self, prices: Prices) -> Callable[[Tensor], Tensor]:
        """E[cost] as a function of the probabilities of decisions; see `prices` and `probabilities`."""
        of_blocks = self.prices(prices)
        return lambda probabilities: of_blocks.expected(self.probabilities(probabilities))

    def _moved(self) -> list[set[int]]:
        """For every choice the decisions whose weights it changes."""
        rng, first = np.random.default_rng(0), {c.name: c.options[0] for c in self._space.choices}
        bases = [first, *(dict(sample(self._space, rng)) for _ in range(_BASES))]
        moved: list[set[int]] = [set() for _ in self._space.choices]
        for base in bases:
            here = self._code(base)
            for found, choice in zip(moved, self._space.choices, strict=True):
                for option in choice.options:
                    found |= set(np.flatnonzero((self._code({**base, choice.name: option}) != here).any(1)).tolist())
        return moved

    def _code(self, values: Mapping[str, Option]) -> npt.NDArray[np.float64]:
        """The weights of an architecture's encoding, shape `(decisions, largest size)`."""
        decisions = self._relaxation.decisions
        encoding = self._relaxation.encode(self._space.architecture(values))
        code = np.zeros((len(decisions), max(d.size for d in decisions)))
        for row, d in zip(code, decisions, strict=True):
            row[: d.size] = encoding[d.name]
        return code

    def _encoded(
        self, block: Sequence[int], options: npt.NDArray[np.intp], owned: Sequence[int]
    ) -> npt.NDArray[np.float64]:
        """For every combination of options the weights of the block's own decisions, zero elsewhere."""
        values: dict[str, Option] = {c.name: c.options[0] for c in self._space.choices}
        codes = []
        for row in options:
            chosen = (self._space.choices[c] for c in block)
            code = self._code({**values, **{c.name: c.options[o] for c, o in zip(chosen, row, strict=True)}})
            own = np.zeros_like(code)
            own[owned] = code[owned]
            codes.append(own)
        return np.array(codes)

    def _require_exact(self, owned: Sequence[int]) -> None:
        rng = np.random.default_rng(1)
        for _ in range(_PROBES):
            architecture = sample(self._space, rng)
            code = np.zeros_like(self._encodings[0][0])
            for block, options, encodings in zip(self.choices, self._options, self._encodings, strict=True):
                chosen = [self._space.choices[c].index(architecture[self._space.choices[c].name]) for c in block]
                code += encodings[np.ravel_multi_index(chosen, options.max(0) + 1)]
            if (code != self._code(architecture))[owned].any():
                raise self._unknown("whose encoding no small blocks of choices explain")

    def _unknown(self, why: str) -> ConfigurationError:
        return ConfigurationError(
            f"the expected cost of architectures is not known for space {self._space.name!r}, {why}; take the penalty "
            "ExpectedCost, on the cost of the supernet's paths, or none: a budget holds without it"
        )


def _joined(moved: Iterable[set[int]]) -> tuple[tuple[int, ...], ...]:
    """Choices that move a decision in common, directly or through others, in one group each."""
    groups: list[tuple[tuple[int, ...], set[int]]] = []
    for choice, decisions in enumerate(moved):
        met = [group for group in groups if group[1] & decisions]
        members = (*(c for group in met for c in group[0]), choice)
        groups = [group for group in groups if group not in met]
        groups.append((tuple(sorted(members)), decisions.union(*(group[1] for group in met))))
    return tuple(sorted(members for members, _ in groups))
