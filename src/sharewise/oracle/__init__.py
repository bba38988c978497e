"""Tables of benchmarks as oracles: what an architecture is worth, and what it cost to find out; no torch in this room.

What an oracle is stands in `sharewise.strategy`, since strategies ask it; those that train or score with torch are
`sharewise.engine.SupernetOracle` and `sharewise.run.oracles.StandaloneOracle`. The names are fetched when they are
first used, so that tables are read without importing strategies and what they need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sharewise.oracle.table import Measurement, Reporter, Table, open_table
    from sharewise.oracle.tabulated import table_oracle
    from sharewise.strategy.array_oracle import ArrayOracle
    from sharewise.strategy.oracle import Evaluation, Oracle

_HOMES = {
    "oracle.table": ["Measurement", "Reporter", "Table", "open_table"],
    "oracle.tabulated": ["table_oracle"],
    "strategy.array_oracle": ["ArrayOracle"],
    "strategy.oracle": ["Evaluation", "Oracle"],
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "ArrayOracle",
    "Evaluation",
    "Measurement",
    "Oracle",
    "Reporter",
    "Table",
    "open_table",
    "table_oracle",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"sharewise.{_HOME[name]}"), name)
    raise AttributeError(f"module 'sharewise.oracle' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
