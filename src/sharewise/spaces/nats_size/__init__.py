"""NATS-Bench size space: `space.py` (values, no torch), `network.py` (the plain network), `supernet.py`."""

from sharewise.spaces.nats_size.space import nats_size

__all__ = ["nats_size"]
