"""Small models of many styles, as people write them, each with the whole request that is made of it.

The list is fixed: it was written before any of its models was given to `elastic`, of which 44 of 51 were accepted at
the first attempt. The models are in `gallery_vision.py`, `gallery_sequences.py` and `gallery_structures.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.supernet.elastic import gallery_sequences, gallery_structures, gallery_vision
from torch import nn

__all__ = ["GALLERY"]

Request = tuple[nn.Module, dict[str, Any], Any]
"""A model, what is chosen in it, and an example of its arguments."""

GALLERY: dict[str, Callable[[], Request]] = {
    **gallery_vision.REQUESTS,
    **gallery_sequences.REQUESTS,
    **gallery_structures.REQUESTS,
}
