"""What an architecture costs: parameters, multiply-accumulates, activation memory, measured latency."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sharewise.errors import ConfigurationError
from sharewise.supernet.gate import Gate, Gates
from sharewise.supernet.mixed import MixedOperation
from sharewise.supernet.supernet import Shared, Supernet

__all__ = ["Cost", "SupernetCost", "cost", "latency"]


@dataclass(frozen=True)
class Cost:
    """The cost of one example in one forward pass.

    Args:
        parameters: trainable numbers.
        multiply_accumulates: of convolutions and linear layers; a linear layer with bias counts in·out + out, as the
            published figures of NAS-Bench-201 do.
        activations: numbers written by all layers that compute, a proxy for activation memory in training.
    """

    parameters: int
    multiply_accumulates: int
    activations: int

    def to_json(self) -> dict[str, int]:
        """Plain numbers by name."""
        return asdict(self)


def _layer_cost(layer: nn.Module, inputs: Tensor, output: Tensor) -> int:
    """Multiply-accumulates of one call of a layer on one example."""
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        kernel = layer.weight.numel() // layer.out_channels  # includes in_channels / groups
        return output.numel() // output.shape[0] * kernel
    if isinstance(layer, nn.Linear):
        per_position = inputs.shape[-1] * output.shape[-1] + (output.shape[-1] if layer.bias is not None else 0)
        return per_position * (output.numel() // output.shape[-1] // output.shape[0])
    return 0


@contextmanager
def _counting(module: nn.Module, count: Callable[[str, nn.Module, Tensor, Tensor], None]) -> Iterator[None]:
    """Call `count(path, layer, input, output)` for every layer that is executed within the block."""
    handles = []
    for path, layer in module.named_modules():
        if not list(layer.children()) and not isinstance(layer, nn.Identity):

            def hook(layer: nn.Module, args: tuple[Any, ...], output: Any, path: str = path) -> None:
                if isinstance(output, Tensor) and args and isinstance(args[0], Tensor):
                    count(path, layer, args[0], output)

            handles.append(layer.register_forward_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Calls(TorchFunctionMode):
    """Counts the multiply-accumulates of convolutions and linear maps by the weights that are really used.

    A sliced layer is no layer of torch, but calls the same functions as one. Superposing its weights is not counted: it
    is done once per batch and not for every position of every example.
    """

    multiply_accumulates = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if name in ("conv1d", "conv2d", "conv3d", "linear"):
            weight = args[1] if len(args) > 1 else kwargs["weight"]
            per_output = weight[0].numel()  # includes input channels / groups
            if name == "linear":
                per_output += (args[2] if len(args) > 2 else kwargs.get("bias")) is not None
            self.multiply_accumulates += output.numel() // output.shape[0] * per_output
        return output


def _example(input_shape: Sequence[int], integers: bool) -> Tensor:
    return torch.zeros((2, *input_shape), device="meta", dtype=torch.long if integers else torch.float32)


def cost(network: nn.Module, input_shape: Sequence[int], *, integers: bool = False) -> Cost:
    """Count the cost of a plain network without computing anything: shapes alone are traced.

    Args:
        network: takes one tensor of inputs.
        input_shape: of one example, without the batch dimension.
        integers: whether inputs are indices (text).

    Returns:
        The cost per example; the network itself is not touched.

    Example:
        >>> cost(nn.Linear(3, 2), (3,))
        Cost(parameters=8, multiply_accumulates=8, activations=2)
    """
    macs = activations = 0

    def count(path: str, layer: nn.Module, inputs: Tensor, output: Tensor) -> None:
        nonlocal macs, activations
        macs += _layer_cost(layer, inputs, output)
        activations += output.numel() // output.shape[0]

    replica = copy.deepcopy(network).to("meta").eval()
    with torch.no_grad(), _counting(replica, count):
        replica(_example(input_shape, integers))
    parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return Cost(parameters, macs, activations)


@final
class SupernetCost:
    """Multiply-accumulates of a supernet as a function of which options are active.

    A closed form of the supernet comes first. Where all sharing is disjoint the cost is additive, and one traced pass
    gives the price of every option. Otherwise each new pattern of active options is traced once and remembered.

    Args:
        supernet: what is executed.
        input_shape: of one example.
        integers: whether inputs are indices.
    """

    def __init__(self, supernet: Supernet, input_shape: Sequence[int], *, integers: bool = False) -> None:
        self._closed_form = supernet.multiply_accumulates
        self._replica = copy.deepcopy(supernet).to("meta").eval()
        self._decisions = supernet.relaxation.decisions
        self._example = _example(input_shape, integers)
        self._patterns: dict[tuple[tuple[int, ...], ...], int] = {}
        self._fixed = 0
        self._prices: dict[str, list[int]] | None = None
        if all(isinstance(m, MixedOperation) for m in supernet.modules() if isinstance(m, Shared)):
            self._prices = {d.name: [0] * d.size for d in self._decisions}
            with _counting(self._replica, self._price):
                self._run({d.name: tuple(range(d.size)) for d in self._decisions})

    def of(self, gates: Gates) -> int:
        """Multiply-accumulates of one forward pass of one example under `gates`."""
        known = self._closed_form(gates)
        if known is not None:
            return known
        if self._prices is not None:
            return self._fixed + sum(self._prices[name][index] for name, gate in gates.items() for index in gate.active)
        pattern = tuple(gates[d.name].active for d in self._decisions)
        if pattern not in self._patterns:
            with _Calls() as calls:
                self._run({d.name: active for d, active in zip(self._decisions, pattern, strict=True)})
            self._patterns[pattern] = calls.multiply_accumulates
        return self._patterns[pattern]

    @property
    def prices(self) -> Mapping[str, Sequence[int]]:
        """For every decision the multiply-accumulates that each option adds to a forward pass of one example.

        Raises:
            ConfigurationError: where layers are shared such that the costs of options do not add up.
        """
        if self._prices is None:
            raise ConfigurationError(
                "the expected cost needs options whose costs add up, as separate operations have; this supernet shares "
                "layers in another way. Leave the cost penalty out"
            )
        return self._prices

    def _run(self, active: Mapping[str, tuple[int, ...]]) -> None:
        gates = {
            d.name: Gate(torch.ones(d.size, device="meta"), active[d.name], unit=len(active[d.name]) <= 1)
            for d in self._decisions
        }
        with torch.no_grad():
            self._replica(self._example, gates)

    def _price(self, path: str, layer: nn.Module, inputs: Tensor, output: Tensor) -> None:
        assert self._prices is not None
        price = _layer_cost(layer, inputs, output)
        parts = path.split(".")
        for depth in range(len(parts) - 1, 0, -1):
            owner = self._replica.get_submodule(".".join(parts[: depth - 1])) if depth > 1 else self._replica
            if isinstance(owner, MixedOperation) and parts[depth - 1] == "operations":
                names = [str(option) for option in owner.decision.options]
                self._prices[owner.decision.name][names.index(parts[depth])] += price
                return
        self._fixed += price


def latency(
    network: nn.Module,
    input_shape: Sequence[int],
    *,
    batch_size: int = 1,
    repeats: int = 20,
    device: torch.device | str = "cpu",
) -> dict[str, float]:
    """Measure the seconds of one forward pass on this machine.

    Args:
        network: a plain network; it is moved to the device and put into evaluation mode on a copy.
        input_shape: of one example.
        batch_size: examples per pass.
        repeats: timed passes, after three that are not timed; at least 1.
        device: where to measure.

    Returns:
        Median, minimum and maximum seconds per pass, and the number of repeats.

    Raises:
        ConfigurationError: when repeats or batch size are less than 1.
    """
    if repeats < 1 or batch_size < 1:
        raise ConfigurationError(f"latency needs repeats and batch size of at least 1, got {repeats} and {batch_size}")
    device = torch.device(device)
    replica = copy.deepcopy(network).to(device).eval()
    example = torch.zeros((batch_size, *input_shape), device=device)
    times = []
    with torch.inference_mode():
        for index in range(repeats + 3):
            start = time.perf_counter()
            replica(example)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if index >= 3:
                times.append(time.perf_counter() - start)
    return {
        "median_seconds": statistics.median(times),
        "minimum_seconds": min(times),
        "maximum_seconds": max(times),
        "repeats": float(repeats),
        "batch_size": float(batch_size),
    }
