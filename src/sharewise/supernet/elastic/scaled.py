"""Layers of a model whose inputs alone are scaled: an architecture step computes no gradient of their weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual

from sharewise.supernet import native
from sharewise.supernet.calls import OwnForm, must_be_called
from sharewise.supernet.convolution import is_between_zeros
from sharewise.supernet.slices.superposed import Window, scales_inputs, superposed_convolution, superposed_linear
from sharewise.supernet.trilinear import in_both_directions

__all__ = ["scaled_form"]


def scaled_form(layer: nn.Module, weight: Tensor, scale: Tensor, product: Tensor) -> OwnForm | None:
    """What a layer computes with the weight W ⊙ s, where its gradient of s is found without that of W.

    Args:
        layer: any module.
        weight: W, its slice.
        scale: s, which extends to the shape of W.
        product: W ⊙ s, which the layer holds as its weight; where that is another or has been changed when the layer is
            called, it computes as ever.

    Returns:
        To be called in the place of its `forward`; `None` where that is to stay: of layers that are not of torch's own
        class and form or that somebody listens to, and where s asks for no gradient or scales more than inputs.
    """
    form = _FORMS.get(type(layer))
    if form is None or not (torch.is_grad_enabled() and scale.requires_grad and scales_inputs(weight, scale)):
        return None
    if must_be_called(layer) or native.is_watched() or torch.compiler.is_compiling():
        return None
    version = product._version

    def computed(x: Tensor) -> Tensor:
        held = layer._parameters["weight"] is product and product._version == version
        if held and x.dim() >= weight.dim() and not any(map(_has_tangent, (x, weight, scale))):
            return form(layer, weight, scale, x)
        y: Tensor = type(layer).forward(layer, x)
        return y

    return OwnForm(computed)


def _has_tangent(x: Tensor) -> bool:
    """Whether it is differentiated in forward mode, which the form does not know."""
    return unpack_dual(x).tangent is not None  # type: ignore[no-untyped-call]


def _linear(layer: nn.Linear, weight: Tensor, scale: Tensor, x: Tensor) -> Tensor:
    return superposed_linear(x, weight, scale, layer.bias)


def _convolution(layer: nn.Conv2d, weight: Tensor, scale: Tensor, x: Tensor) -> Tensor:
    if is_between_zeros(layer):
        moves = in_both_directions(layer.stride, layer.padding, layer.dilation)
        if all(down == across for down, across in moves):
            stride, padding, dilation = (move[0] for move in moves)
            return superposed_convolution(x, weight, scale, layer.bias, Window(stride, padding, dilation, layer.groups))
    return nn.Conv2d.forward(layer, x)


_FORMS: dict[type[nn.Module], Callable[[Any, Tensor, Tensor, Tensor], Tensor]] = {
    nn.Linear: _linear,
    nn.Conv2d: _convolution,
}
