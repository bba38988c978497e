"""What the site makes of files outside its folder: experiments become pages, other links say where a file is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

__all__ = ["on_files", "on_page_markdown"]

_ROOT = Path(__file__).resolve().parents[2]
_EXPERIMENT = re.compile(r"\]\((?:\.\./)*experiments/(\w+)/README\.md(#[^)]*)?\)")
_BESIDE = re.compile(r"\]\(\.\./(\w+)/README\.md(#[^)]*)?\)")
_PAGE = re.compile(r"\]\(\.\./\.\./docs/([^)]+)\)")
_FILE = re.compile(r"(?<!!)\[([^\]]+)\]\((?!\.\./|https?:|#)([^)#]+\.(?!md\b)\w+)\)")
_FIGURE = re.compile(r"(!\[[^\]]*\]\()([^)/]+\))")
_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)#]+)\)")
_FROM_ROOT = re.compile(r"\]\(docs/([^)]+)\)")


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Called by MkDocs once: what an experiment found is a page, with its figures."""
    for page in sorted(_ROOT.glob("experiments/*/README.md")):
        name = page.parent.name
        text = experiment(page.read_text(encoding="utf-8"), name)
        files.append(File.generated(config, f"experiments/{name}.md", content=text))
        for figure in re.findall(r"!\[[^\]]*\]\(([^)/]+)\)", page.read_text(encoding="utf-8")):
            found = str(page.parent / figure)
            files.append(File.generated(config, f"experiments/{name}/{figure}", abs_src_path=found))
    return files


def experiment(text: str, name: str) -> str:
    """The page of an experiment: links lead within the site, or say where in the repository a file is."""
    text = _FILE.sub(rf"\1 (`experiments/{name}/\2` of the repository)", text)
    text = _FIGURE.sub(rf"\g<1>{name}/\2", text)
    return _PAGE.sub(r"](../\1)", _BESIDE.sub(r"](\1.md\2)", text))


def on_page_markdown(markdown: str, page: Any, **_: Mapping[str, Any]) -> str:
    """Called by MkDocs for every page; that of changes is the file of the repository."""
    if page.file.src_uri.startswith("experiments/"):
        return markdown
    if page.file.src_uri == "changes.md":
        markdown = (_ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    above = "../" * page.file.src_uri.count("/")
    markdown = _EXPERIMENT.sub(rf"]({above}experiments/\1.md\2)", markdown)
    return _FROM_ROOT.sub(r"](\1)", _OUTSIDE.sub(_named, markdown))


def _named(link: re.Match[str]) -> str:
    """A link out of the site as words, unless it leads to another folder of it."""
    return (
        link[0]
        if (_ROOT / "docs" / link[2]).exists() or link[2].startswith("experiments/")
        else (f"{link[1]} (`{link[2]}` of the repository)")
    )
