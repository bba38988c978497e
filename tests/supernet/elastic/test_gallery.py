"""Every model of the gallery is accepted with its whole request, and no slice of it is wrong."""

from __future__ import annotations

import warnings

import pytest
import torch
from tests.supernet.elastic.gallery import GALLERY

import sharewise as sw
from sharewise.errors import SharewiseWarning
from sharewise.testing import check_model

QUICK = ("siamese", "lstm by hand")
"""Checked in the fast suite."""


def check(name: str) -> None:
    torch.manual_seed(0)
    model, choices, example = GALLERY[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SharewiseWarning)  # widths that are rounded
        supernet = sw.elastic(model, choices, example=example)
    report = check_model(supernet, samples=3)
    assert report.original
    assert report.parameters[1] < report.parameters[0]


@pytest.mark.parametrize("name", QUICK)
def test_a_few_models_of_the_gallery(name: str) -> None:
    check(name)


@pytest.mark.slow
@pytest.mark.sweep(1, slow=2)
@pytest.mark.parametrize("name", [name for name in GALLERY if name not in QUICK])
def test_models_of_the_gallery(name: str) -> None:
    check(name)


@pytest.mark.slow
@pytest.mark.sweep(1, slow=2)
@pytest.mark.parametrize("name", GALLERY)
def test_proposed_spaces_of_the_gallery(name: str) -> None:
    torch.manual_seed(0)
    model, _, example = GALLERY[name]()
    assert check_model(sw.elastic(model, example=example), samples=2).architectures > 1
