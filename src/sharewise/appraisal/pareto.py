"""The Pareto front: what no other beats in every objective at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sharewise.errors import ConfigurationError

__all__ = ["pareto_front"]


def pareto_front(objectives: ArrayLike) -> NDArray[np.intp]:
    """Places of the entries that no other dominates; an entry dominates if it is nowhere worse and somewhere better.

    Args:
        objectives: `(n, k)`; higher is better in every column.

    Returns:
        Places in ascending order; equal entries are kept together.

    Raises:
        ConfigurationError: when the shape is another, or a value is not a number.

    Example:
        >>> pareto_front([[1, 3], [2, 2], [1, 2], [3, 1]]).tolist()
        [0, 1, 3]
    """
    table = np.asarray(objectives, dtype=np.float64)
    if table.ndim != 2 or np.isnan(table).any():
        raise ConfigurationError(f"objectives of shape (n, k) without missing values are needed, got {table.shape}")
    front: list[int] = []
    for place in np.lexsort(-table.T[::-1]):  # best first in the first objective: whoever dominates comes earlier
        kept = table[front]
        if not ((kept >= table[place]).all(axis=1) & (kept > table[place]).any(axis=1)).any():
            front.append(int(place))
    return np.array(sorted(front), dtype=np.intp)
