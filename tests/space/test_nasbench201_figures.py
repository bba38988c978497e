"""Published parameter and multiply-accumulate counts of NAS-Bench-201, exactly."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from sharewise.cost import cost
from sharewise.run import build_network
from sharewise.space import Architecture, sample
from sharewise.spaces import load
from sharewise.spaces.nasbench201 import architecture_at

SPACE = load("nasbench201")
CIFAR10, CIFAR100, IMAGENET16 = ((3, 32, 32), 10), ((3, 32, 32), 100), ((3, 16, 16), 120)

FIGURES = [
    (0, CIFAR10, 129_306, 15_647_370),
    (0, CIFAR100, 135_156, 15_653_220),
    (0, IMAGENET16, 136_456, 3_919_480),
    (11, CIFAR10, 802_426, 113_951_370),
    (11, CIFAR100, 808_276, 113_957_220),
    (11, IMAGENET16, 809_576, 28_495_480),
    (284, CIFAR10, 101_306, 11_715_210),
    (284, CIFAR100, 107_156, 11_721_060),
    (284, IMAGENET16, 108_456, 2_936_440),
    (9930, CIFAR10, 1_288_506, 184_730_250),
    (9930, CIFAR100, 1_294_356, None),
    (9930, IMAGENET16, 1_295_656, None),
    (6111, CIFAR10, 1_073_466, 153_272_970),
    (6111, CIFAR100, 1_079_316, None),
    (6111, IMAGENET16, 1_080_616, None),
    (1462, CIFAR10, 1_531_546, 220_119_690),
    (1462, CIFAR100, 1_537_396, None),
    (1462, IMAGENET16, 1_538_696, None),
    (1835, CIFAR10, 73_306, 7_783_050),
    (1835, CIFAR100, 79_156, None),
    (1835, IMAGENET16, 80_456, None),
    (1651, CIFAR10, 73_306, 7_783_050),
]


@pytest.mark.parametrize(("index", "problem", "parameters", "multiply_accumulates"), FIGURES)
def test_published_figures(
    index: int, problem: tuple[tuple[int, ...], int], parameters: int, multiply_accumulates: int | None
) -> None:
    shape, outputs = problem
    network = build_network(
        architecture_at(index), SPACE, shape, outputs, network={"channels": 16, "cells": 5, "affine": False}
    )
    measured = cost(network, shape)
    assert measured.parameters == parameters
    if multiply_accumulates is not None:
        assert measured.multiply_accumulates == multiply_accumulates


def count(architecture: Architecture) -> int:
    return cost(build_network(architecture, SPACE, (3, 32, 32), 10), (3, 32, 32)).parameters


@pytest.mark.slow
def test_parameters_of_the_whole_table(shared_data: Path) -> None:
    path = shared_data / "nasbench201" / "nasbench201.csv.gz"
    if not path.exists():
        pytest.skip(f"no table at {path}")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        recorded = {row["arch"]: int(row["params_cifar10"]) for row in csv.DictReader(file)}
    nothing = SPACE.architecture({choice.name: "none" for choice in SPACE.choices})
    base = count(nothing)
    # The price of every option on every edge, from real networks; all 15,625 sums must equal the table.
    price = {
        (choice.name, option): count(SPACE.architecture({**nothing, choice.name: option})) - base
        for choice in SPACE.choices[:2]
        for option in choice.options
    }
    options = SPACE.choices[0].options
    assert (
        [price["edge_0_1", o] for o in options] == [price["edge_0_2", o] for o in options] == [0, 0, 28_000, 243_040, 0]
    )
    for text, parameters in recorded.items():
        operations = [token.split("~")[0] for token in text.replace("+", "").strip("|").replace("||", "|").split("|")]
        assert base + sum(price["edge_0_1", operation] for operation in operations) == parameters
    rng = np.random.default_rng(0)
    for _ in range(10):
        architecture = sample(SPACE, rng)
        assert count(architecture) == recorded[str(architecture)]
