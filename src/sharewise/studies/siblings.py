"""Siblings: finished searches that differ in nothing but the seed, and those that are still missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sharewise.errors import ConfigurationError
from sharewise.run.configuration import SearchConfiguration
from sharewise.run.finished import Finished, InFolder
from sharewise.run.folder import RunFolder
from sharewise.run.identity import fingerprint
from sharewise.run.joining import ranks_here
from sharewise.run.place import WHERE
from sharewise.studies.workers import Progress, Workers, one_thread

__all__ = ["by_seed", "missing_siblings", "train_together"]

_IGNORED = ("seed", *WHERE, "checkpoint_every", "gap_examples", "eigenvalue_every", "data_path")
"""Settings in which siblings may differ: none of them changes what is learned, but for the seed."""


def by_seed(runs: Sequence[Finished]) -> dict[str, Finished]:
    """Runs by the name of their seed.

    Raises:
        ConfigurationError: when two have the same seed, or they differ in anything else.
    """
    named: dict[str, Finished] = {}
    for run in runs:
        if str(run.seed) in named:
            raise ConfigurationError(
                f"two runs have seed {run.seed}: every run is one seed, and the same supernet twice is no replication"
            )
        named[str(run.seed)] = run
    settings = {
        name: {**found, "extensions": run.extensions()}
        for (name, run), found in zip(named.items(), _settings(runs), strict=True)
    }
    one, first = next(iter(settings.items()))
    for name, other in settings.items():
        for key in sorted({*first, *other}):
            if other.get(key) != first.get(key):
                raise ConfigurationError(
                    f"runs to appraise together may differ in the seed alone: {key} is {_short(first.get(key))} with "
                    f"seed {one} and {_short(other.get(key))} with seed {name}"
                )
    return named


def _settings(runs: Sequence[Finished]) -> list[Mapping[str, Any]]:
    """What siblings share: settings by name where all runs have them, else what their checkpoints depend on."""
    configurations = [run.configuration() for run in runs]
    known = [configuration for configuration in configurations if configuration is not None]
    if len(known) == len(runs):
        return [_flat(configuration) for configuration in known]
    return [{key: value for key, value in fingerprint(run.open()).items() if key != "seed"} for run in runs]


def _flat(configuration: SearchConfiguration) -> dict[str, Any]:
    complete = configuration.complete()
    apart = (*_IGNORED, "network", "recipe", *(["space"] if configuration.own else []))  # whose file may have moved
    flat = {key: value for key, value in complete.items() if key not in apart}
    for group in ("network", "recipe"):
        flat |= {f"{group}.{key}": value for key, value in complete[group].items()}
    return flat


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"


def missing_siblings(
    runs: Sequence[Finished], seeds: int | None, folder: Path | None, device: str | None, workers: Workers
) -> list[Finished]:
    """Searches like the first one with the next seeds, trained in a folder, or found there.

    Args:
        runs: that are finished.
        seeds: how many there shall be in all; `None` for no more.
        folder: of the results.
        device: overrides that of the first run.
        workers: train them.

    Raises:
        ConfigurationError: when the first run cannot be repeated, or there is no folder.
    """
    missing = _missing(runs, seeds, folder, device)
    tasks = [(configuration, home) for configuration, home in missing if not RunFolder(home).result.exists()]
    for _ in workers.do("trained sibling supernets:", _search, tasks, done=len(missing) - len(tasks)):
        pass
    return [InFolder(home, device, configuration.own) for configuration, home in missing]


def train_together(
    runs: Sequence[Finished], seeds: int | None, folder: Path | None, device: str | None, progress: Progress
) -> None:
    """Train the siblings that `missing_siblings` would, one after the other, each by all processes that share this.

    Args:
        runs: that are finished.
        seeds: how many there shall be in all.
        folder: of the results.
        device: overrides that of the first run.
        progress: told how many are finished.

    Raises:
        ConfigurationError: as for `missing_siblings`.
    """
    missing = _missing(runs, seeds, folder, device)
    tasks = [(configuration, home) for configuration, home in missing if not RunFolder(home).result.exists()]
    begun = [RunFolder(home).config.exists() for _, home in tasks]
    ranks_here().any(False)  # all have looked before the first one writes
    with one_thread():
        for number, ((configuration, home), resume) in enumerate(zip(tasks, begun, strict=True)):
            progress("trained sibling supernets:", len(missing) - len(tasks) + number, len(missing))
            configuration.execute(home, resume=resume)


def _missing(
    runs: Sequence[Finished], seeds: int | None, folder: Path | None, device: str | None
) -> list[tuple[SearchConfiguration, Path]]:
    """The searches that make up the number of seeds, and where they are kept."""
    if seeds is None or seeds <= len(runs):
        return []
    configuration = runs[0].configuration()
    if folder is None or configuration is None:
        raise ConfigurationError("missing seeds are trained from the first run's folder, into out: give both")
    if runs[0].extensions():
        raise ConfigurationError(
            f"{runs[0].path} was extended, and missing seeds are trained as it began: train and extend them yourself, "
            "and leave --seeds out"
        )
    wanted: list[int] = []
    taken = {run.seed for run in runs}
    seed = configuration.seed
    while len(wanted) < seeds - len(runs):
        seed += 1
        if seed not in taken:
            wanted.append(seed)
    like = replace(configuration, device=device or configuration.device)
    return [(replace(like, seed=seed), folder / "supernets" / f"seed-{seed}") for seed in wanted]


def _search(task: tuple[SearchConfiguration, Path]) -> None:
    configuration, path = task
    configuration.execute(path, resume=RunFolder(path).config.exists())
