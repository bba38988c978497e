"""The supernet of vision transformers: the largest network, of which every architecture is a slice.

Tokens have one width for all layers; heads and hidden features nest within a layer. The mixture of hidden widths
⌊features · ratio⌋ superposes the combinations of both choices, Σ g_features g_ratio; layer norms weigh their statistics
by the survival of features.

Deviations:
    AutoFormer keeps the biases of the leading rows of a fused layer, so that queries and keys meet other biases when
    heads are left out; here a bias follows its row. Its tables of a supernet are 256 or 640 wide (tiny, base), of which
    no architecture reads more than 240 or 624; here they are as wide as the widest. Its dropout of tokens is scaled by
    features / largest features; published runs have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import nn

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Space
from sharewise.spaces.limits import AT_LEAST_ONE, PROBABILITY, keep_limits
from sharewise.spaces.transformer_layers import layers_of
from sharewise.spaces.vision_transformer.network import Network
from sharewise.supernet.elastic import Choices, depth, elastic_networks, heads, ratio, width

__all__ = ["NETWORKS", "VisionTransformerOptions", "patch_of"]

_LARGEST_PATCH, _FEWEST_PATCHES = 16, 7


@final
@dataclass(frozen=True)
class VisionTransformerOptions:
    """Options of the network, none of which is part of an architecture's identity.

    Args:
        patch_size: height and width of a patch; by default the largest divisor of the image's height and width up to 16
            that leaves at least 7 patches in each direction: 16 for images of 224, 8 for 64, 4 for 32.
        dropout: probability with which tokens and outputs of linear layers are zeroed, in [0, 1).
        attention_dropout: the same of weights of attention, in [0, 1).
        stochastic_depth: probability with which a branch of the last layer is left out for an example, in [0, 1); it
            rises linearly from 0 in the first layer of the deepest network.
        published: whether the shared weights are superposed as the authors of TangleNAS do, who scale a dimension where
            it is written and where it is read, or once (default).
        recompute: whether layers are computed a second time in the backward pass instead of kept, for less memory.
    """

    patch_size: int | None = None
    dropout: float = 0.0
    attention_dropout: float = 0.0
    stochastic_depth: float = 0.1
    published: bool = False
    recompute: bool = False

    def __post_init__(self) -> None:
        keep_limits(self, dropout=PROBABILITY, attention_dropout=PROBABILITY, stochastic_depth=PROBABILITY)
        if self.patch_size is not None:
            keep_limits(self, patch_size=AT_LEAST_ONE)


def patch_of(height: int, width: int) -> int:
    """The patches that fit an image: as large as 16, and so small that 7 stand in a row where the image has as many.

    Args:
        height: of the image.
        width: of the image.

    Example:
        >>> [patch_of(size, size) for size in (224, 64, 32, 28, 8, 5)]
        [16, 8, 4, 4, 1, 1]
    """
    most = min(_LARGEST_PATCH, height // _FEWEST_PATCHES, width // _FEWEST_PATCHES)
    return next((size for size in range(most, 0, -1) if height % size == width % size == 0), 1)


def _network(
    architecture: Architecture, input_shape: Sequence[int], outputs: int, options: VisionTransformerOptions
) -> nn.Module:
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise ConfigurationError(
            f"vision transformers take images of shape (channels, height, width), got {tuple(input_shape)}"
        )
    channels, height, breadth = input_shape
    patch = patch_of(height, breadth) if options.patch_size is None else options.patch_size
    if height % patch or breadth % patch:
        raise ConfigurationError(
            f"network option patch_size must divide the height and width of images, {height} and {breadth}, got "
            f"{patch}; leave it out for {patch_of(height, breadth)}, or resize the images (--image-size)"
        )
    ratios, numbers = zip(*layers_of(architecture), strict=True)
    return Network(
        int(str(architecture["embedding"])),
        ratios,
        numbers,
        (channels, height, breadth),
        outputs,
        patch,
        options.dropout,
        options.attention_dropout,
        _rates(options.stochastic_depth, architecture, len(numbers)),
    )


def _rates(last: float, architecture: Architecture, layers: int) -> tuple[float, ...]:
    """Of the layers that are there, as the deepest network has them."""
    from sharewise.spaces import load

    deepest = int(str(load(architecture.space)["layers"].options[-1]))
    return tuple(last * layer / max(1, deepest - 1) for layer in range(layers))


def _choices(space: Space, options: VisionTransformerOptions) -> dict[str, list[Choices]]:
    layers = range(1, int(str(space["layers"].options[-1])) + 1)

    def numbers(name: str) -> list[float]:
        return [float(str(option)) for option in space[name].options]

    chosen: dict[str, list[Choices]] = {
        "layers.*": [depth([int(n) for n in numbers("layers")], name="layers")],
        "patches": [width([int(n) for n in numbers("embedding")], name="embedding")],
    }
    for i in layers:
        path = f"layers.{i - 1}"
        chosen[f"{path}.attention"] = [heads([int(n) for n in numbers(f"heads_{i}")], name=f"heads_{i}")]
        chosen[f"{path}.perceptron"] = [ratio(numbers(f"mlp_ratio_{i}"), of="embedding", name=f"mlp_ratio_{i}")]
    return chosen


NETWORKS = elastic_networks(_network, _choices, options=VisionTransformerOptions)
