"""Rows: what some examples of a batch compute as all of them would, where operations look across examples or draw."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from sharewise.errors import SharewiseError
from sharewise.supernet import frozen_statistics
from sharewise.supernet.recomputation import surrounded

if TYPE_CHECKING:
    from sharewise.engine.ranks import Ranks

__all__ = ["AsOne", "Layout", "Layouts", "RanksError"]

Layout = tuple[int | None, ...]
"""By draw of a forward pass, in order: the axis on which it has the examples, `None` for what all examples share."""

Draw = Callable[[Sequence[int], Callable[[Tensor], Tensor]], Tensor]
"""Draws, given the shape of what is drawn, and how to put a tensor of the asked shape into one of that."""

_FEW, _MORE = 2, 3
"""Examples on which a network is tried; batch norm needs two."""


class RanksError(SharewiseError):
    """The processes of one search cannot work together, or can no longer reach each other."""


@final
class Layouts:
    """Where the examples are in what a network draws, learnt by trying it on two and on three of them.

    A size alone does not tell a mask over the words of a vocabulary from one over examples: there may be as many of
    either. What grows with the number of examples is theirs. Nothing remains of a trial: numbers are drawn again, and
    statistics stay.

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.5))
        >>> Layouts().of("any path", network, network, torch.ones(8, 2))
        (0,)
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, Layout] = {}

    def forget(self) -> None:
        """Try anew from now on: a schedule may have changed what is drawn."""
        self._known.clear()

    def of(self, key: Hashable, network: nn.Module, run: Callable[[Any], object], inputs: Any) -> Layout:
        """The layout of a forward pass.

        Args:
            key: equal for passes that execute the same.
            network: whose statistics are kept.
            run: a forward pass on some inputs.
            inputs: at least one example.

        Raises:
            RanksError: when what is drawn does not grow with the number of examples along one axis.
        """
        if key not in self._known:
            shapes = [_tried(network, run, inputs, count) for count in (_FEW, _MORE)]
            if len(shapes[0]) != len(shapes[1]):
                raise RanksError(
                    f"the network draws {len(shapes[0])} times for {_FEW} examples and {len(shapes[1])} times for "
                    f"{_MORE}; several processes cannot share that out: start one"
                )
            self._known[key] = tuple(_axis(few, more) for few, more in zip(*shapes, strict=True))
        return self._known[key]


def _tried(network: nn.Module, run: Callable[[Any], object], inputs: Any, count: int) -> list[tuple[int, ...]]:
    """The shapes of what is drawn for so many examples, of which there may be fewer."""
    first = next(network.parameters(), None)
    device = torch.device("cpu") if first is None else first.device
    rows = torch.arange(count, device=device) % len(inputs)
    devices = [device] if device.type == "cuda" else []
    trial = _Trial()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=devices), frozen_statistics(network), trial:
            run(inputs[rows])
    finally:
        for generator, state in trial.generators.items():
            generator.set_state(state)
    return trial.shapes


def _axis(few: tuple[int, ...], more: tuple[int, ...]) -> int | None:
    axes = [axis for axis, (one, other) in enumerate(zip(few, more, strict=False)) if one != other]
    if not axes and len(few) == len(more):
        return None
    if len(few) != len(more) or len(axes) > 1 or few[axes[0]] * _MORE != more[axes[0]] * _FEW:
        raise RanksError(
            f"the network draws numbers of shape {few} for {_FEW} examples and {more} for {_MORE}, in which no axis is "
            "that of the examples; several processes cannot share them out: start one"
        )
    return axes[0]


class _Draws(TorchFunctionMode):
    """Sees operations that draw, or look across rows."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Replace what looks across rows; everything else is as it was."""
        replacement = _REPLACED.get(func)
        if replacement is None:
            return func(*args, **(kwargs or {}))
        return replacement(self, func, *args, **(kwargs or {}))

    def drawn(
        self, shape: Sequence[int], draw: Callable[[Sequence[int], Callable[[Tensor], Tensor]], Tensor]
    ) -> Tensor:
        """What `draw` draws for this shape, given the shape to draw and how to put a tensor of this one into it."""
        raise NotImplementedError

    def normalised(self, func: Any, x: Tensor, *args: Any) -> Tensor:
        """Batch norm in training mode; arguments as for `torch.nn.functional.batch_norm`."""
        result: Tensor = func(x, *args)
        return result


