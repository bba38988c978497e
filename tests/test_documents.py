"""The documents are true: their examples run, their commands work, and generated pages are up to date."""

from __future__ import annotations

import gc
import re
import runpy
import shlex
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

from sharewise.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))


@pytest.fixture(scope="module")
def known() -> dict[tuple[str, ...], set[str]]:
    """Options by verb, space, method and recipe."""
    return {}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_python_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = ModuleType(page.stem)
    monkeypatch.setitem(sys.modules, page.stem, module)  # where classes of a page look for their names
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), vars(module))
    vars(module).clear()
    gc.collect()  # graphs of a block in a page keep hooks on modules, which other tests would meet


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.name, marks=pytest.mark.slow if page.stem in ("darts", "macro_spaces") else ())
        for page in PAGES
        if blocks(page, "console")
    ],
)
def test_commands_work_as_written(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    commands = [line[2:] for block in blocks(page, "console") for line in block.splitlines() if line.startswith("$ ")]
    assert commands
    for command in commands:
        program, *words = shlex.split(command)
        assert program == "sharewise"
        assert main(words) == 0, f"{command}\n{capsys.readouterr().err}"


def unrun(page: Path) -> list[list[str]]:
    """The words of every command of a page that only shows it, since it takes long or needs files of the reader."""
    text = "".join(blocks(page, "sh") + blocks(page, "text")).replace("\\\n", " ")
    found = re.findall(r"^(?:\$ )?(?:torchrun .* -m )?sharewise (.*)", text, flags=re.MULTILINE)
    return [shlex.split(line, comments=True) for line in found]


@pytest.mark.parametrize("page", [p for p in (*PAGES, *TUTORIALS) if unrun(p)], ids=lambda p: p.name)
def test_commands_that_are_only_shown_have_options_that_exist(
    page: Path, capsys: pytest.CaptureFixture[str], known: dict[tuple[str, ...], set[str]]
) -> None:
    for verb, *words in unrun(page):
        given = dict(pairwise(words))
        chosen = [f"{name}={value}" for name in ("--space", "--method", "--recipe") if (value := given.get(name))]
        inner = words[:1] if verb == "benchmark" else []
        asked = (verb, *inner, *(option for option in chosen if ".py:" not in option))
        if asked not in known:
            with pytest.raises(SystemExit, match=r"^0$"):
                main([*asked, "--help"])
            known[asked] = set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))
        assert {word for word in words if word.startswith("--")} <= known[asked], words


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_list_of_methods_is_up_to_date() -> None:
    generated = runpy.run_path(str(ROOT / "docs" / "generate_methods.py"))["page"]()
    written = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    assert written == generated, "run: python docs/generate_methods.py > docs/methods.md"


def test_the_loop_stays_short() -> None:
    lines = (ROOT / "src" / "sharewise" / "engine" / "loop.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 150


def test_the_figures_of_the_concepts_are_drawn_again(tmp_path: Path) -> None:
    drawn = runpy.run_path(str(ROOT / "docs" / "generate_figures.py"))["FIGURES"]
    text = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\(figures/(\w+)\.svg\)", text)) == set(drawn)
    for name, draw in drawn.items():
        draw(tmp_path / f"{name}.svg")
        kept = (ROOT / "docs" / "figures" / f"{name}.svg").read_text(encoding="utf-8")
        again = (tmp_path / f"{name}.svg").read_text(encoding="utf-8")
        # Lines have as many points, and texts are the same; last digits may differ between versions of Matplotlib.
        assert re.findall(r"<text[^>]*>(.*?)</text>", again) == re.findall(r"<text[^>]*>(.*?)</text>", kept)
        assert again.count("L ") == kept.count("L ") > 20


def test_the_house_is_as_it_is_drawn() -> None:
    """Every package and module of the first level stands in the table of rooms, and every room is there."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    source = ROOT / "src" / "sharewise"
    rooms = page.partition("## The rooms")[2].partition("## ")[0]
    first = " ".join(line.split("|")[1] for line in rooms.splitlines() if line.startswith("| `"))
    named = set(re.findall(r"(?<![\w/])`?(\w+)(?:/|\.py)`", first))
    there = {path.stem for path in source.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert named - there == set()
    assert there - named - {"__init__", "__main__"} == set()
    top = "|".join(sorted(path.name for path in source.iterdir() if path.is_dir() and path.name != "__pycache__"))
    paths = re.findall(rf"`((?:{top}|tests|benchmarks)/[\w/]+\.py)`", page)
    assert len(paths) > 30
    for path in paths:
        assert (source / path).is_file() or (ROOT / path).is_file(), path
