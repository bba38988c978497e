"""NAS-Bench-201: `space.py` (values, no torch), `network.py` (the plain network), `supernet.py` (its shared form)."""

from sharewise.spaces.nasbench201.space import architecture_at, index_of, nasbench201

__all__ = ["architecture_at", "index_of", "nasbench201"]
