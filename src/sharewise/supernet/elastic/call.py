"""A call: one operation of an exported graph, as a rule sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.fx import Node

__all__ = ["Call", "call_of", "name_of", "values_of"]


def name_of(node: Node) -> str:
    """What messages call an operation."""
    return str(node.target).removesuffix(".default")


def values_of(node: Node) -> tuple[Tensor, ...]:
    """The tensors, without data, that a node stands for."""
    value = node.meta.get("val")
    values = value if isinstance(value, list | tuple) else [value]
    return tuple(each for each in values if isinstance(each, Tensor))


@final
@dataclass(frozen=True)
class Call:
    """One operation of an exported graph with its arguments by name.

    Args:
        node: of the graph.
        operation: the name without its namespace, its overload and the mark of an operation in place.
        arguments: given or default, by the name in the operation's schema.
        where: path of the innermost module that calls it.
        path: the same in words.
    """

    node: Node
    operation: str
    arguments: Mapping[str, object]
    where: str
    path: str

    @property
    def name(self) -> str:
        """What messages call it."""
        return name_of(self.node)

    @property
    def several(self) -> bool:
        """Whether it returns a list of tensors."""
        return isinstance(self.node.meta.get("val"), list | tuple)

    @property
    def first(self) -> Node:
        """The first argument, which must be a tensor."""
        first = next(iter(self.arguments.values()))
        assert isinstance(first, Node)
        return first

    @property
    def operands(self) -> list[Node]:
        """All tensors among the arguments."""
        values = [each for v in self.arguments.values() for each in (v if isinstance(v, list | tuple) else [v])]
        return [v for v in values if isinstance(v, Node) and isinstance(v.meta.get("val"), Tensor)]

    def optional(self, *names: str) -> Node | None:
        """The tensor of the first of these names that is given."""
        found = next((self.arguments[name] for name in names if self.arguments.get(name) is not None), None)
        assert found is None or isinstance(found, Node)
        return found

    def tensor(self, *names: str) -> Node:
        """The same for one that must be given."""
        found = self.optional(*names)
        assert found is not None
        return found

    def present(self, *names: str) -> list[Node]:
        """The tensors of those names that are given."""
        return [tensor for name in names if (tensor := self.optional(name)) is not None]

    def tensors(self, name: str) -> list[Node]:
        """A list of tensors."""
        found = self.arguments[name]
        assert isinstance(found, list | tuple)
        return list(found)

    def number(self, name: str) -> int | None:
        """A number, where it is given."""
        found = self.arguments[name]
        assert found is None or isinstance(found, int)
        return found

    def integer(self, name: str) -> int:
        """A number that must be given."""
        found = self.number(name)
        assert found is not None
        return found

    def integers(self, *names: str) -> list[int] | None:
        """One number or several, of the first of these names that the operation knows."""
        found = next((self.arguments[name] for name in names if name in self.arguments), None)
        return [found] if isinstance(found, int) else list(found) if isinstance(found, list | tuple) else None

    @property
    def is_pointwise(self) -> bool:
        """Whether each position of the output depends on the same position of the operands alone."""
        assert isinstance(self.node.target, torch._ops.OpOverload)
        packet = getattr(torch.ops.aten, self.operation, None)
        overloads = [] if packet is None else [getattr(packet, name) for name in packet.overloads()]
        return any(torch.Tag.pointwise in overload.tags for overload in (self.node.target, *overloads))


def call_of(node: Node, where: str, path: str) -> Call:
    """Read a node whose target is an operation of torch.

    Args:
        node: of the graph.
        where: path of the module that calls it.
        path: the same in words.
    """
    assert isinstance(node.target, torch._ops.OpOverload)
    schema = node.target._schema
    given = {a.name: v for a, v in zip(schema.arguments, node.args, strict=False)} | dict(node.kwargs)
    arguments = {a.name: given.get(a.name, a.default_value) for a in schema.arguments}
    name = schema.name.partition("::")[2]
    name = name[:-1] if name.endswith("_") and not name.endswith("__") else name
    return Call(node, name, arguments, where, path)
