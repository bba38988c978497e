"""AttentiveNAS: `space.py` (values, no torch), `network.py` (the plain network), `networks.py` (no supernet)."""

from sharewise.spaces.attentivenas.space import attentivenas

__all__ = ["attentivenas"]
