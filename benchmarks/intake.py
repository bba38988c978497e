"""What `elastic` takes of thirty-two model definitions, beside torch-pruning and NVIDIA's model optimizer, in one run.

Ours: the whole request (half of the named widths, fewer heads, fewer blocks) is accepted, and `check_model` holds: the
largest architecture is the original, extracted networks equal their slices to the bit. And a space is proposed for the
model alone. Theirs: half of all widths; the smaller model runs, returns tensors of the same shapes and has fewer
parameters. For torch-pruning nothing says whether it computes what it should; the model optimizer's largest network is
held against the original, and its exported one against the sampled one.

Everyone builds every model anew in a forked process of its own, so that nobody's changes to torch meet another's. An
interpreter that has torchvision, timm, transformers, torch-pruning and `nvidia-modelopt` (with `requests` and
`torchprofile==0.0.4`) runs the whole table; what is not installed is said. torchvision does not import beside the
pinned torch, since its compiled operators are built for another one. They are declared without an implementation, so
that its models import and those that call none of them run.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import re
import resource
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
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


def asked(request: Request) -> str:
    """Ours, of the whole request: the share of the parameters that the smallest network keeps."""
    model = request.build().eval()
    return checked(sw.elastic(model, request.choices(model), example=example_of(request)))


def alone(request: Request) -> str:
    """Ours, of the model alone."""
    return checked(sw.elastic(request.build().eval(), example=example_of(request)))


def checked(supernet: sw.ElasticModel) -> str:
    report = check_model(supernet, samples=1)
    return f"{report.parameters[1] / report.parameters[0]:.2f}"


def torch_pruning(request: Request) -> str:
    """Half of all channels."""
    tp = import_module("torch_pruning")
    model, example = request.build().eval(), example_of(request)
    before, shapes = parameters(model), shapes_of(model, example)
    outputs = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features in (10, 2, 99)]
    pruner = tp.pruner.MagnitudePruner(
        model,
        example,
        importance=tp.importance.MagnitudeImportance(),
        pruning_ratio=0.5,
        ignored_layers=outputs,
        output_transform=lambda out: sum(t.float().sum() for _, t in leaves(out) if isinstance(t, Tensor)),
    )
    pruner.step()
    return shrunk(before, shapes, model, example)


def model_optimizer(request: Request) -> str:
    """Half of the widths of all layers that it knows, by its own rules with steps of one."""
    mtn, rules = import_module("modelopt.torch.nas"), import_module("modelopt.torch.nas.autonas").AutoNASConfig()
    halves = {"channels_ratio": (0.5, 1.0), "features_ratio": (0.5, 1.0), "channel_divisor": 1, "feature_divisor": 1}
    config: dict[str, Any] = {
        kind: {"*": {name: halves.get(name, value) for name, value in options["*"].items()}}
        for kind, options in rules.model_dump().items()
    }
    config["nn.Sequential"] = None  # whose depth torch-pruning is not asked for
    model, example = request.build().eval(), example_of(request)
    before, shapes = parameters(model), shapes_of(model, example)
    with torch.no_grad():
        original = outputs_of(model, example)
        found = mtn.convert(model, mode=[("autonas", config)]).eval()
        mtn.sample(found, sample_func=max)
        largest = outputs_of(found, example)
        mtn.sample(found, sample_func=min)
        sampled = outputs_of(found, example)
        small = mtn.export(found).eval()
        exported = outputs_of(small, example)
    said = shrunk(before, shapes, small, example)
    for what, first, second in (("largest", largest, original), ("exported", exported, sampled)):
        worst = max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True) if a.numel())
        if worst > 1e-4:
            said = f"{what} differs by {worst:.2g}: {said}"
    return said


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def outputs_of(model: nn.Module, example: Any) -> list[Tensor]:
    return [tensor.detach().double() for _, tensor in leaves(call(model, example))]


def shapes_of(model: nn.Module, example: Any) -> list[tuple[int, ...]]:
    return [tuple(tensor.shape) for _, tensor in leaves(call(model, example))]


def shrunk(before: int, shapes: list[tuple[int, ...]], model: nn.Module, example: Any) -> str:
    """What became of a model that a rival made smaller."""
    after = shapes_of(model, example)
    if after != shapes:
        return f"wrong: outputs {after[:2]} in place of {shapes[:2]}"
    return f"{parameters(model) / before:.2f}" if parameters(model) < before else "nothing: no parameter less"


WHO: dict[str, tuple[Callable[[Request], str], str]] = {
    "request": (asked, "sharewise"),
    "proposed": (alone, "sharewise"),
    "torch-pruning": (torch_pruning, "torch_pruning"),
    "model optimizer": (model_optimizer, "modelopt.torch.nas"),
}
LIMIT = 60
"""CPU seconds for an answer; ours take up to nine."""
PACKAGES = ("torch", "torchvision", "timm", "transformers", "torch-pruning", "nvidia-modelopt", "torchprofile")


def accepted(said: str) -> bool:
    """A share alone; all else is words with a colon."""
    return re.fullmatch(r"[01]\.\d\d", said) is not None


def apart(answer: Callable[[Request], str], request: Request) -> str:
    """What somebody says of a request, in a process of its own."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def run() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT))
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        try:
            said = answer(request)
        except Exception as error:  # refusals are part of the answer
            said = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:300]}"
        theirs.send(said)

    process = context.Process(target=run)
    process.start()
    theirs.close()
    try:
        return str(ours.recv())
    except EOFError:
        return f"died: its process ended without an answer, which may take {LIMIT} CPU s"
    finally:
        process.join()


def installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def answers(file: Path | None, versions: dict[str, str]) -> dict[tuple[str, str], str]:
    """What a run that was cut off has been told, all by these versions."""
    if file is None or not file.exists():
        return {}
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    if any(line[3] != versions for line in lines):
        raise SystemExit(f"{file} holds answers of other versions; name another file")
    return {(who, name): said for who, name, said, _ in lines}


def main(words: list[str]) -> int:
    """Print a table, and one JSON object."""
    parser = argparse.ArgumentParser("intake")
    parser.add_argument("models", nargs="*", help="words in names of models (default: all)")
    parser.add_argument("--who", nargs="+", choices=WHO, default=list(WHO), help="columns (default: all)")
    parser.add_argument("--keep", type=Path, help="a file of answers, with which a run that was cut off goes on")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    kept = declare_operators()
    versions = {name: installed(name) for name in PACKAGES}
    known = answers(options.keep, versions)
    results: dict[str, dict[str, str]] = {name: {} for name in names(options.models)}
    for who in options.who:
        answer, package = WHO[who]
        there = importlib.util.find_spec(package.partition(".")[0]) is not None
        if there:
            import_module(package)  # once, after everyone before has answered
        for name in results:
            said = known.get((who, name))
            if said is None:
                said = apart(answer, REQUESTS[name]) if there else "not installed: see the head of this file"
                if options.keep is not None:
                    with options.keep.open("a", encoding="utf-8") as file:
                        print(json.dumps([who, name, said, versions]), file=file)
            results[name][who] = said
            print(f"{who}, {name}: {said}", flush=True)
    print("\n| definition |", " | ".join(options.who), "|\n|", " | ".join(["---"] * (1 + len(options.who))), "|")
    for name, row in results.items():
        print(f"| {name} |", " | ".join(row.values()), "|")
    counts = {who: sum(accepted(row[who]) for row in results.values()) for who in options.who}
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"accepted of {len(results)}: {counts} (operators declared: {bool(kept)})")
    print(f"{usage.ru_utime + usage.ru_stime:.0f} CPU s, one thread; {versions}")
    print(json.dumps({"accepted": counts, "results": results, "versions": versions}))
    return 0
