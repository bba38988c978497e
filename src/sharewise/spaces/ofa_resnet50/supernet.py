"""The supernet of ResNet-50D: the largest network, of which every architecture is a slice.

The channels of a stage are one decision for all its blocks, since they are added. Middle channels follow that decision
and the block's own expansion: under a mixture position j survives by Σ_{w, e} g_w g_e [j < n(w, e)].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import nn

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Option, Space
from sharewise.spaces.mobilenetv3.network import divisible
from sharewise.spaces.mobilenetv3.supernet import example, image_channels
from sharewise.spaces.ofa_resnet50.network import Network, middle_channels, stage_channels, stem_channels
from sharewise.spaces.ofa_resnet50.space import BLOCKS
from sharewise.supernet.elastic import Choices, depth, elastic_networks, following

__all__ = ["NETWORKS", "ResNetOptions"]


@final
@dataclass(frozen=True)
class ResNetOptions:
    """Options of the network, none of which is part of an architecture's identity.

    Args:
        width: multiplies all numbers of channels, which are rounded to multiples of eight.
        dropout: probability before the classifier, in [0, 1).
        published: whether the shared weights are superposed as in TangleNAS, which scales a channel where it is written
            and where it is read, or once (default).
    """

    width: float = 1.0
    dropout: float = 0.0
    published: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.width <= 8:
            raise ConfigurationError(f"network option width must lie in (0, 8], got {self.width}")
        if not 0 <= self.dropout < 1:
            raise ConfigurationError(f"network option dropout must lie in [0, 1), got {self.dropout}")


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
        options.width,
        options.dropout,
    )


def _choices(space: Space, options: ResNetOptions) -> dict[str, Choices]:
    found: dict[str, Choices] = {
        "enter.0": following("width_middle", size=lambda w: divisible(stem_channels(w * options.width) // 2)),
        "again.*": depth([0, 1], name="depth_stem"),
        "leave.0": following("width_stem", size=lambda w: stem_channels(w * options.width)),
    }
    for stage, least in enumerate(BLOCKS):
        name, depths = f"width_{stage + 1}", space[f"depth_{stage + 1}"].options

        def channels(width: float, stage: int = stage) -> int:
            return stage_channels(stage, width * options.width)

        def middle(width: float, expansion: float, stage: int = stage) -> int:
            return middle_channels(stage_channels(stage, width * options.width), expansion)

        found[f"stages.{stage}.*"] = depth(map(_number, depths), name=f"depth_{stage + 1}")
        found[f"stages.{stage}.0.expand.0"] = following(name, size=channels)
        for block in range(least + 2):
            expansion = f"expansion_{stage + 1}_{block + 1}"
            found[f"stages.{stage}.{block}.reduce.0"] = following(name, expansion, size=middle)
    return found


NETWORKS = elastic_networks(_network, _choices, options=ResNetOptions, example=example)
