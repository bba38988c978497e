"""A model of one's own as a supernet: choices by path, dependent dimensions found by tracing."""

from sharewise.supernet.elastic.choices import (
    Choices,
    Choose,
    ElasticConv2d,
    ElasticEmbedding,
    ElasticLinear,
    bypassed,
    depth,
    following,
    heads,
    kernel,
    present,
    ratio,
    setting,
    width,
)
from sharewise.supernet.elastic.importance import reorder, sort_by_importance
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
    "bypassed",
    "depth",
    "elastic",
    "elastic_networks",
    "following",
    "heads",
    "kernel",
    "present",
    "ratio",
    "reorder",
    "setting",
    "sort_by_importance",
    "width",
]
