"""The scores that 210 published supernets gave to architectures of NAS-Bench-101, with the truth beside them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from sharewise.errors import DataError
from sharewise.spaces import load as load_space

HERE = Path(__file__).resolve().parent
SCORES = "weight_sharing/supernet_nasbench101.npz"
ARCHITECTURES = "nasbench101/nasbench101_test108.npz"
RUNS = "nasbench101/nasbench101_runs108.npz"
SPACES = {"A_4": "4", "A_3": "3", "A_2": "2", "A_1": "1", "FULL": "full", "NRES": "full_0", "RES": "full_1"}
VARIANTS = {
    "NO-FT": "baseline_no_ft",
    "BNS-FT": "baseline_ft_bn",
    "SINGLE-K": "single-k_ft_bn",
    "PRO-RATA": "pro-rata_ft_bn",
    "AVG-3": "avg-3_ft_bn",
    "S-K+P-R": "s-k+p-r_ft_bn",
}
SEEDS = range(5)
OPERATIONS = ("3x3 convolution", "1x1 convolution", "3x3 max-pooling")
ORDINALS = ("first", "second", "third", "fourth", "fifth")
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sample:
    """What one supernet says of its 1,000 architectures, and what they are worth; accuracies in percent.

    Args:
        rows: of the architectures in the table of NAS-Bench-101.
        proxy: accuracy with shared weights on 10,000 held-out images.
        valid: mean validation accuracy of three trainings of 108 epochs.
        test: mean test accuracy of the same.
    """

    rows: NDArray[np.int64]
    proxy: Floats
    valid: Floats
    test: Floats

    @property
    def failed(self) -> bool:
        """Whether every architecture has the same score."""
        return bool(self.proxy.min() == self.proxy.max())


@dataclass(frozen=True, eq=False)
class Published:
    """The three archives as read."""

    scores: Mapping[str, NDArray[Any]]
    architectures: Mapping[str, NDArray[Any]]
    runs: Mapping[str, NDArray[Any]]

    def sample(self, variant: str, space: str, seed: int) -> Sample:
        """One supernet, by the paper's name of its variant and space."""
        names = [list(self.scores[f"{kind}_names"]) for kind in ("variant", "space")]
        codes = names[0].index(VARIANTS[variant]), names[1].index(SPACES[space])
        chosen = (
            (self.scores["variant"] == codes[0]) & (self.scores["space"] == codes[1]) & (self.scores["seed"] == seed)
        )
        rows = self.scores["arch_index"][chosen].astype(np.int64)
        return Sample(rows, self.scores["proxy_valid_correct"][chosen] / 100.0, *self.truth(rows))

    def samples(self, variant: str, space: str) -> Iterator[tuple[str, Sample]]:
        """The supernets of a cell of table 1, by the name of their seed."""
        for seed in SEEDS:
            yield str(seed), self.sample(variant, space, seed)

    def doubles(self, variant: str, space: str) -> tuple[tuple[str, str], ...]:
        """Seeds whose files hold the same architectures with the same scores: one supernet under two names."""
        samples = [(seed, sample) for seed, sample in self.samples(variant, space) if not sample.failed]
        return tuple(
            (one, other)
            for place, (one, first) in enumerate(samples)
            for other, second in samples[place + 1 :]
            if np.array_equal(first.rows, second.rows) and np.array_equal(first.proxy, second.proxy)
        )

    def truth(self, rows: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Mean validation and mean test accuracy in percent."""
        at = np.searchsorted(self.runs["index"], rows)
        if (self.runs["index"][np.minimum(at, len(self.runs["index"]) - 1)] != rows).any():
            raise DataError(f"{RUNS} lacks some architectures that {SCORES} scores")
        valid, test = (
            100.0 * self.runs[f"{name}_correct"][at].sum(axis=1, dtype=np.int64) / (3 * 9_984)
            for name in ("valid", "test")
        )
        return valid, test

    def repeats(self, rows: NDArray[np.int64]) -> Floats:
        """Validation accuracies of the three trainings behind each mean, in percent, `(n, 3)`."""
        at = np.searchsorted(self.runs["index"], rows)
        return np.asarray(100.0 * self.runs["valid_correct"][at] / 9_984)

    def pool(self, space: str) -> NDArray[np.int64]:
        """Every architecture of a space that some supernet scored: a uniform sample of the space without doubles."""
        code = list(self.scores["space_names"]).index(SPACES[space])
        return np.unique(self.scores["arch_index"][self.scores["space"] == code]).astype(np.int64)

    def edge(self, source: int, target: NDArray[np.int64] | int) -> NDArray[np.bool_]:
        """Whether each architecture of the benchmark has an edge."""
        place = source + np.asarray(target) * (np.asarray(target) - 1) // 2
        found: NDArray[np.bool_] = (self.architectures["edges"] >> place.astype(np.uint32) & 1).astype(bool)
        return np.where(np.asarray(target) > source, found, False)

    @cached_property
    def residual(self) -> NDArray[np.bool_]:
        """Whether the input is connected to the output."""
        return self.edge(0, self.architectures["num_vertices"].astype(np.int64) - 1)

    @cached_property
    def outputs(self) -> NDArray[np.int64]:
        """How many inner vertices are connected to the output."""
        last = self.architectures["num_vertices"].astype(np.int64) - 1
        return np.sum([self.edge(source, last) for source in range(1, 6)], axis=0)

    def members(self, space: str) -> NDArray[np.bool_]:
        """Which architectures of the benchmark belong to a space."""
        if space.startswith("A_"):
            return np.asarray(self.outputs == int(space[2:]))
        whole = np.ones(len(self.residual), dtype=bool)
        return {"FULL": whole, "RES": self.residual, "NRES": ~self.residual}[space]

    def best_test(self, space: str) -> float:
        """The best mean test accuracy of a space in percent, over all its architectures, scored or not."""
        return float(100.0 * self.architectures["test_correct_sum"][self.members(space)].max() / (3 * 9_984))

    @cached_property
    def listed(self) -> NDArray[np.int32]:
        """The place of each architecture in the listing of the space `nasbench101`."""
        operations, count = self.architectures["ops"].astype(np.int64), (self.architectures["ops"] != 255).sum(axis=1)
        used = np.where(np.arange(5) < count[:, None], operations, 0)
        code = self.architectures["edges"].astype(np.int64) * 4**5 + used @ 4 ** np.arange(4, -1, -1)
        codes, places = load_space("nasbench101").listing.codes()
        at = np.minimum(np.searchsorted(codes, code), len(codes) - 1)
        if (codes[at] != code).any():
            raise DataError(f"{ARCHITECTURES} holds cells that are not of NAS-Bench-101")
        return np.asarray(places[at])

    def features(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Structural features of architectures, for the bias finder."""
        found: dict[str, NDArray[Any]] = {"residual edge": self.residual[rows]}
        operations = self.architectures["ops"][rows]
        for position, ordinal in enumerate(ORDINALS):
            for code, name in enumerate(OPERATIONS):
                found[f"{name} on the {ordinal} node"] = operations[:, position] == code
        for code, name in enumerate(OPERATIONS):
            found[f"number of {name}s"] = (operations == code).sum(axis=1)
        found["nodes feeding the output"] = self.outputs[rows]
        found["depth"] = self._depth(rows)
        found["parameters"] = self.architectures["params"][rows]
        return found

    def _depth(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Edges on the longest path from input to output."""
        edges, last = self.architectures["edges"][rows], self.architectures["num_vertices"][rows].astype(np.int64) - 1
        longest = np.zeros((7, len(rows)), dtype=np.int64)
        for target in range(1, 7):
            for source in range(target):
                has = (edges >> (source + target * (target - 1) // 2) & 1).astype(bool) & (target <= last)
                longest[target] = np.where(has, np.maximum(longest[target], longest[source] + 1), longest[target])
        return longest[last, np.arange(len(rows))]


def load(folder: Path) -> Published:
    """Read the archives below a folder of published data.

    Raises:
        DataError: when one of them is missing or damaged.
    """
    archives = []
    for name in (SCORES, ARCHITECTURES, RUNS):
        path = folder / name
        try:
            with np.load(path, allow_pickle=False) as archive:
                archives.append({key: archive[key] for key in archive.files})
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read ({error}); give the folder of the published data") from None
    return Published(*archives)


def settings() -> dict[str, Any]:
    """What `config.yaml` says."""
    found: dict[str, Any] = yaml.safe_load((HERE / "config.yaml").read_text(encoding="utf-8"))
    return found


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options that the table programs share."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    root = os.environ.get("SHAREWISE_DATA")
    parser.add_argument(
        "--data",
        type=Path,
        default=root,
        required=root is None,
        help="folder of the published data, or $SHAREWISE_DATA",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    return parser
