"""Widening: partial operations go on with a larger part of the channels, new ones being copies of random old ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sharewise.errors import ConfigurationError
from sharewise.supernet.mixed import MixedOperation
from sharewise.supernet.partial import PartialOperation
from sharewise.supernet.supernet import Shared

__all__ = ["partial_operations", "widen"]

_Move = Callable[[Tensor], Tensor]


def partial_operations(network: nn.Module) -> dict[str, PartialOperation]:
    """The partial operations of a network by their path.

    Args:
        network: a supernet or a part of it.
    """
    return {path: module for path, module in network.named_modules() if isinstance(module, PartialOperation)}


def widen(network: nn.Module, parts: int, generator: torch.Generator) -> Mapping[str, _Move]:
    """Let the partial operations of a network see 1/K' of the channels instead of 1/K, in place.

    A new channel is a copy of a random old one: weights and running statistics are copied, not divided, so that the
    network computes another function than before. Layers that follow each other on the same channels copy the same
    ones: a norm those of the convolutions before it, a pointwise convolution those of a depthwise one.

    Args:
        network: a supernet, whose partial operations hold convolutions, linear layers and batch norms.
        parts: K', at least 2 and less than K.
        generator: of the copied channels, on the host.

    Returns:
        By name of every parameter that has grown, how a tensor of its old shape grows likewise, such as a moment.

    Raises:
        ConfigurationError: when an operation cannot be widened.

    Example:
        >>> from sharewise.space import Decision
        >>> edge = MixedOperation(Decision("edge", ("conv",)), {"conv": nn.Conv2d(1, 1, 1, bias=False)})
        >>> network = nn.Sequential(PartialOperation(edge, 4, nn.Identity()))
        >>> moves = widen(network, 2, torch.Generator().manual_seed(0))
        >>> {name: tuple(value.shape) for name, value in network.named_parameters()}
        {'0.edge.operations.conv.weight': (2, 2, 1, 1)}
        >>> moves["0.edge.operations.conv.weight"](torch.ones(1, 1, 1, 1)).shape
        torch.Size([2, 2, 1, 1])

    References:
        X. Chen et al., *DrNAS*, ICLR 2021 (arXiv 2006.10355), section 3.3, and the released `net2wider`.

    Deviations:
        After the two convolutions of a factorised reduction the authors' statistics are in another order than their
        channels, and the second half repeats those of the first; here statistics follow their channels.
    """
    moves: dict[str, _Move] = {}
    for path, edge in partial_operations(network).items():
        if not 2 <= parts < edge.parts:
            raise ConfigurationError(f"an operation that sees 1/{edge.parts} of the channels cannot widen to 1/{parts}")
        for place, operation in _operations(edge):
            grown = _Grown(edge.parts, parts, generator)
            for name, layer in operation.named_modules():
                prefix = ".".join(word for word in (path, place, name) if word)
                moves |= {f"{prefix}.{parameter}": move for parameter, move in grown.layer(layer).items()}
        edge.parts = parts
    return moves


def _operations(edge: PartialOperation) -> Iterator[tuple[str, nn.Module]]:
    """The operations of an edge by their path within it."""
    for path, module in edge.named_modules():
        if isinstance(module, Shared) and module.scales_weights:
            raise ConfigurationError(
                f"a {type(module).__name__} cannot be widened: operations that share weights keep their width; leave "
                "the later values of parts out"
            )
        if isinstance(module, MixedOperation):
            yield from ((f"{path}.operations.{option}", operation) for option, operation in module.operations.items())


@final
class _Grown:
    """The layers of one operation, in order: what each copies depends on those before it.

    Args:
        before: K.
        after: K'.
        generator: of the copied channels.
    """

    def __init__(self, before: int, after: int, generator: torch.Generator) -> None:
        self.before, self.after, self.generator = before, after, generator
        self.written: list[Tensor] = []  # by the convolutions since the last norm, for each new channel the old one
        self.depthwise = False  # whether the last one was

    def layer(self, layer: nn.Module) -> Mapping[str, _Move]:
        """Widen a layer; how its parameters move."""
        if isinstance(layer, nn.Conv2d):
            return self._convolution(layer)
        if isinstance(layer, nn.Linear):
            rows, columns = self._copies(layer.out_features), self._copies(layer.in_features)
            layer.out_features, layer.in_features = len(rows), len(columns)
            self.written.append(rows)
            return _moved(layer, {"weight": _indexed(rows, columns), "bias": _indexed(rows)})
        if isinstance(layer, _BatchNorm):
            return self._norm(layer)
        own = [name for name, _ in (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False))]
        if own:
            raise ConfigurationError(f"a {type(layer).__name__} with {', '.join(own)} cannot be widened")
        return {}

    def _copies(self, channels: int) -> Tensor:
        """For each channel of the wider layer the one that it is: all old ones, then random ones."""
        if channels * self.before % self.after:
            raise ConfigurationError(
                f"{channels} channels, 1/{self.before} of {channels * self.before}, cannot become 1/{self.after} of "
                f"them; take a number of channels that {self.after} divides"
            )
        more = channels * self.before // self.after - channels
        return torch.cat([torch.arange(channels), torch.randint(channels, (more,), generator=self.generator)])

    def _convolution(self, layer: nn.Conv2d) -> Mapping[str, _Move]:
        rows = self._copies(layer.out_channels)
        move = _indexed(rows)
        if layer.groups > 1:  # depthwise: each channel has one kernel
            layer.groups = layer.in_channels = len(rows)
        else:
            columns = self.written.pop() if self.depthwise else self._copies(layer.in_channels)
            move = _indexed(rows, columns)
            layer.in_channels = len(columns)
        self.depthwise, layer.out_channels = layer.groups > 1, len(rows)
        self.written.append(rows)
        return _moved(layer, {"weight": move, "bias": _indexed(rows)})

    def _norm(self, layer: _BatchNorm) -> Mapping[str, _Move]:
        """The channels of the convolutions before it, side by side; of its own where there are none."""
        offset, found = 0, []
        for copies in self.written:
            found.append(offset + copies)
            offset += int(copies.max()) + 1
        rows = torch.cat(found) if offset == layer.num_features else self._copies(layer.num_features)
        self.written, self.depthwise, layer.num_features = [], False, len(rows)
        return _moved(layer, dict.fromkeys(("weight", "bias", "running_mean", "running_var"), _indexed(rows)))


def _indexed(rows: Tensor, columns: Tensor | None = None) -> _Move:
    def move(value: Tensor) -> Tensor:
        value = value[rows.to(value.device)]
        return value if columns is None else value[:, columns.to(value.device)]

    return move


def _moved(layer: nn.Module, moves: Mapping[str, _Move]) -> Mapping[str, _Move]:
    """Replace those tensors of a layer that it has; the moves of its parameters."""
    parameters, buffers = dict(layer.named_parameters(recurse=False)), dict(layer.named_buffers(recurse=False))
    for name, move in moves.items():
        if name in parameters:
            old = parameters[name]
            setattr(layer, name, nn.Parameter(move(old.detach()), requires_grad=old.requires_grad))
        elif name in buffers:
            setattr(layer, name, move(buffers[name]))
    return {name: move for name, move in moves.items() if name in parameters}
