"""What can be chosen in a model of one's own: widths, depths, kernels, heads, and modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor, nn

from sharewise.errors import ConfigurationError
from sharewise.space import Option
from sharewise.supernet.gate import Gate, add, weighted

__all__ = [
    "Choices",
    "Choose",
    "Depth",
    "ElasticConv2d",
    "ElasticEmbedding",
    "ElasticLinear",
    "Heads",
    "Kernel",
    "Width",
    "depth",
    "heads",
    "kernel",
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

    options: tuple[int, ...]
    name: str | None = None

    def __post_init__(self) -> None:
        whole = all(isinstance(o, int) and not isinstance(o, bool) for o in self.options)
        if not self.options or not whole or list(self.options) != sorted(set(self.options)):
            raise ConfigurationError(f"{self.kind} needs ascending integers without repetition, got {self.options}")
        if self.options[0] < self.least:
            raise ConfigurationError(f"{self.kind} options must be at least {self.least}, got {self.options[0]}")
        if self.name is not None and not self.name.isidentifier():
            raise ConfigurationError(f"the name of a decision must be an identifier, got {self.name!r}")

    @property
    def kind(self) -> str:
        """A word for names and messages."""
        return type(self).__name__.lower()

    @property
    def least(self) -> int:
        """The smallest legal option."""
        return 1


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

    def __post_init__(self) -> None:
        super().__post_init__()
        if len({option % 2 for option in self.options}) > 1:
            raise ConfigurationError(f"kernels nest about a centre only if all are odd or all even: {self.options}")


@final
@dataclass(frozen=True)
class Heads(Choices):
    """Numbers of attention heads; see `heads`."""


def _listed(kind: str, options: Sequence[int]) -> tuple[int, ...]:
    if not isinstance(options, list | tuple | range):
        raise ConfigurationError(f"{kind} needs a list of options, such as {kind}([2, 4]), got {options!r}")
    return tuple(options)


def width(options: Sequence[int], *, name: str | None = None) -> Width:
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


def depth(options: Sequence[int], *, name: str | None = None) -> Depth:
    """Choose how many of the blocks that a pattern matches are executed; smaller choices keep the first ones.

    Args:
        options: ascending, from 0; the largest is the number of blocks.
        name: of the decision.

    Example:
        >>> depth([2, 3, 4]).options
        (2, 3, 4)
    """
    return Depth(_listed("depth", options), name)


def kernel(options: Sequence[int], *, name: str | None = None) -> Kernel:
    """Choose the size of a convolution's kernel; smaller ones are the centre of the largest.

    Args:
        options: ascending, all odd or all even; the largest is the layer's own.
        name: places with the same name share one decision.

    Example:
        >>> kernel([3, 5]).options
        (3, 5)
    """
    return Kernel(_listed("kernel", options), name)


def heads(options: Sequence[int], *, name: str | None = None) -> Heads:
    """Choose how many heads of fixed size an attention module has; smaller choices keep the first ones.

    Args:
        options: ascending; the largest is the module's own.
        name: places with the same name share one decision.

    Example:
        >>> heads([1, 2, 4]).options
        (1, 2, 4)
    """
    return Heads(_listed("heads", options), name)


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
        named = dict(options) if isinstance(options, Mapping) else _named(options)
        if not named:
            raise ConfigurationError("Choose needs at least one module")
        if name is not None and not name.isidentifier():
            raise ConfigurationError(f"the name of a decision must be an identifier, got {name!r}")
        self.name = name
        self.options = nn.ModuleDict(named)
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


def _named(modules: Sequence[nn.Module]) -> dict[str, nn.Module]:
    words = [type(module).__name__.lower() for module in modules]
    return {
        word if words.count(word) == 1 else f"{word}_{words[:i].count(word) + 1}": module
        for i, (word, module) in enumerate(zip(words, modules, strict=True))
    }


def _largest(size: int | Choices) -> int:
    return size.options[-1] if isinstance(size, Choices) else size


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
        super().__init__(in_features, _largest(out_features), bias=bias)
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
        size = _largest(kernel_size)
        super().__init__(
            in_channels,
            _largest(out_channels),
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
        super().__init__(num_embeddings, _largest(embedding_dim))
        self.choices: tuple[Choices, ...] = tuple(c for c in (embedding_dim,) if isinstance(c, Choices))
