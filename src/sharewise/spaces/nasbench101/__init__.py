"""NAS-Bench-101: `cell.py` (one cell), `enumeration.py` (all of them), `space.py` (values), `network.py` (torch)."""

from sharewise.spaces.nasbench101.cell import Cell
from sharewise.spaces.nasbench101.enumeration import codes_of
from sharewise.spaces.nasbench101.space import SUBSPACES, architecture_of, cell_of, nasbench101, subspace

__all__ = ["SUBSPACES", "Cell", "architecture_of", "cell_of", "codes_of", "nasbench101", "subspace"]
