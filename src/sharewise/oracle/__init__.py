"""Oracles: what an architecture is worth, and what it cost to find out.

The names are fetched when they are first used, so that tables are read without importing torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sharewise.oracle.array_oracle import ArrayOracle
    from sharewise.oracle.oracle import Evaluation, Oracle
    from sharewise.oracle.standalone import Standalone, TrainingRecipe
    from sharewise.oracle.supernet_oracle import SupernetOracle
    from sharewise.oracle.table import Measurement, Reporter, Table, open_table
    from sharewise.oracle.tabulated import table_oracle

_HOMES = {
    "array_oracle": ["ArrayOracle"],
    "oracle": ["Evaluation", "Oracle"],
    "standalone": ["Standalone", "TrainingRecipe"],
    "supernet_oracle": ["SupernetOracle"],
    "table": ["Measurement", "Reporter", "Table", "open_table"],
    "tabulated": ["table_oracle"],
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

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


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"sharewise.oracle.{_HOME[name]}"), name)
    raise AttributeError(f"module 'sharewise.oracle' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
