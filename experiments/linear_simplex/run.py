"""Iterations against the size of the simplex: exponentiated gradient, softmax logits, projected gradient.

Usage, from anywhere; finished cells are kept in `results.json` and not computed again::

    python experiments/linear_simplex/run.py [--config config.yaml] [--out DIRECTORY] [--fresh]
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import platform
import subprocess
import sys
import textwrap
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
import yaml
from torch import Tensor
from torch.nn import Parameter

import sharewise
from sharewise.distribution import geometry

HERE = Path(__file__).resolve().parent


# ---------------------------------------------------------------------------------------------------------------------
# The problem


@final
@dataclass(frozen=True)
class Problem:
    """Least squares on the simplex with a sparse optimum; seeds are rows and do not meet.

    By symmetry of the inputs the support of θ* may be the first entries. Since E[x xᵀ] is the identity, the excess of
    the expected loss ½(y - <θ, x>)² over its minimum is exactly ½‖θ - θ*‖²; nothing is estimated.
    """

    optimum: Tensor
    batch: int
    noise: float

    def excess(self, p: Tensor) -> Tensor:
        return 0.5 * (p - self.optimum).square().sum(dim=-1)

    def gradient(self, p: Tensor, inputs: Tensor, noises: Tensor) -> Tensor:
        """Of the mini-batch loss with respect to p.

        Args:
            p: (rates, seeds, k).
            inputs: (seeds, batch, k), shared by the rates.
            noises: (seeds, batch).
        """
        difference = (p - self.optimum).transpose(0, 1)
        residual = torch.bmm(difference, inputs.transpose(1, 2)) - noises[:, None]
        return torch.bmm(residual / self.batch, inputs).transpose(0, 1)


def optimum(weights: Sequence[float], k: int) -> Tensor:
    """The vector of k entries that starts with `weights`, of which only as many as fit are kept."""
    kept = np.array(weights[:k])
    return torch.tensor(np.pad(kept / kept.sum(), (0, k - len(kept))), dtype=torch.float32)


@final
class Stream:
    """Mini-batches of ±1 inputs and of noise; the same for every method and learning rate of a problem."""

    def __init__(self, entropy: Sequence[int], seeds: int, batch: int, k: int, noise: float) -> None:
        self.generator = np.random.default_rng(entropy)
        self.shape, self.noise = (seeds, batch, k), noise

    def next(self) -> tuple[Tensor, Tensor]:
        count = int(np.prod(self.shape))
        octets = self.generator.integers(0, 256, size=-(-count // 8), dtype=np.uint8)
        signs = np.unpackbits(octets, count=count).astype(np.float32).reshape(self.shape) * 2 - 1
        noises = self.noise * self.generator.standard_normal(self.shape[:2], dtype=np.float32)
        return torch.from_numpy(signs), torch.from_numpy(noises)


# ---------------------------------------------------------------------------------------------------------------------
# The methods


def project(v: Tensor) -> Tensor:
    """The Euclidean projection of rows (…, k) onto the probability simplex, exact, by sorting.

    The projection is max(v - τ, 0) where τ = (Σ of the ρ largest entries - 1) / ρ and ρ is the largest j for which the
    j-th largest entry exceeds the threshold that the j largest would give. It does not change when a constant is added
    to a row, so the largest entry is subtracted first, which keeps the sums that decide small.

    References:
        J. Duchi et al., *Efficient Projections onto the l1-Ball for Learning in High Dimensions*, ICML 2008, figure 1.
    """
    v = v - v.amax(dim=-1, keepdim=True)
    negated = torch.from_numpy(np.sort((-v).numpy(), axis=-1))  # the largest entry first
    sums = negated.cumsum(-1)
    counts = torch.arange(1, v.shape[-1] + 1, dtype=v.dtype)
    rho = torch.from_numpy(np.count_nonzero((sums - negated * counts).numpy() > -1, axis=-1, keepdims=True))
    threshold = -(sums.gather(-1, rho - 1) + 1) / rho
    return (v - threshold).clamp_min(0)


class Learner(ABC):
    """Rows of distributions of shape (rates, seeds, k), of which every rate moves by its own optimiser."""

    @abstractmethod
    def probabilities(self) -> Tensor: ...

    @abstractmethod
    def step(self, gradient: Tensor) -> None:
        """Move against a gradient with respect to the probabilities last asked for."""


@final
class GeometryLearner(Learner):
    """A geometry of the product, moved by its own optimiser, or softmax logits moved by SGD."""

    def __init__(self, rates: Sequence[float], kind: str, seeds: int, k: int, generator: torch.Generator) -> None:
        self.mask = torch.ones(seeds, k, dtype=torch.bool)
        kinds = {"exponentiated_gradient": geometry.Simplex}
        geometries = [kinds.get(kind, geometry.SoftmaxLogits)(learning_rate=rate) for rate in rates]
        self.geometry = geometries[0]
        start = self.geometry.initial(self.mask, generator).float()
        self.theta = start.expand(len(rates), -1, -1).clone().requires_grad_()
        self.rows = [Parameter(row) for row in self.theta.detach()]  # views of θ, one for each learning rate
        if kind == "softmax_sgd":
            self.optimizers = [torch.optim.SGD([row], lr=rate) for row, rate in zip(self.rows, rates, strict=True)]
        else:
            self.optimizers = [owner.optimizer(row) for owner, row in zip(geometries, self.rows, strict=True)]

    def probabilities(self) -> Tensor:
        self.p = self.geometry.probabilities(self.theta, self.mask)
        return self.p.detach()

    def step(self, gradient: Tensor) -> None:
        (back,) = torch.autograd.grad(self.p, self.theta, gradient)
        for row, slope, optimizer in zip(self.rows, back, self.optimizers, strict=True):
            row.grad = slope
            optimizer.step()


@final
class ProjectedGradient(Learner):
    """θ ← projection of θ - η g, from uniform."""

    def __init__(self, rates: Sequence[float], seeds: int, k: int) -> None:
        self.rates = torch.tensor(rates, dtype=torch.float32)[:, None, None]
        self.theta = torch.full((len(rates), seeds, k), 1 / k)

    def probabilities(self) -> Tensor:
        return self.theta

    def step(self, gradient: Tensor) -> None:
        self.theta = project(self.theta - self.rates * gradient)


def learner(method: str, rates: Sequence[float], seeds: int, k: int, entropy: int) -> Learner:
    if method == "projected_gradient":
        return ProjectedGradient(rates, seeds, k)
    return GeometryLearner(rates, method, seeds, k, torch.Generator().manual_seed(entropy))


# ---------------------------------------------------------------------------------------------------------------------
# A cell: one method on one target at one k


def race(
    problem: Problem,
    mover: Learner,
    stream: Stream,
    epsilons: Sequence[float],
    budget: int,
    *,
    share: float = 1.0,
    hold: int = 1,
) -> tuple[np.ndarray, int]:
    """The step at which each rate and seed first has excess loss ≤ ε, shape (ε, rates, seeds); inf where it has not.

    With `hold` above one, the first of so many consecutive steps with excess loss ≤ ε. Stops after `budget` steps, or
    as soon as for every ε some rate has brought this share of the seeds there, which decides who is first to do so.
    """
    hits = runs = None
    for step in range(budget + hold):
        p = mover.probabilities()
        inside = problem.excess(p).numpy() <= np.array(epsilons)[:, None, None]
        if hits is None:
            hits, runs = np.full(inside.shape, np.inf), np.zeros(inside.shape, dtype=int)
        runs = np.where(inside, runs + 1, 0)
        hits[(runs >= hold) & np.isinf(hits)] = step - hold + 1
        if (np.isfinite(hits).mean(axis=-1).max(axis=-1) >= share).all():
            break
        mover.step(problem.gradient(p, *stream.next()))
    assert hits is not None
    return hits, step - hold + 1


def run_cell(config: Mapping[str, Any], noise: float, target: str, method: str, k: int) -> dict[str, Any]:
    """Choose the learning rate on tuning seeds, for each ε; judge it on seeds that tuning never saw."""
    problem = Problem(optimum(config["targets"][target], k), config["batch"], noise)
    grid, epsilons, share = config["rates"], config["epsilons"], config["tuning_share"]

    def play(role: str, rates: Sequence[float], levels: Sequence[float], budget: int) -> tuple[np.ndarray, int]:
        judged = role == "judging"
        seeds = config["seeds"] if judged else config["tuning_seeds"]
        entropy = [config["seed"], zlib.crc32(f"{target}/{noise:g}".encode()), k, int(judged)]
        stream = Stream(entropy, seeds, problem.batch, k, problem.noise)
        mover = learner(method, rates, seeds, k, zlib.crc32(repr(entropy).encode()))
        wanted = 1.0 if judged else share
        return race(problem, mover, stream, levels, budget, share=wanted, hold=config["hold"])

    scores: dict[int, np.ndarray] = {}  # exponent of the rate -> hits (ε, seeds)
    wanted, budget = list(range(grid["first"], grid["last"] + 1)), config["budget"]
    for _ in range(grid["rounds"] + 1):
        hits, stopped = play("tuning", [grid["base"] ** power for power in wanted], epsilons, budget)
        budget = min(budget, stopped)  # a rate added later wins only if it is faster
        scores.update({power: hits[:, index] for index, power in enumerate(wanted)})
        winners = [best(scores, level, share, budget) for level in range(len(epsilons))]
        moved = {power for level, power in enumerate(winners) if reached(scores[power][level], share) > 0}
        below, above = min(scores), max(scores)
        wanted = [power for power in range(below - grid["extension"], below) if below in moved]
        wanted += [above + 1 + extra for extra in range(grid["extension"]) if above in moved]
        if not wanted:
            break
    levels = []
    for level, (epsilon, power) in enumerate(zip(epsilons, winners, strict=True)):
        tuned = reached(scores[power][level], share)
        limit = config["budget"]
        if np.isfinite(tuned):
            limit = min(limit, max(config["least"], int(config["patience"] * tuned)))
        hits, _ = play("judging", [grid["base"] ** power], [epsilon], limit)
        levels.append(
            {
                "epsilon": epsilon,
                "rate": grid["base"] ** power,
                "beyond_first_grid": not grid["first"] <= power <= grid["last"],
                "at_first_edge": power in (grid["first"], grid["last"]),
                "at_final_edge": bool(wanted) and power in (below, above),
                "tuned": finite(tuned),
                "iterations": [finite(hit) for hit in hits[0, 0]],
                "limit": limit,
            }
        )
    return {
        "noise": noise,
        "target": target,
        "method": method,
        "k": k,
        "rates_tried": [grid["base"] ** power for power in sorted(scores)],
        "levels": levels,
    }


def reached(hits: np.ndarray, share: float) -> float:
    """The step by which this share of the seeds is there."""
    return float(np.quantile(hits, share, method="inverted_cdf"))


def best(scores: Mapping[int, np.ndarray], level: int, share: float, budget: int) -> int:
    """The exponent that is first to bring the share of seeds there; ties go to the smaller mean, then smaller rate."""
    return min(
        sorted(scores),
        key=lambda power: (reached(scores[power][level], share), np.minimum(scores[power][level], budget).mean()),
    )


# ---------------------------------------------------------------------------------------------------------------------
# Growth: power of k against logarithm of k


def growth(sizes: np.ndarray, medians: np.ndarray) -> dict[str, np.ndarray]:
    """Least squares on log(iterations) of a·k^p and of b·(log₂ k + c), two parameters each.

    Args:
        sizes: (n,).
        medians: (resamples, n), positive.

    Returns:
        For each resample the exponent `p`, the slope `b` (iterations for each doubling of k), the offset `c`, and the
        root mean squares of the residuals of both.
    """
    logs, x = np.log(medians), np.log(sizes)
    centred = x - x.mean()
    p = logs @ centred / (centred @ centred)
    power_residual = logs - logs.mean(axis=1, keepdims=True) - p[:, None] * centred
    doublings = np.log2(sizes)
    shifts = np.concatenate([-doublings.min() + np.logspace(-3, 4, 701)])
    curves = np.log(doublings + shifts[:, None])  # (shifts, n)
    intercepts = (logs[:, None] - curves).mean(axis=2)
    residuals = np.sqrt((logs[:, None] - curves - intercepts[..., None]).__pow__(2).mean(axis=2))
    at = residuals.argmin(axis=1)
    pick = np.arange(len(logs)), at
    return {
        "p": p,
        "b": np.exp(intercepts[pick]),
        "c": shifts[at],
        "power_rms": np.sqrt((power_residual**2).mean(axis=1)),
        "log_rms": residuals[pick],
    }


def interval(values: np.ndarray) -> list[float]:
    return [round(float(edge), 4) for edge in np.percentile(values, [2.5, 97.5])]


def summarise(config: Mapping[str, Any], cells: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Medians with bootstrap intervals over seeds, and fits, for each target, ε and method."""
    series = []
    for setting, target in itertools.product(config["settings"], config["targets"]):
        noise, sizes = setting["noise"], sizes_of(config, setting)
        for level, epsilon in enumerate(config["epsilons"]):
            for method in config["methods"]:
                rows = [cells[name_of(noise, target, method, k)] for k in sizes]
                generator = np.random.default_rng([config["seed"], 3])
                draws: list[np.ndarray] = []
                points: list[dict[str, Any]] = []
                for row in rows:
                    found = row["levels"][level]
                    hits = np.array([np.inf if hit is None else hit for hit in found["iterations"]])
                    picks = generator.integers(0, len(hits), size=(config["resamples"], len(hits)))
                    draw = np.median(hits[picks], axis=1)
                    draws.append(draw)
                    points.append(
                        {
                            "k": row["k"],
                            "median": finite(np.median(hits)),
                            "interval": [finite(edge) for edge in np.quantile(draw, [0.025, 0.975], method="nearest")],
                            "seeds_reaching": int(np.isfinite(hits).sum()),
                            "rate": found["rate"],
                        }
                    )
                entry = {"noise": noise, "target": target, "epsilon": epsilon, "method": method, "points": points}
                for name, least in (("all", 0), ("tail", config["tail"])):
                    entry[name] = fit(np.array(sizes, dtype=float), points, np.array(draws), least)
                series.append(entry)
    return series


