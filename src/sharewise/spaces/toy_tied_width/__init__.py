"""A toy space with a dimension that two layers share."""

from sharewise.spaces.toy_tied_width.space import toy_tied_width

__all__ = ["toy_tied_width"]
