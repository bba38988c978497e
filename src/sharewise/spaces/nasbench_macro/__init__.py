"""NAS-Bench-Macro: `space.py` (values, no torch), `network.py` (the plain network), `supernet.py`."""

from sharewise.spaces.nasbench_macro.space import nasbench_macro

__all__ = ["nasbench_macro"]
