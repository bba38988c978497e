"""Whether every method is what its papers say: each against a plain computation of the same steps, in float64.

The product runs its real recipe through `prepare` and `train`, on the supernet with fused cells; the other side is
`benchmarks.fidelity.plain`. Both start from equal weights and from the same θ, drawn at random, read the same batches
of the built-in digits and the same random numbers, and go a few epochs of a few steps. After every step the outputs,
the gradients of w and θ, w and θ are compared; a row shows the largest absolute difference over all steps.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.fidelity import plain as plain_side
from benchmarks.fidelity.plain import Rule, Search, leaf
from sharewise.data import digits
from sharewise.engine import Event, SearchState, StageEntered, Stepped, numerics, prepare, stream, train
from sharewise.engine.curvature import spectrum
from sharewise.methods import build, parameters
from sharewise.run import build_supernet
from sharewise.run.networks import asked_network
from sharewise.spaces import load

BAR = 1e-10
EPOCHS, BATCH, EXAMPLES, SEED = 3, 16, 64, 0
ARGUMENTS: dict[str, Any] = {
    "architecture_every": 2,
    "controller_steps": 2,
    "controller_samples": 3,
    "tuning_epochs": 1,
}
_SHARING: Mapping[str, Mapping[str, Any]] = {
    "disjoint": {},
    "entangled": {"sharing": "entangled"},
    "published": {"sharing": "entangled", "published": True},
}
"""Options of the product's network, by the word of a rule."""
QUANTITIES = ("output", "w gradient", "w", "θ gradient", "θ")
BEGIN, END = "<!-- begin: fidelity -->", "<!-- end: fidelity -->"


@dataclass
class Comparison:
    """What was found for one row."""

    steps: int = 0
    differences: dict[str, float] = field(default_factory=dict)
    size: float = 0.0
    """The largest entry of the product's θ gradient."""
    moved: float = 0.0
    """The largest change of an entry of θ over the run."""
    eigenvalue: float | None = None
    """The dominant one of ∂²L_val/∂θ² at the end, by the plain side, for a method that watches it."""
    aside: dict[str, list[float]] = field(default_factory=dict)

    def note(self, quantity: str, product: Mapping[str, Tensor | None], plain: Mapping[str, Tensor | None]) -> None:
        assert product.keys() == plain.keys(), f"{quantity}: {sorted(product.keys() ^ plain.keys())}"
        gap = max(_gap(product[name], plain[name]) for name in plain)
        self.differences[quantity] = max(self.differences.get(quantity, 0.0), gap)

    @property
    def worst(self) -> float:
        return max(self.differences.values())


def _gap(a: Tensor | None, b: Tensor | None) -> float:
    """The largest absolute difference; infinite where one side has nothing, or something that is not a number."""
    if a is None or b is None:
        return 0.0 if a is b else math.inf
    gap = float((a - b).detach().abs().max()) if a.shape == b.shape else math.inf
    return gap if gap == gap else math.inf


class Case(NamedTuple):
    """One comparison: the rule, the arguments of the method, and the space."""

    rule: Rule
    arguments: Mapping[str, Any]
    space: str


def comparisons() -> dict[str, Case]:
    """Every comparison by its label; two of one method, which has two forms, differ after a comma."""
    from tests.methods.method_table import ROWS  # which is made of the rules' parts, and so comes after this module

    found: dict[str, Case] = {}
    for method, row in ROWS.items():
        found[method] = Case(row.rule, {}, "nasbench201")
        found |= {f"{method}, {words}": Case(f.rule, f.arguments, f.space) for words, f in row.forms.items()}
    return found


SIZES: Mapping[str, Mapping[str, int]] = {"nasbench201": {"cells": 1}, "darts": {"layers": 3}}
"""Of the networks, beside the channels."""


def method_of(label: str) -> str:
    """The registered method of a row."""
    return label.split(",")[0]


