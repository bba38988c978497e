"""The view of what a search saw of itself: how far each decision is made, skip connections, curvature, alarms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from sharewise.alarm import SkipsAndOverfitting
from sharewise.report.components import how, note, plots, table
from sharewise.report.curves import over_epochs
from sharewise.report.figures import Line, draw_lines
from sharewise.report.markup import Markup, element, join
from sharewise.report.read import Epoch, ReportData

__all__ = ["watch"]


def watch(data: ReportData) -> Markup | None:
    """Alarms and reactions in words, then what they rest on."""
    said = [
        *(note(f"After epoch {epoch.index + 1}: {alarm}.") for epoch in data.epochs for alarm in epoch.alarms),
        *(note(f"{entry[:1].upper()}{entry[1:]}.") for entry in data.reactions),
    ]
    drawn = [plot for plot in (_entropies(data), _skips(data), _eigenvalues(data), _excess(data)) if plot is not None]
    if not said and not drawn:
        return None
    return join(
        how(
            "A sound search decides steadily. Skip connections that multiply while the held-out loss leaves the "
            "training loss behind are the beginning of a collapse, for which the alarm listens; docs/watching.md says "
            "how often it was right."
        ),
        *said,
        plots(*drawn) if drawn else None,
        _table(data),
    )


def _entropies(data: ReportData) -> Markup | None:
    def of(kind: Callable[[list[float]], float]) -> Callable[[Epoch], float | None]:
        return lambda epoch: kind([*epoch.entropies.values()]) if epoch.entropies else None

    lines = [
        *over_epochs(data, "least decided", of(max)),
        *over_epochs(data, "mean", of(fmean)),
        *over_epochs(data, "most decided", of(min)),
    ]
    return _drawn(lines, data, title="entropy by decision, nats", name="entropies", floor=0.0)


def _skips(data: ReportData) -> Markup | None:
    def of(cell: str) -> Callable[[Epoch], float | None]:
        return lambda epoch: 100 * epoch.skips[cell] if cell in epoch.skips else None

    cells = dict.fromkeys(cell for epoch in data.epochs for cell in epoch.skips)
    lines = [line for cell in list(cells)[:4] for line in over_epochs(data, cell, of(cell))]
    return _drawn(lines, data, title="skip connections, % of operations", name="skips", floor=0.0)


def _eigenvalues(data: ReportData) -> Markup | None:
    lines = [
        *over_epochs(data, "largest", lambda epoch: epoch.values.get("eigenvalue")),
        *over_epochs(data, "smallest", lambda epoch: epoch.values.get("smallest_eigenvalue")),
    ]
    return _drawn(lines, data, title="eigenvalues of ∂²L_val/∂θ²", name="eigenvalues")


def _excess(data: ReportData) -> Markup | None:
    def ratio(epoch: Epoch) -> float | None:
        held_out, training = epoch.values.get("held_out_loss"), epoch.values.get("weights_loss")
        return held_out / training if held_out is not None and training else None

    title, least = "held-out loss / training loss", SkipsAndOverfitting().excess
    return _drawn(
        over_epochs(data, "ratio", ratio), data, title=title, name="excess", reference=(f"alarm, {least:g}", least)
    )


def _table(data: ReportData) -> Markup | None:
    """The entropy of each decision at the end, the most open ones first."""
    last = next((epoch.entropies for epoch in reversed(data.epochs) if epoch.entropies), {})
    if not last:
        return None
    head = element(
        "tr", element("th", "Decision", scope="col"), element("th", "entropy, nats", class_="number", scope="col")
    )
    ordered = sorted(last.items(), key=lambda pair: -pair[1])
    return table(
        head,
        *(
            element("tr", element("td", element("code", name)), element("td", f"{value:.3f}", class_="number"))
            for name, value in ordered
        ),
    )


def _drawn(
    lines: Sequence[Line],
    data: ReportData,
    *,
    title: str,
    name: str,
    floor: float | None = None,
    reference: tuple[str, float] | None = None,
) -> Markup | None:
    """A plot of the curves that have points, or nothing."""
    if not lines:
        return None
    return draw_lines(lines, title=title, name=name, marks=data.stages, floor=floor, reference=reference)
