"""A step of an entangled transformer block and of an inverted bottleneck beside the plain largest network and peers.

A weight step (forward, backward) with the largest path, with a new random path in every round, and for the transformer
with all sizes mixed, whose gates get gradients too. Beside ours, in the same run and with equal weights: the plain
largest network, and `benchmarks/plain/macro.py`, stand-ins for NNI's mutable layers (transformer) and Once-for-All's
dynamic ones (bottleneck). One thread, all sides in turn within each round in an order that changes from round to round,
CPU seconds of the process. Printed are medians, and the median over rounds of the ratio of ours within a round with its
quartiles. The goal is at most 1.05 times the plain largest network, for the largest path and for a mixture.

What all compute is compared in float64 for the largest and a smaller path; a mixture of NNI scales what is written and
what is read, ours once, so that these two differ in value by their definition.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sharewise as sw
from benchmarks.elastic_step import mixture
from benchmarks.plain.macro import HEAD, Bottleneck, Classified, Transformer, dynamic_bottleneck, mutable_transformer
from sharewise.supernet import Gate, Gates

__all__ = ["BLOCKS", "Sides", "exactness", "main"]

GOAL = 1.05
FEATURES, HEADS, HIDDEN = 192, (1, 2, 3), (384, 576, 768)
CHANNELS, MIDDLE, KERNELS = 24, (72, 96, 144), (3, 5, 7)

Sizes = tuple[int, int]
"""Options of the two decisions, by number."""


@dataclass(frozen=True)
class Sides:
    """A block in three forms with equal weights.

    Args:
        supernet: ours.
        plain: the largest network.
        peer: from a copy of the plain network, inputs and options to outputs.
        mixed: the same with the weights of the options of both decisions; `None` where the peer mixes nothing.
        inputs: of a step.
        names: of the two decisions.
    """

    supernet: sw.ElasticModel
    plain: Classified
    peer: Callable[[Classified, Tensor, Sizes], Tensor]
    mixed: Callable[[Classified, Tensor, Mapping[str, Tensor]], Tensor] | None
    inputs: Tensor
    names: tuple[str, str]

    def gates(self, sizes: Sizes) -> Gates:
        """Of a path."""
        dtype = self.supernet.dtype
        return {
            name: Gate(torch.eye(3, dtype=dtype)[i], (i,), unit=True) for name, i in zip(self.names, sizes, strict=True)
        }


def transformer() -> Sides:
    """A block of 192 features, 8 × 64 tokens."""
    plain, x = Classified(Transformer(FEATURES, HEADS[-1], HIDDEN[-1]), FEATURES), torch.randn(8, 64, FEATURES)
    choices = {
        "block.attention": sw.heads(HEADS, name="heads"),
        "block.perceptron": sw.width(HIDDEN, name="hidden"),
    }

    def mixed(network: Classified, inputs: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        heads = {HEAD * size: weights["heads"][i] for i, size in enumerate(HEADS)}
        return mutable_transformer(network, inputs, heads, {s: weights["hidden"][i] for i, s in enumerate(HIDDEN)})

    return Sides(
        sw.elastic(plain, choices, example=x[:2]),
        plain,
        lambda network, inputs, sizes: mutable_transformer(network, inputs, HEAD * HEADS[sizes[0]], HIDDEN[sizes[1]]),
        mixed,
        x,
        ("heads", "hidden"),
    )


def bottleneck() -> Sides:
    """A block of 24 channels, 16 images of 28 × 28."""
    plain, x = Classified(Bottleneck(CHANNELS, MIDDLE[-1], KERNELS[-1]), CHANNELS), torch.randn(16, CHANNELS, 28, 28)
    choices = {
        "block.expand": sw.width(MIDDLE, name="middle"),
        "block.depthwise": sw.kernel(KERNELS, name="kernel", transforms=True),
    }
    matrices = {size: nn.Parameter(torch.eye(size * size)) for size in KERNELS[:-1]}

    def peer(network: Classified, inputs: Tensor, sizes: Sizes) -> Tensor:
        own = {size: matrix.to(inputs.dtype) for size, matrix in matrices.items()}
        return dynamic_bottleneck(network, inputs, MIDDLE[sizes[0]], KERNELS[sizes[1]], own, KERNELS)

    return Sides(sw.elastic(plain, choices, example=x[:2]), plain, peer, None, x, ("middle", "kernel"))


BLOCKS: Mapping[str, Callable[[], Sides]] = {
    "transformer block, NNI's mutable layers": transformer,
    "inverted bottleneck, Once-for-All's dynamic layers": bottleneck,
}


def exactness(sides: Sides) -> float:
    """The largest relative difference of outputs in float64 in evaluation mode, of two paths."""
    supernet, plain = copy.deepcopy(sides.supernet).double().eval(), copy.deepcopy(sides.plain).double().eval()
    x, worst = sides.inputs.double(), 0.0
    with torch.no_grad():
        for sizes in ((2, 2), (0, 1)):
            gates = {
                name: Gate(gate.weights.double(), gate.active, unit=True) for name, gate in sides.gates(sizes).items()
            }
            ours, theirs = supernet(x, gates), sides.peer(plain, x, sizes)
            others = [theirs, plain(x)] if sizes == (2, 2) else [theirs]
            worst = max(worst, *(float((ours - other).abs().max() / other.abs().max()) for other in others))
    return worst


def _step(outputs: Tensor, network: nn.Module) -> None:
    network.zero_grad(set_to_none=True)
    F.cross_entropy(outputs, torch.arange(len(outputs)) % 10).backward()


def _sides(sides: Sides, kind: str, rounds: int) -> dict[str, Callable[[int], None]]:
    """What each side does in a round."""
    rng, x, ours, peer, plain = random.Random(0), sides.inputs, sides.supernet, copy.deepcopy(sides.plain), sides.plain
    paths = [(2, 2) if kind == "largest path" else (rng.randrange(3), rng.randrange(3)) for _ in range(rounds)]
    found: dict[str, Callable[[int], None]] = {"plain": lambda number: _step(plain(x), plain)}
    if kind != "all options":
        gates = [sides.gates(path) for path in paths]
        found["ours"] = lambda number: _step(ours(x, gates[number]), ours)
        found["peer"] = lambda number: _step(sides.peer(peer, x, paths[number]), peer)
        return found
    every = mixture(ours.relaxation.decisions, learns=True)
    weights = {name: gate.weights for name, gate in every.items()}
    assert sides.mixed is not None
    mixed = sides.mixed
    found["ours"] = lambda number: _step(ours(x, every), ours)
    found["peer"] = lambda number: _step(mixed(peer, x, weights), peer)
    return found


def measured(work: Mapping[str, Callable[[int], None]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds by side, round by round, after two rounds that are not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds + 2):
        turn = number % len(work)
        for name in [*list(work)[turn:], *list(work)[:turn]]:
            start = time.process_time()
            work[name](number)
            if number > 1:
                seconds[name].append(time.process_time() - start)
    return seconds


def _ratio(seconds: Mapping[str, list[float]], side: str) -> tuple[float, float, float]:
    """Quartiles of ours over a side, within rounds, the median in the middle."""
    low, middle, high = statistics.quantiles([a / b for a, b in zip(seconds["ours"], seconds[side], strict=True)], n=4)
    return low, middle, high


def main(arguments: list[str]) -> int:
    """Measure, judge and print; the last line is JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks macro_step", description=__doc__)
    parser.add_argument("--rounds", type=int, default=31, help="at least 5")
    options = parser.parse_args(arguments)
    if options.rounds < 5:
        parser.error(f"--rounds must be at least 5, got {options.rounds}")
    torch.set_num_threads(1)
    ratios, differences = {}, {}
    for name, build in BLOCKS.items():
        torch.manual_seed(0)
        sides = build()
        differences[name] = exactness(sides)
        print(f"  {name} (exact to {differences[name]:.1e})")
        kinds = ["largest path", "new paths", *(["all options"] if sides.mixed is not None else [])]
        for kind in kinds:
            seconds = measured(_sides(sides, kind, options.rounds + 2), options.rounds)
            plain, peer = _ratio(seconds, "plain"), _ratio(seconds, "peer")
            judged = kind != "new paths"
            word = "FAIL" if judged and plain[1] > GOAL else "    "
            times = "  ".join(f"{side} {statistics.median(values) * 1e3:.2f} ms" for side, values in seconds.items())
            print(
                f"{word}  {kind:<13} {times}   ours/plain ×{plain[1]:.3f} [{plain[0]:.3f}, {plain[2]:.3f}]"
                f"   ours/peer ×{peer[1]:.3f} [{peer[0]:.3f}, {peer[2]:.3f}]   n = {options.rounds}"
            )
            ratios[f"{name}: {kind}"] = {"plain": plain[1], "peer": peer[1]}
    print(json.dumps({"ratios": ratios, "exactness": differences}))
    short = any(found["plain"] > GOAL for name, found in ratios.items() if not name.endswith("new paths"))
    return int(short or max(differences.values()) > 1e-10)
