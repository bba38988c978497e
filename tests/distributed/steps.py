"""Run in each of several processes by `torchrun`: some steps of every method, kept by the first one."""

from __future__ import annotations

import gc
import json
import math
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist

import sharewise as sw
from sharewise.engine import SearchState, Teacher
from sharewise.engine.shards import here, whole
from sharewise.run.joining import let_go
from sharewise.run.networks import asked_network
from sharewise.run.place import Place, Setting
from sharewise.run.search import Search
from sharewise.testing import small_arguments

NETWORKS: dict[str, dict[str, Any]] = {
    "nasbench201": {"channels": 4, "cells": 1},
    "conv-macro": {"divisor": 8, "dropout": 0.3},
    "darts": {"channels": 4, "layers": 3},
    "toy-separable-cell": {"channels": 4, "dropout": 0.2},
    "vision-transformer-tiny": {"patch_size": 2, "stochastic_depth": 0.2},
    "language-model": {"dropout": 0.0},
}


def own() -> Any:
    """A model of one's own: batch norm, dropout and a layer norm."""
    torch.manual_seed(0)
    nn = torch.nn
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2), nn.Conv2d(8, 8, 3, stride=2),
        nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(72, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 10),
    )  # fmt: skip
    return sw.elastic(model, {"0": sw.width([4, 8]), "7": sw.width([4, 16])}, example=torch.zeros(2, 1, 8, 8))


def text() -> Any:
    """Some words by bytes, five at a time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words.txt"
        path.write_text("weights are shared, slices are taken, gates are drawn. " * 12, encoding="utf-8")
        return sw.data.byte_text(path, length=5)


def state_of(space: str, method: str, place: Place) -> SearchState:
    """A search at step 0, whose batches have an odd number of examples.

    `METHOD+teacher` learns from a network too; `METHOD/3` computes a batch in three micro-batches;
    `SPACE+recompute` computes cells or layers a second time in backward passes; `SPACE+shard` divides the weights.
    """
    space, *options = space.split("+")
    method, _, taught = method.partition("+")
    method, _, parts = method.partition("/")
    place = replace(place, accumulate=int(parts or 1), shard="shard" in options)
    searched = own().space if space == "own" else sw.spaces.load(space)
    recipe = sw.methods.build(method, small_arguments(method, batch_size=15))
    network = NETWORKS.get(space.partition(":")[0], {}) | ({"recompute": True} if "recompute" in options else {})
    data = sw.data.digits().limited(100, seed=0)
    if space.startswith("language-model"):
        data = text()
    if space == "conv-macro":
        data = data.resized(12)
    asked_network(searched, recipe, network)
    state = Search(searched, recipe, data, Setting(network, 0, place)).prepare()
    if taught:
        torch.manual_seed(5)
        flat = torch.nn.Linear(math.prod(data.input_shape), 10, dtype=torch.float64)
        state.teach(Teacher(torch.nn.Sequential(torch.nn.Flatten(), flat)))
    state.shard()
    return state


def chosen(state: SearchState) -> dict[str, Any]:
    """What the selection says of untrained weights, which are those of one process to the bit, and who worked."""
    passes: list[int] = []
    state.supernet.register_forward_pre_hook(lambda module, arguments: passes.append(len(arguments[0])))
    torch.manual_seed(4)
    selected = state.recipe.selection.select(state)
    return {
        "selected": json.dumps(selected.to_json()),
        "architecture": str(selected.architecture),
        "ledger": json.dumps({k: v for k, v in state.ledger.to_json().items() if "seconds" not in k}),
        "passes": len(passes),
        "random": torch.get_rng_state(),
    }


def found(state: SearchState, steps: int) -> dict[str, Any]:
    """Everything that training moves, and gradients, after some steps."""
    state.supernet.train()
    torch.manual_seed(3)
    losses = []
    first: dict[str, Any] = {}
    from sharewise.engine.loop import begin_epoch

    begin_epoch(state)
    for step in range(steps):
        losses.append({name: float(loss) for name, loss in state.recipe.level.step(state, architecture=True).items()})
        state.step += 1
        if not step:
            first = {name: p.grad for name, p in state.supernet.named_parameters() if p.grad is not None}
            first = {name: gradient.clone() for name, gradient in whole(first).items()}
            first |= {f"θ.{n}": p.grad.clone() for n, p in state.distribution.named_parameters() if p.grad is not None}
    moments = [value for own in state.weight_optimizer.state.values() for value in own.values() if value.dim()]
    kept = [p.grad for p in state.supernet.parameters() if p.grad is not None] + moments
    return {
        "losses": losses,
        "held": sum(tensor.numel() for tensor in here([*state.supernet.parameters(), *kept])),
        "gradients": first,
        "unused": sorted(name for name, p in state.supernet.named_parameters() if p.grad is None),
        "supernet": whole(state.supernet.state_dict()),
        "distribution": state.distribution.state_dict(),
    }


def work(out: str, tasks: str, batch_norm: str) -> None:
    """Tasks are space, method and steps, 0 for the selection alone; every process keeps what it found."""
    place = Place("cpu", "float64", 1, batch_norm=batch_norm)  # type: ignore[arg-type]
    with place.entered():
        rank = place.numerics().ranks.rank
        for number, (space, method, steps) in enumerate(json.loads(tasks)):
            gc.collect()
            state = state_of(space, method, place)
            torch.save(found(state, steps) if steps else chosen(state), Path(out) / f"{number}-{rank}.pt")


def group_threads() -> list[str]:
    """Names of the threads of a process group."""
    names = []
    for path in Path("/proc/self/task").glob("*/comm"):
        with suppress(OSError):  # it has ended meanwhile
            names.append(path.read_text().strip())
    return [name for name in names if "gloo" in name]


def main() -> None:
    """What the command line asks for; afterwards nothing of the group is left."""
    gc.disable()  # when it collects by itself is a matter of luck
    work(*sys.argv[1:])
    let_go()
    # A thread that outlives its group may let go of a tensor while Python ends, which aborts the process. One that has
    # been joined is listed until the kernel has cleared it away, which takes a while on a busy machine.
    end = time.monotonic() + 30
    while group_threads() and time.monotonic() < end:
        time.sleep(0.05)
    if left := group_threads():
        groups = [one for one in gc.get_objects() if issubclass(type(one), dist.ProcessGroup)]
        raise AssertionError((left, [type(holder).__name__ for group in groups for holder in gc.get_referrers(group)]))


if __name__ == "__main__":
    main()
