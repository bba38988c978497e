"""The tutorials run and show pictures, and their notebooks say the same."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "tutorials"
MADE: dict[str, Any] = runpy.run_path(str(ROOT / "docs" / "generate_tutorials.py"))
PAGES = [page for page in sorted(FOLDER.glob("*.md")) if page.stem != "index"]
each = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
SHOWN = re.compile(r"!\[([^\]]*)\]\(pictures/([^)]+)\)")


@pytest.mark.slow
@each
def test_a_tutorial_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page.read_text(encoding="utf-8")
    lacking = MADE["needs"](text)
    if lacking:
        pytest.skip(f"{lacking} is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    ran, pictures = MADE["run"](text)
    assert all(part.text.strip() for part in ran if part.kind == MADE["OUTPUT"]), "an output is empty"
    for name, content in pictures.items():
        drawn = content.count(b"<path") + content.count(b"<use")  # a raster is one image
        assert b"<image" in content or drawn > 3, f"{name} shows nothing"


@each
def test_a_tutorial_shows_what_its_run_left(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    parts = MADE["parts"](text)
    assert MADE["written"](parts) == text
    assert all(part.text.strip() for part in parts if part.kind == MADE["OUTPUT"])
    shown = SHOWN.findall(text)
    assert shown
    for alternative, name in shown:
        assert alternative
        assert (FOLDER / "pictures" / name).stat().st_size > 1000
    assert f"({page.name})" in (FOLDER / "index.md").read_text(encoding="utf-8")


@each
def test_the_notebook_agrees_with_the_page(page: Path) -> None:
    kept = page.with_suffix(".ipynb").read_text(encoding="utf-8")
    again = MADE["notebook"](page.read_text(encoding="utf-8"), page.stem)
    assert kept == again, "run: python docs/generate_tutorials.py --notebooks"


@each
def test_the_notebook_has_the_form_of_version_4_5(page: Path) -> None:
    document = json.loads(page.with_suffix(".ipynb").read_text(encoding="utf-8"))
    assert (document["nbformat"], document["nbformat_minor"]) == (4, 5)
    names = [cell["id"] for cell in document["cells"]]
    assert len(set(names)) == len(names)
    for cell in document["cells"]:
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", cell["id"])
        code = cell["cell_type"] == "code"
        expected = {"cell_type", "id", "metadata", "source"} | ({"execution_count", "outputs"} if code else set())
        assert set(cell) == expected
        for output in cell.get("outputs", ()):
            assert set(output) == {"output_type", "name", "text"}


def test_links_of_tutorials_lead_somewhere() -> None:
    for page in FOLDER.glob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_pictures_that_no_page_shows_are_not_kept() -> None:
    shown = {name for page in PAGES for _, name in SHOWN.findall(page.read_text(encoding="utf-8"))}
    assert {path.name for path in (FOLDER / "pictures").iterdir()} == shown
