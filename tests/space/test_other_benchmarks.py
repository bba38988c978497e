"""NATS-Bench size space and NAS-Bench-Macro: order, strings, published parameters and multiply-accumulates."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest
import torch

from sharewise.cost import cost
from sharewise.errors import ConfigurationError
from sharewise.run import build_network
from sharewise.spaces import load
from sharewise.spaces.nasbench_macro.network import Network, layer

SIZE, MACRO = load("nats_size"), load("nasbench_macro")


@pytest.mark.parametrize(
    ("index", "text", "parameters", "multiply_accumulates"),
    [
        (0, "8:8:8:8:8", 11_714, 4_481_114),
        (11, "8:8:8:16:32", 49_202, 6_840_650),
        (284, "8:8:40:32:40", 144_834, 21_827_994),
    ],
)
def test_official_samples_of_the_size_space(index: int, text: str, parameters: int, multiply_accumulates: int) -> None:
    architecture = SIZE.parse(text)
    assert SIZE.listing.index(architecture) == SIZE.listing.code(text) == index
    assert str(SIZE.listing.at(index)) == text
    counted = cost(build_network(architecture, SIZE, (3, 32, 32), 10), (3, 32, 32))
    assert (counted.parameters, counted.multiply_accumulates) == (parameters, multiply_accumulates)


def test_sizes() -> None:
    assert SIZE.size == len(SIZE.listing) == 32_768
    assert MACRO.size == len(MACRO.listing) == 6_561


@pytest.mark.parametrize("text", ["8:8:8:8", "8:8:8:8:x", "8:8:8:8:-8", "8 8 8 8 8", ""])
def test_other_strings_of_the_size_space_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="expected c0:c1:c2:c3:c4"):
        SIZE.parse(text)


def test_other_widths_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="has no option 12; legal: 8, 16"):
        SIZE.parse("8:8:8:8:12")


@pytest.mark.parametrize("text", ["0000000", "00000003", "000000000", "abcdefgh"])
def test_other_strings_of_macro_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="expected 8 digits"):
        MACRO.parse(text)


def test_the_macro_table(shared_data: Path) -> None:
    path = shared_data / "nasbench_macro" / "nasbench_macro_cifar10.csv.gz"
    if not path.exists():
        pytest.skip(f"no table at {path}")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["arch"] for row in rows] == [str(MACRO.listing.at(i)) for i in range(6_561)]
    # every layer's price, from real modules; all 6,561 sums must equal the table
    with torch.device("meta"):
        frame = Network("00000000", (3, 32, 32), 10)
        widths = [(32, 64), (64, 64), (64, 128), (128, 128), (128, 128), (128, 256), (256, 256), (256, 256)]
        price = [
            [sum(p.numel() for p in layer(digit, a, b, 1 if a == b else 2).parameters()) for digit in "012"]
            for a, b in widths
        ]
    fixed = sum(p.numel() for p in frame.parameters()) - sum(prices[0] for prices in price)
    for row in rows:
        counted = fixed + sum(prices[int(digit)] for prices, digit in zip(price, row["arch"], strict=True))
        assert counted == int(row["params"])
    for row in rows[:: 6_561 // 15]:
        counted_cost = cost(build_network(MACRO.parse(row["arch"]), MACRO, (3, 32, 32), 10), (3, 32, 32))
        assert counted_cost.parameters == int(row["params"])
        assert counted_cost.multiply_accumulates == int(row["flops"]) + 10  # the table leaves the classifier's bias out
    # the place of an identity inside a stage changes nothing, and the source knows it
    classes: dict[str, set[tuple[str, ...]]] = {}
    for row in rows:
        key = str(MACRO.canonical(MACRO.parse(row["arch"]), "identity"))
        classes.setdefault(key, set()).add(tuple(row.values())[1:])
    assert len(classes) == 3_969
    assert MACRO.counts is not None
    assert MACRO.counts(MACRO) == {"unique": {"identity": len(classes)}}
    assert all(len(results) == 1 for results in classes.values())


def test_networks_run() -> None:
    for space, text in ((SIZE, "8:16:24:8:16"), (SIZE, "8:8:8:8:8"), (MACRO, "01210201"), (MACRO, "00000000")):
        network = build_network(space.parse(text), space, (1, 10, 9), 4).eval()
        with torch.no_grad():
            assert network(torch.rand(2, 1, 10, 9)).shape == (2, 4)
        with pytest.raises(ConfigurationError, match=r"\(channels, height, width\)"):
            build_network(space.parse(text), space, (3,), 4)
    with pytest.raises(ConfigurationError, match="channels must be at least 1"):
        build_network(MACRO.parse("00000000"), MACRO, (3, 8, 8), 4, network={"channels": 0})