def fit(sizes: np.ndarray, points: Sequence[Mapping[str, Any]], draws: np.ndarray, least: int) -> dict[str, Any] | None:
    """Both laws over the sizes of at least `least` whose median was reached, and not at the start.

    Resamples of which a median is not finite are left out of the intervals and counted.
    """
    keep = np.array([k >= least and bool(point["median"]) for k, point in zip(sizes, points, strict=True)])
    if keep.sum() < 3:
        return None
    usable = (np.isfinite(draws[keep]) & (draws[keep] > 0)).all(axis=0)
    draws = draws[:, usable]
    here = growth(sizes[keep], np.array([[point["median"] for point in points]], dtype=float)[:, keep])
    resampled = growth(sizes[keep], draws[keep].T)
    logarithm = growth(sizes[keep], np.log2(sizes[keep])[None])
    return {
        "sizes": [int(k) for k in sizes[keep]],
        "resamples": int(usable.sum()),
        "p": round(float(here["p"][0]), 4),
        "p_interval": interval(resampled["p"]),
        "p_of_log_k": round(float(logarithm["p"][0]), 4),
        "b": round(float(here["b"][0]), 5),
        "a": round(float(here["b"][0] * here["c"][0]), 4),
        "power_rms": round(float(here["power_rms"][0]), 4),
        "log_rms": round(float(here["log_rms"][0]), 4),
        "log_fits_better": round(float((resampled["log_rms"] < resampled["power_rms"]).mean()), 4),
    }


def finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


# ---------------------------------------------------------------------------------------------------------------------
# The figure

STYLES = {  # Okabe and Ito's colours; markers and dashes differ too
    "exponentiated_gradient": ("Exponentiated gradient", "#0072B2", "o", "-"),
    "softmax_adam": ("Softmax logits, Adam", "#E69F00", "s", "--"),
    "softmax_sgd": ("Softmax logits, SGD", "#009E73", "^", "-."),
    "projected_gradient": ("Projected gradient", "#CC3311", "D", ":"),
}


def draw(config: Mapping[str, Any], series: Sequence[Mapping[str, Any]], folder: Path) -> None:
    epsilons = config["epsilons"]
    columns = [(setting["noise"], target) for setting in config["settings"] for target in config["targets"]]
    mpl.rcParams.update({"svg.hashsalt": "linear_simplex", "font.size": 10})
    shape = len(epsilons), len(columns)
    figure, grid = plt.subplots(
        *shape, figsize=(3.9 * shape[1], 3.6 * shape[0] + 1.2), sharex=True, sharey=True, squeeze=False
    )
    for entry in series:
        axes = grid[epsilons.index(entry["epsilon"]), columns.index((entry["noise"], entry["target"]))]
        label, colour, marker, dashes = STYLES[entry["method"]]
        points = [point for point in entry["points"] if point["median"]]
        edges = np.array([point["interval"] for point in points], dtype=float).reshape(-1, 2)
        x, y = np.array([[point["k"], point["median"]] for point in points]).reshape(-1, 2).T
        axes.fill_between(x, edges[:, 0], edges[:, 1], color=colour, alpha=0.2, linewidth=0)
        look = {"markersize": 4.5} if dashes != "-." else {"markersize": 8, "markerfacecolor": "none"}
        axes.plot(x, y, color=colour, marker=marker, linestyle=dashes, linewidth=1.6, label=label, **look)
        open_above = np.isnan(edges[:, 1])  # too few seeds for the interval to end
        if open_above.any():
            axes.errorbar(x[open_above], y[open_above], yerr=y[open_above], lolims=True, color=colour, linestyle="none")
    sizes = np.array(config["sizes"], dtype=float)
    for row, column in np.ndindex(shape):
        axes, (noise, target) = grid[row, column], columns[column]
        axes.plot(sizes, 2 * np.log2(sizes), color="0.5", linewidth=0.9, label="∝ log k, for the eye")
        axes.plot(sizes, sizes / 2, color="0.5", linewidth=0.9, linestyle=(0, (1, 2)), label="∝ k, for the eye")
        axes.set_title(f"θ* a {target}, noise {noise:g}, ε = {epsilons[row]:g}", fontsize=10.5)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_ylim(0.8, 2 * max(point["median"] or 0 for entry in series for point in entry["points"]))
        axes.grid(True, which="major", color="0.9", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if column == 0:
            axes.set_ylabel("iterations to excess loss ≤ ε")
        if row == shape[0] - 1:
            axes.set_xlabel("k, the size of the simplex")
    handles = dict(zip(*reversed(grid[0, 0].get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), frameon=False, ncols=6 if shape[1] > 2 else 3, loc="lower center")
    held = f" and hold it {config['hold']} steps" if config["hold"] > 1 else ", first time"
    levels = f"mini-batches of {config['batch']}; ε = {' and '.join(f'{epsilon:g}' for epsilon in epsilons)}"
    lines = (
        f"Iterations to reach excess loss ≤ ε{held}: each method at its own best learning rate for each k",
        f"median of n = {config['seeds']} seeds with its 95% bootstrap interval; {levels}",
    )
    width = 30 * shape[1] + 4
    figure.suptitle("\n".join(textwrap.fill(line, width) for line in lines), fontsize=11.5)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(folder / "figure.png", dpi=130, metadata={"Software": None})
    figure.savefig(folder / "figure.svg", metadata={"Date": None})
    plt.close(figure)


# ---------------------------------------------------------------------------------------------------------------------
# Running


def run(config: Mapping[str, Any], folder: Path, *, fresh: bool = False, quiet: bool = False) -> dict[str, Any]:
    """Compute the cells that `results.json` lacks, saving after each; then the fits."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.json"
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]
    results: dict[str, Any] = {"config": dict(config), "digest": digest, "cells": {}}
    if path.exists() and not fresh:
        found = json.loads(path.read_text())
        if found["digest"] != digest:
            raise SystemExit(f"{path} was computed from another configuration; pass --fresh to compute it again")
        results["cells"] = found["cells"]
    wanted = [
        (setting["noise"], target, method, k)
        for setting in config["settings"]
        for target, method, k in itertools.product(config["targets"], config["methods"], sizes_of(config, setting))
    ]
    for noise, target, method, k in wanted:
        name = name_of(noise, target, method, k)
        if name in results["cells"]:
            continue
        begin = time.perf_counter()
        cell = run_cell(config, noise, target, method, k)
        cell["seconds"] = round(time.perf_counter() - begin, 3)
        results["cells"][name] = cell
        save(path, results)
        if not quiet:
            found = "; ".join(f"ε {at['epsilon']:g}: {at['tuned']} at rate {at['rate']:g}" for at in cell["levels"])
            print(f"{name:48s} {cell['seconds']:7.2f} s   tuning: {found}", flush=True)
    results["summary"] = summarise(config, results["cells"])
    save(path, results)
    return results


def name_of(noise: float, target: str, method: str, k: int) -> str:
    return f"{noise:g}/{target}/{method}/{k}"


def sizes_of(config: Mapping[str, Any], setting: Mapping[str, Any]) -> list[int]:
    return [k for k in config["sizes"] if k <= setting["largest"]]


def save(path: Path, content: Mapping[str, Any]) -> None:
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    os.replace(temporary, path)


def environment(results: Mapping[str, Any]) -> dict[str, Any]:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=HERE, capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "cpu": model,
        "cores_visible": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "sharewise": sharewise.__version__,
        "commit": commit or None,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "matplotlib": mpl.__version__,
        "cell_seconds": round(sum(cell["seconds"] for cell in results["cells"].values()), 1),
    }


def table(series: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: exponents and fits, then medians, then the learning rates chosen."""
    names = "noise, θ*, ε, method, p (all k), p (tail), p of log k (all; tail), rms of power; log (tail), log better"
    columns = [*names.split(", "), "iterations at the largest k"]
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for entry in series:
        whole, tail, last = entry["all"], entry["tail"], entry["points"][-1]
        power = [f"{law['p']:.2f} [{law['p_interval'][0]:.2f}, {law['p_interval'][1]:.2f}]" for law in (whole, tail)]
        edges = ", ".join("-" if edge is None else f"{edge:g}" for edge in last["interval"])
        lines.append(
            f"| {entry['noise']:g} | {entry['target']} | {entry['epsilon']:g} | {entry['method']} | {power[0]} "
            f"| {power[1]} | {whole['p_of_log_k']:.2f}; {tail['p_of_log_k']:.2f} "
            f"| {tail['power_rms']:.2f}; {tail['log_rms']:.2f} | {tail['log_fits_better']:.0%} "
            f"| {last['median']:g} [{edges}] |"
        )
    for title, field in (("median iterations", "median"), ("learning rates", "rate"), ("seeds", "seeds_reaching")):
        lines += ["", title]
        for entry in series:
            values = " ".join(f"{point[field]:g}" if point[field] is not None else "-" for point in entry["points"])
            lines.append(f"{entry['noise']:g} {entry['target']} {entry['epsilon']:g} {entry['method']}: {values}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=HERE / "config.yaml")
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--fresh", action="store_true", help="compute every cell again")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    config = yaml.safe_load(options.config.read_text())
    path = options.out / "results.json"
    before = json.loads(path.read_text())["cells"] if path.exists() else {}
    results = run(config, options.out, fresh=options.fresh)
    if results["cells"] != before:  # else the cells are those of the environment already written
        save(options.out / "environment.json", environment(results))
    draw(config, results["summary"], options.out)
    print(table(results["summary"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
