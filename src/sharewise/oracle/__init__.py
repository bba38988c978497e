"""Tables of benchmarks as oracles: what an architecture is worth, and what it cost to find out; no torch in this room.

What an oracle is stands in `sharewise.strategy`, since strategies ask it; those that train or score with torch are
`sharewise.engine.SupernetOracle` and `sharewise.studies.oracles.StandaloneOracle`.
"""

from sharewise.oracle.table import Measurement, Reporter, Table, open_table
from sharewise.oracle.tabulated import table_oracle
from sharewise.strategy.array_oracle import ArrayOracle
from sharewise.strategy.oracle import Evaluation, Oracle

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
