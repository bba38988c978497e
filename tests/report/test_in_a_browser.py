"""Pages as a phone and a dark screen show them, measured in a headless Chromium."""

from __future__ import annotations

import html
import json
import re
import runpy
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sharewise.report import write_report
from sharewise.report.canvas import SERIES, drawing, narrow, save_figure
from sharewise.report.components import FIGURES, Page, Section, picture, render
from sharewise.report.markup import Markup

CHECK: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "site" / "check.py"))
PROGRAM = CHECK["browser"]()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine")]

MEASURE = """
const frame = document.querySelector("iframe");
frame.onload = () => {
  const page = frame.contentDocument, width = frame.clientWidth;
  const shown = [...page.querySelectorAll("svg, img")].filter(one => one.getBoundingClientRect().width > 0);
  const source = [...page.querySelectorAll("img")].map(one => atob(one.currentSrc.split(",")[1]).length);
  document.querySelector("pre").textContent = JSON.stringify({
    scroll: page.documentElement.scrollWidth, cells: page.querySelectorAll("svg.cell").length,
    shown: shown.filter(one => one.matches(".cell")).map(one => one.getAttribute("class")), source,
    beyond: shown.filter(one => one.getBoundingClientRect().right > width + 0.5).length});
};
frame.src = "report.html";
"""


def chromium(*options: str) -> str:
    command = [PROGRAM, "--headless=new", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=180).stdout


def measured(folder: Path, width: int) -> dict[str, Any]:
    """What the report of a folder shows in a frame of this width (a window itself is never narrower than 500)."""
    frame = f'<iframe style="width:{width}px;height:3000px;border:0"></iframe><pre></pre><script>{MEASURE}</script>'
    (folder / "frame.html").write_text(f"<!doctype html><body>{frame}</body>", encoding="utf-8")
    shown = chromium("--virtual-time-budget=5000", "--dump-dom", (folder / "frame.html").as_uri())
    found: dict[str, Any] = json.loads(html.unescape(re.findall(r"<pre>(.*?)</pre>", shown)[0]))
    return found


@pytest.mark.parametrize(("width", "form"), [(390, "cell tall"), (500, "cell tall"), (1000, "cell")])
def test_nothing_of_a_report_is_cut(width: int, form: str, write_run: Callable[..., Path]) -> None:
    run = write_run("gaea")
    write_report(run)
    found = measured(run, width)
    assert found["scroll"] <= width
    assert found["beyond"] == 0
    assert found["shown"] == [form]
    assert found["cells"] == 2


def page(folder: Path) -> None:
    for target, width in ((folder / "figure.svg", 8), (narrow(folder / "figure.svg"), 4)):
        with drawing(width, 3) as figure:
            figure.subplots().plot([0, 1], color=SERIES[0])
            save_figure(figure, [target])
    section = Section("figure", "Figure", picture(folder / "figure.svg", "caption"))
    text = render(Page("test", "title", "", Markup(""), [section], Markup("")), FIGURES)
    (folder / "report.html").write_text(text, encoding="utf-8")


def test_a_phone_gets_the_narrow_figure(tmp_path: Path) -> None:
    page(tmp_path)
    sizes = {width: measured(tmp_path, width)["source"] for width in (390, 1000)}
    assert sizes[390] == [narrow(tmp_path / "figure.svg").stat().st_size]
    assert sizes[1000] == [(tmp_path / "figure.svg").stat().st_size]


@pytest.mark.parametrize(("dark", "expected"), [(False, (255, 255, 255)), (True, (0x1A, 0x1F, 0x26))])
def test_a_figure_has_the_ground_of_its_page(dark: bool, expected: tuple[int, ...], tmp_path: Path) -> None:
    page(tmp_path)
    options = ["--blink-settings=preferredColorScheme=0"] if dark else []
    shot = tmp_path / "shot.png"
    chromium(*options, f"--screenshot={shot}", "--window-size=1000,700", (tmp_path / "report.html").as_uri())
    with Image.open(shot) as image:
        colours = image.convert("RGB").getcolors(1 << 24)
    assert colours is not None
    share = {colour: count / (1000 * 700) for count, colour in colours}
    assert share[expected] > 0.1
    if dark:
        assert share.get((255, 255, 255), 0.0) < 0.01
