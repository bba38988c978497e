"""Widening as a surgery: between two stages the operations of a search come to see more channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import torch

from sharewise.cost.replica import shape_copy
from sharewise.engine.surgery import Surgery
from sharewise.errors import ConfigurationError
from sharewise.supernet.widening import partial_operations, widen

if TYPE_CHECKING:
    from sharewise.engine.state import SearchState

__all__ = ["Widening"]


@final
@dataclass(frozen=True)
class Widening(Surgery):
    """Let operations see 1/K' of the channels instead of 1/K: new channels are copies of random old ones.

    Weights, running statistics and the moments of the optimiser are copied, not divided: the function is not preserved,
    the optimiser and its schedule go on. See `sharewise.supernet.widening.widen`.

    Args:
        partial: K', at least 2.

    Raises:
        ConfigurationError: when it is less.

    References:
        X. Chen et al., *DrNAS*, ICLR 2021 (arXiv 2006.10355), section 3.3.
    """

    partial: int

    def __post_init__(self) -> None:
        if self.partial < 2:
            raise ConfigurationError(f"a stage widens to 1/K of the channels, K at least 2, got {self.partial}")

    def check(self, state: SearchState) -> None:
        """Refuse a network without partial channels, one that sees as many already, and operations of fixed width."""
        found = {edge.parts for edge in partial_operations(state.supernet).values()}
        if not found or self.partial >= min(found):
            seen = f"1/{min(found)}" if found else "all"
            raise ConfigurationError(
                f"a stage that widens operations to 1/{self.partial} of the channels widens nothing, since they see "
                f"{seen} of them; set the network option partial to more than {self.partial}"
            )
        widen(shape_copy(state.supernet), self.partial, torch.Generator())

    def decide(self, state: SearchState, generator: torch.Generator) -> Mapping[str, Any]:
        """K', and the seed of the copied channels, which are too many to be written out."""
        return {"partial": self.partial, "copies": int(torch.randint(2**31, (), generator=generator))}

    def apply(self, state: SearchState, record: Mapping[str, Any]) -> None:
        """See the class."""
        generator = torch.Generator().manual_seed(record["copies"])
        state.rebind_weights(widen(state.supernet, record["partial"], generator))
