"""What half of all widths keeps of trained networks, by our order of importance and by those of two rivals, in one run.

A network of two convolutions, a ResNet and a small vision transformer are trained on the digits by five seeds; the same
widths of the same trained weights are halved by everyone, batch norms get statistics from the same 512 training
examples, and everyone is fine-tuned for the same steps on the same batches. The rivals run in an interpreter of their
own (`--peers PYTHON`) that has `torch-pruning` and `nvidia-modelopt` with `requests` and `torchprofile==0.0.4`.

A rival with several scores is judged by the one with the best mean on the test part, ours by `reconstruction` alone. A
row is lost where the rival's mean is above ours and the paired 95 % interval (t, over seeds) lies below zero.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

import sharewise as sw
from benchmarks.importance_networks import SUBJECTS, Digits, Subject, accuracy, calibrated, fitted

OURS = ("none", "magnitude", "readers", "gradient", "activation", "reconstruction")
CHOSEN = "reconstruction"
RIVALS = ("torch-pruning", "model optimizer")
STEPS = 60
_T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""97.5 % quantiles of Student's t by the number of differences."""


def digits() -> Digits:
    """As everyone reads them."""
    data = sw.data.digits()
    test = data.open_test("the share of a trained network that half of its widths keep")
    images, test_images = ((rows.inputs.float() / 255 - data.mean[0]) / data.std[0] for rows in (data.train, test))
    rows = torch.arange(512)
    return Digits(images, data.train.targets, test_images, test.targets, rows)


