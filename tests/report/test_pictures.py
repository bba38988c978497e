from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import sharewise as sw
from sharewise.errors import CheckpointError, ConfigurationError
from sharewise.report import Drawing, pictures


def test_the_pictures_of_a_run_stand_on_their_own(write_run: Callable[..., Path], tmp_path: Path) -> None:
    found = pictures(write_run("gaea"))
    assert {"cell", "loss", "entropy", "theta-edge_0_1", "theta-edge_2_3"} <= set(found)
    for name, drawing in found.items():
        root = ElementTree.parse(drawing.save(tmp_path / f"{name}.svg")).getroot()
        assert root.tag.endswith("svg")
        assert len(list(root.iter())) > 10, name
        assert "prefers-color-scheme: dark" in drawing._repr_svg_()
        unset = {word for word in drawing.svg.split("var(--")[1:] if f"--{word.split(')')[0]}:" not in drawing.svg}
        assert not unset, name


def test_a_result_in_memory_has_the_pictures_of_its_folder(tmp_path: Path) -> None:
    data, network = sw.data.digits().limited(100, seed=0), {"channels": 2, "cells": 1}
    options: dict[str, Any] = {"network": network, "max_steps": 2, "device": "cpu"}
    recipe = sw.methods.gaea_erm(epochs=2, batch_size=64)
    found = sw.search("nasbench201", recipe, data, gap_examples=16, out=tmp_path / "RUN", **options)
    assert {"cell", "loss", "entropy"} < set(pictures(found))
    assert pictures(found) == pictures(tmp_path / "RUN")
    trained = sw.train("nasbench201", found, data, evaluate_on_test=False, **options)
    assert "loss" in pictures(trained)
    with pytest.raises(ConfigurationError, match=r"got a dict: give out= to what made it"):
        pictures({})  # type: ignore[arg-type]


def test_the_pictures_of_results_are_their_figures(tmp_path: Path) -> None:
    for name in ("figure.svg", "figure.narrow.svg"):
        (tmp_path / name).write_text("<svg/>", encoding="utf-8")
    assert pictures(tmp_path) == {"figure": Drawing("<svg/>")}


def test_a_folder_without_pictures_and_an_unknown_form_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        pictures(tmp_path)
    with pytest.raises(ConfigurationError, match=r"name a file that ends in \.svg"):
        Drawing("<svg/>").save(tmp_path / "cell.png")


@pytest.mark.parametrize(
    "svg",
    [
        '<svg onload="alert(1)"/>',
        "<svg><script>alert(1)</script></svg>",
        '<svg xmlns:x="http://www.w3.org/2000/svg"><x:script/></svg>',
        "<svg><foreignObject/></svg>",
        '<svg><a href="javascript:alert(1)"/></svg>',
        "<svg><image xlink:href='https://example.org/a.png'/></svg>",
        '<svg><set attributeName="href" to="javascript:alert(1)"/></svg>',
        '<!DOCTYPE svg [<!ENTITY a "b">]><svg/>',
    ],
)
def test_a_picture_of_a_stranger_that_does_something_is_refused(svg: str, tmp_path: Path) -> None:
    (tmp_path / "figure.svg").write_text(svg, encoding="utf-8")
    with pytest.raises(CheckpointError, match="scripts, or asks for something beside it"):
        pictures(tmp_path)


def test_a_picture_that_is_no_regular_file_of_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("<svg/>")
    picture = tmp_path / "figure.svg"
    picture.symlink_to(tmp_path / "secret")
    with pytest.raises(CheckpointError, match="cannot read the picture"):
        pictures(tmp_path)
    picture.unlink()
    os.mkfifo(picture)
    with pytest.raises(CheckpointError, match="cannot read the picture"):
        pictures(tmp_path)
    picture.unlink()
    picture.write_bytes(b"<svg>\xff</svg>")
    with pytest.raises(CheckpointError, match="UnicodeDecodeError"):
        pictures(tmp_path)


def test_a_raster_in_a_picture_of_ours_is_shown(tmp_path: Path) -> None:
    svg = '<svg><use xlink:href="#a"/><image xlink:href="data:image/png;base64,AAAA"/></svg>'
    (tmp_path / "figure.svg").write_text(svg, encoding="utf-8")
    assert pictures(tmp_path) == {"figure": Drawing(svg)}
