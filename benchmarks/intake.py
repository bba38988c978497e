"""What `elastic` takes of thirty-two real model definitions, beside torch-pruning, in one run.

Ours: the whole request (half of the named widths, fewer heads, fewer blocks) is accepted, and `check_model` holds: the
largest architecture is the original, extracted networks equal their slices to the bit. And a space is proposed for the
model alone. Theirs: half of all channels are pruned, and the pruned model runs and has fewer parameters; nothing says
whether it computes what it should.

torchvision does not import beside the pinned torch, since its compiled operators are built for another one. They are
declared without an implementation, so that its models import and those that call none of them run.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import sharewise as sw
from benchmarks.intake_models import REQUESTS, Request, example_of, names
from sharewise.supernet.structures import call, leaves
from sharewise.testing import check_model


def declare_operators() -> list[Any]:
    """Let torchvision import; what it returns must be kept."""
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        return []
    text = (Path(found.origin).parent / "_meta_registrations.py").read_text(encoding="utf-8")
    operators = {*re.findall(r'register_meta\("(\w+)"', text), *re.findall(r"torchvision::(\w+)", text)}
    library = torch.library.Library("torchvision", "DEF")
    for name in sorted(operators):
        library.define(f"{name}(Tensor x) -> Tensor")
    return [library]


def ours(request: Request, *, propose: bool) -> tuple[str, str]:
    """What became of the whole request, and of the model alone."""
    said = []
    for choices in (True, False) if propose else (True,):
        torch.manual_seed(0)
        model = request.build().eval()
        try:
            wanted = request.choices(model) if choices else None
            supernet = sw.elastic(model, wanted, example=example_of(request))
            report = check_model(supernet, samples=1)
            said.append(f"{report.parameters[1] / report.parameters[0]:.2f}")
        except Exception as error:
            said.append(f"{type(error).__name__}: {str(error).splitlines()[0][:300]}")
    return said[0], said[1] if propose else "not asked"


def torch_pruning(request: Request) -> str:
    """Half of all channels."""
    import torch_pruning as tp

    torch.manual_seed(0)
    model, example = request.build().eval(), example_of(request)
    before = sum(p.numel() for p in model.parameters())
    shapes = [tuple(tensor.shape) for _, tensor in leaves(call(model, example))]
    outputs = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features in (10, 2, 99)]
    try:
        pruner = tp.pruner.MagnitudePruner(
            model,
            example,
            importance=tp.importance.MagnitudeImportance(),
            pruning_ratio=0.5,
            ignored_layers=outputs,
            output_transform=lambda out: sum(t.float().sum() for _, t in leaves(out) if isinstance(t, Tensor)),
        )
        pruner.step()
        after = [tuple(tensor.shape) for _, tensor in leaves(call(model, example))]
    except Exception as error:
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]}"
    if after != shapes:
        return f"outputs {after[:2]} in place of {shapes[:2]}"
    return f"{sum(p.numel() for p in model.parameters()) / before:.2f}"


def main(words: list[str]) -> int:
    """Print a table, and one JSON object."""
    parser = argparse.ArgumentParser("intake")
    parser.add_argument("models", nargs="*", help="words in names of models (default: all)")
    parser.add_argument("--requests-only", action="store_true", help="propose no spaces, which takes longer")
    options = parser.parse_args(words)
    kept = declare_operators()
    beside = importlib.util.find_spec("torch_pruning") is not None
    results: dict[str, dict[str, Any]] = {}
    for name in names(options.models):
        begun = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            asked, alone = ours(REQUESTS[name], propose=not options.requests_only)
            theirs = torch_pruning(REQUESTS[name]) if beside else "not installed"
        results[name] = {"request": asked, "proposed": alone, "torch-pruning": theirs}
        print(f"{name} ({time.process_time() - begun:.0f} s)", flush=True)
        for who, said in results[name].items():
            print(f"  {who}: {said}", flush=True)
    accepted = {
        who: sum(":" not in r[who] and r[who][:1] in "01" for r in results.values())
        for who in next(iter(results.values()))
    }
    print(f"accepted of {len(results)}: {accepted} (operators declared: {bool(kept)})")
    print(json.dumps({"accepted": accepted, "results": results}))
    return 0
