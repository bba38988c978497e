"""The supernet of AttentiveNAS: the largest network, of which every architecture is a slice.

All blocks of a stage have one width, kernel and expansion. Middle channels follow the width that a block reads and the
expansion, squeezed ones the middle channels; all are the leading ones, kernels the centres, depths the first blocks.

The shortcut of a stage's first block is projected where the widths before and behind it differ. Where they are equal it
passes, which no slice of a convolution does: there the projection is left out (`bypassed`), and its weights are those
of unequal widths alone. Between stages whose widths are never equal it is a slice like any other.

Deviations:
    The authors start the last norm of every block at zero, and drop blocks at random while they train
    (`zero_residual_block_bn_weights`, `drop_connect`); here neither is done. They hold a projection for every block,
    of which those of equal widths are never executed; here there are none but those that some architecture executes.
    Under a mixture, which they do not have, the shortcut is the sum of what passes and of what is projected, each times
    the weight of the pairs of widths that have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import final

from torch import nn

from sharewise.space import Architecture, Option, Space
from sharewise.spaces.attentivenas.space import STAGES, setting
from sharewise.spaces.limits import AT_LEAST_ONE, MULTIPLIER, PROBABILITY, keep_limits
from sharewise.spaces.mobilenetv3.network import (
    AttentiveNetwork,
    Row,
    divisible,
    initialise,
    middle_channels,
    projection,
    squeezed_channels,
)
from sharewise.spaces.mobilenetv3.supernet import example, image_channels
from sharewise.supernet.elastic import Choices, bypassed, depth, elastic_networks, following, kernel

__all__ = ["NETWORKS", "AttentiveNasOptions"]


@final
@dataclass(frozen=True)
class AttentiveNasOptions:
    """Options of the network, none of which is part of an architecture's identity.

    Args:
        width_multiplier: of all numbers of channels.
        multiple: to a multiple of which numbers of channels are rounded; 8 in the authors' code, less for small ones.
        dropout: probability before the classifier, in [0, 1).
        published: whether the shared weights are superposed as in TangleNAS, which scales a channel where it is written
            and where it is read, or once (default).
        recompute: whether blocks are computed a second time in the backward pass instead of kept, for less memory.
    """

    width_multiplier: float = 1.0
    multiple: int = 8
    dropout: float = 0.2
    published: bool = False
    recompute: bool = False

    def __post_init__(self) -> None:
        keep_limits(self, width_multiplier=MULTIPLIER, multiple=AT_LEAST_ONE, dropout=PROBABILITY)

    def channels(self, width: Option) -> int:
        """How many channels there are for an option of a width."""
        return divisible(int(str(width)) * self.width_multiplier, self.multiple)

    def middle(self, width: Option, expansion: Option) -> int:
        """Middle channels of a block that reads a width."""
        return middle_channels(self.channels(width), int(str(expansion)), self.multiple)

    def squeezed(self, width: Option, expansion: Option) -> int:
        """Squeezed channels of a block that reads a width."""
        return squeezed_channels(self.middle(width, expansion), self.multiple)

    def equal(self, before: Option, after: Option) -> bool:
        """Whether two widths are equally many channels."""
        return self.channels(before) == self.channels(after)


def _plain(
    architecture: Architecture, input_shape: Sequence[int], outputs: int, options: AttentiveNasOptions
) -> nn.Module:
    rows: list[Row] = [
        (
            setting(architecture, "depth", n),
            options.channels(architecture[f"width_{n}"]),
            setting(architecture, "kernel", n),
            setting(architecture, "expansion", n),
        )
        for n in range(1, len(STAGES) + 1)
    ]
    return AttentiveNetwork(
        options.channels(architecture["width_first"]),
        rows,
        [stage.stride for stage in STAGES],
        [stage.excited for stage in STAGES],
        options.channels(architecture["width_last"]),
        image_channels("attentivenas", input_shape),
        outputs,
        options.dropout,
        options.multiple,
    )


def _widths(number: int) -> tuple[str, str]:
    """The choices of what a stage, counted from 1, reads and writes."""
    return f"width_{number - 1}" if number > 1 else "width_first", f"width_{number}"


def _sometimes_equal(space: Space, number: int, options: AttentiveNasOptions) -> bool:
    """Whether some architectures project the shortcut of a stage, and some do not."""
    return len({options.equal(*pair) for pair in product(*(space[name].options for name in _widths(number)))}) > 1


def _shared(space: Space, input_shape: Sequence[int], outputs: int, options: AttentiveNasOptions) -> nn.Module:
    """The largest network, with the projections that smaller ones alone execute."""
    largest = space.architecture({choice.name: choice.options[-1] for choice in space.choices})
    network = _plain(largest, input_shape, outputs, options)
    for number in range(1, len(STAGES) + 1):
        before, after = (options.channels(largest[name]) for name in _widths(number))
        if before == after and _sometimes_equal(space, number, options):
            project = projection(before, after)
            initialise(project)
            network.get_submodule(f"stages.{number - 1}.0").add_module("project", project)
    return network


def _choices(space: Space, options: AttentiveNasOptions) -> dict[str, Choices]:
    def sizes(name: str) -> list[int]:
        return [int(str(option)) for option in space[name].options]

    found: dict[str, Choices] = {
        "stem.0": following("width_first", size=options.channels),
        "final.0": following(_widths(len(STAGES))[1], size=lambda width: 6 * options.channels(width)),
        "features.0": following("width_last", size=options.channels),
    }
    for number in range(1, len(STAGES) + 1):
        path, depths, (before, after) = f"stages.{number - 1}", sizes(f"depth_{number}"), _widths(number)
        found[f"{path}.*"] = depth(depths, name=f"depth_{number}")
        found[f"{path}.0.body.project.0"] = following(after, size=options.channels)
        if _sometimes_equal(space, number, options):
            found[f"{path}.0.project"] = bypassed(before, after, where=options.equal)
        for block in range(depths[-1]):
            where = f"{path}.{block}" if block else f"{path}.0.body"
            found[f"{where}.depthwise.0"] = kernel(sizes(f"kernel_{number}"), name=f"kernel_{number}")
            found |= _within(where, after if block else before, number, options)
    return found


def _within(path: str, width: str, number: int, options: AttentiveNasOptions) -> dict[str, Choices]:
    """What follows the width that a block reads and the expansion of its stage, by path."""
    stage, layers = STAGES[number - 1], {"expand.0": options.middle}
    if stage.excited:
        layers["excite.reduce"] = options.squeezed
    if len(stage.expansion) > 1:
        return {f"{path}.{name}": following(width, f"expansion_{number}", size=size) for name, size in layers.items()}
    [only] = stage.expansion
    if only == 1:
        return {}
    return {
        f"{path}.{name}": following(width, size=lambda read, size=size: size(read, only))
        for name, size in layers.items()
    }


NETWORKS = elastic_networks(_plain, _choices, shared=_shared, options=AttentiveNasOptions, example=example)
