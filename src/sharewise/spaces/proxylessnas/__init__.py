"""ProxylessNAS of Once-for-All: `space.py` (values, no torch), `network.py` (the plain network), `supernet.py`."""

from sharewise.spaces.proxylessnas.space import proxylessnas

__all__ = ["proxylessnas"]
