"""Layers of torch's own classes that compute by the forms of this package, whoever calls them.

A cell calls these forms by itself. A layer elsewhere, in a plain network or around the cells, is called by code that
knows torch alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from sharewise.supernet import native
from sharewise.supernet.calls import OwnForm
from sharewise.supernet.convolution import convolve_layer, is_between_zeros
from sharewise.supernet.pooling import average, is_centred_average
from sharewise.supernet.slices.norms import scaled_batch_norm

__all__ = ["by_kernels", "computed"]


def _normed(layer: nn.BatchNorm2d, x: Tensor) -> Tensor:
    layer._check_input_dim(x)
    if x.shape[1] != layer.num_features:
        return nn.BatchNorm2d.forward(layer, x)  # which says so
    return scaled_batch_norm(layer, x, None)


_FORMS: Mapping[type[nn.Module], Callable[[Any, Tensor], Tensor]] = MappingProxyType(
    {nn.AvgPool2d: average, nn.BatchNorm2d: _normed, nn.Conv2d: convolve_layer}
)


def computed(layer: nn.Module, x: Tensor) -> Tensor:
    """What a layer computes, by the form of this package.

    Args:
        layer: an average of 3×3, a batch norm or a convolution between zeros, of torch's own class.
        x: shape `(n, channels, height, width)`.
    """
    return _FORMS[type(layer)](layer, x)


def _computed(layer: nn.Module, x: Tensor) -> Tensor:
    """The same where kernels are on and nobody looks: a copy of a layer may outlive its block."""
    if native.enabled() and not native.is_watched():
        return computed(layer, x)
    y: Tensor = type(layer).forward(layer, x)
    return y


def _has_form(layer: nn.Module) -> bool:
    """Whether a layer is of torch's own class and form, and of a kind that has a form here."""
    if type(layer) not in _FORMS or "forward" in vars(layer):
        return False
    if isinstance(layer, nn.Conv2d) and not is_between_zeros(layer):
        return False
    return not isinstance(layer, nn.AvgPool2d) or is_centred_average(layer)


@contextmanager
def by_kernels(network: nn.Module) -> Iterator[None]:
    """Within the block compiled kernels compute the layers of a network that they know, whoever calls these.

    Args:
        network: any module; a layer whose `forward` is somebody's own keeps it.

    Raises:
        ConfigurationError: when they cannot be compiled here.
    """
    made: dict[nn.Module, OwnForm] = {}
    with native.native_kernels():
        try:
            for layer in filter(_has_form, _layers(network)):
                made[layer] = vars(layer)["forward"] = OwnForm(_computed, layer)
            yield
        finally:
            for layer, form in made.items():
                if vars(layer).get("forward") is form:
                    del vars(layer)["forward"]


def _layers(network: nn.Module) -> Iterator[nn.Module]:
    """All modules of a network, a few times as fast as `modules`, which makes their names: every step may ask."""
    found, ahead = {network}, [network]
    while ahead:
        module = ahead.pop()
        yield module
        new = [part for part in module._modules.values() if part is not None and part not in found]
        found.update(new)
        ahead += new