@final
class _Trial(_Draws):
    """Notes the shapes of what is drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []
        self.generators: dict[torch.Generator, Tensor] = {}  # of the network's own, as they were

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """As for all, and remember where generators stood."""
        generator = (kwargs or {}).get("generator")
        if generator is not None and generator not in self.generators:
            self.generators[generator] = generator.get_state()
        return super().__torch_function__(func, types, args, kwargs)

    def drawn(self, shape: Sequence[int], draw: Draw) -> Tensor:
        self.shapes.append(tuple(shape))
        return draw(shape, lambda x: x)


@final
class AsOne(_Draws):
    """Lets operations that look across rows, or draw for each, compute on some rows what they would on all of them.

    Rows of one example that are folded into an axis (windows, heads) follow each other there.

    Args:
        ranks: of the search.
        here: rows of this rank.
        whole: rows of the batch.
        layout: of what will be drawn.
    """

    def __init__(self, ranks: Ranks, here: int, whole: int, layout: Layout) -> None:
        super().__init__()
        self.ranks, self.here, self.whole = ranks, here, whole
        self._layout, self._drawn = layout, 0

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Within the block, and where a part of it is computed a second time, from where it is computed first."""

        def surroundings() -> Callable[[], AbstractContextManager[object]]:
            layout = self._layout[self._drawn :]
            return lambda: AsOne(self.ranks, self.here, self.whole, layout).entered()

        with self, surrounded(surroundings):
            yield

    def drawn(self, shape: Sequence[int], draw: Draw) -> Tensor:
        """Rows of what is drawn for the whole batch, or what all examples share as it is."""
        axis = self._layout[self._drawn] if self._drawn < len(self._layout) else -1
        self._drawn += 1
        if axis is None:
            return draw(shape, lambda x: x)
        if axis >= len(shape) or axis < 0 or shape[axis] % self.here:
            raise RanksError(
                f"the network draws numbers of shape {tuple(shape)} that it did not when it was tried: what is drawn "
                "depends on what was drawn before, which several processes cannot share out; start one"
            )
        each = shape[axis] // self.here
        start, length = each * self.ranks.rows(self.whole).start, each * self.here
        full = (*shape[:axis], each * self.whole, *shape[axis + 1 :])

        def placed(x: Tensor) -> Tensor:
            around = _like_in_memory(x, full)
            around.narrow(axis, start, length).copy_(x)
            return around

        return draw(full, placed).narrow(axis, start, length)

    def normalised(self, func: Any, x: Tensor, *args: Any) -> Tensor:
        """Batch norm whose moments are those of all ranks, combined without cancellation.

        With n_r, m_r, v_r of a rank: m = Σ (n_r/n) m_r and v = Σ (n_r/n) (v_r + (m_r - m)²).
        """
        mean, variance, weight, bias, _, momentum, eps = args
        if self.ranks.batch_norm != "synchronised":
            result: Tensor = func(x, *args)
            return result
        axes = [axis for axis in range(x.dim()) if axis != 1]
        shape = [1 if axis != 1 else -1 for axis in range(x.dim())]
        share, values = self.here / self.whole, x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        own_variance, own_mean = torch.var_mean(values, axes, correction=0)
        [center] = self.ranks.added_up([share * own_mean])
        [spread] = self.ranks.added_up([share * (own_variance + (own_mean - center).square())])
        y: Tensor = (values - center.view(shape)) * (spread + eps).rsqrt().view(shape)
        y = y if weight is None else y * weight.view(shape)
        y = y if bias is None else y + bias.view(shape)
        if mean is not None and variance is not None:
            count = x.numel() // x.shape[1] // self.here * self.whole
            with torch.no_grad():
                mean.lerp_(center.detach().to(mean.dtype), momentum)
                variance.lerp_((spread.detach() * (count / max(1, count - 1))).to(variance.dtype), momentum)
        return y.to(x.dtype)


def _batch_norm(
    mode: _Draws,
    func: Any,
    x: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    arguments = (mean, variance, weight, bias, training, momentum, eps)
    result: Tensor = mode.normalised(func, x, *arguments) if training else func(x, *arguments)
    return result


def _dropout(
    mode: _Draws, func: Any, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """A mask that is drawn for all rows."""
    if not training or not p:
        result: Tensor = func(x, p, training, inplace)
        return result
    return x * mode.drawn(x.shape, lambda shape, placed: func(_like_in_memory(x, shape), p, True))


def _like_in_memory(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Ones in the memory format of a tensor, in whose order numbers are drawn."""
    strides = torch.empty_like(x, device="meta").stride()
    order = sorted(range(x.dim()), key=lambda axis: -strides[axis])
    return x.new_ones([shape[axis] for axis in order]).permute([order.index(axis) for axis in range(x.dim())])


def _size(mode: _Draws, func: Any, *size: Any, **kwargs: Any) -> Tensor:
    size = kwargs.pop("size", size)
    shape = size[0] if size and isinstance(size[0], Sequence) else size
    return mode.drawn(tuple(shape), lambda whole, placed: func(whole, **kwargs))


def _integers(mode: _Draws, func: Any, *args: Any, **kwargs: Any) -> Tensor:
    *bounds, size = (*args, kwargs.pop("size")) if "size" in kwargs else args
    return mode.drawn(tuple(size), lambda whole, placed: func(*bounds, size=whole, **kwargs))


def _like(mode: _Draws, func: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return mode.drawn(x.shape, lambda shape, placed: func(_like_in_memory(x, shape), *args, **kwargs))


def _of_each(mode: _Draws, func: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """By a probability of each number."""
    return mode.drawn(x.shape, lambda shape, placed: func(placed(x), *args, **kwargs))


def _filled(mode: _Draws, func: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """In place; a probability of each number comes with it."""

    def draw(shape: Sequence[int], placed: Callable[[Tensor], Tensor]) -> Tensor:
        own = [placed(a) if isinstance(a, Tensor) and a.shape == x.shape else a for a in args]
        drawn: Tensor = func(_like_in_memory(x.detach(), shape), *own, **kwargs)
        return drawn

    filled: Tensor = x.copy_(mode.drawn(x.shape, draw))
    return filled


_REPLACED: Mapping[Any, Any] = {  # functions of Python, which call no other one of these
    F.batch_norm: _batch_norm,
    F.dropout: _dropout,
    F.dropout1d: _dropout,
    F.dropout2d: _dropout,
    F.dropout3d: _dropout,
    torch.rand: _size,
    torch.randn: _size,
    torch.randint: _integers,
    torch.rand_like: _like,
    torch.randn_like: _like,
    torch.randint_like: _like,
    torch.bernoulli: _of_each,
    Tensor.bernoulli: _of_each,
    Tensor.bernoulli_: _filled,
    Tensor.uniform_: _filled,
    Tensor.normal_: _filled,
    Tensor.exponential_: _filled,
}
