"""Supernets: gates, the layers that consume them, extraction, recalibration and export."""

from sharewise.supernet.calibrate import (
    BatchStatistics,
    NormPolicy,
    RecalibratedStatistics,
    RunningStatistics,
    frozen_statistics,
    norms,
    recalibrate,
)
from sharewise.supernet.export import export
from sharewise.supernet.extract import extract
from sharewise.supernet.gate import Gate, Gates, cut, discrete, to_device
from sharewise.supernet.mixed import MixedOperation
from sharewise.supernet.sliced import SlicedLinear, survival
from sharewise.supernet.supernet import Networks, Shared, Supernet, networks_of

__all__ = [
    "BatchStatistics",
    "Gate",
    "Gates",
    "MixedOperation",
    "Networks",
    "NormPolicy",
    "RecalibratedStatistics",
    "RunningStatistics",
    "Shared",
    "SlicedLinear",
    "Supernet",
    "cut",
    "discrete",
    "export",
    "extract",
    "frozen_statistics",
    "networks_of",
    "norms",
    "recalibrate",
    "survival",
    "to_device",
]
