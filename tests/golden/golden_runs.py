"""Golden runs: what short searches come to, so that a change of structure shows when it changes results.

``python tests/golden/golden_runs.py --write`` renews ``golden_runs.json`` (float64; compared to 1e-9, since the last
bits depend on the processor); ``--bits FILE`` writes digests of float32 weights and θ instead, to compare two checkouts
on one machine.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import sharewise as sw
from sharewise import cost, engine
from sharewise.data import load as load_data
from sharewise.methods import METHODS, build
from sharewise.spaces import load
from sharewise.testing import small_arguments

FILE = Path(__file__).with_name("golden_runs.json")
NETWORKS: dict[str, dict[str, Any]] = {
    "conv-macro": {"divisor": 8},
    "nasbench1shot1:1": {"channels": 2, "cells": 1},
    "nasbench201": {"channels": 4, "cells": 1},
    "toy-separable-cell": {"channels": 2},
}
SPACES = ("conv-macro", "nasbench201", "toy-separable-cell", "toy-tied-width", "toy-two-inputs")
ENTANGLED = {**NETWORKS["nasbench201"], "sharing": "entangled"}
SOME = ("darts-second-order", "drnas", "gaea-erm", "gaea-gdas", "enas", "spos", "fairnas")

Case = tuple[str, str, Mapping[str, Any], bool]


def cases() -> dict[str, Case]:
    """Method, space, network and whether a budget is set, by name."""
    found: dict[str, Case] = {}
    for method in METHODS:
        for space in SPACES:
            if space == "nasbench201" or (method in SOME or method.startswith("tanglenas")):
                found[f"{method} {space}"] = (method, space, NETWORKS.get(space, {}), False)
    for method in ("tanglenas-drnas", "tanglenas-darts", "gaea-gdas", "spos"):
        found[f"{method} nasbench201 entangled"] = (method, "nasbench201", ENTANGLED, False)
    for method in ("spos", "rs-ws"):
        found[f"{method} nasbench101:A_2"] = (method, "nasbench101:A_2", {"channels": 4, "cells": 1}, False)
    for method in ("gaea-erm", "spos", "tanglenas-drnas"):
        found[f"{method} conv-macro budget"] = (method, "conv-macro", NETWORKS["conv-macro"], True)
    return found


def run_case(case: Case, precision: str = "float64") -> Any:
    """The result of one short search."""
    method, space, network, budget = case
    recipe = build(method, small_arguments(method))
    if budget:
        recipe = replace(recipe, limits=(engine.Limit(cost.Parameters(), 30_000),))
    data = load_data("digits", image_size=12) if space == "conv-macro" else sw.data.digits()
    return sw.search(
        load(space), recipe, data.limited(96, seed=0), network=network, device="cpu", precision=precision, max_steps=7
    )


def summary(result: Any) -> dict[str, Any]:
    """Plain values of a result, in which any change of mathematics shows."""
    state = result.state
    epochs = [record for record in state.history if record["event"] == "epoch"]
    return {
        "architecture": str(result.architecture),
        "losses": [
            [record[key] for key in ("weights_loss", "architecture_loss", "reward") if key in record]
            for record in epochs
        ],
        "w": sum(float(p.detach().double().abs().sum()) for p in result.supernet.parameters()),
        "theta": sum(float(p.detach().double().abs().sum()) for p in result.distribution.parameters()),
        "statistics": sum(float(b.detach().double().abs().sum()) for b in result.supernet.buffers()),
        "candidates": [scores for _, scores in result.selected.candidates],
        "ledger": {
            part: [entry.steps, entry.examples, entry.multiply_accumulates]
            for part, entry in state.ledger.entries.items()
            if entry.steps
        },
    }


def digest(result: Any) -> str:
    """Of all bits of w, θ and statistics."""
    found = hashlib.sha256(str(result.architecture).encode())
    for module in (result.supernet, result.distribution):
        for name, value in sorted(module.state_dict().items()):
            found.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def golden() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every case with its summary."""
    for name, case in cases().items():
        yield name, summary(run_case(case))


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--bits"]:
        bits = {name: digest(run_case(case, "float32")) for name, case in cases().items()}
        Path(sys.argv[2]).write_text(json.dumps(bits, indent=1) + "\n")
    else:
        assert sys.argv[1:] == ["--write"], __doc__
        FILE.write_text(json.dumps(dict(golden()), indent=1) + "\n")
