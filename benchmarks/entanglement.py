"""What entanglement costs: superposed layers beside the plain largest network, and mixing weights before convolving.

Three parts, each on one thread in float32, sides in turn within each round so that a slow moment hits them alike; times
are process CPU seconds, medians over rounds with quartiles, and ratios of medians.

`largest`: a step (forward, backward) of a convolutional and of a transformer network of which widths, kernels, heads,
hidden sizes and depth are searched with k choices each, all active, beside the plain network of the largest choices:
once with gradients to weights (weight step), once with gradients to gates alone (architecture step), and the two
together beside two plain steps. Peak memory is the median of three fresh processes per side, each above itself before.

`mixing`: forward and backward of one group of operations, every candidate by itself (its kernel padded to the largest,
as the superposition is written, or cropped to its own size, as it would be executed alone) against one convolution with
the superposed kernel: depthwise kernels {3, 5, 7}, and 1×1 with 3×3, each followed by batch norm. Without the norms the
two are one function, which is checked.

`sharing`: whole steps of drnas (weights and architecture) on cell spaces with disjoint weights, with entangled ones
and with those in the published form, and their peak memory.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.by_hand import Residual
from benchmarks.kernels import where_possible
from benchmarks.search_step import added, images
from sharewise.engine import numerics, prepare, stream
from sharewise.methods import build
from sharewise.run import build_supernet
from sharewise.space import Decision
from sharewise.spaces import load
from sharewise.supernet import (
    Dimension,
    EntangledConvolution,
    Gate,
    Gates,
    Shared,
    SlicedAttention,
    SlicedBatchNorm2d,
    SlicedConv2d,
    SlicedDepth,
    SlicedLayerNorm,
    SlicedLinear,
    SlicedMLP,
    SlicedResidual,
    SlicedSequential,
    depthwise,
    discrete,
)
from sharewise.supernet.slices import convolution_layers
from sharewise.supernet.slices.attention import attend

NETWORKS = ("convolutional", "transformer")
CHOICES = (2, 4, 8, 16)
Step = Callable[[], object]


def choices(name: str, largest: int, k: int, unit: int = 1) -> Decision:
    """k sizes up to the largest, evenly spaced multiples of a unit."""
    return Decision(name, tuple(max(unit, largest * (i + 1) // k // unit * unit) for i in range(k)))


class PlainAttention(nn.Module):
    def __init__(self, features: int, heads: int, size: int) -> None:
        super().__init__()
        self.heads, self.qkv = heads, nn.Linear(features, 3 * heads * size)
        self.projection = nn.Linear(heads * size, features)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.projection(attend(self.qkv(x).unflatten(-1, (3, -1)), self.heads))
        return outputs


class Pooled(nn.Module):
    """The mean over positions, of images `(n, c, h, w)` or tokens `(n, t, c)`."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) if x.dim() == 4 else x.mean(1)


WIDTHS = (32, 64, 128, 256)


