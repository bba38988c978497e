"""The recurrent cell space of DARTS."""

from sharewise.spaces.darts_rnn.space import darts_rnn

__all__ = ["darts_rnn"]
