"""ProxylessNAS of Once-for-All: `space.py` (values, no torch), `supernet.py`; its plain network is with MobileNetV3."""

from sharewise.spaces.proxylessnas.space import proxylessnas

__all__ = ["proxylessnas"]