def halved(network: nn.Module, subject: Subject, data: Digits, order: str) -> nn.Module:
    """Our half of a network."""
    choices = {path: sw.width([size // 2, size], name=f"w{i}") for i, (path, size) in enumerate(subject.widths.items())}
    supernet = sw.elastic(network, choices, example=data.images[:2])
    if order != "none":
        sw.sort_by_importance(supernet, order, batches=data.batches(), loss=F.cross_entropy)
    return sw.extract(supernet, supernet.smallest)


def measured(network: nn.Module, data: Digits, seed: int) -> dict[str, float]:
    """As the rivals' script measures theirs."""
    parameters = sum(parameter.numel() for parameter in network.parameters())
    cut = accuracy(network, data)
    kept = accuracy(calibrated(network, data), data)
    tuned = accuracy(fitted(network, data, STEPS, rate=1e-3, seed=seed), data)
    return {"parameters": parameters, "cut": cut, "kept": kept, "tuned": tuned}


def peers(python: str, data: Digits, jobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the rivals make of the same trained networks, in their interpreter."""
    with tempfile.TemporaryDirectory() as folder:
        asked, answer = Path(folder) / "jobs.pt", Path(folder) / "answer.json"
        torch.save({"digits": dict(vars(data)), "jobs": list(jobs), "steps": STEPS}, asked)
        script = Path(__file__).parent / "importance_peers.py"
        done = subprocess.run([python, str(script), str(asked), str(answer)], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"the rivals' interpreter {python} failed:\n{done.stderr[-2000:]}")
        found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return found


def judged(rows: Sequence[dict[str, Any]], subject: str, column: str, rival: str, parameters: float) -> dict[str, Any]:
    """Ours beside the rival's score with the best mean, of those that cut as much as asked."""

    def series(who: str) -> dict[int, float]:
        return {
            row["seed"]: row[column]
            for row in rows
            if (row["subject"], row["who"]) == (subject, who) and abs(row.get("parameters", 0) / parameters - 1) <= 0.02
        }

    ours = series(f"ours: {CHOSEN}")
    candidates = {row["who"] for row in rows if row["who"].startswith(rival)}
    whole = {who: found for who in candidates if set(found := series(who)) == set(ours)}
    if not whole:
        return {"subject": subject, "column": column, "rival": rival, "best": None, "lost": False}
    best = max(sorted(whole), key=lambda who: mean(whole[who].values()))
    differences = [ours[seed] - whole[best][seed] for seed in ours]
    half = _T[len(differences)] * stdev(differences) / math.sqrt(len(differences))
    middle = mean(differences)
    return {
        "subject": subject,
        "column": column,
        "rival": rival,
        "best": best,
        "difference": middle,
        "interval": (middle - half, middle + half),
        "lost": middle + half < 0,
    }


def main(words: list[str]) -> int:
    """Print a table and one JSON object; the exit status is 1 where a row is lost."""
    parser = argparse.ArgumentParser("importance")
    parser.add_argument("subjects", nargs="*", help="networks (default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102, 103, 104])
    parser.add_argument("--peers", metavar="PYTHON", help="an interpreter that has torch-pruning and nvidia-modelopt")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    data, rows, jobs = digits(), list[dict[str, Any]](), list[dict[str, Any]]()
    wanted: dict[str, float] = {}
    for name in options.subjects or SUBJECTS:
        subject = SUBJECTS[name]
        for seed in options.seeds:
            began = time.process_time()
            torch.manual_seed(seed)
            network = fitted(subject.build(), data, subject.steps, rate=3e-3, seed=seed)
            full = accuracy(network, data)
            rows.append({"subject": name, "seed": seed, "who": "full", "cut": full, "kept": full, "tuned": full})
            jobs.append({"subject": name, "seed": seed, "state": network.state_dict()})
            for order in OURS:
                said = measured(halved(network, subject, data, order), data, seed)
                wanted[name] = said["parameters"]
                rows.append({"subject": name, "seed": seed, "who": f"ours: {order}", **said})
            print(f"{name}, seed {seed}: {time.process_time() - began:.0f} CPU s", flush=True)
    theirs = {} if options.peers is None else peers(options.peers, data, jobs)
    rows += theirs.get("results", [])
    for name, parameters in wanted.items():
        _show(name, [row for row in rows if row["subject"] == name], parameters)
    verdicts = [
        judged(rows, name, column, rival, parameters)
        for name, parameters in wanted.items()
        for column in ("kept", "tuned")
        for rival in (RIVALS if theirs else ())
    ]
    for verdict in verdicts:
        _say(verdict)
    print(f"torch {torch.__version__}, {platform.machine()}, one thread; rivals: {theirs.get('versions', 'not asked')}")
    print(json.dumps({"rows": rows, "verdicts": verdicts, "versions": theirs.get("versions")}))
    return int(any(verdict["lost"] for verdict in verdicts))


def _show(name: str, rows: Sequence[dict[str, Any]], parameters: float) -> None:
    print(f"\n{name}, half of its widths: {parameters:,.0f} parameters; accuracy in %, mean ± standard deviation")
    print(f"{'':38}{'as cut':>14}{'new statistics':>16}{'fine-tuned':>14}")
    for who in dict.fromkeys(row["who"] for row in rows):
        mine = [row for row in rows if row["who"] == who]
        if refusals := [row["refused"] for row in mine if "refused" in row]:
            print(f"{who:38}{refusals[0]}")
            continue
        cells = (f"{mean(v):.1f} ± {stdev(v):.1f}" for c in ("cut", "kept", "tuned") if (v := [r[c] for r in mine]))
        sizes = {row["parameters"] for row in mine if abs(row.get("parameters", parameters) / parameters - 1) > 0.02}
        said = f"  (has {', '.join(f'{size:,}' for size in sorted(sizes))} parameters)" if sizes else ""
        print(f"{who:38}{next(cells):>14}{next(cells):>16}{next(cells):>14}{said}")


def _say(verdict: dict[str, Any]) -> None:
    what = "new statistics" if verdict["column"] == "kept" else "fine-tuned"
    if verdict["best"] is None:
        print(f"{verdict['subject']}, {what}: {verdict['rival']} has no half of the same parameters")
        return
    low, high = verdict["interval"]
    lost = "LOST" if verdict["lost"] else "held"
    print(
        f"{lost}  {verdict['subject']}, {what}: ours {verdict['difference']:+.1f} [{low:+.1f}, {high:+.1f}] beside "
        f"{verdict['best']}"
    )
