"""Language models (TangleNAS): `space.py` (values, no torch), `network.py` (the plain network), `supernet.py`."""

from sharewise.spaces.language_model.space import language_model

__all__ = ["language_model"]
