"""MobileNetV3 of Once-for-All: `space.py` (values, no torch), `network.py` (the plain network), `supernet.py`."""

from sharewise.spaces.mobilenetv3.space import mobilenetv3

__all__ = ["mobilenetv3"]
