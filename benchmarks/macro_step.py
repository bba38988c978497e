"""A step of an entangled transformer block and of an inverted bottleneck beside the plain largest network and peers.

A weight step (forward, backward) with the largest path, with a new random path in every round, and with all sizes
mixed, whose gates get gradients too; Once-for-All mixes nothing. Beside ours, in the same run and with equal weights:
the plain largest network, and `benchmarks/plain/macro.py`, stand-ins for NNI's mutable layers (transformer) and
Once-for-All's dynamic ones (bottleneck); with `PEERS=FOLDER` these themselves too, where the folder has a checkout
named nni or once-for-all (`benchmarks/macro_peers.py`). One thread, all sides in turn within each round in an order
that changes from round to round, CPU seconds of the process. Printed are medians, and the median over rounds of the
ratio of ours within a round with its quartiles. The goal is at most 1.05 times the plain largest network, for the
largest path and for a mixture.

What all compute is compared in float64 for the largest and a smaller path, with kernel transforms and statistics of
norms that are not those of the start; a mixture of NNI scales what is written and what is read, ours once, so that
mixtures of ours and of NNI differ in value by their definition, and NNI's is compared with its stand-in.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sharewise as sw
from benchmarks import macro_peers
from benchmarks.checkouts import layers
from benchmarks.elastic_step import mixture
from benchmarks.plain.macro import Bottleneck, Classified, DynamicBottleneck, MutableTransformer, Sizes, Transformer
from sharewise.supernet import Gate, Gates

__all__ = ["BLOCKS", "Sides", "exactness", "main"]

GOAL = 1.05
FEATURES, HEADS, HIDDEN = 192, (1, 2, 3), (384, 576, 768)
CHANNELS, MIDDLE, KERNELS = 24, (72, 96, 144), (3, 5, 7)

STAND_IN = "stand-in"


@dataclass(frozen=True)
class Sides:
    """A block in several forms with equal weights.

    Args:
        supernet: ours.
        plain: the largest network.
        peers: by name, from inputs and options to outputs.
        mixtures: of peers that mix, by name, from inputs to outputs of all options mixed.
        inputs: of a step.
        names: of the two decisions.
    """

    supernet: sw.ElasticModel
    plain: Classified
    peers: Mapping[str, nn.Module]
    mixtures: Mapping[str, nn.Module]
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
    stand_in = MutableTransformer(copy.deepcopy(plain), HEADS, HIDDEN)
    peers: dict[str, nn.Module] = {STAND_IN: stand_in}
    mixtures: dict[str, nn.Module] = {STAND_IN: stand_in}
    if (found := layers("nni")) is not None:
        for side, mixes in ((peers, False), (mixtures, True)):
            side["nni"] = macro_peers.MutableTransformer(found, plain, HEADS, HIDDEN, mixes=mixes)
    return Sides(sw.elastic(plain, choices, example=x[:2]), plain, peers, mixtures, x, ("heads", "hidden"))


def bottleneck() -> Sides:
    """A block of 24 channels, 16 images of 28 × 28."""
    plain, x = Classified(Bottleneck(CHANNELS, MIDDLE[-1], KERNELS[-1]), CHANNELS), torch.randn(16, CHANNELS, 28, 28)
    for name, value in plain.block.state_dict().items():
        if name.startswith("norms") and value.is_floating_point():
            nn.init.uniform_(value, 0.5, 1.5)
    choices = {
        "block.expand": sw.width(MIDDLE, name="middle"),
        "block.depthwise": sw.kernel(KERNELS, name="kernel", transforms=True),
    }
    supernet, matrices = sw.elastic(plain, choices, example=x[:2]), {}
    for size, larger in pairwise(KERNELS):
        matrices[size] = torch.eye(size * size) + 0.1 * torch.randn(size * size, size * size)
        supernet.get_parameter(f"model.block.depthwise.transform_{larger}_to_{size}").data.copy_(matrices[size])
    peers: dict[str, nn.Module] = {STAND_IN: DynamicBottleneck(copy.deepcopy(plain), MIDDLE, KERNELS, matrices)}
    if (found := layers("once-for-all")) is not None:
        peers["once-for-all"] = macro_peers.DynamicBottleneck(found, plain, MIDDLE, KERNELS, matrices)
    return Sides(supernet, plain, peers, {}, x, ("middle", "kernel"))


BLOCKS: Mapping[str, Callable[[], Sides]] = {
    "transformer block, NNI's mutable layers": transformer,
    "inverted bottleneck, Once-for-All's dynamic layers": bottleneck,
}


def exactness(sides: Sides) -> float:
    """The largest relative difference of outputs in float64 in evaluation mode, of two paths and of peers' mixtures."""
    supernet, plain = copy.deepcopy(sides.supernet).double().eval(), copy.deepcopy(sides.plain).double().eval()
    x, worst = sides.inputs.double(), 0.0
    with torch.no_grad():
        for sizes in ((2, 2), (0, 1)):
            gates = {
                name: Gate(gate.weights.double(), gate.active, unit=True) for name, gate in sides.gates(sizes).items()
            }
            others = [copy.deepcopy(peer).double().eval()(x, sizes) for peer in sides.peers.values()]
            others += [plain(x)] if sizes == (2, 2) else []
            worst = max(worst, _difference(supernet(x, gates), others))
        mixed = [copy.deepcopy(peer).double().eval()(x) for peer in sides.mixtures.values()]
        return max(worst, _difference(mixed[0], mixed[1:])) if mixed else worst


