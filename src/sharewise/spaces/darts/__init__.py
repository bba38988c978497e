"""The cells of DARTS: `space.py` and `fair.py` (values, no torch), `network.py` (plain), `supernet.py` (shared)."""

from sharewise.spaces.darts.fair import fair
from sharewise.spaces.darts.space import REDUCED, darts, reduced

__all__ = ["REDUCED", "darts", "fair", "reduced"]
