"""JSON that is read strictly, and documents that carry a digest, so that a changed number is not taken for a result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NoReturn

__all__ = ["DIGEST", "digest", "parse_json", "sealed", "unsealed"]

DIGEST = "digest"
"""The name under which a document holds its own digest."""


def parse_json(text: str | bytes) -> Any:
    """A JSON value; no name may occur twice, and no number may be infinite or none.

    Raises:
        ValueError: in one line, when the text is anything else.

    Example:
        >>> parse_json('{"a": 1, "a": 2}')
        Traceback (most recent call last):
        ValueError: the name 'a' is given twice
    """
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None


def digest(value: Any) -> str:
    """Of a plain value, whatever the order of its names and the layout of its text."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """A document with the digest of its content.

    Example:
        >>> unsealed(sealed({"accuracy": 0.5}))
        ({'accuracy': 0.5}, True)
    """
    content = {name: inner for name, inner in value.items() if name != DIGEST}
    return {**content, DIGEST: digest(content)}


def unsealed(value: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """The content of a document, and whether it had a digest; those of older versions have none.

    Raises:
        ValueError: when the content is not what the digest was taken of.

    Example:
        >>> unsealed({**sealed({"accuracy": 0.5}), "accuracy": 0.9})
        Traceback (most recent call last):
        ValueError: its digest does not fit its content, which was changed after it was written
    """
    content = {name: inner for name, inner in value.items() if name != DIGEST}
    if DIGEST not in value:
        return content, False
    if value[DIGEST] != digest(content):
        raise ValueError("its digest does not fit its content, which was changed after it was written")
    return content, True


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!r} is given twice")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")
