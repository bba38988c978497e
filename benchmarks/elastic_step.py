"""What `elastic` costs beside supernets written by hand with sliced layers.

A step (forward, backward) of the same shared network in both forms: conv-macro, and a transformer of searched width,
heads, hidden sizes and depth. With all options active, with one sampled path, and with a new path in every round; with
gradients to weights (weight step), and with gradients to gates alone (architecture step). One thread; the two forms in
turn within each round, their order changing from round to round; CPU seconds of the process. Printed are medians, and
the median over rounds of the ratio within a round with its quartiles.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sharewise as sw
from benchmarks.by_hand import ConvMacroByHand, transformer
from sharewise.space import Decision
from sharewise.spaces import load
from sharewise.spaces.conv_macro.supernet import ConvMacroOptions
from sharewise.supernet import Gate, Gates

Network = Callable[[Tensor, Gates], Tensor]


@dataclass(frozen=True)
class Twins:
    """One shared network in two forms with equal weights.

    Args:
        elastic: as `elastic` makes it.
        by_hand: of sliced layers.
        decisions: of both.
        inputs: of one step.
    """

    elastic: nn.Module
    by_hand: nn.Module
    decisions: Sequence[Decision]
    inputs: Tensor


def conv_macro(divisor: int, side: int, batch: int) -> Twins:
    """The twins of a named space."""
    space, shape = load("conv-macro"), (3, side, side)
    elastic = sw.build_supernet(space, shape, 10, network={"divisor": divisor, "dropout": 0.0})
    by_hand = ConvMacroByHand(space, shape, 10, ConvMacroOptions(divisor=divisor, dropout=0.0))
    by_hand.load_state_dict(elastic.state_dict())
    x = torch.randn(batch, *shape).contiguous(memory_format=torch.channels_last)
    for module in (elastic, by_hand):
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Twins(elastic, by_hand, space.relaxation.decisions, x)


def transformers(features: int, blocks: int, tokens: int, batch: int) -> Twins:
    """The twins of a model of one's own."""
    network, by_hand, decisions = transformer(features, blocks)
    sizes = {decision.name: [int(str(option)) for option in decision.options] for decision in decisions}
    choices = {"0": sw.width(sizes["features"], name="features"), "1.*": sw.depth(sizes["depth"], name="depth")}
    for i in range(blocks):
        choices[f"1.{i}.0.branch.1"] = sw.heads(sizes[f"heads_{i}"], name=f"heads_{i}")
        choices[f"1.{i}.1.branch.1"] = sw.width(sizes[f"hidden_{i}"], name=f"hidden_{i}")
    elastic = sw.elastic(network, choices, example=torch.randn(2, tokens, 48))
    values = list(network.state_dict().values())
    by_hand.load_state_dict(dict(zip(by_hand.state_dict(), values, strict=True)))
    return Twins(elastic, by_hand, decisions, torch.randn(batch, tokens, 48))


TWINS: dict[str, Callable[[], Twins]] = {
    "conv-macro, an eighth, 16 images of 12×12": lambda: conv_macro(8, 12, 16),
    "conv-macro, a quarter, 32 images of 16×16": lambda: conv_macro(4, 16, 32),
    "conv-macro, a half, 16 images of 32×32": lambda: conv_macro(2, 32, 16),
    "transformer, 64 features, 4 blocks, 8×16 tokens": lambda: transformers(64, 4, 16, 8),
    "transformer, 192 features, 4 blocks, 8×64 tokens": lambda: transformers(192, 4, 64, 8),
}


def mixture(decisions: Sequence[Decision], *, learns: bool, dtype: torch.dtype = torch.float32) -> Gates:
    """All options of unequal weight, with or without a gradient."""
    weights = {d.name: torch.softmax(torch.linspace(0, 1, d.size, dtype=dtype), 0) for d in decisions}
    return {d.name: Gate(weights[d.name].requires_grad_(learns), tuple(range(d.size))) for d in decisions}


def path(
    decisions: Sequence[Decision], *, learns: bool, seed: int | None = None, dtype: torch.dtype = torch.float32
) -> Gates:
    """The middle option of every decision, or a random one; with or without a gradient."""
    draw, made = random.Random(seed), {}
    for d in decisions:
        option = d.size // 2 if seed is None else draw.randrange(d.size)
        made[d.name] = Gate(torch.eye(d.size, dtype=dtype)[option].requires_grad_(learns), (option,), unit=not learns)
    return made


def step(network: nn.Module, x: Tensor, given: Gates, *, learns: bool) -> None:
    """Forward and backward, to gates or to weights."""
    loss = F.cross_entropy(network(x, given), torch.arange(len(x)) % 10)
    if learns:
        torch.autograd.grad(loss, [gate.weights for gate in given.values()], allow_unused=True)
    else:
        network.zero_grad(set_to_none=True)
        loss.backward()


def measured(twins: Twins, given: Sequence[Gates], *, learns: bool, rounds: int) -> dict[str, list[float]]:
    """CPU seconds of a step in both forms, round by round, after two that are not counted; gates take turns."""
    sides = {"elastic": twins.elastic, "by hand": twins.by_hand}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 2):
        for name in list(sides)[:: 1 if number % 2 else -1]:
            start = time.process_time()
            step(sides[name], twins.inputs, given[number % len(given)], learns=learns)
            if number > 1:
                seconds[name].append(time.process_time() - start)
    return seconds


def difference(twins: Twins) -> float:
    """The largest difference of outputs in float64, relative to the largest output."""
    elastic, by_hand = twins.elastic.double().eval(), twins.by_hand.double().eval()
    worst = 0.0
    for given in (
        mixture(twins.decisions, learns=False, dtype=torch.float64),
        path(twins.decisions, learns=False, dtype=torch.float64),
    ):
        with torch.no_grad():
            a, b = elastic(twins.inputs.double(), given), by_hand(twins.inputs.double(), given)
        worst = max(worst, float((a - b).abs().max() / b.abs().max()))
    return worst


def summary(seconds: Mapping[str, Sequence[float]]) -> tuple[str, float]:
    """One row, and the ratio."""
    ratios = [a / b for a, b in zip(seconds["elastic"], seconds["by hand"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    elastic, by_hand = (statistics.median(seconds[name]) * 1e3 for name in ("elastic", "by hand"))
    return f"{by_hand:9.2f} ms by hand {elastic:9.2f} ms elastic   ×{middle:.3f} [{low:.3f}, {high:.3f}]", middle


def main(arguments: list[str]) -> int:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks elastic_step", description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--twins", nargs="+", type=int, default=list(range(len(TWINS))), help="which, by number")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    results, exactness = {}, {}
    for name, build in [list(TWINS.items())[number] for number in options.twins]:
        torch.manual_seed(0)
        twins = build()
        print(f"  {name}")
        for learns in (False, True):
            kinds = {
                "all options": [mixture(twins.decisions, learns=learns)],
                "one path": [path(twins.decisions, learns=learns)],
                "new paths": [path(twins.decisions, learns=learns, seed=i) for i in range(options.rounds + 2)],
            }
            for kind, given in kinds.items():
                row, ratio = summary(measured(twins, given, learns=learns, rounds=options.rounds))
                what = f"{kind}, {'architecture' if learns else 'weight'} step"
                results[f"{name}: {what}"] = ratio
                print(f"    {what:<32}{row}")
        exactness[name] = difference(twins)
    print("exactness, relative, in float64: " + ", ".join(f"{value:.1e}" for value in exactness.values()))
    print(json.dumps({"ratios": results, "exactness": exactness}))
    return 0 if max(exactness.values()) < 1e-10 else 1
