"""Roles: which part of the training examples each reader of a search may see.

Single-level and bilevel search differ in nothing but this value. The test examples are no role: they stay
sealed in the data set.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, final, get_args

import torch
from torch import Tensor

from sharewise.data.batch import Batch
from sharewise.data.examples import Examples
from sharewise.data.stream import Stream, evaluation_batches
from sharewise.errors import ConfigurationError, DataError, unknown_name

if TYPE_CHECKING:
    from sharewise.data.dataset import Dataset

__all__ = ["Role", "RoleData", "Roles", "bilevel", "deal", "held_out", "single_level"]

Role = Literal["weights", "architecture", "selection"]


@final
@dataclass(frozen=True)
class Roles:
    """A random partition of the training examples, and the part that each role reads.

    Args:
        parts: fractions of the training set, each positive, with a sum of at most 1.
        weights: index of the part that trains the shared weights.
        architecture: index of the part that trains the architecture parameters; `None` when there are none to
            train.
        selection: index of the part on which architectures are ranked and chosen.

    Raises:
        ConfigurationError: when fractions or indices are out of range.

    Example:
        >>> roles = Roles((0.6, 0.2, 0.2), weights=0, architecture=1, selection=2)
        >>> roles.is_disjoint("architecture", "selection")
        True
    """

    parts: tuple[float, ...]
    weights: int = 0
    architecture: int | None = None
    selection: int = 0

    def __post_init__(self) -> None:
        if not self.parts or not all(part > 0 for part in self.parts) or sum(self.parts) > 1 + 1e-9:
            raise ConfigurationError(
                f"the parts of the training set must be positive fractions with a sum of at most 1, got {self.parts}"
            )
        for role in get_args(Role):
            index = getattr(self, role)
            if index is not None and not 0 <= index < len(self.parts):
                raise ConfigurationError(
                    f"the role {role!r} reads part {index}, but the parts are numbered 0 to {len(self.parts) - 1}"
                )

    def part(self, role: Role) -> int:
        """Find the part that a role reads.

        Args:
            role: the role.

        Returns:
            The index of the part.

        Raises:
            ConfigurationError: when the role is unknown, or reads nothing.

        Example:
            >>> bilevel().part("selection")
            1
        """
        if role not in get_args(Role):
            raise unknown_name("data role", role, get_args(Role))
        index: int | None = getattr(self, role)
        if index is None:
            raise ConfigurationError(
                f"no examples are set aside for the role {role!r}; use roles that give it a part, such as "
                "bilevel() or single_level()"
            )
        return index

    def is_disjoint(self, first: Role, second: Role) -> bool:
        """Tell whether two roles share no example, so that a report can say what a score is worth.

        Args:
            first: a role that reads something.
            second: a role that reads something.

        Returns:
            Whether they read different parts.

        Raises:
            ConfigurationError: when a role is unknown, or reads nothing.

        Example:
            >>> single_level().is_disjoint("weights", "selection")
            False
        """
        return self.part(first) != self.part(second)


def bilevel(fraction: float = 0.5) -> Roles:
    """Train weights on one part and the architecture on the other, as first- and second-order DARTS do.

    Args:
        fraction: of the training set that trains the weights, in (0, 1).

    Returns:
        Roles with two parts; architectures are selected on the part that trains the architecture.

    Raises:
        ConfigurationError: when `fraction` is out of range.

    Example:
        >>> bilevel()
        Roles(parts=(0.5, 0.5), weights=0, architecture=1, selection=1)
    """
    return Roles(_two_parts(fraction), weights=0, architecture=1, selection=1)


def single_level() -> Roles:
    """Train weights and architecture on the same, whole training set (empirical risk minimisation).

    Selection then sees examples on which the weights were trained: its scores are training scores, good for
    ranking at most and never an estimate of generalisation.

    Returns:
        Roles with one part that all of them read.

    Example:
        >>> single_level()
        Roles(parts=(1.0,), weights=0, architecture=0, selection=0)
    """
    return Roles((1.0,), weights=0, architecture=0, selection=0)


def held_out(fraction: float = 0.5) -> Roles:
    """Train weights on one part and rank architectures on the other; there is no architecture to train.

    Args:
        fraction: of the training set that trains the weights, in (0, 1).

    Returns:
        Roles with two parts, as single-path one-shot training and random search with weight sharing use them.

    Raises:
        ConfigurationError: when `fraction` is out of range.

    Example:
        >>> held_out(0.8).architecture is None
        True
    """
    return Roles(_two_parts(fraction), weights=0, architecture=None, selection=1)


def _two_parts(fraction: float) -> tuple[float, float]:
    if not 0 < fraction < 1:
        raise ConfigurationError(
            f"the fraction of the training set that trains the weights must lie in (0, 1), got {fraction}"
        )
    return fraction, 1 - fraction


@final
@dataclass(frozen=True, eq=False)
class RoleData:
    """A data set whose training examples have been dealt out to roles; made by `Dataset.assign`.

    Args:
        dataset: the data set.
        roles: who reads which part.
        indices: for each part, the indices of its training examples, shape `(size,)`, in random order.

    Example:
        >>> from sharewise.data import bilevel, digits
        >>> data = digits().assign(bilevel(), generator=torch.Generator().manual_seed(0))
        >>> data.size("weights"), data.size("architecture")
        (719, 718)
    """

    dataset: Dataset
    roles: Roles
    indices: tuple[Tensor, ...]

    def size(self, role: Role) -> int:
        """Count the examples of a role, so that steps can be planned.

        Args:
            role: the role.

        Returns:
            The number of its examples, at least 1.

        Raises:
            ConfigurationError: when the role reads nothing.

        Example:
            >>> from sharewise.data import digits, single_level
            >>> digits().assign(single_level(), generator=torch.Generator()).size("weights")
            1437
        """
        return len(self.indices[self.roles.part(role)])

    def examples(self, role: Role) -> Examples:
        """Gather the examples of a role as they are stored, for readers that need no batches.

        Args:
            role: the role.

        Returns:
            A copy of its examples, in a fixed random order.

        Raises:
            ConfigurationError: when the role reads nothing.

        Example:
            >>> from sharewise.data import digits, held_out
            >>> data = digits().assign(held_out(), generator=torch.Generator())
            >>> len(data.examples("selection"))
            718
        """
        return self.dataset.train.subset(self.indices[self.roles.part(role)])

    def stream(
        self,
        role: Role,
        batch_size: int,
        *,
        order: torch.Generator,
        augment: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Stream:
        """Start an endless stream of shuffled training batches of a role.

        Args:
            role: the role.
            batch_size: examples per batch, at least 1.
            order: CPU generator that seeds the order of the examples.
            augment: CPU generator that seeds the data set's augmentation; `None` for no augmentation.
            device: where batches are wanted.
            dtype: type of floating-point inputs and targets.

        Returns:
            The stream, which holds its own copy of the examples on `device`.

        Raises:
            ConfigurationError: when the role reads nothing or `batch_size` is out of range.

        Example:
            >>> from sharewise.data import bilevel, digits
            >>> data = digits().assign(bilevel(), generator=torch.Generator().manual_seed(0))
            >>> next(data.stream("weights", 64, order=torch.Generator().manual_seed(1))).inputs.shape
            torch.Size([64, 1, 8, 8])
        """
        dataset = self.dataset
        return Stream(
            self.examples(role),
            batch_size,
            order=order,
            augmentation=dataset.augmentation,
            augment=augment,
            masks=dataset.task.moves == "masks",
            mean=dataset.mean,
            std=dataset.std,
            device=device,
            dtype=dtype,
        )

    def batches(
        self,
        role: Role,
        batch_size: int,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        limit: int | None = None,
    ) -> Iterator[Batch]:
        """Go once through a role's examples for evaluation: the same ones in the same order at every call.

        Args:
            role: the role.
            batch_size: examples per batch, at least 1; the last batch may be smaller.
            device: where batches are wanted.
            dtype: type of floating-point inputs and targets.
            limit: read only so many examples, always the same ones; `None` for all.

        Returns:
            The batches, normalised and without augmentation.

        Raises:
            ConfigurationError: when the role reads nothing, or a number is out of range.

        Example:
            >>> from sharewise.data import digits, held_out
            >>> data = digits().assign(held_out(), generator=torch.Generator().manual_seed(0))
            >>> sum(len(batch.inputs) for batch in data.batches("selection", 100, limit=250))
            250
        """
        return evaluation_batches(
            self.examples(role), self.dataset, batch_size, device=device, dtype=dtype, limit=limit
        )


def deal(dataset: Dataset, roles: Roles, generator: torch.Generator) -> RoleData:
    """Partition the training examples at random by the fractions of `roles`.

    Where examples follow each other (`Dataset.sequential`) every part is one piece of them, seen as a ring that is cut
    at a random place: what stands beside a training example would otherwise tell of the held-out one.

    Args:
        dataset: the data set.
        roles: the parts and who reads them.
        generator: CPU generator of the partition.

    Returns:
        The data by role.

    Raises:
        DataError: when a part would be empty.

    Example:
        >>> from sharewise.data import digits
        >>> [len(part) for part in deal(digits(), Roles((0.5, 0.25)), torch.Generator()).indices]
        [719, 359]
    """
    n = len(dataset.train)
    ends = [math.floor(n * sum(roles.parts[:k]) + 0.5) for k in range(len(roles.parts) + 1)]
    if any(start == end for start, end in pairwise(ends)):
        needed = math.ceil(1 / min(roles.parts) - 1e-9)
        raise DataError(
            f"{n} training examples cannot be split into parts of "
            f"{', '.join(f'{part:g}' for part in roles.parts)}: a part would be empty; give at least "
            f"{needed} training examples, or larger fractions"
        )
    order = torch.randperm(n, generator=generator)
    if not dataset.sequential:
        return RoleData(dataset, roles, tuple(order[start:end] for start, end in pairwise(ends)))
    pieces = ((order[0] + torch.arange(start, end)) % n for start, end in pairwise(ends))
    return RoleData(dataset, roles, tuple(piece[torch.randperm(len(piece), generator=generator)] for piece in pieces))
