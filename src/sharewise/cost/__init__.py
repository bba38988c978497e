"""What an architecture costs: parameters, multiply-accumulates, activation memory, measured latency."""

from sharewise.cost.architectures import ArchitectureCosts
from sharewise.cost.expectation import Blocks
from sharewise.cost.latency import Latency, latency, measure_latencies
from sharewise.cost.memory import TrainingMemory, training_memory
from sharewise.cost.network import Cost, cost, cost_of
from sharewise.cost.prices import Prices
from sharewise.cost.quantity import MultiplyAccumulates, Parameters, Quantity
from sharewise.cost.supernet import SupernetCost

__all__ = [
    "ArchitectureCosts",
    "Blocks",
    "Cost",
    "Latency",
    "MultiplyAccumulates",
    "Parameters",
    "Prices",
    "Quantity",
    "SupernetCost",
    "TrainingMemory",
    "cost",
    "cost_of",
    "latency",
    "measure_latencies",
    "training_memory",
]
