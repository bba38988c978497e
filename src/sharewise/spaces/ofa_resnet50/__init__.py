"""ResNet-50D of Once-for-All: `space.py` (values, no torch), `network.py` (the plain network), `supernet.py`."""

from sharewise.spaces.ofa_resnet50.space import ofa_resnet50

__all__ = ["ofa_resnet50"]
