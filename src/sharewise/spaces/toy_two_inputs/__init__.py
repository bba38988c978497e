"""A toy cell space whose decisions differ from its choices."""

from sharewise.spaces.toy_two_inputs.space import toy_two_inputs

__all__ = ["toy_two_inputs"]
