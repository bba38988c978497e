"""Kernels compiled on this machine: convolutions, norms and poolings in fewer passes or products than by torch.

An optional part: everything is computed by torch without it, and the two agree up to rounding. A run takes it where a
measurement at its start says that it is faster (`sharewise.run.native`).
"""

from sharewise.supernet.native.combining import combined_by_kernel, products_by_kernel, serves_combined
from sharewise.supernet.native.convolution import (
    convolution_by_kernel,
    convolution_gradient,
    knows_convolution,
    serves_convolution,
    transposed_by_kernel,
)
from sharewise.supernet.native.depthwise import (
    depthwise_by_kernel,
    depthwise_gradient,
    knows_depthwise,
    serves_depthwise,
)
from sharewise.supernet.native.images import is_watched
from sharewise.supernet.native.layer_norm import (
    knows_layer_norm,
    layer_norm_by_kernel,
    layer_norm_gradient,
    serves_layer_norm,
)
from sharewise.supernet.native.library import can_be_compiled, enabled, native_kernels, require_library
from sharewise.supernet.native.norm import knows_norm, norm_by_kernel, norm_gradient, norm_second_gradient, serves_norm
from sharewise.supernet.native.pooling import average_by_kernel, serves_average

__all__ = [
    "average_by_kernel",
    "can_be_compiled",
    "combined_by_kernel",
    "convolution_by_kernel",
    "convolution_gradient",
    "depthwise_by_kernel",
    "depthwise_gradient",
    "enabled",
    "is_watched",
    "knows_convolution",
    "knows_depthwise",
    "knows_layer_norm",
    "knows_norm",
    "layer_norm_by_kernel",
    "layer_norm_gradient",
    "native_kernels",
    "norm_by_kernel",
    "norm_gradient",
    "norm_second_gradient",
    "products_by_kernel",
    "require_library",
    "serves_average",
    "serves_combined",
    "serves_convolution",
    "serves_depthwise",
    "serves_layer_norm",
    "serves_norm",
    "transposed_by_kernel",
]
