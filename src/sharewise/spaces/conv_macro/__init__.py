"""Conv-macro: `space.py` (values, no torch), `network.py` (the plain network), `supernet.py` (entangled)."""

from sharewise.spaces.conv_macro.space import conv_macro

__all__ = ["conv_macro"]
