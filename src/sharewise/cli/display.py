"""What is printed beside the progress of a run: its console, cells in words, and what a search says against itself."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

__all__ = ["console", "show_course", "show_picture", "show_remarks"]


def console(*, quiet: bool = False) -> Console:
    """The console for words; they go to standard error when standard output is to hold JSON."""
    return Console(file=sys.stderr if quiet else sys.stdout, highlight=False, soft_wrap=True, emoji=False)


def show_picture(screen: Console, picture: Mapping[str, Any] | None) -> None:
    """Print the edges of a cell, node by node, and those of the cell below it."""
    if picture is None:
        return
    if picture.get("title"):
        screen.print(f"{picture['title']}:", markup=False)
    for target in picture["nodes"]:
        incoming = [(source, label) for source, end, label in picture["edges"] if end == target]
        terms = [f"{label}({source})" if label else source for source, label in incoming if label != "none"]
        if incoming:
            between = "  +  " if any(label for _, label in incoming) else ", "  # what is read may be concatenated
            screen.print(f"  {target:>8} = {between.join(terms) or '0'}", markup=False)
    show_picture(screen, picture.get("below"))


def show_course(screen: Console, result: Mapping[str, Any]) -> None:
    """How a run went on: where it was extended, and where it was moved to."""
    for record in (*result.get("extended", ()), *result.get("moved", ())):
        screen.print(f"note: this run {record['note']}", markup=False)


def show_remarks(screen: Console, remarks: Sequence[Mapping[str, str]]) -> None:
    """Print what a search says against its own result, and what to try."""
    for remark in remarks:
        screen.print(f"but: {remark['sentence']}; {remark['advice']}", markup=False)
