"""The zoo: every method is a function that returns a `Recipe`, a sentence in the vocabulary of `sharewise.engine`."""

from sharewise.methods.autoformer import autoformer
from sharewise.methods.beta_darts import beta_darts
from sharewise.methods.darts import darts, darts_erm, darts_second_order
from sharewise.methods.darts_pt import blank_pt, darts_pt
from sharewise.methods.drnas import drnas
from sharewise.methods.enas import enas
from sharewise.methods.fair_darts import fair_darts
from sharewise.methods.fairnas import fairnas
from sharewise.methods.gaea import gaea_darts, gaea_erm, gaea_gdas
from sharewise.methods.gdas import gdas
from sharewise.methods.pc_darts import gaea_pc_darts, gaea_pc_darts_erm, pc_darts
from sharewise.methods.proxylessnas import proxylessnas
from sharewise.methods.r_darts import r_darts
from sharewise.methods.registry import METHODS, build, method, parameters, variant
from sharewise.methods.rs_ws import rs_ws
from sharewise.methods.sdarts import sdarts
from sharewise.methods.snas import snas
from sharewise.methods.spos import spos
from sharewise.methods.tanglenas import tanglenas_darts, tanglenas_drnas, tanglenas_gaea, tanglenas_gdas

__all__ = [
    "METHODS",
    "autoformer",
    "beta_darts",
    "blank_pt",
    "build",
    "darts",
    "darts_erm",
    "darts_pt",
    "darts_second_order",
    "drnas",
    "enas",
    "fair_darts",
    "fairnas",
    "gaea_darts",
    "gaea_erm",
    "gaea_gdas",
    "gaea_pc_darts",
    "gaea_pc_darts_erm",
    "gdas",
    "method",
    "parameters",
    "pc_darts",
    "proxylessnas",
    "r_darts",
    "rs_ws",
    "sdarts",
    "snas",
    "spos",
    "tanglenas_darts",
    "tanglenas_drnas",
    "tanglenas_gaea",
    "tanglenas_gdas",
    "variant",
]
