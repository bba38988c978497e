"""Run the tutorials: `python docs/generate_tutorials.py [NAME …]`, or only write their notebooks: `--notebooks`.

A tutorial is one page of Markdown, `docs/tutorials/NAME.md`. Running it executes its blocks in order in an empty folder
(`python` and `console`), writes what a block printed into the block titled *Output* behind it, where there is one,
keeps the pictures that the page shows, and writes the same as a notebook. A page that begins with
`<!-- needs: MODULE -->` is
skipped where the module is not installed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import re
import shlex
import sys
import tempfile
import textwrap
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent / "tutorials"
PICTURES = FOLDER / "pictures"
_FENCE = re.compile(r'^```(?P<kind>python|console|text title="Output")\n(?P<text>.*?)^```\n?', re.M | re.S)
_PICTURE = re.compile(r"!\[[^\]]*\]\(pictures/([^)]+)\)")
OUTPUT = 'text title="Output"'


class Part(NamedTuple):
    """A piece of a page: `markdown`, `python`, `console`, or the output of the block before it."""

    kind: str
    text: str


def parts(page: str) -> list[Part]:
    """The pieces of a page, in order."""
    found, place = [], 0
    for match in _FENCE.finditer(page):
        found += [Part("markdown", page[place : match.start()]), Part(match["kind"], match["text"])]
        place = match.end()
    return [part for part in (*found, Part("markdown", page[place:])) if part.text.strip() or part.kind == OUTPUT]


def needs(page: str) -> str | None:
    """The module without which a page cannot run, where it is not installed."""
    asked = re.match(r"<!-- needs: (\w+) -->", page)
    return asked[1] if asked and importlib.util.find_spec(asked[1]) is None else None


def run(page: str) -> tuple[list[Part], dict[str, bytes]]:
    """Execute a page in the folder of this process.

    Returns:
        The page with what its blocks printed, and the pictures that it shows, which its blocks must have made.
    """
    from sharewise.cli import main

    module = sys.modules["tutorial"] = types.ModuleType("tutorial")  # where classes of a page look for their names
    ran: list[Part] = []
    printed = ""
    for part in parts(page):
        if part.kind == OUTPUT:
            part = Part(OUTPUT, textwrap.dedent(printed).strip("\n") + "\n")
        heard = io.StringIO()
        with contextlib.redirect_stdout(heard):
            if part.kind == "python":
                exec(compile(part.text, "tutorial", "exec"), vars(module))
            elif part.kind == "console":
                for command in part.text.replace("\\\n", " ").splitlines():
                    program, *words = shlex.split(command.removeprefix("$ "))
                    if program != "sharewise" or main(words):
                        raise RuntimeError(f"this command failed: {command}")
        printed = heard.getvalue() if part.kind in ("python", "console") else printed
        ran.append(part)
    return ran, {name: Path(name).read_bytes() for name in _PICTURE.findall(page)}


def written(ran: Sequence[Part]) -> str:
    """A page of its pieces."""
    return "".join(part.text if part.kind == "markdown" else f"```{part.kind}\n{part.text}```\n" for part in ran)


def notebook(page: str, name: str) -> str:
    """The same page as a notebook, in version 4.5 of its format."""
    cells: list[dict[str, Any]] = []
    for part in parts(page):
        if part.kind == OUTPUT:
            cells[-1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": _lines(part.text)}]
            continue
        source = part.text.strip()
        cell: dict[str, Any] = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
        if part.kind == "markdown":
            cell = {"cell_type": "markdown", "metadata": {}}
        elif part.kind == "console":
            source = re.sub(r"^\$ ", "!", source, flags=re.MULTILINE)
        cells.append(cell | {"id": f"{name.replace('_', '-')[:50]}-{len(cells)}", "source": _lines(source)})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    document = {"cells": cells, "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}}}
    return json.dumps(document | {"nbformat": 4, "nbformat_minor": 5}, indent=1, ensure_ascii=False) + "\n"


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def main(names: Sequence[str]) -> int:
    """Run pages by name, or all of them."""
    os.environ["COLUMNS"] = "100"
    words_only = "--notebooks" in names
    names = [name for name in names if name != "--notebooks"]
    for path in sorted(FOLDER.glob("*.md")):
        page = path.read_text(encoding="utf-8")
        if (names and path.stem not in names) or not any(part.kind == "python" for part in parts(page)):
            continue
        if words_only:
            path.with_suffix(".ipynb").write_text(notebook(page, path.stem), encoding="utf-8")
            continue
        lacking = needs(page)
        if lacking:
            print(f"{path.stem}: skipped, {lacking} is not installed")
            continue
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            ran, pictures = run(page)
        page = written(ran)
        path.write_text(page, encoding="utf-8")
        path.with_suffix(".ipynb").write_text(notebook(page, path.stem), encoding="utf-8")
        PICTURES.mkdir(exist_ok=True)
        for name, content in pictures.items():
            (PICTURES / name).write_bytes(content)
        print(f"{path.stem}: {len(pictures)} pictures")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
