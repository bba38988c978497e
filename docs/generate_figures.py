"""Draw the figures of docs/concepts.md, computed: `python docs/generate_figures.py` (a few seconds)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from sharewise.appraisal import guided_search, random_searches
from sharewise.report.canvas import GREY, SERIES, drawing, save_figure, tidy
from sharewise.space import Decision
from sharewise.supernet import Gate
from sharewise.supernet.mixed import MixedOperation
from sharewise.supernet.slices.nesting import survival

FOLDER = Path(__file__).parent / "figures"


def gate(target: Path) -> None:
    """A mixed operation at four gates, from undecided to one-hot."""
    x = torch.linspace(-2, 2, 101)
    operations = {"identity": torch.nn.Identity(), "tanh": torch.nn.Tanh(), "softplus": torch.nn.Softplus()}
    mixed = MixedOperation(Decision("edge", tuple(operations)), operations)
    with drawing(5.6, 3.4) as figure:
        axes = figure.subplots()
        for place, (colour, name) in enumerate(zip(SERIES[1:], operations, strict=False)):
            one = Gate(torch.ones(3), (place,))
            axes.plot(x.numpy(), mixed(x, one).numpy(), "--", color=colour, label=f"{name} alone", linewidth=1.2)
        for share, width in ((1 / 3, 1.2), (0.6, 1.8), (0.9, 2.4)):
            weights = torch.tensor([(1 - share) / 2, share, (1 - share) / 2])
            axes.plot(x.numpy(), mixed(x, Gate(weights, (0, 1, 2))).numpy(), color=SERIES[0], linewidth=width,
                      label=f"tanh weighs {share:.2f}")  # fmt: skip
        axes.set(xlabel="input", ylabel="output of the mixed operation")
        axes.legend(fontsize=8.5)
        tidy(axes)
        figure.tight_layout()
        save_figure(figure, [target])


def relaxation(target: Path) -> None:
    """Entropy of θ under a constant gradient: softmax with gradient steps beside the simplex."""
    gradient, rate, steps = np.array([0.0, 0.3, 0.6, 1.0]), 0.1, 150

    def entropy(p: np.ndarray) -> float:
        return float(-(p * np.log(np.maximum(p, 1e-12))).sum())

    alpha, theta = np.zeros(4), np.full(4, 0.25)
    curves: dict[str, list[float]] = {"softmax of logits, gradient steps": [], "simplex, exponentiated gradient": []}
    for _ in range(steps):
        p = np.exp(alpha) / np.exp(alpha).sum()
        for curve, found in zip(curves.values(), (p, theta), strict=True):
            curve.append(entropy(found))
        alpha = alpha - rate * p * (gradient - p @ gradient)
        theta = theta * np.exp(-rate * gradient)
        theta = theta / theta.sum()
    with drawing(5.6, 3.2) as figure:
        axes = figure.subplots()
        axes.axhline(np.log(4), color=GREY, linestyle=":", linewidth=1, label="undecided, log 4")
        for colour, (name, curve) in zip(SERIES, curves.items(), strict=False):
            axes.plot(curve, color=colour, label=name)
        axes.set(xlabel="steps", ylabel="entropy of θ, nats", ylim=(0, 1.5))
        axes.legend(fontsize=8.5)
        tidy(axes)
        figure.tight_layout()
        save_figure(figure, [target])


def entanglement(target: Path) -> None:
    """The survival of channels under a gate over four widths."""
    sizes, weights = (4, 8, 12, 16), torch.tensor([0.1, 0.2, 0.3, 0.4])
    s = survival(Gate(weights, (0, 1, 2, 3)), sizes)
    with drawing(5.6, 3.0) as figure:
        axes = figure.subplots()
        axes.bar(range(16), s.numpy(), color=[SERIES[0]] * 16, width=0.85)
        for size, weight in zip(sizes, weights.tolist(), strict=True):
            axes.axvline(size - 0.5, color=GREY, linestyle=":", linewidth=1)
            axes.text(size - 0.6, 1.07, f"width {size}: {weight:.1f}", ha="right", fontsize=8, color=GREY)
        axes.set(xlabel="channel", ylabel="survival s", ylim=(0, 1.15))
        tidy(axes)
        figure.tight_layout()
        save_figure(figure, [target])


def equal_cost(target: Path) -> None:
    """Simulated regret of a guided and of a random search, where the supernet costs twenty trainings."""
    rng, n, upfront, most = np.random.default_rng(0), 300, 20.0, 60
    axis = np.arange(1.0, most + 1)
    curves: dict[str, list[np.ndarray]] = {"guided, ρ = 0.7": [], "guided, ρ = 0.3": [], "random": []}
    for _ in range(200):
        truth = rng.normal(90, 2, n)
        for name, rho in (("guided, ρ = 0.7", 0.7), ("guided, ρ = 0.3", 0.3)):
            proxy = rho * (truth - 90) / 2 + np.sqrt(1 - rho**2) * rng.normal(size=n)
            curves[name].append(guided_search(proxy, truth, generator=rng, upfront=upfront).at(axis))
        curves["random"].append(random_searches(truth, truth, most, repeats=1, generator=rng)[0])
    with drawing(5.6, 3.4) as figure:
        axes = figure.subplots()
        for colour, (name, found) in zip(SERIES, curves.items(), strict=False):
            axes.plot(axis, np.mean(found, axis=0), color=colour, label=name)
        axes.axvline(upfront, color=GREY, linestyle=":", linewidth=1, label="the supernet is paid for")
        axes.set(xlabel="cost, trainings", ylabel="mean regret, points")
        axes.legend(fontsize=8.5)
        tidy(axes)
        figure.tight_layout()
        save_figure(figure, [target])


FIGURES: dict[str, Callable[[Path], None]] = {
    "gate": gate,
    "relaxation": relaxation,
    "entanglement": entanglement,
    "equal_cost": equal_cost,
}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in sys.argv[1:] or FIGURES:
        FIGURES[name](FOLDER / f"{name}.svg")