def convolutional(k: int, batch: int = 32, published: bool = False) -> tuple[Shared, nn.Module, Tensor, list[Decision]]:
    """Four convolutions of searched width and kernel with norms, as in the macro space of TangleNAS."""
    kernels = tuple(range(1, 8, 2))[-k:] if k < 4 else (1, 3, 5, 7)
    layers: list[nn.Module] = []
    plain: list[nn.Module] = []
    decisions: list[Decision] = []
    read: Any = 3
    wide = 3
    for index, width in enumerate(WIDTHS):
        kernel, written = Decision(f"kernel {index}", kernels), choices(f"width {index}", width, k)
        decisions += [kernel, written]
        layers.append(SlicedConv2d(read, written, kernel, bias=False, published=published))
        layers += [SlicedBatchNorm2d(written, published=published), nn.ReLU()]
        plain += [nn.Conv2d(wide, width, 7, padding=3, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        layers.append(nn.MaxPool2d(2))
        plain.append(nn.MaxPool2d(2))
        read, wide = written, width
    layers += [Pooled(), SlicedLinear(read, 10, published=published)]
    plain += [Pooled(), nn.Linear(wide, 10)]
    return SlicedSequential(*layers), nn.Sequential(*plain), torch.randn(batch, 3, 32, 32), decisions


def transformer(k: int, batch: int = 16, published: bool = False) -> tuple[Shared, nn.Module, Tensor, list[Decision]]:
    """Six blocks with one searched width, and heads and hidden size searched in every block."""
    features, size, blocks = 192, 24, 6
    width = choices("width", features, k)
    decisions, stack, plain = [width], [], []
    for index in range(blocks):
        heads, hidden = choices(f"heads {index}", 8, k), choices(f"hidden {index}", 4 * features, k)
        decisions += [heads, hidden]
        attention = SlicedAttention(width, heads, size, published=published)
        mlp = SlicedMLP(width, Dimension.over(hidden), published=published)
        norms = [SlicedLayerNorm(width, published=published) for _ in range(2)]
        stack.append(SlicedSequential(SlicedResidual(norms[0], attention), SlicedResidual(norms[1], mlp)))
        perceptron = nn.Sequential(nn.Linear(features, 4 * features), nn.GELU(), nn.Linear(4 * features, features))
        plain.append(
            nn.Sequential(
                Residual(nn.LayerNorm(features), PlainAttention(features, 8, size)),
                Residual(nn.LayerNorm(features), perceptron),
            )
        )
    depth = Decision("depth", tuple(range(blocks + 1))[-min(k, blocks) :])
    decisions.append(depth)
    network = SlicedSequential(
        SlicedLinear(48, width, published=published),
        SlicedDepth(depth, stack),
        SlicedLayerNorm(width, published=published),
        Pooled(),
        SlicedLinear(width, 10, published=published),
    )
    largest = nn.Sequential(nn.Linear(48, features), *plain, nn.LayerNorm(features), Pooled(), nn.Linear(features, 10))
    return network, largest, torch.randn(batch, 64, 48), decisions


BUILDERS: dict[str, Callable[[int], tuple[Shared, nn.Module, Tensor, list[Decision]]]] = {
    "convolutional": convolutional,
    "transformer": transformer,
}


def dense(decisions: Sequence[Decision], *, differentiable: bool, dtype: torch.dtype = torch.float32) -> Gates:
    """All options active, of unequal weight."""
    return {
        d.name: Gate(
            torch.softmax(torch.linspace(0, 1, d.size, dtype=dtype), 0).requires_grad_(differentiable),
            tuple(range(d.size)),
        )
        for d in decisions
    }


def plain_step(network: nn.Module, x: Tensor, targets: Tensor) -> None:
    network.zero_grad(set_to_none=True)
    F.cross_entropy(network(x), targets).backward()


def weight_step(network: Shared, x: Tensor, targets: Tensor, gates: Gates) -> None:
    network.zero_grad(set_to_none=True)
    F.cross_entropy(network(x, gates), targets).backward()


def architecture_step(network: Shared, x: Tensor, targets: Tensor, gates: Gates) -> None:
    loss = F.cross_entropy(network(x, gates), targets)
    torch.autograd.grad(loss, [gate.weights for gate in gates.values()])


def steps_of_network(name: str, k: int) -> dict[str, Step]:
    """The plain step and the two steps of a search, all with the compiled kernels that know their layers."""
    torch.manual_seed(0)
    network, plain, x, decisions = BUILDERS[name](k)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    plain.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if x.dim() == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    targets = torch.arange(len(x)) % 10

    def with_kernels(module: nn.Module, step: Callable[..., None], *more: object) -> None:
        with where_possible(module):
            step(module, x, targets, *more)

    return {
        "plain": partial(with_kernels, plain, plain_step),
        "weight step": partial(with_kernels, network, weight_step, dense(decisions, differentiable=False)),
        "architecture step": partial(with_kernels, network, architecture_step, dense(decisions, differentiable=True)),
    }


def largest_equals_plain(name: str) -> float:
    """The largest choices, one-hot, against the plain network with the same weights, in float64."""
    network, plain, x, decisions = BUILDERS[name](4)
    network.double().eval()
    plain.double().eval()
    mine = dict(network.state_dict())
    for target, source in zip(plain.state_dict().values(), mine.values(), strict=True):
        target.copy_(source)
    x = x[:2].double()
    gates = discrete({d.name: [0.0] * (d.size - 1) + [1.0] for d in decisions}, dtype=torch.float64)
    everything = {n: Gate(g.weights, tuple(range(g.size))) for n, g in gates.items()}
    with torch.no_grad(), where_possible(network):
        return max(float((network(x, g) - plain(x)).abs().max()) for g in (gates, everything))


def candidates(
    convolution: nn.Module,
    kernels: Sequence[int],
    norms: Iterable[nn.Module],
    x: Tensor,
    g: Tensor,
    padded: bool = False,
) -> Tensor:
    """Σ_i g_i · BN_i(conv(relu(x), W_i)), every candidate by itself, its kernel padded to the largest or not."""
    total: Tensor | None = None
    x = x.relu()
    for index, (kernel, norm) in enumerate(zip(kernels, norms, strict=True)):
        margin = (convolution.weight.shape[-1] - kernel) // 2
        weight = convolution.weight[..., margin : margin + kernel, margin : margin + kernel]
        weight = F.pad(weight, [margin] * 4) if padded else weight
        groups, reach = x.shape[1] // weight.shape[1], weight.shape[-1] // 2
        term = g[index] * norm(F.conv2d(x, weight, None, 1, reach, 1, groups))
        total = term if total is None else total + term
    assert total is not None
    return total


MIXTURES: dict[str, tuple[tuple[int, ...], int, int, int]] = {
    # kernels, channels, resolution, batch
    "depthwise 3, 5, 7": ((3, 5, 7), 64, 16, 32),
    "1×1 with 3×3, first stage": ((1, 3), 16, 32, 32),
    "1×1 with 3×3, last stage": ((1, 3), 64, 8, 32),
}


def mixture(name: str) -> tuple[EntangledConvolution, nn.ModuleList, Tensor, Gates, tuple[int, ...]]:
    """A group of operations, the norms that its candidates have if each is executed by itself, inputs and gates."""
    kernels, channels, resolution, batch = MIXTURES[name]
    torch.manual_seed(0)
    decision = Decision("edge", tuple(f"kernel {k}" for k in kernels))

    def layers(kernel: Decision) -> list[nn.Module]:
        if name.startswith("depthwise"):
            convolution = depthwise(channels, kernel, bias=False)
            return [nn.ReLU(), convolution, nn.BatchNorm2d(channels, affine=False)]
        return convolution_layers(channels, channels, kernel, affine=False)

    group = EntangledConvolution(decision, {f"kernel {k}": k for k in kernels}, layers)
    norms = nn.ModuleList(nn.BatchNorm2d(channels, affine=False) for _ in kernels)
    x = torch.randn(batch, channels, resolution, resolution).contiguous(memory_format=torch.channels_last)
    group.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return group, norms, x.requires_grad_(), dense([decision], differentiable=True), kernels


def steps_of_mixture(name: str) -> dict[str, Step]:
    """Forward and backward to inputs, weights and gate, by candidate and mixed first."""
    group, norms, x, gates, kernels = mixture(name)
    convolution, g = group.layers.layers[1], gates["edge"].weights
    leaves = [x, g, *convolution.parameters()]

    def separate(padded: bool) -> object:
        return torch.autograd.grad(candidates(convolution, kernels, norms, x, g, padded).sum(), leaves)

    def together() -> object:
        output = group(x, gates)
        assert output is not None
        return torch.autograd.grad(output.sum(), leaves)

    return {
        "candidates, padded": partial(separate, True),
        "candidates, cropped": partial(separate, False),
        "mixed first": together,
    }


def bare_superposition(name: str) -> float:
    """Without norms the two are one function: the largest difference in float64, over values and gradients."""
    group, _, x, gates, kernels = mixture(name)
    convolution = group.layers.layers[1].double()
    x = x.detach().double()[:2].requires_grad_()
    weights = gates["edge"].weights.detach().double().requires_grad_()
    nothing: list[nn.Module] = [nn.Identity() for _ in kernels]
    leaves = [x, weights, *convolution.parameters()]
    separate = candidates(convolution, kernels, nothing, x, weights)
    together = convolution(x.relu(), {group.kernel.name: Gate(weights, tuple(range(len(kernels))))})
    gradients = [torch.autograd.grad(y.sin().sum(), leaves) for y in (separate, together)]
    gaps = [float((a - b).abs().max()) for a, b in zip(*gradients, strict=True)]
    return max(*gaps, float((separate - together).detach().abs().max()))


def measured(steps: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of every side, round by round, after one that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            start = time.process_time()
            step()
            if number:
                seconds[name].append(time.process_time() - start)
    return seconds


def memory(network: str, k: int, side: str) -> int:
    """Peak resident bytes that two steps add, in this fresh process."""
    step = (steps_of_space(network) if network in SPACES else steps_of_network(network, k))[side]
    return added(step)


def allocated(step: Step) -> int:
    """Most bytes that torch has allocated at a time within a step that is not the first."""
    step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return max(accumulate(event.nbytes() for event in events))


def peaks(
    network: str, k: int, processes: int = 3, sides: Sequence[str] = ("plain", "weight step", "architecture step")
) -> dict[str, int]:
    """Peak memory of every side: medians over fresh processes, since an allocator's share of them varies."""
    command = [sys.executable, "-m", "benchmarks", "entanglement", "--memory", network, str(k)]

    def one(side: str) -> int:
        return int(subprocess.run([*command, side], check=True, capture_output=True, text=True).stdout)

    return {side: statistics.median_low([one(side) for _ in range(processes)]) for side in sides}


def line(name: str, values: Sequence[float], base: float) -> str:
    """One row: median, quartiles and ratio."""
    middle = statistics.median(values)
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else (middle, middle, middle)
    return f"    {name:<20}{middle * 1e3:8.1f} [{low * 1e3:.1f}, {high * 1e3:.1f}] ms   ×{middle / base:5.2f}"


def part_largest(rounds: int) -> dict[str, Any]:
    """Part (a)."""
    results: dict[str, Any] = {}
    for network in NETWORKS:
        for k in CHOICES[: 2 if network == "convolutional" else None]:  # there are four kernels
            steps = steps_of_network(network, k)
            seconds = measured(steps, rounds)
            held = {side: allocated(step) for side, step in steps.items()}
            base = statistics.median(seconds["plain"])
            both = [a + b for a, b in zip(seconds["weight step"], seconds["architecture step"], strict=True)]
            bytes_ = peaks(network, k)
            results[f"{network}, k = {k}"] = {"seconds": seconds, "memory_bytes": bytes_, "allocated_bytes": held}
            print(f"  {network}, {k} choices per decision, beside the plain largest network")
            for name, values in seconds.items():
                ratio = bytes_[name] / bytes_["plain"]
                share = held[name] / held["plain"]
                words = f"   peak {bytes_[name] / 2**20:.0f} MiB, ×{ratio:.2f}; allocated ×{share:.2f}"
                print(line(name, values, base) + words)
            print(line("both / 2 plain", both, 2 * base))
    return results


def part_mixing(rounds: int) -> dict[str, Any]:
    """Part (b)."""
    results = {}
    for name in MIXTURES:
        seconds = measured(steps_of_mixture(name), 3 * rounds)
        base = statistics.median(seconds["mixed first"])
        results[name] = {"seconds": seconds}
        print(f"  {name}, forward and backward")
        for side, values in seconds.items():
            print(line(side, values, base))
    return results


SPACES: dict[str, dict[str, Any]] = {
    "nasbench201": {"channels": 16, "cells": 1},
    "toy-separable-cell": {"channels": 32},
    "darts": {"channels": 16, "layers": 8},
}
SHARINGS: dict[str, dict[str, Any]] = {
    "disjoint": {"sharing": "disjoint"},
    "entangled": {"sharing": "entangled"},
    "published": {"sharing": "entangled", "published": True},
}


def steps_of_space(space: str) -> dict[str, Step]:
    """A weight step and an architecture step of drnas, which runs all options, with every sharing of a space."""
    data, recipe = images(), build("drnas", {"batch_size": 32, "epochs": 100})
    options = {name: {**SPACES[space], **sharing} for name, sharing in SHARINGS.items()}
    for name in ("disjoint", "entangled"):
        options[f"{name}, edge by edge"] = {**options[name], "fused": False}

    def steps(network: dict[str, Any]) -> Step:
        supernet = build_supernet(load(space), data.input_shape, 10, network=network)
        roles = data.assign(recipe.roles, generator=stream(0, "data"))
        state = prepare(supernet, recipe, roles, numerics=numerics("cpu"))
        return lambda: state.recipe.level.step(state, architecture=True)

    return {name: steps(network) for name, network in options.items()}


def part_sharing(rounds: int, spaces: Sequence[str] = tuple(SPACES)) -> dict[str, Any]:
    """Part (c)."""
    results = {}
    for space in spaces:
        seconds = measured(steps_of_space(space), rounds)
        bytes_ = peaks(space, 0, sides=tuple(seconds))
        base = statistics.median(seconds["disjoint"])
        results[space] = {"seconds": seconds, "memory_bytes": bytes_}
        print(f"  {space}, a weight step and an architecture step of drnas, beside disjoint sharing")
        for side, values in seconds.items():
            ratio = bytes_[side] / bytes_["disjoint"]
            print(line(side, values, base) + f"   peak {bytes_[side] / 2**20:.0f} MiB, ×{ratio:.2f}")
    return results


PARTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "largest": part_largest,
    "mixing": part_mixing,
    "sharing": part_sharing,
}


def main(arguments: list[str]) -> int:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks entanglement", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=list(PARTS))
    parser.add_argument("--spaces", nargs="+", choices=tuple(SPACES), default=list(SPACES), help="of the part sharing")
    parser.add_argument("--memory", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.memory:
        network, k, side = options.memory
        print(memory(network, int(k), side))
        return 0
    errors = {f"{n}: largest choice": largest_equals_plain(n) for n in NETWORKS}
    errors |= {f"{n}: superposition": bare_superposition(n) for n in MIXTURES}
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, 1 thread, n = {options.rounds}")
    parts = {**PARTS, "sharing": partial(part_sharing, spaces=options.spaces)}
    results = {part: parts[part](options.rounds) for part in options.parts}
    print("exactness, largest difference in float64: " + ", ".join(f"{k} {v:.1e}" for k, v in errors.items()))
    print(json.dumps({**results, "exactness": errors}))
    return 0 if max(errors.values()) < 1e-10 else 1
