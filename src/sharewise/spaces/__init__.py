"""Named spaces: one folder each, loaded by name without importing torch.

The function of a space hides the folder of the same name as an attribute of this package: `spaces.nasbench201()` is the
space, and `from sharewise.spaces.nasbench201.network import Network` reaches into the folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from sharewise.errors import unknown_name
from sharewise.space import Space, options_of
from sharewise.space.family import read_options
from sharewise.spaces.attentivenas import attentivenas
from sharewise.spaces.conv_macro import conv_macro
from sharewise.spaces.darts import REDUCED, darts, fair, reduced
from sharewise.spaces.darts_rnn import darts_rnn
from sharewise.spaces.hw_gpt_bench import SIZES, hw_gpt_bench_l, hw_gpt_bench_m, hw_gpt_bench_s
from sharewise.spaces.language_model import language_model
from sharewise.spaces.mobilenetv3 import mobilenetv3
from sharewise.spaces.nasbench1shot1 import DESIGNS, nasbench1shot1
from sharewise.spaces.nasbench101 import SUBSPACES, nasbench101, subspace
from sharewise.spaces.nasbench201 import nasbench201
from sharewise.spaces.nasbench_macro import nasbench_macro
from sharewise.spaces.nats_size import nats_size
from sharewise.spaces.ofa_resnet50 import ofa_resnet50
from sharewise.spaces.proxylessnas import proxylessnas
from sharewise.spaces.toy_separable_cell import toy_separable_cell
from sharewise.spaces.toy_tied_width import toy_tied_width
from sharewise.spaces.toy_two_inputs import toy_two_inputs
from sharewise.spaces.vision_transformer import (
    vision_transformer_base,
    vision_transformer_small,
    vision_transformer_tiny,
)

__all__ = [
    "RELAXABLE",
    "SEARCHABLE",
    "SPACES",
    "attentivenas",
    "conv_macro",
    "darts",
    "darts_rnn",
    "hw_gpt_bench_l",
    "hw_gpt_bench_m",
    "hw_gpt_bench_s",
    "language_model",
    "load",
    "mobilenetv3",
    "nasbench1shot1",
    "nasbench101",
    "nasbench201",
    "nasbench_macro",
    "nats_size",
    "ofa_resnet50",
    "proxylessnas",
    "split_name",
    "toy_separable_cell",
    "toy_tied_width",
    "toy_two_inputs",
    "vision_transformer_base",
    "vision_transformer_small",
    "vision_transformer_tiny",
    "with_options",
]

SPACES: Mapping[str, Callable[..., Space]] = {
    "attentivenas": attentivenas,
    "conv-macro": conv_macro,
    "darts": darts,
    "darts:fair": fair,
    **{f"darts:{name}": partial(reduced, name) for name in REDUCED},
    "darts-rnn": darts_rnn,
    **{f"hw-gpt-bench:{size}": space for size, space in SIZES.items()},
    "language-model": language_model,
    "mobilenetv3": mobilenetv3,
    "nasbench101": nasbench101,
    **{f"nasbench101:{name}": partial(subspace, name) for name in SUBSPACES},
    **{f"nasbench1shot1:{name}": partial(nasbench1shot1, name) for name in DESIGNS},
    "nasbench201": nasbench201,
    "nasbench_macro": nasbench_macro,
    "nats_size": nats_size,
    "ofa-resnet50": ofa_resnet50,
    "proxylessnas": proxylessnas,
    "toy-separable-cell": toy_separable_cell,
    "toy-tied-width": toy_tied_width,
    "toy-two-inputs": toy_two_inputs,
    "vision-transformer-base": vision_transformer_base,
    "vision-transformer-small": vision_transformer_small,
    "vision-transformer-tiny": vision_transformer_tiny,
}

RELAXABLE = (
    "attentivenas",
    "conv-macro",
    "darts",
    "darts-rnn",
    "darts:fair",
    *(f"darts:{name}" for name in REDUCED),
    *(f"hw-gpt-bench:{size}" for size in SIZES),
    "language-model",
    "mobilenetv3",
    *(f"nasbench1shot1:{name}" for name in DESIGNS),
    "nasbench201",
    "nasbench_macro",
    "nats_size",
    "ofa-resnet50",
    "proxylessnas",
    "toy-separable-cell",
    "toy-tied-width",
    "toy-two-inputs",
    "vision-transformer-base",
    "vision-transformer-small",
    "vision-transformer-tiny",
)
"""The spaces whose supernet mixes decisions that are independent: every method searches them."""

SEARCHABLE = ("nasbench101", *(f"nasbench101:{name}" for name in SUBSPACES), *RELAXABLE)
"""The spaces that have a supernet; of the others single networks are built, and tables are read. Those that are not
`RELAXABLE` are searched by methods that draw whole architectures (`spos`, `rs-ws`)."""


def load(name: str) -> Space:
    """The named space.

    Args:
        name: a key of `SPACES`; of a family of spaces also with options (`"language-model:layers=1,2,3:heads=2,4"`),
            whose order and defaults do not matter.

    Raises:
        ConfigurationError: when there is no such space or option; the message lists the legal names.

    Example:
        >>> load("nasbench201").size
        15625
    """
    base, options = split_name(name)
    return SPACES[base](**options)


def split_name(name: str) -> tuple[str, dict[str, str]]:
    """The key of `SPACES` that a name begins with, and the options behind it, as they are written.

    Raises:
        ConfigurationError: when there is no such space.

    Example:
        >>> split_name("darts:fair")
        ('darts:fair', {})
    """
    if name in SPACES:
        return name, {}
    parts = name.split(":")
    known = next((n for n in range(len(parts), 0, -1) if ":".join(parts[:n]) in SPACES), 0)
    base, options = ":".join(parts[:known]), read_options(":".join(parts[known:]))
    if not known or options is None or not options_of(SPACES[base]):
        raise unknown_name("space", name, SPACES)
    return base, options


def with_options(name: str, options: Mapping[str, Any]) -> str:
    """The name of a space that differs from another one in some options.

    Args:
        name: of the other space.
        options: by name, as values or as they are written.

    Raises:
        ConfigurationError: for an unknown space or option, or an illegal value.

    Example:
        >>> with_options("nasbench201", {})
        'nasbench201'
    """
    base, written = split_name(name)
    return SPACES[base](**{**written, **options}).name
