"""Layers of torch's own classes that compute by the forms of this package, whoever calls them.

A cell calls these forms by itself. A layer elsewhere, in a plain network or around the cells, is called by code that
knows torch alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from sharewise.supernet.convolution import convolve_layer
from sharewise.supernet.native import native_kernels
from sharewise.supernet.pooling import average, is_centred_average
from sharewise.supernet.slices.norms import scaled_batch_norm

__all__ = ["by_kernels", "computing"]


def _normed(layer: nn.BatchNorm2d, x: Tensor) -> Tensor:
    layer._check_input_dim(x)
    return scaled_batch_norm(layer, x, None)


_FORMS: Mapping[type[nn.Module], Callable[[Any, Tensor], Tensor]] = MappingProxyType(
    {nn.AvgPool2d: average, nn.BatchNorm2d: _normed, nn.Conv2d: convolve_layer}
)


def _has_form(layer: nn.Module) -> bool:
    """Whether a layer is of torch's own class and form, and of a kind that has a form here."""
    if isinstance(layer, nn.Conv2d) and (layer.padding_mode != "zeros" or isinstance(layer.padding, str)):
        return False
    if isinstance(layer, nn.AvgPool2d) and not is_centred_average(layer):
        return False
    return type(layer) in _FORMS and "forward" not in vars(layer)


@contextmanager
def by_kernels(network: nn.Module) -> Iterator[None]:
    """Within the block compiled kernels compute the layers of a network that they know, whoever calls these.

    Args:
        network: any module.

    Raises:
        ConfigurationError: when they cannot be compiled here.
    """
    with native_kernels(), computing(network):
        yield


@contextmanager
def computing(network: nn.Module) -> Iterator[None]:
    """Within the block layers of torch's own compute by the forms of this package, where these know them.

    Args:
        network: any module; a layer whose `forward` is somebody's own keeps it.

    Example:
        >>> import torch
        >>> layer = nn.Conv2d(2, 2, 5, padding=2, groups=2, bias=False).to(memory_format=torch.channels_last)
        >>> with computing(layer):
        ...     y = layer(torch.ones(1, 2, 6, 6).contiguous(memory_format=torch.channels_last))
        >>> type(y.grad_fn).__name__
        '_ImageBackward'
    """
    changed = [layer for layer in network.modules() if _has_form(layer)]
    for layer in changed:
        layer.forward = partial(_FORMS[type(layer)], layer)
    try:
        yield
    finally:
        for layer in changed:
            vars(layer).pop("forward", None)
