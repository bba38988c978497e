"""The documents are true: their examples run, their commands work, and generated pages are up to date."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest

from sharewise.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_python_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), names)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "console")], ids=lambda p: p.name)
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
