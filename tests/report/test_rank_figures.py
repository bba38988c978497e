from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sharewise.appraisal import compare_groups, over_seeds
from sharewise.report.rank_figures import (
    Curve,
    RegretPanel,
    ScatterPanel,
    draw_disorder,
    draw_guided_regret,
    draw_learning,
    draw_scatter,
)
from sharewise.report.rank_tables import EFFECTS, correlation_table, effect_class, effect_table


def sample(n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.normal(90, 2, n)
    return truth, truth + rng.normal(0, 2, n)


def test_the_scatter_names_the_feature_and_counts_what_it_hides(tmp_path: Path) -> None:
    truth, proxy = sample()
    truth[0] = 10.0
    panels = [
        ScatterPanel("A", truth, proxy, truth > 90, "residual edge", "Spearman 0.7"),
        ScatterPanel("B", truth[1:], proxy[1:]),
    ]
    caption = draw_scatter(panels, "title", [tmp_path / "s.svg", tmp_path / "s.png"])
    text = (tmp_path / "s.svg").read_text(encoding="utf-8")
    assert "residual edge" in caption
    assert "1 further left" in text
    assert f"dark: residual edge ({int((truth > 90).sum())} of 60)" in text
    assert (tmp_path / "s.png").read_bytes()[:4] == b"\x89PNG"


def test_figures_are_the_same_bytes_again(tmp_path: Path) -> None:
    truth, proxy = sample()
    for name in ("one.svg", "two.svg"):
        draw_scatter([ScatterPanel("A", truth, proxy)], "title", [tmp_path / name])
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_a_constant_proxy_can_be_shown(tmp_path: Path) -> None:
    truth, _ = sample(12)
    draw_scatter([ScatterPanel("failed", truth, np.full(12, 10.0))], "title", [tmp_path / "s.svg"])
    assert (tmp_path / "s.svg").exists()


@pytest.mark.parametrize("n", [3, 12, 300])
def test_disorder_says_how_many_of_the_best_stay(n: int, tmp_path: Path) -> None:
    truth = np.arange(float(n))
    assert f"has {min(10, n)} among its best" in draw_disorder(truth, truth, "title", [tmp_path / "d.svg"])
    expected = 0 if n >= 20 else max(0, 2 * min(10, n) - n)
    assert f"has {expected} among its best" in draw_disorder(-truth, truth, "title", [tmp_path / "d.svg"])


def test_regret_marks_budgets_and_leaves_out_what_is_unknown(tmp_path: Path) -> None:
    x = np.array([1.0, 10.0, 100.0])
    gaps = np.array([np.nan, 1.0, 0.0])
    curves = {
        "guided": Curve(x, np.array([2.0, 1.0, 0.5]), np.array([1.0, -1.0, np.nan]), np.array([3.0, 2.0, np.nan])),
        "random": Curve(x, gaps, gaps, gaps),
    }
    panel = RegretPanel("space", curves, {1: 1.5, 10: 10.5})
    caption = draw_guided_regret([panel] * 2, "title", [tmp_path / "r.svg"], unit="trainings")
    text = (tmp_path / "r.svg").read_text(encoding="utf-8")
    assert "TOP-10" in text
    assert "cost, trainings" in text
    assert "logarithmic" in caption


def test_no_regret_at_all_can_be_drawn(tmp_path: Path) -> None:
    x = np.array([1.0, 2.0])
    none = Curve(x, np.zeros(2), np.zeros(2), np.zeros(2))
    draw_guided_regret([RegretPanel("space", {"guided": none}, {1: 1.5})], "t", [tmp_path / "r.png"], unit="trainings")
    assert (tmp_path / "r.png").stat().st_size > 0


def test_learning_curves(tmp_path: Path) -> None:
    x = np.array([1.0, 2.0, 3.0])
    curve = Curve(x, np.array([0.1, np.nan, 0.6]), np.array([0.0, np.nan, 0.5]), np.array([0.2, np.nan, 0.7]))
    draw_learning({"recalibrated": curve}, "title", [tmp_path / "l.svg"])
    assert "recalibrated" in (tmp_path / "l.svg").read_text(encoding="utf-8")


def test_the_correlation_table_marks_failures_and_single_seeds() -> None:
    cells = {
        ("A_4", "BNS-FT"): over_seeds([0.6, None, 0.7]),
        ("A_4", "NO-FT"): over_seeds([0.5]),
        ("A_3", "BNS-FT"): over_seeds([None, None]),
    }
    table = correlation_table(cells, ["A_4", "A_3"], ["BNS-FT", "NO-FT"], "caption <b>")
    assert "* 0.65 ±" in table
    assert "0.50 (one seed)" in table
    assert "* * failed" in table
    assert table.count("–") == 1
    assert "caption &lt;b&gt;" in table


@pytest.mark.parametrize(
    ("shift", "expected"),
    [(-0.9, "much smaller"), (-0.35, "smaller"), (0.35, "larger"), (0.9, "much larger"), (0.1, "")],
)
def test_effects_have_the_papers_colours(shift: float, expected: str) -> None:
    base = np.random.default_rng(0).normal(size=400)
    standard = (base - base.mean()) / base.std(ddof=1)
    found = compare_groups(standard + shift, standard)
    assert effect_class(found) == expected
    table = effect_table({("A", "TOP-1"): found}, ["A", "B"], ["TOP-1"], "caption")
    row = table.split("<tbody>")[1].split("</tbody>")[0]
    assert (f"background: {EFFECTS[expected][0]}" in row) if expected else "background" not in row
    assert f"{shift:+.2f} ±" in row


def test_a_large_effect_that_may_be_chance_has_no_colour() -> None:
    found = compare_groups([1.0, 2.0, 3.0], [2.0, 3.0, 4.0])
    assert found.cohens_d.value == pytest.approx(-1)
    assert effect_class(found) == ""
