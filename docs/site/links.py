"""What the site makes of links that lead out of it: folders of the repository are named, other pages are found."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

__all__ = ["on_page_markdown"]

_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)#]+)\)")
_FROM_ROOT = re.compile(r"\]\(docs/([^)]+)\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by MkDocs for every page; that of changes is the file of the repository."""
    if page.file.src_uri == "changes.md":
        markdown = (Path(__file__).parents[2] / "CHANGELOG.md").read_text(encoding="utf-8")
    return _FROM_ROOT.sub(r"](\1)", _OUTSIDE.sub(r"\1 (`\2` of the repository)", markdown))
