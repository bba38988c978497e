"""`python -m benchmarks [NAME …]`: run all benchmarks, or one with its options."""

import sys
from importlib import import_module

NAMES = (
    "table",
    "search_step",
    "scoring",
    "table_queries",
    "table_formats",
    "entanglement",
    "native",
    "elastic_step",
    "macro_step",
    "charging",
    "forecast",
    "partial_memory",
    "threads",
    "reading",
    "growth",
    "bytes_sent",
    "scale",
)

if __name__ == "__main__":
    words = sys.argv[1:]
    chosen = [(words[0], words[1:])] if words else [(name, []) for name in NAMES]
    sys.exit(max(import_module(f"benchmarks.{name}").main(options) for name, options in chosen))
