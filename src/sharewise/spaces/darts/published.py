"""Published cells by name, in short words: inputs of a node are separated by commas, nodes by a slash.

References:
    The authors' repositories, at the commits that were read: quark0/darts f276dd3 (DARTS); yuhuixu1993/PC-DARTS
    b74702f; xiangning-chen/DrNAS f2caa4d; determined-ai/determined, examples/nas/gaea_pytorch (GAEA PC-DARTS, the best
    for ImageNet); liamcli/gaea_release 1604615 (`edarts4`, an early cell of GAEA, and ASHA200); automl/TangleNAS
    20aa4b1 (`arch_drnas_we2_0_5`); xiangning-chen/SmoothDARTS d3dbfed (`c10_s5_random`, `c10_s5_pgd`);
    ruocwang/darts-pt 4ec3149 (four seeds each of DARTS-PT and of blank-PT on S5); xiaomi-automl/FairDARTS 270cfc9.
"""

from __future__ import annotations

from collections.abc import Mapping

from sharewise.spaces.darts.genotype import NODES, Cell, write_pairs, write_triples

__all__ = ["PUBLISHED", "WIDER"]

_WORDS = {
    "none": "none",
    "max": "max_pool_3x3",
    "avg": "avg_pool_3x3",
    "skip": "skip_connect",
    "sep3": "sep_conv_3x3",
    "sep5": "sep_conv_5x5",
    "dil3": "dil_conv_3x3",
    "dil5": "dil_conv_5x5",
}

_PAIRS = {
    "DARTS_V1": (
        "sep3 1, sep3 0 / skip 0, sep3 1 / skip 0, sep3 1 / sep3 0, skip 2",
        "max 0, max 1 / skip 2, max 0 / max 0, skip 2 / skip 2, avg 0",
    ),
    "DARTS_V2": (
        "sep3 0, sep3 1 / sep3 0, sep3 1 / sep3 1, skip 0 / skip 0, dil3 2",
        "max 0, max 1 / skip 2, max 1 / max 0, skip 2 / skip 2, max 1",
    ),
    "PC_DARTS_cifar": (
        "sep3 1, skip 0 / sep3 0, dil3 1 / sep5 0, sep3 1 / avg 0, dil3 1",
        "sep5 1, max 0 / sep5 1, sep5 2 / sep3 0, sep3 3 / sep3 1, sep3 2",
    ),
    "PC_DARTS_image": (
        "skip 1, sep3 0 / sep3 0, skip 1 / sep3 1, sep3 3 / sep3 1, dil5 4",
        "sep3 0, skip 1 / dil5 2, max 1 / sep3 2, sep3 1 / sep5 0, sep3 3",
    ),
    "DrNAS_cifar10": (
        "sep3 0, sep5 1 / sep3 1, sep3 2 / skip 0, sep3 1 / sep3 2, dil5 3",
        "max 0, sep5 1 / dil5 2, sep5 1 / sep5 1, dil5 3 / skip 4, sep5 1",
    ),
    "DrNAS_imagenet": (
        "sep3 1, sep3 0 / sep3 0, sep3 1 / sep3 0, dil3 3 / skip 0, sep3 1",
        "max 0, sep3 1 / sep3 0, skip 2 / sep3 0, sep3 2 / sep3 3, sep3 1",
    ),
    "GAEA_PC_DARTS_imagenet": (
        "skip 1, skip 0 / sep3 2, sep3 1 / sep5 2, sep3 0 / sep5 3, sep5 2",
        "max 1, sep3 0 / sep5 1, dil5 2 / sep3 1, sep3 3 / sep5 1, max 2",
    ),
    "edarts4": (
        "sep3 0, skip 1 / skip 0, skip 1 / skip 0, skip 2 / skip 0, dil3 3",
        "dil3 1, max 0 / skip 2, avg 0 / skip 3, skip 2 / skip 3, skip 4",
    ),
    "TangleNAS_50": (
        "sep3 1, sep5 0 / sep3 2, sep5 0 / dil3 2, skip 0 / skip 1, dil3 3",
        "sep3 0, dil5 1 / sep3 0, dil3 1 / sep3 3, dil3 1 / skip 2, sep5 4",
    ),
    "SDARTS_RS": (
        "sep3 1, sep3 0 / sep5 1, skip 0 / sep3 3, skip 1 / sep3 1, dil3 2",
        "max 0, sep3 1 / skip 2, max 0 / dil5 3, max 0 / sep3 2, sep5 3",
    ),
    "SDARTS_ADV": (
        "sep3 0, sep3 1 / sep3 1, skip 0 / sep5 0, dil3 3 / dil3 4, skip 0",
        "max 0, sep5 1 / skip 2, max 0 / skip 3, skip 2 / skip 2, sep5 4",
    ),
    "DARTS_PT_0": (
        "sep3 0, sep3 1 / sep5 0, dil3 1 / skip 0, skip 2 / skip 0, max 4",
        "sep3 0, avg 1 / dil5 1, dil3 2 / avg 0, max 2 / sep3 2, skip 4",
    ),
    "DARTS_PT_1": (
        "sep3 0, sep3 1 / sep3 0, dil3 1 / max 0, skip 2 / skip 0, dil3 4",
        "dil5 0, avg 1 / max 0, sep5 2 / max 1, dil3 3 / sep5 0, sep3 4",
    ),
    "DARTS_PT_2": (
        "skip 0, sep3 1 / sep3 0, dil3 1 / skip 2, dil3 3 / max 1, skip 2",
        "avg 0, max 1 / avg 0, sep3 1 / dil5 2, skip 3 / sep3 2, sep5 4",
    ),
    "DARTS_PT_3": (
        "sep3 0, sep3 1 / sep3 0, sep3 1 / skip 0, skip 2 / sep3 1, skip 3",
        "avg 0, sep5 1 / max 1, skip 2 / dil5 1, max 3 / sep5 2, skip 3",
    ),
    "blank_PT_0": (
        "sep3 0, sep5 1 / sep3 0, sep3 1 / avg 1, skip 3 / max 0, avg 2",
        "skip 0, sep5 1 / dil3 1, sep5 2 / max 0, skip 3 / max 0, max 2",
    ),
    "blank_PT_1": (
        "avg 0, avg 1 / sep3 0, max 2 / skip 2, sep3 3 / sep5 0, sep5 1",
        "max 0, dil5 1 / sep3 0, skip 1 / avg 2, max 3 / sep5 3, sep5 4",
    ),
    "blank_PT_2": (
        "avg 0, dil3 1 / sep5 0, max 1 / max 0, skip 1 / sep5 1, avg 2",
        "sep3 0, avg 1 / avg 0, sep5 1 / max 0, sep5 3 / max 2, dil5 4",
    ),
    "blank_PT_3": (
        "sep3 0, sep3 1 / sep3 0, skip 1 / max 2, sep3 3 / avg 0, sep5 1",
        "dil5 0, sep5 1 / sep5 0, dil3 1 / avg 1, skip 2 / max 0, skip 4",
    ),
}

