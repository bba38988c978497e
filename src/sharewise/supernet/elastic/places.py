"""Places: where in a model a decision acts."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

from torch import nn

from sharewise.errors import ConfigurationError, unknown_name
from sharewise.space import Option
from sharewise.supernet.elastic.choices import (
    Choices,
    Choose,
    Depth,
    ElasticConv2d,
    ElasticEmbedding,
    ElasticLinear,
    Present,
    Setting,
)

__all__ = ["Chosen", "Place", "expanded", "outermost", "within"]


@final
@dataclass(frozen=True)
class Place:
    """Where a decision acts.

    Args:
        decision: its name.
        kind: `width`, `ratio`, `following`, `depth`, `kernel`, `heads`, `setting`, `present`, `bypassed`, or `module`
            for `Choose`.
        path: of the module; for a depth, of the container of the blocks.
        options: sizes, or names of modules.
        blocks: paths of the modules that a depth counts, in order.
        of: other decisions that choose the size together with its own.
        table: sizes of a ratio or of what follows decisions, for all combinations of options of `decisions`, the last
            one varying fastest; of what they bypass 0, and 1 where it is executed.
        rule: of what follows decisions, the size as a function of their options, until the table is made; of what they
            bypass, whether they do.
        transforms: whether smaller kernels are learned functions of larger ones.
        name: of the attribute that is set, or of the parameter that may be absent.
    """

    decision: str
    kind: str
    path: str
    options: tuple[Option, ...]
    blocks: tuple[str, ...] = ()
    of: tuple[str, ...] = ()
    table: tuple[int, ...] = ()
    rule: Callable[..., int] | None = None
    transforms: bool = False
    name: str = ""

    def __repr__(self) -> str:
        """Without what is as it always was: spaces are named by it, and a later field must not rename them."""
        fields = {name: getattr(self, name) for name in ("decision", "kind", "path", "options", "blocks")}
        later = {name: getattr(self, name) for name in ("of", "table", "transforms", "name")}
        fields |= {name: value for name, value in later.items() if value}
        return f"Place({', '.join(f'{name}={value!r}' for name, value in fields.items())})"

    @property
    def decides(self) -> bool:
        """Whether something is chosen here, and does not only follow."""
        return self.kind not in ("following", "bypassed")

    @property
    def narrows(self) -> bool:
        """Whether dimensions are narrowed and nothing is put into the model, whose graph is then what it is without."""
        return self.kind in ("width", "ratio", "following", "heads")

    @property
    def decisions(self) -> tuple[str, ...]:
        """Those that choose the size together, its own last."""
        return (*self.of, self.decision)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of any kind but `module`, for all combinations of options of `decisions`, the last one varying fastest."""
        return self.table or tuple(map(self.size, range(len(self.options))))

    def size(self, combination: int) -> int:
        """The size for a combination of options of `decisions`, by its number."""
        size = self.table[combination] if self.table else self.options[combination]
        assert isinstance(size, int)
        return size

    def governs(self, path: str) -> bool:
        """Whether the decision says which kernel or parameters a module has, or whether or how it is executed."""
        if self.kind in ("kernel", "present"):
            return path == self.path
        whole = self.kind in ("module", "setting", "bypassed")
        roots = self.blocks if self.kind == "depth" else (self.path,) if whole else ()
        return any(within(path, root) for root in roots)


def within(path: str, root: str) -> bool:
    """Whether a module is another one or a part of it."""
    return path == root or path.startswith(f"{root}.") or not root


def outermost(paths: Sequence[str]) -> tuple[str, ...]:
    """Those modules of some that are no part of another one, each once.

    Example:
        >>> outermost(["a.0", "a.1.b.0", "a.1", "a.0"])
        ('a.0', 'a.1')
    """
    once = tuple(dict.fromkeys(paths))
    return tuple(path for path in once if not any(within(path, root) for root in once if root != path))


Chosen = Mapping[str, Choices | Sequence[Choices]]
"""What is chosen, by pattern of module paths: one kind of size, or several."""


Offered = Mapping[str, Sequence[Option]]
"""Options by name of a decision."""


def expanded(model: nn.Module, choices: Chosen, decisions: Offered | None = None) -> tuple[Place, ...]:
    """Expand patterns, elastic layers and `Choose` modules into places, in the order of the model's modules.

    Args:
        model: whose modules the patterns name.
        choices: by pattern.
        decisions: of the space; those that are made at the places themselves if not given.

    Raises:
        ConfigurationError: when a pattern matches nothing, or a depth does not count the last blocks of a container.
    """
    rank = {path: i for i, (path, _) in enumerate(model.named_modules())}
    found = [*_of_patterns(model, choices), *_of_modules(model)]
    offered = {place.decision: place.options for place in found if place.decides} if decisions is None else decisions
    measured = [_MEASURED.get(place.kind, _as_it_is)(place, found, offered) for place in found]
    return tuple(sorted(measured, key=lambda place: (rank.get(place.path, 0), place.kind)))


