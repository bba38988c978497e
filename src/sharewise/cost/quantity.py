"""Quantities: what an architecture costs, and a budget can bound."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, final

from sharewise.cost.architectures import Layered
from sharewise.cost.network import trainable
from sharewise.cost.supernet import SupernetCost
from sharewise.space import Architecture

__all__ = ["MultiplyAccumulates", "Parameters", "Quantity"]


class Quantity(ABC):
    """Something that an architecture costs, and that a budget can bound."""

    name: ClassVar[str]
    """In words, for messages."""
    option: ClassVar[str]
    """The option of the command line that bounds it."""

    @abstractmethod
    def price(self, costs: SupernetCost) -> Callable[[Architecture], float]:
        """The cost of single architectures.

        Args:
            costs: of the supernet that is searched.
        """

    def layered(self, costs: SupernetCost) -> Layered | None:
        """The same cost by parts of the network, in whole numbers; `None` where only the whole has a price."""
        return None


@final
@dataclass(frozen=True)
class Parameters(Quantity):
    """Trainable parameters of the extracted network; tied ones count once."""

    name: ClassVar[str] = "parameters"
    option: ClassVar[str] = "max_parameters"

    def price(self, costs: SupernetCost) -> Callable[[Architecture], float]:
        """See `Quantity.price`."""
        return costs.parameters

    def layered(self, costs: SupernetCost) -> Layered:
        """By name of the parameter."""
        return lambda architecture: trainable(costs.network(architecture))


@final
@dataclass(frozen=True)
class MultiplyAccumulates(Quantity):
    """Multiply-accumulates of the extracted network on one example."""

    name: ClassVar[str] = "multiply-accumulates"
    option: ClassVar[str] = "max_macs"

    def price(self, costs: SupernetCost) -> Callable[[Architecture], float]:
        """See `Quantity.price`."""
        return costs.multiply_accumulates

    def layered(self, costs: SupernetCost) -> Layered:
        """By operation."""
        return costs.units