def _difference(outputs: Tensor, others: Sequence[Tensor]) -> float:
    return max((float((outputs - other).abs().max() / other.abs().max()) for other in others), default=0.0)


def _step(outputs: Tensor, network: nn.Module) -> None:
    network.zero_grad(set_to_none=True)
    F.cross_entropy(outputs, torch.arange(len(outputs)) % 10).backward()


def _sides(sides: Sides, kind: str, rounds: int) -> dict[str, Callable[[int], None]]:
    """What each side does in a round."""
    rng, x, ours, plain = random.Random(0), sides.inputs, sides.supernet, sides.plain
    found: dict[str, Callable[[int], None]] = {"plain": lambda number: _step(plain(x), plain)}
    if kind == "all options":
        every = mixture(ours.relaxation.decisions, learns=True)
        found["ours"] = lambda number: _step(ours(x, every), ours)
        return found | {name: partial(_mixed, peer, x) for name, peer in sides.mixtures.items()}
    paths = [(2, 2) if kind == "largest path" else (rng.randrange(3), rng.randrange(3)) for _ in range(rounds)]
    gates = [sides.gates(path) for path in paths]
    found["ours"] = lambda number: _step(ours(x, gates[number]), ours)
    return found | {name: partial(_path, peer, x, paths) for name, peer in sides.peers.items()}


def _mixed(peer: nn.Module, x: Tensor, number: int) -> None:
    _step(peer(x), peer)


def _path(peer: nn.Module, x: Tensor, paths: Sequence[Sizes], number: int) -> None:
    _step(peer(x, paths[number]), peer)


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
        for kind in ("largest path", "new paths", "all options"):
            seconds = measured(_sides(sides, kind, options.rounds + 2), options.rounds)
            found = {side: _ratio(seconds, side) for side in seconds if side != "ours"}
            judged = kind != "new paths"
            word = "FAIL" if judged and found["plain"][1] > GOAL else "    "
            times = "  ".join(f"{side} {statistics.median(values) * 1e3:.2f} ms" for side, values in seconds.items())
            print(f"{word}  {kind:<13} {times}   n = {options.rounds}")
            for side, (low, middle, high) in found.items():
                print(f"{'':<20}ours / {side:<13} ×{middle:.3f} [{low:.3f}, {high:.3f}]")
            ratios[f"{name}: {kind}"] = {side: middle for side, (_, middle, _) in found.items()}
    print(json.dumps({"ratios": ratios, "exactness": differences}))
    short = any(found["plain"] > GOAL for name, found in ratios.items() if not name.endswith("new paths"))
    return int(short or max(differences.values()) > 1e-10)
