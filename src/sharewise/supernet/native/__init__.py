"""Kernels compiled on this machine: convolutions in training, which take fewer passes or products than by torch.

An optional part: everything is computed by torch without it, and the two agree up to rounding. A run takes it where a
measurement at its start says that it is faster (`sharewise.run.native`).
"""

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
from sharewise.supernet.native.library import enabled, native_kernels, require_library

__all__ = [
    "convolution_by_kernel",
    "convolution_gradient",
    "depthwise_by_kernel",
    "depthwise_gradient",
    "enabled",
    "is_watched",
    "knows_convolution",
    "knows_depthwise",
    "native_kernels",
    "require_library",
    "serves_convolution",
    "serves_depthwise",
    "transposed_by_kernel",
]
