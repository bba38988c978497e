from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sharewise.report.canvas import cost_axis, drawing, save_figure
from sharewise.report.regret_figure import draw_regret


def panel(strategies: dict[str, list[float | None]], runs: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    curves = {
        name: {"mean": mean, "mean_interval": [None if value is None else (value, value) for value in mean]}
        for name, mean in strategies.items()
    }
    shown = {"unit_shown": "mean trainings of 12 epochs (passes × multiply-accumulates)", "unit": "seconds"}
    return {"checkpoints": [1, 10, 100], "strategies": curves, "floor": 0.0, "runs": runs or [], **shown}


def test_a_name_has_the_same_colour_in_every_panel(tmp_path: Path) -> None:
    draw_regret(
        {"one": panel({"a": [None, 2.0, 1.0], "b": [3.0, 2.0, 1.0]}), "two": panel({"c": [3.0, 2.0, 1.0]})},
        "title",
        [tmp_path / "figure.svg"],
    )
    text = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    assert all(f"stroke: {colour}" in text for colour in ("#0072b2", "#d55e00", "#009e73"))


def test_points_count_for_the_axis_and_a_run_without_regret_is_shown(tmp_path: Path) -> None:
    runs = [{"method": "gaea", "cost": 0.05, "regret": regret} for regret in (0.0, 40.0)]
    for name, found in (("with", runs), ("without", [])):
        draw_regret({"data": panel({"a": [3.0, 2.0, 1.0]}, found)}, "title", [tmp_path / f"{name}.svg"])
    text = (tmp_path / "with.svg").read_text(encoding="utf-8")
    assert "gaea" in text
    assert "multiply-accumulates" in text
    # 40 to 1 is more than a factor of 30: the axis of regret is logarithmic, as that of cost always is.
    assert text.count("matplotlib.axis_") == 2
    ticks = [(tmp_path / f"{name}.svg").read_text(encoding="utf-8").count('id="ytick_') for name in ("with", "without")]
    assert ticks[0] > ticks[1]  # a logarithmic axis has minor ticks


@pytest.mark.parametrize(
    ("low", "high"), [(5.0e10, 6.5e10), (2e10, 6e10), (3.0, 20.0), (3.0, 60.0), (0.05, 5e4), (1e9, 1e15)]
)
def test_an_axis_of_costs_has_numbers_however_short_it_is(low: float, high: float) -> None:
    with drawing(4, 3) as figure:
        axes = figure.subplots()
        axes.plot([low, high], [1.0, 2.0])
        cost_axis(axes)
        figure.canvas.draw()
        first, last = axes.get_xlim()
        labels = [tick.get_text() for tick in axes.get_xticklabels() if first <= tick.get_position()[0] <= last]
    assert 2 <= len(labels) == len(set(labels)) <= 12
    assert all(labels)


def test_an_axis_of_costs_is_drawn_where_nothing_was_spent(tmp_path: Path) -> None:
    with drawing(4, 3) as figure:
        axes = figure.subplots()
        axes.plot([], [])
        axes.axhline(0.5)
        cost_axis(axes)
        save_figure(figure, [tmp_path / "figure.svg"])
    assert "xtick_1" in (tmp_path / "figure.svg").read_text(encoding="utf-8")
