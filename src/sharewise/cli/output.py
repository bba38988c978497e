"""JSON on standard output; apart from the rest of the command line, so that quick verbs need not load torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["print_json", "unicode_output"]


def print_json(value: Mapping[str, Any] | list[Any]) -> None:
    """Print one JSON document."""
    print(json.dumps(value, indent=2, ensure_ascii=not unicode_output()))


def unicode_output() -> bool:
    """Whether standard output can hold every character, so that documents need no escapes."""
    return (sys.stdout.encoding or "utf-8").lower().startswith("utf")
