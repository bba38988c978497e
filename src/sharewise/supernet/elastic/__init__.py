"""A model of one's own as a supernet: choices by path, dependent dimensions found by tracing."""

from sharewise.supernet.elastic.choices import (
    Choices,
    Choose,
    ElasticConv2d,
    ElasticEmbedding,
    ElasticLinear,
    depth,
    heads,
    kernel,
    width,
)
from sharewise.supernet.elastic.model import ElasticModel, elastic

__all__ = [
    "Choices",
    "Choose",
    "ElasticConv2d",
    "ElasticEmbedding",
    "ElasticLinear",
    "ElasticModel",
    "depth",
    "elastic",
    "heads",
    "kernel",
    "width",
]
