"""The cell space of DARTS: `space.py` (values, no torch), `network.py` (the plain network), `supernet.py` (its shared form)."""

from sharewise.spaces.darts.space import REDUCED, darts, reduced

__all__ = ["REDUCED", "darts", "reduced"]
