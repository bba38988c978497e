"""AttentiveNAS: `space.py` (values, no torch), `networks.py` (no supernet); its network is with MobileNetV3."""

from sharewise.spaces.attentivenas.space import attentivenas

__all__ = ["attentivenas"]
