from __future__ import annotations

import re
from pathlib import Path

import pytest

from sharewise.report.canvas import _DARK, PAPER, SERIES, drawing, narrow, save_figure, tidy
from sharewise.report.components import picture


def drawn(target: Path) -> str:
    with drawing(3, 2) as figure:
        axes = figure.subplots()
        for place, colour in enumerate(SERIES):
            axes.plot([0, 1], [place, 1], color=colour)
        axes.set_title("title")
        tidy(axes)
        save_figure(figure, [target])
    return target.read_text(encoding="utf-8")


def test_every_colour_of_a_figure_has_another_on_a_dark_screen(tmp_path: Path) -> None:
    text = drawn(tmp_path / "figure.svg")
    style, body = re.findall(r"<style>.*?</style>", text)[0], re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    used = {(kind, colour) for kind, colour in re.findall(r"(fill|stroke): (#[0-9a-f]{6})", body)}
    assert len(used) > len(SERIES)
    for kind, colour in used:
        assert f'[style*="{kind}: {colour}"]{{{kind}:{_DARK[colour]}!important}}' in style


def contrast(one: str, other: str) -> float:
    """Of two colours, by WCAG 2."""

    def luminance(colour: str) -> float:
        parts = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colour", SERIES)
def test_curves_stand_out_on_dark(colour: str) -> None:
    assert contrast(_DARK[colour], _DARK[PAPER]) > 4.5


def test_a_page_has_the_narrow_form_beside_the_wide_one(tmp_path: Path) -> None:
    drawn(tmp_path / "figure.svg")
    assert "<source" not in picture(tmp_path / "figure.svg", "caption")
    drawn(narrow(tmp_path / "figure.svg"))
    assert 'media="(max-width: 600px)"' in picture(tmp_path / "figure.svg", "caption")