_TRIPLES = {
    "ASHA200": (
        "skip 1, dil3 0 / sep3 1, skip 0 / none 1, max 0 / skip 1, dil3 0",
        "max 1, avg 0 / sep5 1, skip 2 / max 3, none 1 / skip 0, sep5 4",
    ),
    "FairDARTS_a": (
        "sep3 0, sep5 1 /  / max 0 / sep3 0",
        "max 0, avg 1 / avg 0, dil5 1 / avg 0, sep5 1 / skip 0, skip 1",
    ),
    "FairDARTS_b": (
        "sep3 0, sep3 1 / sep3 1 / dil3 0, sep5 1 / dil5 1",
        "skip 0, dil3 1 / skip 0, dil3 1 / max 0, sep3 1 / skip 2, max 0",
    ),
    "FairDARTS_c": (
        "max 0, sep5 1 /  / dil3 0, dil5 2 / skip 3, sep3 0",
        "dil3 1, dil5 0 / dil3 0, sep3 1 / sep5 0, sep5 3 / sep5 0, skip 1",
    ),
    "FairDARTS_d": (
        "sep3 0, sep5 1 / dil3 1, max 0 / dil3 0, dil3 1 / sep3 0, dil5 1",
        "max 0, sep5 1 / avg 0, dil5 2 / dil3 3, avg 0 / avg 0, skip 3",
    ),
    "FairDARTS_e": (
        "sep3 0, sep3 1 /  / dil3 1, dil3 2 / dil3 0, dil5 1",
        "max 1, max 0 / max 1, max 0 / sep5 1, max 0 / avg 0, dil5 1",
    ),
    "FairDARTS_f": (
        "max 0, sep3 1 / dil3 1 / sep5 1 / sep3 0, sep3 1",
        "max 0, max 1 / max 0, dil3 1 / dil3 2, max 0 / max 0, sep3 1",
    ),
    "FairDARTS_g": (
        "sep3 0, sep3 1 /  / skip 3, sep5 1 / dil3 0, sep3 1",
        "avg 1, skip 0 / skip 2, max 1 / sep5 3, max 0 / dil3 1, dil3 4",
    ),
}


def _cell(words: str) -> Cell:
    items = [
        (node, int(source), _WORDS[word])
        for node, inputs in zip(NODES, words.split("/"), strict=True)
        for word, source in (item.split() for item in inputs.split(",") if item.strip())
    ]
    return tuple((operation, node, source) for node, source, operation in sorted(items))


PUBLISHED: Mapping[str, str] = {name: write_pairs(*map(_cell, words)) for name, words in _PAIRS.items()}
"""Cells of the space of DARTS."""

WIDER: Mapping[str, str] = {name: write_triples(*map(_cell, words)) for name, words in _TRIPLES.items()}
"""Cells in which nodes have fewer inputs, or `none` among them."""
