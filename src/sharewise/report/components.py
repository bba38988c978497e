"""Components of every page: its frame, cards, tables, figures and commands.

A page asks nothing of the outside: its style and pictures are inline, it holds no script, and its own security policy
forbids every request.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import final

from sharewise.atomic import replacing
from sharewise.report.canvas import narrow
from sharewise.report.markup import Markup, element, join

__all__ = [
    "FIGURES",
    "Page",
    "Section",
    "card",
    "cards",
    "code",
    "command",
    "how",
    "note",
    "picture",
    "plots",
    "render",
    "save",
    "table",
    "values",
    "verdict",
]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
FIGURES = """
img.figure { display: block; max-width: 100%; height: auto; margin: 6px 0; border-radius: 8px; }
caption { text-align: left; padding-bottom: 8px; color: var(--muted); font-size: 14px; }
thead th.number { white-space: normal; }
td small { display: block; color: var(--muted); white-space: nowrap; }
h3 { margin: 22px 0 4px; font-size: 16px; }
"""
"""Style of pages with drawn figures and tables of comparisons."""


@final
@dataclass(frozen=True)
class Section:
    """A part of a page.

    Args:
        key: by which links find it.
        title: above it.
        content: `None` where there is nothing to show, and no section.
    """

    key: str
    title: str
    content: Markup | None


@final
@dataclass(frozen=True)
class Page:
    """All that a page shows.

    Args:
        eyebrow: what kind of page it is.
        title: above all.
        subtitle: below the title.
        headline: what a reader must see first.
        sections: in order.
        footer: where it comes from.
    """

    eyebrow: str
    title: str
    subtitle: str
    headline: Markup
    sections: Sequence[Section]
    footer: Markup


def render(page: Page, style: str = "") -> str:
    """A complete HTML document.

    Args:
        page: what it shows.
        style: beside that of all pages.

    Example:
        >>> text = render(Page("study", "a < b", "", Markup(""), [Section("x", "X", how("…"))], Markup("")))
        >>> text.startswith("<!doctype html>"), "<h1>a &lt; b</h1>" in text, 'href="#x"' in text
        (True, True, True)
    """
    present = [(s.key, s.title, s.content) for s in page.sections if s.content]
    head = join(
        Markup('<meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        element("title", f"{page.title} · sharewise"),
        element("style", Markup(files("sharewise.report").joinpath("style.css").read_text(encoding="utf-8") + style)),
    )
    header = element(
        "header",
        element("p", page.eyebrow, class_="eyebrow"),
        element("h1", page.title),
        element("p", page.subtitle, class_="subtitle") if page.subtitle else None,
        element("nav", *(element("a", name, href=f"#{key}") for key, name, _ in present), aria_label="Sections"),
        page.headline,
    )
    sections = (
        element("section", element("h2", name, id=f"{key}-title"), content, id=key, aria_labelledby=f"{key}-title")
        for key, name, content in present
    )
    body = element("body", element("main", header, *sections, page.footer))
    return f'<!doctype html>\n<html lang="en">\n{element("head", head)}\n{body}\n</html>\n'


def save(path: Path, text: str) -> Path:
    """Write a page, which replaces an older one only once it is complete."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


# ---------------------------------------------------------------------------------------------------------------------
# Words


def how(sentence: str) -> Markup:
    """How to read what follows."""
    return element("p", sentence, class_="how")


def note(sentence: str) -> Markup:
    """What is worth knowing beside."""
    return element("p", sentence, class_="note")


def verdict(sentence: str) -> Markup:
    """What the numbers allow one to say."""
    return element("p", sentence, class_="verdict")


def code(text: str) -> Markup:
    """An architecture that breaks across lines only after a bar, and copies as one."""
    return element("code", Markup(join(text).replace("|", "|<wbr>")))


def command(*words: str) -> Markup:
    """A command whose flags are never broken across lines."""
    spaced = (
        join(" " if place else None, element("b" if word.startswith("--") else "span", shlex.quote(word)))
        for place, word in enumerate(words)
    )
    return element("pre", element("code", *spaced))


# ---------------------------------------------------------------------------------------------------------------------
# Numbers


def card(name: str, value: str, small: str | None = None, *, wide: bool = False) -> Markup:
    """One number with its name, and a word on it."""
    line = element("small", small) if small else None
    return element("div", element("dt", name), element("dd", value, line), class_="wide" if wide else None)


def cards(found: Iterable[Markup]) -> Markup:
    """The numbers that a reader looks for first."""
    return element("dl", *found, class_="cards")


def table(head: Markup, *rows: Markup) -> Markup:
    """A table that scrolls sideways where it is too wide."""
    return element("div", element("table", element("thead", head), element("tbody", *rows)), class_="scroll")


def values(heads: Sequence[str], body: Iterable[tuple[str, Sequence[str | Markup]]]) -> Markup:
    """A table of numbers with a name before each row.

    Args:
        heads: of all columns.
        body: name and cells of every row.
    """
    first, *rest = heads
    head = element(
        "tr", element("th", first, scope="col"), *(element("th", h, class_="number", scope="col") for h in rest)
    )
    rows = (
        element("tr", element("th", name, scope="row"), *(element("td", cell, class_="number") for cell in cells))
        for name, cells in body
    )
    return table(head, *rows)


# ---------------------------------------------------------------------------------------------------------------------
# Pictures


def plots(*drawn: Markup | None) -> Markup:
    """Plots side by side."""
    return element("div", *(element("figure", plot) for plot in drawn if plot), class_="plots")


def picture(path: Path, caption: str) -> Markup:
    """A figure from a file of SVG, with its caption; on a narrow screen its narrow form, where there is one."""

    def address(file: Path) -> str:
        return f"data:image/svg+xml;base64,{base64.b64encode(file.read_bytes()).decode()}"

    slim = narrow(path)
    return join(
        element(
            "picture",
            element("source", srcset=address(slim), media="(max-width: 600px)") if slim.is_file() else None,
            element("img", src=address(path), alt=caption, class_="figure"),
        ),
        how(caption),
    )