def _as_it_is(place: Place, places: Sequence[Place], offered: Offered) -> Place:
    return place


def _ratio(place: Place, places: Sequence[Place], offered: Offered) -> Place:
    """A ratio with its products.

    Raises:
        ConfigurationError: when no width has that name, several that differ have it, or a product keeps nothing.
    """
    [of] = place.of
    widths = {other.sizes for other in places if other.decision == of and other.kind == "width"}
    if len(widths) != 1:
        names = sorted({other.decision for other in places if other.kind == "width"})
        raise ConfigurationError(
            f"ratio {place.decision!r} at {place.path!r} multiplies one width by its name, but {of!r} names "
            f"{len(widths) or 'none'}; widths: {', '.join(names) or 'none'}"
        )
    [sizes] = widths
    found = replace(place, table=tuple(int(w * float(r)) for w in sizes for r in place.options))  # type: ignore[arg-type]
    if found.sizes[0] < 1:
        raise ConfigurationError(
            f"ratio {place.options[0]} of width {sizes[0]} at {place.path!r} would keep nothing; raise it"
        )
    return found


def _combinations(place: Place, offered: Offered) -> Iterator[tuple[Option, ...]]:
    """Of the options of all decisions of a place, the last one varying fastest."""
    for name in place.decisions:
        if name not in offered:
            raise unknown_name(f"decision that {place.path!r} follows:", name, offered)
    return itertools.product(*(offered[name] for name in place.decisions))


def _following(place: Place, places: Sequence[Place], offered: Offered) -> Place:
    """What follows decisions, with its sizes.

    Raises:
        ConfigurationError: when there is no such decision, or a size is no positive integer.
    """
    assert place.rule is not None
    table = []
    for options in _combinations(place, offered):
        size = place.rule(*options)
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ConfigurationError(
                f"{place.path!r} follows {', '.join(place.decisions)}, but its size for {options} is {size!r}; it must "
                "be a positive integer"
            )
        table.append(size)
    if max(table) > table[-1]:
        raise ConfigurationError(
            f"{place.path!r} follows {', '.join(place.decisions)}, but its size is {max(table)} for some options and "
            f"{table[-1]} for the largest; let it fall with none of them"
        )
    # The function has said all, and may be one that cannot be sent to another process.
    return replace(place, options=tuple(offered[place.decision]), table=tuple(table), rule=None)


def _bypassed(place: Place, places: Sequence[Place], offered: Offered) -> Place:
    """What decisions bypass, with what they say.

    Raises:
        ConfigurationError: when there is no such decision, or it is not said whether.
    """
    table = []
    for options in _combinations(place, offered):
        assert place.rule is not None
        left_out = place.rule(*options)
        if not isinstance(left_out, bool):
            raise ConfigurationError(
                f"{place.path!r} is bypassed by {', '.join(place.decisions)}, but for {options} its function says "
                f"{left_out!r}; it must say True or False"
            )
        table.append(int(not left_out))
    return replace(place, options=tuple(offered[place.decision]), table=tuple(table), rule=None)


_MEASURED: Mapping[str, Callable[[Place, Sequence[Place], Offered], Place]] = {
    "ratio": _ratio,
    "following": _following,
    "bypassed": _bypassed,
}
"""By kind how a place whose sizes are no options gets them."""


def _of_patterns(model: nn.Module, choices: Chosen) -> Iterator[Place]:
    if not isinstance(choices, Mapping):
        raise ConfigurationError(
            "choices map patterns of module paths, such as {'blocks.*.mlp': sharewise.width([64, 128])}; got "
            f"{choices!r}"
        )
    for key, given in choices.items():
        pattern = str(key)  # the modules of a Sequential are counted
        several = [given] if isinstance(given, Choices) else given
        if not isinstance(several, list | tuple) or not all(isinstance(choice, Choices) for choice in several):
            raise ConfigurationError(
                f"choices[{pattern!r}] must be width([…]), depth([…]), kernel([…]) or heads([…]), got {given!r}"
            )
        matched = _matched(model, pattern)
        for choice in several:
            paths = _of_their_rows(matched) if isinstance(choice, Depth) else matched.values()
            yield from _places(model, choice, list(dict.fromkeys(paths)))


def _of_their_rows(matched: Mapping[str, str]) -> list[str]:
    """Without blocks that are registered first outside the row that is named, which are no steps of a depth."""
    return [path for name, path in matched.items() if name.rpartition(".")[2] == path.rpartition(".")[2]]


