"""Whether a layer has to be called, or may be computed by a form of this package that nobody is told of."""

from __future__ import annotations

from functools import partial
from typing import final

from torch import nn
from torch.nn.modules import module as torch_s

__all__ = ["OwnForm", "must_be_called"]

_EVERYWHERE = (
    torch_s._global_forward_hooks,
    torch_s._global_forward_pre_hooks,
    torch_s._global_backward_hooks,
    torch_s._global_backward_pre_hooks,
)
"""Who listens to the calls of all layers; torch adds to these and takes away from them."""


@final
class OwnForm(partial):  # type: ignore[type-arg]
    """The `forward` of a layer, for as long as it computes by a form of this package."""


def must_be_called(layer: nn.Module) -> bool:
    """Whether somebody listens to the calls of a layer, or has given it a `forward` of its own.

    Example:
        >>> layer = nn.ReLU()
        >>> handle = layer.register_forward_hook(lambda *call: None)
        >>> must_be_called(layer), must_be_called(nn.ReLU())
        (True, False)
    """
    hooks = layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks
    replaced = "forward" in vars(layer) and not isinstance(vars(layer)["forward"], OwnForm)
    return bool(hooks) or any(_EVERYWHERE) or replaced
