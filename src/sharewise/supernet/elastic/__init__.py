"""A model of one's own as a supernet: choices by path, dependent dimensions found by tracing."""

from sharewise.supernet.elastic.choices import (
    Choices,
    Choose,
    ElasticConv2d,
    ElasticEmbedding,
    ElasticLinear,
    depth,
    following,
    heads,
    kernel,
    present,
    ratio,
    setting,
    width,
)
from sharewise.supernet.elastic.model import ElasticModel
from sharewise.supernet.elastic.named import elastic_networks
from sharewise.supernet.elastic.own import elastic

__all__ = [
    "Choices",
    "Choose",
    "ElasticConv2d",
    "ElasticEmbedding",
    "ElasticLinear",
    "ElasticModel",
    "depth",
    "elastic",
    "elastic_networks",
    "following",
    "heads",
    "kernel",
    "present",
    "ratio",
    "setting",
    "width",
]
