"""The networks of AttentiveNAS: one plain network an architecture.

There is no supernet. A shortcut between stages is an identity where the two widths chosen are equal and a convolution
where they are not, so that some architectures are no slices of the largest one; the authors' supernet has both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn, final

from torch import nn

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Space
from sharewise.spaces.attentivenas.space import STAGES, setting
from sharewise.spaces.mobilenetv3.network import AttentiveNetwork, Row
from sharewise.spaces.mobilenetv3.supernet import image_channels
from sharewise.supernet import Networks

__all__ = ["NETWORKS", "AttentiveNasOptions"]


@final
@dataclass(frozen=True)
class AttentiveNasOptions:
    """Options of the network, none of which is part of an architecture's identity.

    Args:
        dropout: probability before the classifier, in [0, 1).
    """

    dropout: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise ConfigurationError(f"network option dropout must lie in [0, 1), got {self.dropout}")


def _plain(
    architecture: Architecture, input_shape: Sequence[int], outputs: int, options: AttentiveNasOptions
) -> nn.Module:
    rows: list[Row] = [
        (
            setting(architecture, "depth", n),
            setting(architecture, "width", n),
            setting(architecture, "kernel", n),
            setting(architecture, "expansion", n),
        )
        for n in range(1, len(STAGES) + 1)
    ]
    return AttentiveNetwork(
        int(str(architecture["width_first"])),
        rows,
        [stage.stride for stage in STAGES],
        [stage.excited for stage in STAGES],
        int(str(architecture["width_last"])),
        image_channels("attentivenas", input_shape),
        outputs,
        options.dropout,
    )


def _supernet(space: Space, input_shape: Sequence[int], outputs: int, options: AttentiveNasOptions) -> NoReturn:
    raise ConfigurationError(
        f"space {space.name!r} has no supernet: where two stages are equally wide their shortcut is no slice of a "
        "larger one. `sharewise train` and `sharewise cost` build the network of a single architecture"
    )


NETWORKS = Networks(options=AttentiveNasOptions, supernet=_supernet, plain=_plain, input_kinds=("image",))
