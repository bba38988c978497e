"""Markup that escapes by construction: a plain string becomes text, only `Markup` stays as it is."""

from __future__ import annotations

from html import escape

__all__ = ["Markup", "element", "join"]


class Markup(str):
    """Text that is already HTML or SVG, so that it is told apart from text that must still be escaped.

    Example:
        >>> element("b", "1 < 2", Markup("<i>sure</i>"))
        '<b>1 &lt; 2<i>sure</i></b>'
    """

    __slots__ = ()


def element(tag: str, *children: str | None, **attributes: str | float | None) -> Markup:
    """Write one element, escaping its attributes and every child that is not `Markup`.

    Args:
        tag: the element's name.
        children: texts and markup; None stands for nothing.
        attributes: by name, a trailing underscore dropped and inner ones made hyphens; None leaves one out.

    Returns:
        The element.

    Example:
        >>> element("a", "R&D", href="#x", class_="quiet", title=None)
        '<a href="#x" class="quiet">R&amp;D</a>'
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(_plain(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{tag}{written}>{join(*children)}</{tag}>")


def join(*children: str | None) -> Markup:
    """Put markup side by side, escaping every child that is not `Markup`.

    Args:
        children: texts and markup; None stands for nothing.

    Returns:
        Them all, in order.

    Example:
        >>> join("a < b", Markup("<br>"), None)
        'a &lt; b<br>'
    """
    return Markup("".join(child if isinstance(child, Markup) else escape(child) for child in children if child))


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else f"{round(value, 2):g}"
