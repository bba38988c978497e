"""One seed, one result: in another process, with another hash seed, to the bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import hashlib, json
import torch
torch.set_num_threads(1)
import sharewise as sw
from sharewise.methods import METHODS, build
from sharewise.spaces import RELAXABLE, load
from sharewise.testing.small import MACRO, first_of_each, methods_of, small_arguments

def digest(state):
    sha = hashlib.sha256()
    for module in (state.supernet, state.distribution):
        for name, value in module.state_dict().items():
            sha.update(name.encode())
            sha.update(value.contiguous().numpy().tobytes())
    for record in state.history:
        kept = {k: v for k, v in record.items() if k not in ("seconds", "ledger")}
        sha.update(json.dumps(kept, sort_keys=True).encode())
    sha.update(str(state.ledger.multiply_accumulates).encode())
    return sha.hexdigest()

small = sw.data.digits().limited(48, seed=0)
larger = sw.data.load("digits", image_size=12).limited(48, seed=0)
networks = {
    "darts": {"channels": 2, "layers": 3}, "nasbench1shot1:1": {"channels": 2, "cells": 1},
    "nasbench201": {"channels": 2, "cells": 1}, "conv-macro": {"divisor": 8}, "toy-separable-cell": {"channels": 2},
}
result = {}
skipped = ("darts", "darts-rnn", *MACRO)  # larger, and of text
spaces = [name for name in first_of_each(RELAXABLE) if name not in skipped]
for method in METHODS:
    for space in spaces if method in ("gdas", "gaea-erm") else ("toy-tied-width", "toy-two-inputs"):
        if method not in methods_of(load(space)):
            continue
        options = small_arguments(method)
        network, data = networks.get(space, {}), larger if space == "conv-macro" else small
        found = sw.search(load(space), build(method, options), data, network=network, seed=5, device="cpu",
                          gap_examples=16)
        result[f"{method} on {space}"] = [str(found.architecture), digest(found.state)]
print(json.dumps(result))
"""


LOUD = ("-W", "error", "-W", "default::DeprecationWarning")
"""Old versions of other people's packages deprecate each other."""


def start(hash_seed: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, *LOUD, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, env=environment)


@pytest.mark.slow
def test_all_methods_are_equal_in_two_processes() -> None:
    with start("0") as one, start("4242") as other:
        try:  # as long as the test itself may take
            first, second = (json.loads(process.communicate()[0]) for process in (one, other))
        finally:
            one.kill()
            other.kill()
    assert first.keys() == second.keys()
    assert {name for name in first if first[name] != second[name]} == set()
    # On spaces without entangled weights these two are their hosts with the same settings.
    own = {n: d for n, (_, d) in first.items() if not n.startswith(("tanglenas-darts on", "tanglenas-drnas on"))}
    assert len(set(own.values())) == len(own), "every other search is a different one"
