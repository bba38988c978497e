"""The networks of NAS-Bench-101: the supernet and one plain network a cell."""

from __future__ import annotations

from sharewise.spaces.nasbench101.options import NasBench101Options, plain
from sharewise.spaces.nasbench101.supernet import NasBench101Supernet
from sharewise.supernet import Networks

__all__ = ["NETWORKS", "NasBench101Options"]

NETWORKS = Networks(options=NasBench101Options, supernet=NasBench101Supernet, plain=plain, input_kinds=("image",))