def prepared(label: str, epochs: int) -> SearchState:
    """The product's search at step 0, with a θ drawn at random."""
    method, data, case = method_of(label), digits().limited(EXAMPLES, seed=SEED), comparisons()[label]
    arguments = {key: value for key, value in ARGUMENTS.items() if key in parameters(method)}
    recipe = build(method, {"epochs": epochs, "batch_size": BATCH, **arguments, **case.arguments})
    space, options = load(case.space), {**SIZES[case.space], **_SHARING[case.rule.sharing]}
    parts = case.arguments.get("parts", (recipe.network.get("partial", 2),))  # halves of 1/K are reduced by themselves
    network = asked_network(space, recipe, {"channels": 2 * math.lcm(*parts), **options})
    supernet = build_supernet(space, data.input_shape, data.task.outputs, network=network, seed=SEED)
    roles = data.assign(recipe.roles, generator=stream(SEED, "data"))
    state = prepare(supernet, recipe, roles, numerics=numerics("cpu", "float64"), seed=SEED)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in state.distribution.parameters():
            noise = torch.randn(value.shape, generator=generator, dtype=value.dtype)
            alive = (value != 0).to(value.dtype)  # options that GAEA excludes stay at zero, and padding
            grown = alive * noise.exp()
            value.copy_(grown / grown.sum(-1, keepdim=True) if _on_simplex(value) else alive * noise)
    return state


def _on_simplex(value: Tensor) -> bool:
    return bool((value >= 0).all()) and torch.allclose(value.sum(-1), torch.ones((), dtype=value.dtype))


def twin(label: str, rule: Rule, epochs: int = EPOCHS) -> Search:
    """The plain side of the same search: copies of w and θ, batches and noise from streams in the same state."""
    state = prepared(label, epochs)

    def batches(role: Any) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield tuple(state.next_batch(role))  # type: ignore[misc]

    return Search(
        rule,
        w={name: leaf(value) for name, value in state.supernet.named_parameters()},
        theta={name: leaf(value) for name, value in state.distribution.named_parameters()},
        batches={role: batches(role) for role in ("weights", "architecture")},
        noise={
            **{role: stream(SEED, role) for role in ("weights", "architecture")},
            "widening": stream(SEED, "surgery/1/1"),
        },
        epochs=epochs,
        steps_per_epoch=state.steps_per_epoch,
        judges=[(batch.inputs, batch.targets) for batch in state.evaluation_batches("selection")],
        # The surgery of a round: the first follows a fresh optimiser of the weights.
        order=lambda rounds: stream(SEED, f"surgery/{len(state.recipe.stages) + rounds}/{int(rounds == 0)}"),
    )


