"""The networks of the wider space of Fair-DARTS: the supernet of the DARTS cells, and narrower plain networks."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Space
from sharewise.spaces.darts.fair import wide_cells_of
from sharewise.spaces.darts.supernet import DartsOptions, DartsSupernet, plain_network
from sharewise.supernet import Networks

__all__ = ["NETWORKS"]


def _plain(architecture: Architecture, input_shape: Sequence[int], outputs: int, options: DartsOptions) -> nn.Module:
    return plain_network(wide_cells_of(architecture), input_shape, outputs, options)


def _supernet(space: Space, input_shape: Sequence[int], outputs: int, options: DartsOptions) -> DartsSupernet:
    if options.sharing != "disjoint":
        raise ConfigurationError(
            f"network option sharing must be 'disjoint' in space 'darts:fair', got {options.sharing!r}: a cell may "
            "have both kernels of a convolution on one edge, where neither lies within the other; leave it out, or "
            "take space 'darts'"
        )
    return DartsSupernet(space, input_shape, outputs, options, wide_cells_of)


NETWORKS = Networks(options=DartsOptions, supernet=_supernet, plain=_plain, input_kinds=("image",))
