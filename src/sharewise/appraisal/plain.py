"""Records as plain values, so that any of them can be written as JSON that other programs read."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import numpy as np

__all__ = ["to_plain"]


def to_plain(value: Any) -> Any:
    """A record, or a nest of records, as dictionaries, lists, numbers and words.

    Infinite values and those that are no number have no place in JSON and become `None`: an interval without ends.

    Args:
        value: a frozen dataclass of this room, a mapping, a sequence, an array, an enumeration or a plain value.

    Returns:
        What `json.dumps(…, allow_nan=False)` accepts.

    Example:
        >>> from sharewise.appraisal import mean_interval
        >>> to_plain(mean_interval([0.5]))
        {'mean': 0.5, 'low': None, 'high': None, 'n': 1, 'confidence': 0.95}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, Enum):
        return to_plain(value.value)
    if isinstance(value, np.generic | np.ndarray):
        return to_plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [to_plain(item) for item in value]
    return value