def _matched(model: nn.Module, pattern: str) -> dict[str, str]:
    """The first names of modules that a pattern names; a module that is registered twice has two."""
    first = {id(module): path for path, module in model.named_modules()}
    paths = {path: first[id(module)] for path, module in model.named_modules(remove_duplicate=False) if path}
    expression = re.compile(re.escape(pattern).replace(r"\*", "[^.]+"))
    matched = {name: path for name, path in paths.items() if expression.fullmatch(name)}
    if not matched:
        raise unknown_name("module pattern", pattern, [p for p in paths if p.count(".") <= pattern.count(".")])
    return matched


def _of_modules(model: nn.Module) -> Iterator[Place]:
    """Elastic layers and `Choose` modules bring their choices with them."""
    for path, module in model.named_modules():
        if isinstance(module, Choose):
            yield Place(module.name or _identifier(path, "module"), "module", path, module.names)
        elif isinstance(module, ElasticLinear | ElasticConv2d | ElasticEmbedding):
            for choice in module.choices:
                yield from _places(model, choice, [path])


def _places(model: nn.Module, choice: Choices, matched: Sequence[str]) -> Iterator[Place]:
    if not isinstance(choice, Depth):
        for path in matched:
            _require_named(model, path, choice)
            name = choice.name or _identifier(path, choice.kind)
            yield Place(name, choice.kind, path, choice.options, **choice.details)
        return
    groups: dict[str, list[str]] = {}
    for path in matched:
        groups.setdefault(path.rpartition(".")[0], []).append(path)
    for owner, blocks in groups.items():
        _require_row(model, owner, blocks, choice.options)
        name = choice.name or _identifier(owner, choice.kind)
        yield Place(name, choice.kind, owner, choice.options, tuple(blocks))


def _require_named(model: nn.Module, path: str, choice: Choices) -> None:
    """Refuse a setting or a presence that the module does not have.

    Raises:
        ConfigurationError: when the module has none of that name, or its value is not the last option.
    """
    module = model.get_submodule(path)
    if isinstance(choice, Setting):
        value = vars(module).get(choice.attribute)
        if value != choice.options[-1]:
            raise ConfigurationError(
                f"the largest setting of {choice.attribute!r} at {path!r} must be the module's own, {value!r}, got "
                f"{choice.options[-1]}; a setting is an attribute of the instance, as __init__ sets it, and no "
                "property or attribute of the class"
            )
    if isinstance(choice, Present) and module._parameters.get(choice.parameter) is None:
        names = ", ".join(name for name, parameter in module._parameters.items() if parameter is not None)
        raise ConfigurationError(
            f"{path!r} ({type(module).__name__}) has no parameter {choice.parameter!r} that could be absent; it "
            f"has: {names or 'none'}"
        )
    if isinstance(choice, Present):
        _require_no_recurrence(module, path, choice.parameter)


def _require_no_recurrence(module: nn.Module, path: str, parameter: str) -> None:
    """Refuse the absence of a parameter that torch's recurrences read by one list, in which none may be missing.

    Raises:
        ConfigurationError: for a recurrent layer or cell.
    """
    if isinstance(module, nn.RNNBase):
        raise ConfigurationError(
            f"{path!r} ({type(module).__name__}) cannot do without its parameter {parameter!r} alone; "
            "build it with bias=False, or choose its width"
        )


def _require_row(model: nn.Module, owner: str, blocks: list[str], depths: Sequence[float]) -> None:
    """Refuse blocks that are not the last of a container, or not as many as the largest depth."""
    container = model.get_submodule(owner)
    names = [f"{owner}.{name}" if owner else name for name, _ in container.named_children()]
    if not isinstance(container, nn.ModuleList | nn.Sequential) or blocks != names[len(names) - len(blocks) :]:
        raise ConfigurationError(
            f"depth is chosen for the last modules of an nn.ModuleList or nn.Sequential, but {blocks} are not the "
            f"last of {owner or 'the model'!r}, a {type(container).__name__}"
        )
    if depths[-1] != len(blocks):
        raise ConfigurationError(
            f"the largest depth of {owner!r} must be the number of its blocks, {len(blocks)}, got {depths[-1]}"
        )
    if container is model and depths[0] == 0 and len(blocks) == len(names) and isinstance(model, nn.Sequential):
        raise ConfigurationError("a model without any module is no model; let depths start at 1")


def _identifier(path: str, kind: str) -> str:
    words = f"{re.sub(r'[^0-9A-Za-z_]', '_', path)}_{kind}" if path else kind
    return words if words.isidentifier() else f"layer_{words}"
