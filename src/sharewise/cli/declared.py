"""What methods, configurations and networks declare, read from their source, so that help and lists need no torch.

Importing a method imports the engine, and with it torch, which takes longer than all else that a quick verb does. A
declaration is text, though: names, types, defaults and docstrings. They are read where they stand, so that there is no
second list which could drift; a test compares them with what importing finds.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, final

import sharewise
from sharewise.cli.options import Field, described
from sharewise.errors import unknown_name
from sharewise.own_file import OwnFile

__all__ = [
    "Method",
    "fields_of_class",
    "fields_of_method",
    "methods",
    "names_of_table",
    "network_options",
]

_TYPES: Mapping[str, Any] = {"Any": Any, "Literal": Literal, "Mapping": Mapping, "OwnFile": OwnFile}
"""Names that annotations of options use beside those that Python has built in."""


@final
@dataclass(frozen=True)
class Method:
    """A method as its function declares it.

    Args:
        name: as the command line has it.
        summary: the first line of its docstring.
        fields: its options.
    """

    name: str
    summary: str
    fields: tuple[Field, ...]


@cache
def methods() -> Mapping[str, Method]:
    """All methods by name, in the order in which `sharewise.methods` lists them.

    Example:
        >>> methods()["gaea-erm"].fields[0].default
        25
    """
    found: dict[str, Method] = {}
    for module, name in _imports(_tree("sharewise.methods")).values():
        function = _definition(module, name)[1]
        if isinstance(function, ast.FunctionDef):
            registered = _registered(function)
            if registered is not None:
                summary = (ast.get_docstring(function) or "").partition("\n")[0]
                found[registered] = Method(registered, summary, tuple(_arguments(module, function)))
    return found


def fields_of_method(name: str) -> list[Field]:
    """The options of a method; a variant has those of the method that it changes as well.

    Raises:
        ConfigurationError: when there is no such method; the message lists the legal names.
    """
    if name not in methods():
        raise unknown_name("method", name, methods())
    return list(methods()[name].fields)


def fields_of_class(module: str, name: str, *, skip: tuple[str, ...] = ()) -> list[Field]:
    """The fields of a dataclass, documented by its docstring and those of its parents.

    Example:
        >>> fields_of_class("sharewise.run.standalone", "TrainingRecipe")[0].text
        'passes over the training examples.'
    """
    return [field for field in _fields(*_definition(module, name)) if field.name not in skip]


def network_options(networks: str) -> list[Field]:
    """The options of the networks that a module holds as `NETWORKS`.

    Args:
        networks: the module.
    """
    for statement in ast.walk(_tree(networks)):
        if isinstance(statement, ast.keyword) and statement.arg == "options" and isinstance(statement.value, ast.Name):
            return fields_of_class(networks, statement.value.id)
    raise AssertionError(f"{networks} must hold NETWORKS = Networks(options=…)")


def names_of_table(module: str, name: str) -> list[str]:
    """The keys of a mapping that a module writes out.

    Example:
        >>> names_of_table("sharewise.strategy.registry", "STRATEGIES")[0]
        'random'
    """
    for line in _tree(module).body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.target.id == name:
            assert isinstance(line.value, ast.Dict)
            return [ast.literal_eval(key) for key in line.value.keys if key is not None]
    raise AssertionError(f"{module} must hold {name}: Mapping[str, …] = {{…}}")


@cache
def _tree(module: str) -> ast.Module:
    place = Path(sharewise.__file__).parent.joinpath(*module.split(".")[1:])
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def _imports(tree: ast.Module) -> dict[str, tuple[str, str]]:
    """Module and name there, by the name here, of everything that a module imports from others."""
    return {
        alias.asname or alias.name: (line.module, alias.name)
        for line in tree.body
        if isinstance(line, ast.ImportFrom) and line.module is not None
        for alias in line.names
    }


def _definition(module: str, name: str) -> tuple[str, ast.stmt | None]:
    """The statement that defines a name, and in which module; `None` for a name that is no function or class."""
    tree = _tree(module)
    for statement in tree.body:
        if isinstance(statement, ast.ClassDef | ast.FunctionDef) and statement.name == name:
            return module, statement
    home = _imports(tree).get(name)
    return (module, None) if home is None else _definition(*home)


def _registered(function: ast.FunctionDef) -> str | None:
    """The name under which a function is registered as a method or a variant of one."""
    for call in _decorations(function, "method", "variant"):
        name = ast.literal_eval(call.args[0])
        assert isinstance(name, str)
        return name
    return None


def _decorations(function: ast.FunctionDef, *names: str) -> Iterator[ast.Call]:
    for call in function.decorator_list:
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in names:
            yield call


def _arguments(module: str, function: ast.FunctionDef) -> Iterator[Field]:
    """The keyword arguments of a method, after those of the method that it varies."""
    for call in _decorations(function, "variant"):
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        of = given.pop("of")
        assert isinstance(of, ast.Name)
        home, varied = _definition(module, of.id)
        assert isinstance(varied, ast.FunctionDef)
        for field in _arguments(home, varied):
            yield replace(field, default=_value(given[field.name])) if field.name in given else field
    texts = described(ast.get_docstring(function) or "")
    for argument, default in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True):
        yield Field(argument.arg, _type(argument.annotation), _value(default), texts.get(argument.arg, ""))


def _fields(module: str, statement: ast.stmt | None) -> list[Field]:
    """The fields of a dataclass after those of its parents; an override keeps the place of what it overrides."""
    assert isinstance(statement, ast.ClassDef)
    found: dict[str, Field] = {}
    for parent in statement.bases:
        assert isinstance(parent, ast.Name)
        found |= {field.name: field for field in _fields(*_definition(module, parent.id))}
    texts = described(ast.get_docstring(statement) or "")
    for line in statement.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            name = line.target.id
            found[name] = Field(name, _type(line.annotation), _value(line.value), texts.get(name, ""))
    return list(found.values())


def _type(annotation: ast.expr | None) -> Any:
    assert annotation is not None
    return eval(compile(ast.Expression(annotation), "annotation", "eval"), dict(_TYPES))


def _value(default: ast.expr | None) -> Any:
    """A default that is written out; `None` where there is none, or where a function makes it."""
    return None if default is None or isinstance(default, ast.Call) else ast.literal_eval(default)
