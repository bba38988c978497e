"""The zoo: every method is a function that returns a `Recipe`, a sentence in the vocabulary of `sharewise.engine`."""

from sharewise.methods.darts import darts, darts_erm
from sharewise.methods.gaea import gaea_darts, gaea_erm
from sharewise.methods.gdas import gdas
from sharewise.methods.registry import METHODS, build, method, parameters, variant
from sharewise.methods.spos import spos

__all__ = [
    "METHODS",
    "build",
    "darts",
    "darts_erm",
    "gaea_darts",
    "gaea_erm",
    "gdas",
    "method",
    "parameters",
    "spos",
    "variant",
]
