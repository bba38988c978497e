"""Kernels compiled on this machine: depthwise convolutions in training, whose gradients torch makes in many passes.

An optional part: everything is computed by torch without it, and the two agree up to rounding. A run takes it where a
measurement at its start says that it is faster (`sharewise.run.native`).
"""

from sharewise.supernet.native.depthwise import depthwise_by_kernel, kernel_gradient, serves
from sharewise.supernet.native.library import enabled, native_kernels, require_library

__all__ = ["depthwise_by_kernel", "enabled", "kernel_gradient", "native_kernels", "require_library", "serves"]
