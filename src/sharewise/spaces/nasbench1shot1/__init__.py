"""NAS-Bench-1Shot1: `topology.py` and `space.py` (values), `relaxation.py`, `network.py` and `supernet.py` (torch)."""

from sharewise.spaces.nasbench1shot1.space import nasbench1shot1
from sharewise.spaces.nasbench1shot1.topology import DESIGNS

__all__ = ["DESIGNS", "nasbench1shot1"]
