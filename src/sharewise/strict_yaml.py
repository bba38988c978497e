"""YAML that is read strictly: no name twice, no alias, and no scalar that versions of YAML read differently."""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError
from yaml.events import AliasEvent
from yaml.nodes import MappingNode, Node, ScalarNode

from sharewise.errors import shown

__all__ = ["parse_yaml"]

_DEPTH = 24
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_TEXT = "tag:yaml.org,2002:str"
_PLAIN = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("bool", "float", "int", "map", "null", "seq", "str"))


class _Strict(yaml.SafeLoader):
    """Plain values only; whatever could mean two things is refused where it stands."""

    depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """A node that is no alias, which could stand for more memory than there is, and is not nested too deeply."""
        if self.check_event(AliasEvent):
            raise ComposerError(None, None, "aliases (*name) are not read; write the value out", self._mark())
        if self.depth >= _DEPTH:
            raise ComposerError(None, None, "its values are nested too deeply", self._mark())
        self.depth += 1
        node: Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def _mark(self) -> Any:
        return self.peek_event().start_mark  # type: ignore[no-untyped-call]

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        """A plain value; what looks like a date is the text that it is."""
        if node.tag == "tag:yaml.org,2002:timestamp":
            node.tag = _TEXT
        if node.tag not in _PLAIN:
            raise ConstructorError(
                None, None, f"tag {shown(node.tag)} is not read; write a plain value", node.start_mark
            )
        return super().construct_object(node, deep=deep)

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose names are texts, each given once."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                raise ConstructorError(None, None, "a name must be a plain text", key.start_mark)
            if key.value in seen:
                raise ConstructorError(None, None, f"the name {shown(key.value)} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)

    def number(self, node: ScalarNode) -> int | float:
        """A number in decimals; versions of YAML disagree on `010` (8 or 10), `12:30` (750 or a text) and `1_000`."""
        text = node.value
        kind = int if node.tag.endswith(":int") else float
        if (kind is int and not _DECIMAL.fullmatch(text)) or ":" in text or "_" in text:
            message = (
                f"{shown(text)} is read differently by different versions of YAML; write a decimal number, or quote it"
            )
            raise ConstructorError(None, None, message, node.start_mark)
        if kind is int and len(text) > 40:
            raise ConstructorError(None, None, f"the number {shown(text)} is too long", node.start_mark)
        return int(text) if kind is int else float(self.construct_yaml_float(node))


_Strict.add_constructor("tag:yaml.org,2002:int", _Strict.number)
_Strict.add_constructor("tag:yaml.org,2002:float", _Strict.number)


def parse_yaml(text: str | bytes) -> Any:
    """A plain value from YAML.

    Raises:
        ValueError: in one line, when the text is no YAML or could mean two things.

    Example:
        >>> parse_yaml("{epochs: 10, seed: 010}")
        Traceback (most recent call last):
        ValueError: line 1: '010' is read differently by different versions of YAML; ...
    """
    try:
        content = text.decode() if isinstance(text, bytes) else text
        return yaml.load(content, Loader=_Strict)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "" if mark is None else f"line {mark.line + 1}: "
        raise ValueError(where + (error.problem or "it is no YAML")) from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None
