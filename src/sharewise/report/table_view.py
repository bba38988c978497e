"""The view of a search that was followed in a benchmark's table: its own error against that of its cells, trained."""

from __future__ import annotations

from collections.abc import Mapping

from sharewise.report.components import how, note, plots
from sharewise.report.curves import over_epochs
from sharewise.report.facts import number_at, text_at
from sharewise.report.figures import draw_lines
from sharewise.report.markup import Markup, join
from sharewise.report.read import Epoch, ReportData

__all__ = ["followed"]

_SPLITS = {"test": "table, test", "valid": "table, validation"}


def followed(data: ReportData) -> Markup | None:
    """Errors over the epochs: of the one-shot network on held-out examples, and of its cells in the table."""
    lines = [
        *over_epochs(data, "one-shot network", lambda epoch: _one_shot(data, epoch, "supernet")),
        *over_epochs(data, "one-shot, its cell", lambda epoch: _one_shot(data, epoch, "architecture")),
        *(
            line
            for split, label in _SPLITS.items()
            for line in over_epochs(data, label, lambda epoch, split=split: _percent(epoch.table.get(f"{split}_error")))  # type: ignore[misc]
        ),
    ]
    known = any(epoch.table for epoch in data.epochs)
    if not known and not data.table:
        return None
    least = _percent(number_at(data.table, "least", "test_error"))
    reference = None if least is None else (f"least test error {least:.2f}", least)
    return join(
        how(
            "One-shot errors are measured with the shared weights on held-out examples of the search; errors of the "
            "table are those of the same cell, trained by the benchmark on its own. The one may fall while the other "
            "does not: then the search fits its examples and not the cell."
        ),
        plots(draw_lines(lines, title="error, %", name="table", reference=reference)) if known else None,
        note(_words(data.table)) if data.table else None,
    )


def _one_shot(data: ReportData, epoch: Epoch, part: str) -> float | None:
    if epoch.gap is None or data.primary != "accuracy":
        return None
    scores = {"supernet": epoch.gap.supernet, "architecture": epoch.gap.architecture}[part]
    return None if "accuracy" not in scores else 100 * (1 - scores["accuracy"])


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else 100 * fraction


def _words(table: Mapping[str, object]) -> str:
    """What the table says of the found architecture, in one sentence a split."""
    told, count = [], number_at(table, "architectures") or 0
    for split in _SPLITS:
        error, least = number_at(table, f"{split}_error"), number_at(table, "least", f"{split}_error")
        covered, epochs = number_at(table, "covered", split), number_at(table, "epochs", split)
        if least is None or covered is None:
            continue
        name = {"test": "Test", "valid": "Validation"}[split]
        value = "is not known for the found cell" if error is None else f"of the found cell: {100 * error:.2f} %"
        told.append(
            f"{name} error {value}, least of {covered:,.0f} known of {count:,.0f}: {100 * least:.2f} % (mean of the "
            f"benchmark's trainings of {epochs or 0:g} epochs)."
        )
    return f"{text_at(table, 'benchmark')}, {text_at(table, 'dataset')}. " + " ".join(told)
