"""What can be chosen in a model of one's own: widths, ratios of them, depths, kernels, heads, settings and modules.

What follows choices that are made elsewhere is said here, too.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor, nn

from sharewise.errors import ConfigurationError
from sharewise.given import truth
from sharewise.space import Option
from sharewise.space.choice import plain_option
from sharewise.supernet.gate import Gate, add, weighted

__all__ = [
    "Bypassed",
    "Choices",
    "Choose",
    "Depth",
    "ElasticConv2d",
    "ElasticEmbedding",
    "ElasticLinear",
    "Following",
    "Heads",
    "Kernel",
    "Present",
    "Ratio",
    "Setting",
    "Width",
    "bypassed",
    "depth",
    "following",
    "heads",
    "kernel",
    "present",
    "ratio",
    "setting",
    "width",
]


@dataclass(frozen=True)
class Choices:
    """Sizes among which a search chooses, for one place of a model.

    Args:
        options: positive integers, ascending; the largest is what the model has.
        name: of the decision. Places with the same name share one decision; without one each place has its own.

    Raises:
        ConfigurationError: when the options are not what they must be.
    """

    options: tuple[float, ...]
    name: str | None = None

    def __post_init__(self) -> None:
        whole = all(isinstance(o, int) and not isinstance(o, bool) for o in self.options)
        if not self.options or not whole or list(self.options) != sorted(set(self.options)):
            raise ConfigurationError(f"{self.kind} needs ascending integers without repetition, got {self.options}")
        if self.options[0] < self.least:
            raise ConfigurationError(f"{self.kind} options must be at least {self.least}, got {self.options[0]}")
        _require_name(self.name)

    @property
    def kind(self) -> str:
        """A word for names and messages."""
        return type(self).__name__.lower()

    @property
    def least(self) -> int:
        """The smallest legal option."""
        return 1

    @property
    def details(self) -> Mapping[str, Any]:
        """What a place must know beside options and name, by its arguments."""
        return {}


@final
@dataclass(frozen=True)
class Width(Choices):
    """Numbers of features or channels; see `width`."""


@final
@dataclass(frozen=True)
class Depth(Choices):
    """Numbers of blocks; see `depth`."""

    @property
    def least(self) -> int:
        """No block at all is a depth, too."""
        return 0


@final
@dataclass(frozen=True)
class Kernel(Choices):
    """Sizes of kernels; see `kernel`."""

    transforms: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        truth("transforms", self.transforms)
        if len({option % 2 for option in self.options}) > 1:
            raise ConfigurationError(f"kernels nest about a centre only if all are odd or all even: {self.options}")

    @property
    def details(self) -> Mapping[str, Any]:
        """Whether smaller kernels are learned functions of larger ones."""
        return {"transforms": self.transforms}


@final
@dataclass(frozen=True)
class Heads(Choices):
    """Numbers of attention heads; see `heads`."""


@final
@dataclass(frozen=True)
class Ratio(Choices):
    """Multiples of a width that another decision chooses; see `ratio`."""

    of: str = ""

    def __post_init__(self) -> None:
        numbers = all(isinstance(o, int | float) and not isinstance(o, bool) for o in self.options)
        if (
            not self.options
            or not numbers
            or list(self.options) != sorted(set(self.options))
            or not 0 < self.options[0] <= self.options[-1] < math.inf
        ):
            raise ConfigurationError(f"ratio needs positive ascending numbers without repetition, got {self.options}")
        _require_name(self.name)
        if not (isinstance(self.of, str) and self.of.isidentifier()):
            raise ConfigurationError(
                f"ratio needs the name of the width that it multiplies, such as of='features', got {self.of!r}"
            )

    @property
    def details(self) -> Mapping[str, Any]:
        """The width that is multiplied."""
        return {"of": (self.of,)}


@final
@dataclass(frozen=True)
class Following(Choices):
    """Widths that decisions made elsewhere choose; see `following`."""

    of: tuple[str, ...] = ()
    size: Callable[..., int] | None = None

    def __post_init__(self) -> None:
        _require_rule(self, "following", self.of, self.size, "following('ratio', size=lambda ratio: 8 * ratio)")

    @property
    def details(self) -> Mapping[str, Any]:
        """The other decisions that it follows, and how."""
        return {"of": self.of, "rule": self.size}


@final
@dataclass(frozen=True)
class Bypassed(Choices):
    """A module that decisions made elsewhere leave out; see `bypassed`."""

    of: tuple[str, ...] = ()
    where: Callable[..., bool] | None = None

    def __post_init__(self) -> None:
        _require_rule(self, "bypassed", self.of, self.where, "bypassed('before', 'after', where=operator.eq)")

    @property
    def details(self) -> Mapping[str, Any]:
        """The other decisions that say whether it is executed, and how."""
        return {"of": self.of, "rule": self.where}


@final
@dataclass(frozen=True)
class Setting(Choices):
    """Values of an attribute of a module; see `setting`."""

    attribute: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (isinstance(self.attribute, str) and self.attribute.isidentifier()):
            raise ConfigurationError(
                f"setting needs the name of an attribute of the module, such as 'heads', got {self.attribute!r}"
            )

    @property
    def details(self) -> Mapping[str, Any]:
        """The attribute."""
        return {"name": self.attribute}


@final
@dataclass(frozen=True)
class Present(Choices):
    """Whether a parameter is there; see `present`."""

    parameter: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (isinstance(self.parameter, str) and self.parameter.isidentifier()):
            raise ConfigurationError(
                f"present needs the name of a parameter of the layer, such as 'bias', got {self.parameter!r}"
            )

    @property
    def least(self) -> int:
        """Absent."""
        return 0

    @property
    def details(self) -> Mapping[str, Any]:
        """The parameter."""
        return {"name": self.parameter}


def _require_name(name: object) -> None:
    if name is not None and not (isinstance(name, str) and name.isidentifier()):
        raise ConfigurationError(f"the name of a decision must be an identifier, got {name!r}")


def _require_rule(choices: Choices, kind: str, of: Sequence[object], rule: object, example: str) -> None:
    """What only depends on decisions made elsewhere has their names, no options, and a function of theirs."""
    if choices.name is None or choices.options:
        raise ConfigurationError(f"{kind} needs the names of decisions, such as {example}")
    for name in (*of, choices.name):
        _require_name(name)
    if not callable(rule):
        raise ConfigurationError(f"{kind} needs a function of the options of its decisions, got {rule!r}")


def _listed(kind: str, options: Iterable[float]) -> tuple[float, ...]:
    """The options as plain numbers, whatever holds them; whether they are legal sizes is for `Choices` to say."""
    try:
        listed = None if isinstance(options, str | Mapping) else tuple(map(plain_option, options))
    except (TypeError, ConfigurationError):
        listed = None
    if listed is None:
        raise ConfigurationError(f"{kind} needs a list of options, such as {kind}([2, 4]), got {options!r}")
    whole = tuple(int(o) if isinstance(o, float) and o.is_integer() else o for o in listed)
    return tuple(sorted(whole)) if isinstance(options, set | frozenset) else whole


def width(options: Iterable[int], *, name: str | None = None) -> Width:
    """Choose how many features a layer writes, or how many hidden features a module has.

    Smaller choices keep the leading features. All that reads or accompanies them follows: the layers behind, norms,
    depthwise convolutions, concatenations, residual sums.

    Args:
        options: ascending; the largest is the model's own.
        name: places with the same name share one decision.

    Example:
        >>> width([64, 128])
        Width(options=(64, 128), name=None)
    """
    return Width(_listed("width", options), name)


def depth(options: Iterable[int], *, name: str | None = None) -> Depth:
    """Choose how many of the blocks that a pattern matches are executed; smaller choices keep the first ones.

    Args:
        options: ascending, from 0; the largest is the number of blocks.
        name: of the decision.

    Example:
        >>> depth([2, 3, 4]).options
        (2, 3, 4)
    """
    return Depth(_listed("depth", options), name)


def kernel(options: Iterable[int], *, name: str | None = None, transforms: bool = False) -> Kernel:
    """Choose the size of a convolution's kernel; smaller ones are the centre of the largest.

    Args:
        options: ascending, all odd or all even; the largest is the layer's own.
        name: places with the same name share one decision.
        transforms: whether a smaller kernel is the centre of the next larger one times a matrix that is learned with
            the weights, as in Once-for-All: one matrix per pair of sizes and layer, which starts as the identity.
            Extracted networks have the product as their weight, and no matrix.

    Example:
        >>> kernel([3, 5]).options
        (3, 5)
    """
    return Kernel(_listed("kernel", options), name, transforms)


def heads(options: Iterable[int], *, name: str | None = None) -> Heads:
    """Choose how many heads of fixed size an attention module has; smaller choices keep the first ones.

    Args:
        options: ascending; the largest is the module's own.
        name: places with the same name share one decision.

    Example:
        >>> heads([1, 2, 4]).options
        (1, 2, 4)
    """
    return Heads(_listed("heads", options), name)


def ratio(options: Iterable[float], *, of: str, name: str | None = None) -> Ratio:
    """Choose a hidden width as a multiple of a width that another decision chooses.

    With options o of the width and r of the ratio the leading ⌊o · r⌋ features are kept, and under a mixture position j
    survives by s_j = Σ_{o, r} g_o g_r [j < ⌊o · r⌋].

    Args:
        options: ascending and positive; the largest times the largest width is what the model has.
        of: the name of the width.
        name: places with the same name share one decision.

    Example:
        >>> ratio([2, 3.5], of="features")
        Ratio(options=(2, 3.5), name=None, of='features')
    """
    return Ratio(_listed("ratio", options), name, of)


def setting(attribute: str, options: Iterable[int], *, name: str | None = None) -> Setting:
    """Choose the value of an integer attribute of a module that changes what it computes, but no shape.

    Such as into how many heads attention cuts its features, all of which stay. With several active options the module
    is executed once for each, Σ_i g_i · f_i(x); so let it hold nothing but what the attribute changes.

    Args:
        attribute: of the module.
        options: ascending; the largest is the module's own.
        name: places with the same name share one decision.

    Example:
        >>> setting("heads", [2, 4]).attribute
        'heads'
    """
    return Setting(_listed("setting", options), name, attribute)


def present(parameter: str = "bias", *, name: str | None = None) -> Present:
    """Choose whether a layer has a parameter at all, which the model has: its options are 0 and 1.

    Under a mixture the parameter is scaled by the weight of its presence; an extracted layer has it, or has none.

    Args:
        parameter: of a layer that can do without it, such as the bias of a linear layer or a convolution.
        name: places with the same name share one decision.

    Example:
        >>> present().options
        (0, 1)
    """
    return Present((0, 1), name, parameter)


def following(*decisions: str, size: Callable[..., int]) -> Following:
    """Let a hidden width follow decisions that are made elsewhere, without a choice of its own.

    For sizes that a formula makes of others: channels that are squeezed to a quarter, a product that is rounded to a
    multiple of eight. With sizes n(o) position j survives by s_j = Σ_o g_o [j < n(o)] over combinations o of options.

    Args:
        decisions: names of the decisions.
        size: a function of one option of each that falls with none of them; equal sizes are allowed. That of the
            largest options is the model's own.

    Example:
        >>> squeezed = following("hidden", size=lambda hidden: max(1, hidden // 4))
        >>> squeezed.name, squeezed.size(64)
        ('hidden', 16)
    """
    return Following((), decisions[-1] if decisions else None, decisions[:-1], size)


def bypassed(*decisions: str, where: Callable[..., bool]) -> Bypassed:
    """Let a module be left out where decisions made elsewhere say so, without a choice of its own.

    For the projection of a shortcut, which is there only where the width before it differs from the width behind it.
    What the module reads passes in its place, and an extracted network has `nn.Identity` there. Under a mixture it is

        Σ_{o : executed} g_o · f(x) + Σ_{o : left out} g_o · x

    over combinations o of options, with x cut or padded with zeros to the extent of f(x).

    Args:
        decisions: names of the decisions.
        where: a function of one option of each, whether the module is left out. It then reads and writes tensors of one
            shape. With the largest options a model of your own executes it, as it does without any choice.

    Example:
        >>> import operator
        >>> project = bypassed("before", "after", where=operator.eq)
        >>> project.of, project.name
        (('before',), 'after')
    """
    return Bypassed((), decisions[-1] if decisions else None, decisions[:-1], where)


@final
class Choose(nn.Module):
    """Several modules of which an architecture has one, at a place of a model of one's own.

    Under gates it computes Σ g_i · o_i(x) over the active options; others are neither executed nor given a gradient.
    All options must map the input to outputs of one shape. An extracted network has the chosen module in this place.

    Args:
        options: the modules; in a mapping by name, in a sequence named after their classes.
        name: of the decision; places with the same name share one decision and must offer the same options. Without one
            each place has its own.

    Raises:
        ConfigurationError: for fewer than one option, or when it is called outside of an elastic model.

    Example:
        >>> Choose([nn.ReLU(), nn.GELU()], name="activation").names
        ('relu', 'gelu')
    """

    def __init__(self, options: Sequence[nn.Module] | Mapping[str, nn.Module], *, name: str | None = None) -> None:
        super().__init__()
        _require_name(name)
        self.name = name
        self.options = nn.ModuleDict(_alternatives(options))
        self.gate: Gate | None = None  # bound by the elastic model for the duration of one call

    @property
    def names(self) -> tuple[Option, ...]:
        """Names of the options."""
        return tuple(self.options)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The weighted sum of the active options."""
        if self.gate is None:
            raise ConfigurationError(
                f"Choose({', '.join(self.options)}) was called outside of an elastic model; wrap the model: "
                "sharewise.elastic(model, example=inputs), and pass gates"
            )
        modules = list(self.options.values())
        total: Tensor | None = None
        for index in self.gate.active:
            total = add(total, weighted(self.gate, index, modules[index](*args, **kwargs)))
        if total is None:
            raise ConfigurationError(f"Choose({', '.join(self.options)}) has no active option; it needs at least one")
        return total


def _alternatives(options: object) -> dict[str, nn.Module]:
    """The modules by name.

    Raises:
        ConfigurationError: for what is no collection of modules, or a name that torch cannot give to a module.
    """
    if isinstance(options, Mapping | nn.ModuleDict):
        named = {str(name): module for name, module in options.items()}
    elif isinstance(options, Iterable) and not isinstance(options, str | nn.Sequential):
        named = _named(list(options))
    else:
        raise ConfigurationError(
            f"Choose needs several modules, such as Choose([nn.ReLU(), nn.GELU()]) or {{'name': module, …}}, got "
            f"{'one ' if isinstance(options, nn.Module) else ''}{options!r}"
        )
    if not named:
        raise ConfigurationError("Choose needs at least one module")
    for name, module in named.items():
        _require_module(name, module)
    return named


def _require_module(name: str, module: object) -> None:
    if not isinstance(module, nn.Module):
        hint = "put several into nn.Sequential, a function into a module of its own, and call a class"
        raise ConfigurationError(f"option {name!r} of Choose must be an nn.Module, got {module!r}; {hint}")
    if not name or "." in name or hasattr(_RESERVED, name):
        raise ConfigurationError(
            f"torch cannot give a module the name {name!r}; take another one without dots for this option of Choose"
        )


_RESERVED = nn.ModuleDict()
"""Whose attributes are no names for modules."""


def _named(modules: Sequence[nn.Module]) -> dict[str, nn.Module]:
    words = [type(module).__name__.lower() for module in modules]
    words = [f"{word}_module" if hasattr(_RESERVED, word) else word for word in words]
    return {
        word if words.count(word) == 1 else f"{word}_{words[:i].count(word) + 1}": module
        for i, (word, module) in enumerate(zip(words, modules, strict=True))
    }


def _largest(what: str, size: int | Choices, kind: type[Choices]) -> int:
    """The size of the largest choice.

    Raises:
        ConfigurationError: for what is neither a size nor a choice of that kind.
    """
    if isinstance(size, kind):
        return int(size.options[-1])
    try:
        return operator.index(size)  # type: ignore[arg-type]
    except TypeError:
        word = kind.__name__.lower()
        raise ConfigurationError(f"{what} must be an integer or {word}([…]), got {size!r}") from None


@final
class ElasticLinear(nn.Linear):
    """A linear layer whose number of output features is searched; what reads them follows by itself.

    It is the largest layer until the model is wrapped by `sharewise.elastic`.

    Args:
        in_features: as in `nn.Linear`; where an elastic layer writes them, its largest choice.
        out_features: a size, or `width([…])`.
        bias: whether there is one.

    Example:
        >>> ElasticLinear(4, width([8, 16])).out_features
        16
    """

    def __init__(self, in_features: int, out_features: int | Width, *, bias: bool = True) -> None:
        super().__init__(in_features, _largest("out_features", out_features, Width), bias=bias)
        self.choices: tuple[Choices, ...] = tuple(c for c in (out_features,) if isinstance(c, Choices))


@final
class ElasticConv2d(nn.Conv2d):
    """A convolution whose number of output channels and whose kernel are searched.

    Args:
        in_channels: as in `nn.Conv2d`; where an elastic layer writes them, its largest choice.
        out_channels: a size, or `width([…])`.
        kernel_size: a size, or `kernel([…])`.
        stride: as in `nn.Conv2d`.
        padding: of the largest kernel; `None` keeps the extent at stride 1.
        dilation: as in `nn.Conv2d`.
        groups: as in `nn.Conv2d`; with as many groups as channels they follow each other.
        bias: whether there is one.

    Example:
        >>> ElasticConv2d(3, width([8, 16]), kernel([3, 5])).padding
        (2, 2)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | Width,
        kernel_size: int | Kernel,
        *,
        stride: int = 1,
        padding: int | None = None,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        size = _largest("kernel_size", kernel_size, Kernel)
        super().__init__(
            in_channels,
            _largest("out_channels", out_channels, Width),
            size,
            stride=stride,
            padding=dilation * (size - 1) // 2 if padding is None else padding,
            dilation=dilation,
            groups=groups,
            bias=bias,
        )
        self.choices: tuple[Choices, ...] = tuple(c for c in (out_channels, kernel_size) if isinstance(c, Choices))


@final
class ElasticEmbedding(nn.Embedding):
    """An embedding whose number of features is searched.

    Args:
        num_embeddings: as in `nn.Embedding`.
        embedding_dim: a size, or `width([…])`.

    Example:
        >>> ElasticEmbedding(10, width([8, 16])).embedding_dim
        16
    """

    def __init__(self, num_embeddings: int, embedding_dim: int | Width) -> None:
        super().__init__(num_embeddings, _largest("embedding_dim", embedding_dim, Width))
        self.choices: tuple[Choices, ...] = tuple(c for c in (embedding_dim,) if isinstance(c, Choices))
