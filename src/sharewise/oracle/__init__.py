"""Oracles: what an architecture is worth, and what it cost to find out.

The names are fetched when they are first used, so that tables are read without importing torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sharewise.lazy import lazily

if TYPE_CHECKING:
    from sharewise.oracle.array_oracle import ArrayOracle
    from sharewise.oracle.oracle import Evaluation, Oracle
    from sharewise.oracle.standalone import Standalone, TrainingRecipe
    from sharewise.oracle.supernet_oracle import SupernetOracle
    from sharewise.oracle.table import Measurement, Reporter, Table, open_table
    from sharewise.oracle.tabulated import table_oracle

__all__ = [
    "ArrayOracle",
    "Evaluation",
    "Measurement",
    "Oracle",
    "Reporter",
    "Standalone",
    "SupernetOracle",
    "Table",
    "TrainingRecipe",
    "open_table",
    "table_oracle",
]

__getattr__, __dir__ = lazily(__name__, __file__)
