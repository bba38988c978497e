"""What torch-pruning and NVIDIA's model optimizer keep of trained networks, run by an interpreter that has them.

Started by `python -m benchmarks importance --peers PYTHON` as a script with a file of jobs and a file for its answer;
it imports nothing of sharewise.
"""

from __future__ import annotations

import copy
import json
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from importance_networks import SUBJECTS, Digits, Subject, accuracy, calibrated, fitted
from torch import nn
from torch.nn import functional as F

Shrunk = Callable[[nn.Module, Subject, Digits], nn.Module]


def pruned(importance: Callable[[Any], Any]) -> Shrunk:
    """torch-pruning with one of its scores."""

    def shrunk(network: nn.Module, subject: Subject, digits: Digits) -> nn.Module:
        import torch_pruning as tp

        layers = dict(network.named_modules())
        kinds = nn.Conv2d | nn.Linear
        kept = [layer for path, layer in layers.items() if isinstance(layer, kinds) and path not in subject.cut]
        score = importance(tp)
        pruner = tp.pruner.BasePruner(
            network, digits.images[:2], importance=score, pruning_ratio=0.5, ignored_layers=kept
        )
        if isinstance(score, tp.importance.GroupTaylorImportance):
            for images, labels in digits.batches():
                F.cross_entropy(network(images), labels).backward()
        elif isinstance(score, tp.importance.GroupHessianImportance):
            for images, labels in digits.batches():
                losses = F.cross_entropy(network(images), labels, reduction="none")
                for loss in losses:
                    network.zero_grad()
                    loss.backward(retain_graph=True)
                    score.accumulate_grad(network)
        pruner.step()
        network.zero_grad(set_to_none=True)
        return network

    return shrunk


def optimized(network: nn.Module, subject: Subject, digits: Digits) -> nn.Module:
    """The model optimizer's search space, sorted, at its smallest widths."""
    import modelopt.torch.nas as mtn
    from modelopt.torch.nas.utils import sort_parameters

    halves: dict[str, Any] = {"channels_ratio": (0.5, 1.0), "channel_divisor": 1}
    features: dict[str, Any] = {"features_ratio": (0.5, 1.0), "feature_divisor": 1}
    rules = {"nn.Conv2d": {"*": halves}, "nn.Linear": {"*": features}, "nn.BatchNorm2d": {"*": features}}
    found = mtn.convert(network, mode=[("fastnas", rules)])
    sort_parameters(found)
    mtn.sample(found, sample_func=min)
    exported: nn.Module = mtn.export(found)
    return exported


PEERS: dict[str, Shrunk] = {
    "torch-pruning: group magnitude, L2": pruned(lambda tp: tp.importance.GroupMagnitudeImportance(p=2)),
    "torch-pruning: group magnitude, L1": pruned(lambda tp: tp.importance.GroupMagnitudeImportance(p=1)),
    "torch-pruning: batch-norm scale": pruned(lambda tp: tp.importance.BNScaleImportance()),
    "torch-pruning: LAMP": pruned(lambda tp: tp.importance.LAMPImportance()),
    "torch-pruning: Taylor": pruned(lambda tp: tp.importance.GroupTaylorImportance()),
    "torch-pruning: Hessian": pruned(lambda tp: tp.importance.GroupHessianImportance()),
    "model optimizer: sorted": optimized,
}


def measured(network: nn.Module, digits: Digits, *, steps: int, seed: int) -> dict[str, float]:
    """Accuracy as cut, with new statistics, and after fine-tuning, with the number of parameters."""
    parameters = sum(parameter.numel() for parameter in network.parameters())
    cut = accuracy(network, digits)
    kept = accuracy(calibrated(network, digits), digits)
    tuned = accuracy(fitted(network, digits, steps, rate=1e-3, seed=seed), digits)
    return {"parameters": parameters, "cut": cut, "kept": kept, "tuned": tuned}


def main(jobs: str, answer: str) -> None:
    """Answer all jobs."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    given = torch.load(jobs, weights_only=True)
    digits = Digits(**given["digits"])
    found = []
    for job in given["jobs"]:
        subject = SUBJECTS[job["subject"]]
        for name, shrunk in PEERS.items():
            network = subject.build()
            network.load_state_dict(job["state"])
            try:
                small = shrunk(copy.deepcopy(network).eval(), subject, digits)
                said: dict[str, Any] = measured(small, digits, steps=given["steps"], seed=job["seed"])
            except Exception as error:  # their refusals are part of the answer
                said = {"refused": f"{type(error).__name__}: {str(error).strip()[:200]}"}
            found.append({"subject": job["subject"], "seed": job["seed"], "who": name, **said})
    packages = {name: version(name) for name in ("torch", "torch-pruning", "nvidia-modelopt")}
    with open(answer, "w", encoding="utf-8") as file:
        json.dump({"versions": packages, "results": found}, file)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
