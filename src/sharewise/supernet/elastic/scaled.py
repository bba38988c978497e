"""Layers of a model whose inputs alone are scaled: an architecture step computes no gradient of their weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sharewise.supernet import native
from sharewise.supernet.calls import OwnForm
from sharewise.supernet.slices.superposed import Window, scales_inputs, superposed_convolution, superposed_linear
from sharewise.supernet.trilinear import in_both_directions

__all__ = ["scaled_form"]


def scaled_form(layer: nn.Module, weight: Tensor, scale: Tensor) -> Callable[[Tensor], Tensor] | None:
    """What a layer computes with the weight W ⊙ s, where its gradient of s is found without that of W.

    Args:
        layer: any module.
        weight: W, its slice.
        scale: s, which extends to the shape of W.

    Returns:
        To be called in the place of its `forward`; `None` where that is to stay: of layers that are not of torch's own
        class and form, and where s asks for no gradient or scales more than inputs.
    """
    form = _FORMS.get(type(layer))
    if form is None or not (torch.is_grad_enabled() and scale.requires_grad and scales_inputs(weight, scale)):
        return None
    replaced = not isinstance(vars(layer).get("forward", _OWN), OwnForm)
    return None if replaced or native.is_watched() else form(layer, weight, scale)


def _linear(layer: nn.Linear, weight: Tensor, scale: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: superposed_linear(x, weight, scale, layer.bias)


def _convolution(layer: nn.Conv2d, weight: Tensor, scale: Tensor) -> Callable[[Tensor], Tensor] | None:
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return None
    moves = in_both_directions(layer.stride, layer.padding, layer.dilation)
    if any(down != across for down, across in moves):
        return None
    stride, padding, dilation = (move[0] for move in moves)
    window = Window(stride, padding, dilation, layer.groups)
    return lambda x: superposed_convolution(x, weight, scale, layer.bias, window)


_FORMS: dict[type[nn.Module], Callable[[Any, Tensor, Tensor], Callable[[Tensor], Tensor] | None]] = {
    nn.Linear: _linear,
    nn.Conv2d: _convolution,
}
_OWN = OwnForm(nn.Module.forward)
