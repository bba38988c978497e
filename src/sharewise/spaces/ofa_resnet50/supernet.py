"""The supernet of ResNet-50D: the largest network, of which every architecture is a slice.

The channels of a stage are one decision for all its blocks, since they are added. Middle channels follow that decision
and the block's own expansion: under a mixture position j survives by Σ_{w, e} g_w g_e [j < n(w, e)].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

from torch import nn

from sharewise.space import Architecture, Option, Space
from sharewise.spaces.limits import AT_LEAST_ONE, MULTIPLIER, PROBABILITY, keep_limits
from sharewise.spaces.mobilenetv3.supernet import example, image_channels
from sharewise.spaces.ofa_resnet50.network import Channels, Network
from sharewise.spaces.ofa_resnet50.space import BLOCKS
from sharewise.supernet.elastic import Choices, depth, elastic_networks, following

__all__ = ["NETWORKS", "ResNetOptions"]


@final
@dataclass(frozen=True)
class ResNetOptions:
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
    dropout: float = 0.0
    published: bool = False
    recompute: bool = False

    def __post_init__(self) -> None:
        keep_limits(self, width_multiplier=MULTIPLIER, multiple=AT_LEAST_ONE, dropout=PROBABILITY)


def _ratio(option: Option) -> float:
    return float(str(option))


def _number(option: Option) -> int:
    return int(str(option))


def _network(architecture: Architecture, input_shape: Sequence[int], outputs: int, options: ResNetOptions) -> nn.Module:
    stages = []
    for stage in range(1, len(BLOCKS) + 1):
        blocks = range(1, _number(architecture[f"depth_{stage}"]) + 1)
        expansions = [_ratio(architecture[f"expansion_{stage}_{block}"]) for block in blocks]
        stages.append((_ratio(architecture[f"width_{stage}"]), expansions))
    return Network(
        architecture["depth_stem"] == 1,
        _ratio(architecture["width_middle"]),
        _ratio(architecture["width_stem"]),
        stages,
        image_channels("ofa-resnet50", input_shape),
        outputs,
        options.width_multiplier,
        options.multiple,
        options.dropout,
    )


def _choices(space: Space, options: ResNetOptions) -> dict[str, Choices]:
    sizes = Channels(options.width_multiplier, options.multiple)
    found: dict[str, Choices] = {
        "enter.0": following("width_middle", size=sizes.within_stem),
        "again.*": depth([0, 1], name="depth_stem"),
        "leave.0": following("width_stem", size=sizes.stem),
    }
    for stage in range(len(BLOCKS)):
        name, channels = f"width_{stage + 1}", partial(sizes.stage, stage)
        depths = [_number(option) for option in space[f"depth_{stage + 1}"].options]
        found[f"stages.{stage}.*"] = depth(depths, name=f"depth_{stage + 1}")
        found[f"stages.{stage}.0.expand.0"] = following(name, size=channels)
        for block in range(depths[-1]):
            inside = following(name, f"expansion_{stage + 1}_{block + 1}", size=partial(_bottleneck, sizes, stage))
            found |= {f"stages.{stage}.{block}.{layer}.0": inside for layer in ("reduce", "convolve")}
    return found


def _bottleneck(sizes: Channels, stage: int, width: float, expansion: float) -> int:
    return sizes.bottleneck(sizes.stage(stage, width), expansion)


NETWORKS = elastic_networks(_network, _choices, options=ResNetOptions, example=example)
