"""`sharewise demo`: the whole way on embedded real images, in about a minute and a half."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharewise.cli.options import place
from sharewise.cli.output import print_json
from sharewise.cli.parser import Parser
from sharewise.errors import ConfigurationError, printable

if TYPE_CHECKING:
    from rich.console import Console

    from sharewise.run import RunFolder, SearchConfiguration
    from sharewise.space import Architecture

__all__ = ["execute"]

_NETWORK = {"channels": 8, "cells": 1}
_SEARCH = {"epochs": 25, "architecture_learning_rate": 3.0}
"""At the published rate of 0.1 so few steps leave θ flat (entropy 1.366 of 1.386 nats); at this one it ends at 0.86."""
_TRAINING = {"epochs": 10}

_Trained = list[tuple["Architecture", float]]
"""Architectures with their test accuracies."""


def execute(parser: Parser, words: list[str]) -> int:
    """Search with GAEA on digits, retrain the found cell and random ones alike, and compare."""
    options = _options(parser, words)

    from sharewise.cli.display import console
    from sharewise.run import RunFolder

    screen = console(quiet=options.json)
    folder, configuration = RunFolder(options.out or _next_free(Path("runs"))), _configuration(options)
    found = _search(screen, folder, configuration)
    trained, openings = _retrain(screen, options, configuration, found)
    result = _compare(screen, folder, trained, openings)
    screen.print(f"\nreport: {printable(folder.report.resolve())}", markup=False)
    if options.json:
        print_json(result)
    return 0


def _options(parser: Parser, words: list[str]) -> argparse.Namespace:
    parser.add_argument(
        "--out", type=place, metavar="DIR", help="folder of the run (default: the next free runs/demo-N)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of every random stream (default: 0)")
    parser.add_argument("--random", type=int, default=8, metavar="N", help="random architectures (default: 8)")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="trainings of the found cell (default: 5)")
    parser.add_argument("--search-epochs", type=int, default=_SEARCH["epochs"], metavar="N", help="default: 25")
    parser.add_argument("--train-epochs", type=int, default=_TRAINING["epochs"], metavar="N", help="default: 10")
    parser.add_argument("--device", default="auto", help="where to compute (default: auto)")
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="trainings at a time, one thread each (default: one per core)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    options = parser.parse(words)
    if options.random < 2 or options.repeats < 1:
        raise ConfigurationError("the demo needs --random of at least 2 and --repeats of at least 1")
    if options.jobs is not None and options.jobs < 1:
        raise ConfigurationError(f"--jobs must be at least 1, got {options.jobs}")
    return options


def _configuration(options: argparse.Namespace) -> SearchConfiguration:
    from sharewise.run import SearchConfiguration

    return SearchConfiguration(
        seed=options.seed,
        device=options.device,
        network=_NETWORK,
        recipe={**_SEARCH, "epochs": options.search_epochs},
        gap_examples=256,
    )


def _search(screen: Console, folder: RunFolder, configuration: SearchConfiguration) -> Architecture:
    from sharewise.cli.display import show_picture, show_remarks
    from sharewise.run.progress import progress

    screen.print("[bold]1. Search[/bold]  GAEA on one level (gaea-erm), NAS-Bench-201 cell, 1,437 images of digits")
    screen.print(f"   {configuration.build_recipe().describe()}", markup=False)
    with progress(screen) as display:
        found = configuration.execute(folder.path, callbacks=[display]).architecture
    result = folder.read_result()
    screen.print("\n[bold]2. The discovered cell[/bold]")
    show_picture(screen, result["picture"])
    screen.print(f"   {found}", markup=False)
    show_remarks(screen, result.get("remarks", []))
    return found


def _retrain(
    screen: Console, options: argparse.Namespace, configuration: SearchConfiguration, found: Architecture
) -> tuple[dict[str, _Trained], list[str]]:
    """Train the found cell, under several seeds, and random ones from scratch, all alike; and who opened the test set.

    Every training has a process to itself and one thread, so that their number changes nothing but the time.
    """
    import numpy as np

    from sharewise.space import sample
    from sharewise.studies.workers import cores, spread

    space, rng = configuration.load_space(), np.random.default_rng(options.seed)
    drawn = [sample(space, rng) for _ in range(options.random)]
    tasks = [("found", str(found), options.seed + repeat) for repeat in range(options.repeats)]
    tasks += [("random", str(architecture), options.seed + number) for number, architecture in enumerate(drawn)]
    jobs = min(options.jobs or cores(), len(tasks))
    screen.print(
        f"\n[bold]3. Retrain from scratch[/bold]  {options.repeats} × the found cell, {options.random} random cells, "
        f"{options.train_epochs} epochs each, {jobs} at a time"
    )
    work = partial(_trained, options.device, options.train_epochs)
    outcomes: dict[tuple[str, str, int], tuple[float, list[str]]] = {}
    for task, outcome in spread(work, tasks, jobs):
        outcomes[task] = outcome
        screen.print(f"   {task[0]:<6}  test accuracy {outcome[0]:.4f}   {task[1]}", markup=False)
    trained = {
        kind: [(space.parse(task[1]), outcomes[task][0]) for task in tasks if task[0] == kind]
        for kind in ("found", "random")
    }
    return trained, [opening for task in tasks for opening in outcomes[task][1]]


def _trained(device: str, epochs: int, task: tuple[str, str, int]) -> tuple[float, list[str]]:
    """Test accuracy of one training, and who opened the test set; in whichever process."""
    from sharewise.run import SearchConfiguration, train
    from sharewise.run.standalone import TrainingRecipe

    _, architecture, seed = task
    same, training = SearchConfiguration(), TrainingRecipe(epochs=epochs)
    dataset = same.load_data()
    outcome = train(same.space, architecture, dataset, training=training, network=_NETWORK, seed=seed, device=device)
    assert outcome.test is not None
    return outcome.test["accuracy"], list(dataset.openings)


def _compare(screen: Console, folder: RunFolder, trained: dict[str, _Trained], openings: list[str]) -> dict[str, Any]:
    """Judge, and write the judgement into the folder and its report."""
    import math

    from sharewise.appraisal import compare, mean_interval
    from sharewise.report import write_report

    found, random = ([accuracy for _, accuracy in trained[kind]] for kind in ("found", "random"))
    comparison, result = compare(found, random), folder.read_result()
    result["comparison"] = {
        "metric": "accuracy",
        "found": found,
        "random": [{"architecture": str(architecture), "value": value} for architecture, value in trained["random"]],
        "verdict": comparison.sentence,
    }
    if math.isfinite(comparison.interval.half_width):
        result["comparison"]["interval"] = [comparison.interval.low, comparison.interval.high]
    result["test_openings"] = openings
    folder.write_result(result)
    write_report(folder.path)
    screen.print("\n[bold]4. Was it worth it?[/bold]  (test accuracy)")
    screen.print(f"   found cell:    {mean_interval(found)}", markup=False)
    screen.print(f"   random cells:  {mean_interval(random)}", markup=False)
    screen.print(f"   {comparison.sentence}", markup=False)
    screen.print("   (one search, one test set of 360 small images: another --seed may find another cell)")
    return result


def _next_free(root: Path) -> Path:
    number = 1
    while (root / f"demo-{number}").exists():
        number += 1
    return root / f"demo-{number}"
