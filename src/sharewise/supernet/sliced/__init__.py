"""Entangled sharing: nested slices of one largest weight.

For choice sizes o_1 < … < o_k with gate g ≥ 0, the superposition of all slices is the largest weight scaled by the
*survival* vector s_j = Σ_{i : o_i > j} g_i (0-based position j). Its cost does not depend on k.

Who scales? The layer that *reads* a searched dimension, once (`applies`). A dimension that two layers share is then not
scaled twice, and no scale meets a norm that would erase it. With one active option of constant weight one nothing is
scaled, and every layer executes a true slice.
"""

from sharewise.supernet.sliced.attention import RegroupedAttention, SlicedAttention, attend
from sharewise.supernet.sliced.block import SlicedDepth, SlicedMLP, SlicedResidual, SlicedSequential
from sharewise.supernet.sliced.convolution import SlicedConv2d, depthwise
from sharewise.supernet.sliced.dimension import Axis, Dimension, Size, dimension, survival
from sharewise.supernet.sliced.entangled import EntangledConvolution, convolution_layers, separable_layers
from sharewise.supernet.sliced.linear import SlicedEmbedding, SlicedLinear
from sharewise.supernet.sliced.norm import (
    SlicedBatchNorm1d,
    SlicedBatchNorm2d,
    SlicedLayerNorm,
    SlicedRMSNorm,
    scaled_batch_norm,
)

__all__ = [
    "Axis",
    "Dimension",
    "EntangledConvolution",
    "RegroupedAttention",
    "Size",
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
    "attend",
    "convolution_layers",
    "depthwise",
    "dimension",
    "scaled_batch_norm",
    "separable_layers",
    "survival",
]
