"""Samplers: distributions that do not learn."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.optim import Optimizer

from sharewise.distribution.distribution import Distribution
from sharewise.distribution.factored import drawable, option_mask, require_independent
from sharewise.distribution.phase import Phase
from sharewise.distribution.schedule import Bounded, Schedule
from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Option, Relaxation, Space, sample
from sharewise.supernet.gate import Gate, Gates, discrete
from sharewise.supernet.own_loop import host_rng

__all__ = ["FairSampler", "ProportionalSampler", "Sampler", "Undecided", "UniformSampler", "host_rng"]


class Sampler(Distribution):
    """A distribution without parameters."""

    def probabilities(self) -> Mapping[str, Tensor]:
        """Nothing: a sampler has no parameters to report."""
        return {}

    def optimizer(self) -> Optimizer | None:
        """Nothing to learn."""
        return None

    def restrict(self, keep: Mapping[str, Tensor]) -> None:
        """Not possible: the space decides what is drawn."""
        raise ConfigurationError(
            "a sampler cannot be pruned in a stage; exclude options from the start, or learn a distribution"
        )


class PathSampler(Sampler):
    """Whole architectures, one or more per batch.

    Args:
        relaxation: encodes the drawn architectures.
        paths: how many architectures share a batch; at least 1.
        exclude: options that are never drawn.
        path_dropout: probability in [0, 1) over the epochs, with which a decision that has the option `none` is left
            out of a weight step, as if that had been drawn.

    Raises:
        ConfigurationError: when a number is out of range, or no decision can be left out.
    """

    def __init__(
        self,
        relaxation: Relaxation,
        paths: int = 1,
        exclude: tuple[Option, ...] = (),
        path_dropout: Schedule | None = None,
    ) -> None:
        super().__init__()
        if paths < 1:
            raise ConfigurationError(f"a sampler draws at least 1 path per batch, got paths={paths}")
        self.relaxation, self.paths, self.path_dropout = relaxation, paths, path_dropout
        self._optional = {d.name for d in relaxation.decisions if "none" in d.options}
        if path_dropout is not None and not self._optional:
            raise ConfigurationError(
                f"path dropout leaves out decisions that can be 'none', but space {relaxation.space.name!r} has no "
                "such decision; set path_dropout to 0"
            )
        option_mask(relaxation.decisions, exclude)  # rejects options that exist nowhere
        self.space = drawable(relaxation, exclude)

    @abstractmethod
    def pick(self, rng: np.random.Generator) -> Architecture:
        """One architecture."""

    def draw(self, generator: torch.Generator, phase: Phase) -> list[Gates]:
        """As many sets of one-hot gates as there are paths."""
        rng = host_rng(generator)
        paths = [discrete(self.relaxation.encode(self.pick(rng))) for _ in range(self.paths)]
        if self.path_dropout is None or phase.step != "weights":
            return paths
        rate = Bounded(self.path_dropout, below=1.0).at("path dropout", phase.epoch, phase.epochs)
        return [
            {n: _silent(gate) if n in self._optional and rng.random() < rate else gate for n, gate in gates.items()}
            for gates in paths
        ]

    def sample(self, generator: torch.Generator) -> Architecture:
        """One architecture."""
        return self.pick(host_rng(generator))


@final
class UniformSampler(PathSampler):
    """Architectures drawn uniformly from the space, one or more per batch.

    Args:
        relaxation: encodes the drawn architectures.
        paths: how many architectures share a batch (AVG-n of *To Share or Not To Share*); at least 1.
        exclude: options that are never drawn.
        path_dropout: probability in [0, 1) over the epochs, with which a decision is left out of a weight step.

    References:
        Z. Guo et al., *Single Path One-Shot*, ECCV 2020 (arXiv 1904.00420), equation 7; L. Li and A. Talwalkar,
        *Random Search and Reproducibility for NAS*, UAI 2019.

    Example:
        >>> from sharewise.spaces import load
        >>> sampler = UniformSampler(load("nasbench201").relaxation)
        >>> [gates] = sampler.draw(torch.Generator().manual_seed(0), Phase("weights"))
        >>> len(gates["edge_0_1"].active)
        1
    """

    def pick(self, rng: np.random.Generator) -> Architecture:
        """Uniform over the space."""
        return sample(self.space, rng)


@final
class ProportionalSampler(PathSampler):
    """Architectures drawn with probability proportional to their size (PRO-RATA).

    p(a) = n(a) / Σ n over the space, n(a) the trainable parameters of the network of a: larger networks, which need
    more training, get more of it. It is drawn exactly, without rejection. Where sizes add over independent choices,
    n(a) = n_0 + Σ_c n_c(a_c), this p is a mixture of simple ones: a term is chosen in proportion to its mean, then its
    option in proportion to n_c, and all other choices uniformly. Where choices depend on each other, n(a) is what the
    listing of the space states, the parameters in its benchmark, and a row is drawn by the running sum of them.

    Args:
        relaxation: encodes the drawn architectures; of a space of independent choices, or one whose listing states the
            parameters of its rows.
        size: n(a); it is evaluated once for every option of every choice, and on a few architectures as a check. It is
            not needed where the listing states sizes.
        paths: how many architectures share a batch; at least 1.
        exclude: options that are never drawn.
        path_dropout: probability in [0, 1) over the epochs, with which a decision is left out of a weight step.

    Raises:
        ConfigurationError: when neither way is open: choices depend on each other without stated sizes, or sizes do
            not add over them.

    References:
        A. Pourchot, A. Ducarouge and O. Sigaud, *To Share or Not To Share* (arXiv 2002.04289), section 3.3; R. Luo et
        al., *Understanding and Improving One-shot NAS*, 2019 (arXiv 1909.10815).

    Example:
        >>> from sharewise.spaces import load
        >>> space = load("toy-tied-width")
        >>> sampler = ProportionalSampler(space.relaxation, lambda a: int(a["width"]))
        >>> sampler.sample(torch.Generator().manual_seed(0))["width"]
        32
    """

    def __init__(
        self,
        relaxation: Relaxation,
        size: Callable[[Architecture], int],
        paths: int = 1,
        exclude: tuple[Option, ...] = (),
        path_dropout: Schedule | None = None,
    ) -> None:
        super().__init__(relaxation, paths, exclude, path_dropout)
        stated = None if self.space.independent else self.space.listing.parameters()
        self._draw = _by_terms(self.space, size) if stated is None else _by_row(self.space, stated)

    def pick(self, rng: np.random.Generator) -> Architecture:
        """In proportion to size."""
        return self._draw(rng)


def _by_row(space: Space, sizes: npt.NDArray[np.int64]) -> Callable[[np.random.Generator], Architecture]:
    """Rows of the listing in proportion to stated sizes."""
    until, listing = np.cumsum(sizes), space.listing
    return lambda rng: listing.at(int(np.searchsorted(until, rng.integers(until[-1]), side="right")))


def _by_terms(space: Space, size: Callable[[Architecture], int]) -> Callable[[np.random.Generator], Architecture]:
    """Independent choices over which sizes add."""
    fixed, prices = _additive(space, size)
    terms = [float(fixed), *(float(price.mean()) for price in prices.values())]

    def pick(rng: np.random.Generator) -> Architecture:
        values = dict(sample(space, rng))
        term = int(rng.choice(len(terms), p=np.array(terms) / sum(terms)))
        if term > 0:
            choice = space.choices[term - 1]
            price = prices[choice.name]
            values[choice.name] = choice.options[int(rng.choice(len(price), p=price / price.sum()))]
        return space.architecture(values)

    return pick


def _silent(gate: Gate) -> Gate:
    return replace(gate, weights=torch.zeros_like(gate.weights), active=())


def _additive(space: Space, size: Callable[[Architecture], int]) -> tuple[int, dict[str, np.ndarray]]:
    """The least size of all, and for every choice what each option adds to it."""
    refusal = f"space {space.name!r} cannot be sampled in proportion to size"
    if space.constraints or any(choice.condition for choice in space.choices):
        raise ConfigurationError(f"{refusal}: it has constraints or conditional choices; sample uniformly")
    first = {choice.name: choice.options[0] for choice in space.choices}
    fixed = size(space.architecture(first))
    prices = {}
    for choice in space.choices:
        sizes = [size(space.architecture({**first, choice.name: option})) for option in choice.options]
        prices[choice.name] = np.array(sizes) - min(sizes)
        fixed -= sizes[0] - min(sizes)
    rng = np.random.default_rng(0)
    for _ in range(5):
        architecture = sample(space, rng)
        total = fixed + sum(prices[c.name][c.options.index(architecture[c.name])] for c in space.choices)
        if total != size(architecture):
            raise ConfigurationError(f"{refusal}: the sizes of its networks do not add over its choices")
    if fixed + sum(int(price.max()) for price in prices.values()) <= 0:
        raise ConfigurationError(f"{refusal}: its networks have no trainable parameters")
    return fixed, prices


@final
class FairSampler(Sampler):
    """Strict fairness: paths that together use every option of every decision equally often.

    With k options per decision, each step draws an independent permutation π_d of the options for every decision and
    trains the k paths a_i = (π_1(i), …, π_D(i)) on the same batch; their gradients are added before one update, so
    that every option is updated exactly once per step. Where decisions differ in size, k is the largest, and the
    smaller ones go on with further permutations: their options are then used equally often up to one.

    Args:
        relaxation: names the decisions, which are drawn independently.
        exclude: options that are never drawn.

    References:
        X. Chu et al., *FairNAS: Rethinking Evaluation Fairness of Weight Sharing NAS*, ICCV 2021 (arXiv 1907.01845),
        definition 3 and algorithm 1.

    Example:
        >>> from sharewise.spaces import load
        >>> paths = FairSampler(load("nasbench201").relaxation).draw(torch.Generator().manual_seed(0), Phase("weights"))
        >>> sorted(gates["edge_0_1"].active[0] for gates in paths)
        [0, 1, 2, 3, 4]
    """

    def __init__(self, relaxation: Relaxation, exclude: tuple[Option, ...] = ()) -> None:
        require_independent(relaxation, "draws the options of each by turns")
        super().__init__()
        self.relaxation, self.space, self.summed = relaxation, drawable(relaxation, exclude), True
        mask = option_mask(relaxation.decisions, exclude)
        self._options = [row.nonzero().flatten().tolist() for row in mask]

    def draw(self, generator: torch.Generator, phase: Phase) -> list[Gates]:
        """One set of one-hot gates per path."""
        rng = host_rng(generator)
        paths = max((len(options) for options in self._options), default=1)
        columns = []
        for options in self._options:
            turns = -(-paths // len(options))
            columns.append(np.concatenate([rng.permutation(options) for _ in range(turns)])[:paths].tolist())
        return [
            {
                d.name: Gate(torch.eye(d.size)[column[path]], (column[path],), unit=True)
                for d, column in zip(self.relaxation.decisions, columns, strict=True)
            }
            for path in range(paths)
        ]

    def sample(self, generator: torch.Generator) -> Architecture:
        """Uniform over the space."""
        return sample(self.space, host_rng(generator))


@final
class Undecided(Sampler):
    """The distribution over no decisions: every draw is one empty set of gates.

    Args:
        relaxation: of a network without decisions.
    """

    constant = True

    def __init__(self, relaxation: Relaxation) -> None:
        super().__init__()
        self.relaxation, self.space = relaxation, relaxation.space

    def draw(self, generator: torch.Generator, phase: Phase) -> list[Gates]:
        """One empty set of gates."""
        return [{}]

    def sample(self, generator: torch.Generator) -> Architecture:
        """The one architecture that there is."""
        return sample(self.space, host_rng(generator))
