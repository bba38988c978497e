"""Oracles: what an architecture is worth, and what it cost to find out."""

from sharewise.oracle.standalone import Standalone, TrainingRecipe

__all__ = ["Standalone", "TrainingRecipe"]
