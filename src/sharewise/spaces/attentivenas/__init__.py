"""AttentiveNAS: `space.py` (values, no torch) and `supernet.py`; its plain network is with MobileNetV3."""

from sharewise.spaces.attentivenas.space import attentivenas

__all__ = ["attentivenas"]
