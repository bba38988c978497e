"""The one home of slices: entangled sharing, nested slices of one largest weight.

For choice sizes o_1 < … < o_k with gate g ≥ 0, the superposition of all slices is the largest weight scaled by the
*survival* vector s_j = Σ_{i : o_i > j} g_i (0-based position j). Its cost does not depend on k.

Functions say what a slice and a mixture of slices are: `survival` and `superposition` (of any nested parts), centred
`rings` of kernels, norms weighted by survival, prefixes of a searched depth. Sliced layers, a user's own model
(`supernet/elastic/`) and the cells of NAS-Bench-101 are made of them.

Who scales? The layer that *reads* a searched dimension, once (`applies`). A dimension that two layers share is then not
scaled twice, and no scale meets a norm that would erase it. With one active option of constant weight one nothing is
scaled, and every layer executes a true slice.
"""

from sharewise.supernet.slices.attention import RegroupedAttention, SlicedAttention, attend
from sharewise.supernet.slices.axis import Axis, Mask
from sharewise.supernet.slices.block import SlicedDepth, SlicedMLP, SlicedResidual, SlicedSequential
from sharewise.supernet.slices.convolution import SlicedConv2d, depthwise
from sharewise.supernet.slices.depth import active_depths, with_prefix
from sharewise.supernet.slices.dimension import Dimension, Size, dimension
from sharewise.supernet.slices.entangled import EntangledConvolution, convolution_layers, separable_layers
from sharewise.supernet.slices.kernels import centre, padding_of, require_nested, rings
from sharewise.supernet.slices.linear import SlicedEmbedding, SlicedLinear
from sharewise.supernet.slices.nesting import is_slice, superposition, survival
from sharewise.supernet.slices.norm_layers import (
    SlicedBatchNorm1d,
    SlicedBatchNorm2d,
    SlicedLayerNorm,
    SlicedRMSNorm,
)
from sharewise.supernet.slices.norms import scaled_batch_norm, weighted_layer_norm, weighted_rms_norm

__all__ = [
    "Axis",
    "Dimension",
    "EntangledConvolution",
    "Mask",
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
    "active_depths",
    "attend",
    "centre",
    "convolution_layers",
    "depthwise",
    "dimension",
    "is_slice",
    "padding_of",
    "require_nested",
    "rings",
    "scaled_batch_norm",
    "separable_layers",
    "superposition",
    "survival",
    "weighted_layer_norm",
    "weighted_rms_norm",
    "with_prefix",
]