def compare(label: str, rule: Rule | None = None, epochs: int = EPOCHS, readings: bool = True) -> Comparison:
    """Run both sides in step.

    Args:
        label: a key of `comparisons()`.
        rule: the plain side, when it is to be another one.
        epochs: of the run, of two steps each (four on a single level), at least two.
        readings: whether to compute other readings of the method as well.
    """
    state, plain = prepared(label, epochs), twin(label, comparisons()[label].rule if rule is None else rule, epochs)
    plain.readings, found = readings, Comparison()
    start = {name: value.detach().clone() for name, value in state.distribution.named_parameters()}
    outputs: list[Tensor] = []

    def listen(state: SearchState, event: Event) -> None:
        if not isinstance(event, Stepped | StageEntered):
            outputs.clear()  # of measurements between epochs
        if not isinstance(event, Stepped):  # what the surgeries of a stage have asked belongs to the step after
            return
        plain.advance()
        found.steps += 1
        found.note("output", _numbered(outputs), _numbered(plain.outputs))
        found.note("w gradient", {n: p.grad for n, p in state.supernet.named_parameters()}, plain.weight_gradient)
        found.note("w", dict(state.supernet.named_parameters()), plain.w)
        if plain.theta:
            found.note("θ", dict(state.distribution.named_parameters()), plain.theta)
        if plain.theta_gradient is not None:
            gradients = {name: p.grad for name, p in state.distribution.named_parameters()}
            found.note("θ gradient", gradients, plain.theta_gradient)
            found.size = max(found.size, *(float(g.abs().max()) for g in gradients.values() if g is not None))
        outputs.clear()

    def hear(module: Any, inputs: Any, output: Tensor) -> None:
        if not output.is_meta:  # after a surgery the network is priced anew, by a pass on shapes
            outputs.append(output.detach())

    hook = state.supernet.register_forward_hook(hear)
    train(state, (listen,))
    hook.remove()
    if state.recipe.reactions:
        (batch,) = state.evaluation_batches("architecture", BATCH)
        there = plain_side.dominant_eigenvalue(plain, (batch.inputs, batch.targets))
        found.eigenvalue = float(there)
        here = torch.tensor(spectrum(state, BATCH)["eigenvalue"], dtype=there.dtype)
        found.note("eigenvalue", {"largest": here}, {"largest": there})
    for name, value in state.distribution.named_parameters():
        found.moved = max(found.moved, float((value - start[name]).detach().abs().max()))
    found.aside = plain.aside
    names = [decision.name for decision in state.distribution.relaxation.decisions]
    settled = {names[edge]: None if edge in plain.removed else option for edge, option in plain.settled.items()}
    if getattr(state.distribution, "settled", {}) != settled:
        found.differences["output"] = math.inf  # another choice
    return found


def _numbered(values: list[Tensor]) -> dict[str, Tensor]:
    return {str(index): value for index, value in enumerate(values)}


def table(found: Mapping[str, Comparison]) -> str:
    """The comparison in Markdown."""
    lines = [f"| comparison | steps | {' | '.join(QUANTITIES)} | largest θ gradient |", "| --- |" + " --- |" * 7]
    for label, row in found.items():
        cells = [f"{row.differences[q]:.0e}" if q in row.differences else "" for q in QUANTITIES]
        lines.append(f"| {label} | {row.steps} | {' | '.join(cells)} | {f'{row.size:.0e}' if row.size else ''} |")
    watched = {label: row for label, row in found.items() if row.eigenvalue is not None}
    lines += ["", "| dominant eigenvalue of ∂²L_val/∂θ² | value | difference |", "| --- | --- | --- |"]
    lines += [
        f"| {label} | {row.eigenvalue:.3g} | {row.differences['eigenvalue']:.0e} |" for label, row in watched.items()
    ]
    lines += ["", "| another reading | relative difference of the θ gradient: median [least, largest] | n |"]
    lines.append("| --- | --- | --- |")
    for label, row in found.items():
        for reading, values in row.aside.items():
            spread = f"{statistics.median(values):.0e} [{min(values):.0e}, {max(values):.0e}]"
            lines.append(f"| {label}: {reading} | {spread} | {len(values)} |")
    return "\n".join(lines)


def write(page: Path, text: str) -> None:
    """Put generated text into the marked block of a document."""
    old = page.read_text(encoding="utf-8")
    if BEGIN not in old or END not in old:
        raise SystemExit(f"{page} has no block between {BEGIN} and {END}")
    page.write_text(f"{old.split(BEGIN)[0]}{BEGIN}\n{text}\n{END}{old.split(END)[1]}", encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Compare, print, and say by the exit status whether all differences are below the bar."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks fidelity", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables into the marked block of a document")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found = {label: compare(label) for label in comparisons()}
    text = f"torch {torch.__version__}, float64, one thread; the bar is {BAR:.0e}.\n\n{table(found)}"
    print(text)
    if options.write is not None:
        write(options.write, text)
    above = [label for label, row in found.items() if not row.worst < BAR]
    print(f"above the bar: {', '.join(above)}" if above else f"all {len(found)} comparisons are below {BAR:.0e}")
    return 1 if above else 0
