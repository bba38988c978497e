"""A toy cell of separable and dilated convolutions: `space.py` (values), `network.py` (plain), `supernet.py`."""

from sharewise.spaces.toy_separable_cell.space import toy_separable_cell

__all__ = ["toy_separable_cell"]
