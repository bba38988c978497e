"""Supernets: gates, the layers that consume them, extraction, recalibration and export."""

from sharewise.supernet.calibrate import (
    BatchStatistics,
    NormPolicy,
    RecalibratedStatistics,
    RunningStatistics,
    evaluating,
    frozen_statistics,
    norms,
    recalibrate,
)
from sharewise.supernet.cell import Wiring
from sharewise.supernet.execution import Mixture, Step, Term, execute, term
from sharewise.supernet.export import export
from sharewise.supernet.extract import extract
from sharewise.supernet.gate import Gate, Gates, cut, discrete, to_device
from sharewise.supernet.grouped import GroupedOperation
from sharewise.supernet.mixed import MixedOperation
from sharewise.supernet.partial import GatedOperation, PartialOperation, cell_edge
from sharewise.supernet.slices import (
    Dimension,
    EntangledConvolution,
    RegroupedAttention,
    SlicedAttention,
    SlicedBatchNorm1d,
    SlicedBatchNorm2d,
    SlicedConv2d,
    SlicedDepth,
    SlicedEmbedding,
    SlicedLayerNorm,
    SlicedLinear,
    SlicedMLP,
    SlicedResidual,
    SlicedRMSNorm,
    SlicedSequential,
    convolution_layers,
    depthwise,
    separable_layers,
    survival,
)
from sharewise.supernet.supernet import Networks, Shared, Supernet, networks_of

__all__ = [
    "BatchStatistics",
    "Dimension",
    "EntangledConvolution",
    "Gate",
    "GatedOperation",
    "Gates",
    "GroupedOperation",
    "MixedOperation",
    "Mixture",
    "Networks",
    "NormPolicy",
    "PartialOperation",
    "RecalibratedStatistics",
    "RegroupedAttention",
    "RunningStatistics",
    "Shared",
    "SlicedAttention",
    "SlicedBatchNorm1d",
    "SlicedBatchNorm2d",
    "SlicedConv2d",
    "SlicedDepth",
    "SlicedEmbedding",
    "SlicedLayerNorm",
    "SlicedLinear",
    "SlicedMLP",
    "SlicedRMSNorm",
    "SlicedResidual",
    "SlicedSequential",
    "Step",
    "Supernet",
    "Term",
    "Wiring",
    "cell_edge",
    "convolution_layers",
    "cut",
    "depthwise",
    "discrete",
    "evaluating",
    "execute",
    "export",
    "extract",
    "frozen_statistics",
    "networks_of",
    "norms",
    "recalibrate",
    "separable_layers",
    "survival",
    "term",
    "to_device",
]
