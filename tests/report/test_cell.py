from __future__ import annotations

import itertools
import re
from dataclasses import asdict
from io import StringIO
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

from sharewise.cli.display import show_picture
from sharewise.report import Picture
from sharewise.report.cell import colours_of, draw_cell, draw_tall_cell
from sharewise.report.read import _pictures as pictures_of
from sharewise.spaces import load

Box = tuple[float, float, float, float]
NODES = ("0", "1", "2", "3")
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
PAIRS = tuple(itertools.combinations(NODES, 2))


def boxes(drawing: str, kind: str) -> list[Box]:
    found = []
    for rect in ElementTree.fromstring(drawing).iter("rect"):
        if rect.get("class") == kind:
            x, y, width, height = (float(rect.attrib[key]) for key in ("x", "y", "width", "height"))
            found.append((x, y, x + width, y + height))
    return found


def meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def dense(nodes: int, operation: str) -> Picture:
    names = tuple(map(str, range(nodes)))
    return Picture(names, tuple((a, b, operation) for a, b in itertools.combinations(names, 2)))


CASES = {
    "nasbench201": Picture(NODES, tuple((a, b, "nor_conv_3x3") for a, b in PAIRS)),
    "nasbench201 mixed": Picture(NODES, tuple((*pair, OPERATIONS[k % 5]) for k, pair in enumerate(PAIRS))),
    "dense": dense(8, "dilated_convolution_5x5"),
    "chain": Picture(tuple(map(str, range(21))), tuple((str(k), str(k + 1), "mbconv_e6_k7") for k in range(20))),
    "parallel": Picture(("a", "b"), (("a", "b", "one"), ("a", "b", "another"), ("a", "b", "a third one"))),
    "backward": Picture(
        ("a", "b", "c"), (("c", "a", "back"), ("b", "a", "back"), ("a", "c", "on"), ("a", "a", "self"))
    ),
    "long names": Picture(("a rather long input", "b"), (("a rather long input", "b", "x"),)),
}


@pytest.mark.parametrize("name", CASES)
def test_no_label_meets_a_label_or_a_node_or_leaves_the_drawing(name: str) -> None:
    drawing = draw_cell(CASES[name])
    labels, nodes = boxes(drawing, "label"), boxes(drawing, "node")
    drawn = [edge for edge in CASES[name].edges if edge[0] != edge[1]]
    assert (len(labels), len(nodes)) == (len(drawn), len(CASES[name].nodes))
    assert not any(meet(a, b) for a, b in itertools.combinations([*labels, *nodes], 2))
    view = re.search(r'viewBox="0 0 (\S+) (\S+)"', drawing)
    assert view is not None
    for left, top, right, bottom in [*labels, *nodes]:
        assert left >= 0
        assert top >= 0
        assert right <= float(view[1])
        assert bottom <= float(view[2])


def test_random_graphs_keep_their_labels_apart() -> None:
    random = np.random.default_rng(0)
    for _ in range(100):
        names = tuple(map(str, range(random.integers(2, 10))))
        pairs = [pair for pair in itertools.combinations(names, 2) if random.random() < 0.6]
        picture = Picture(names, tuple((a, b, OPERATIONS[random.integers(5)]) for a, b in pairs))
        labels = boxes(draw_cell(picture), "label")
        assert len(labels) == len(pairs)
        assert not any(meet(a, b) for a, b in itertools.combinations(labels, 2))


def test_absent_operations_are_dotted_and_have_no_arrow() -> None:
    drawing = draw_cell(Picture(("a", "b", "c"), (("a", "b", "none"), ("b", "c", "conv"), ("a", "c", ""))))
    assert drawing.count("stroke-dasharray") == 1
    assert drawing.count("<polygon") == 2
    assert len(boxes(drawing, "label")) == 2


def test_an_operation_has_one_colour() -> None:
    drawing = draw_cell(CASES["nasbench201 mixed"])
    strokes = {
        group[1].text: group[0].attrib["style"]
        for group in ElementTree.fromstring(drawing).iter("g")
        if group[0].get("class") == "label"
    }
    assert len(set(strokes.values())) == len(OPERATIONS)


def test_cells_of_one_architecture_share_their_colours() -> None:
    normal = Picture(("a", "b"), (("a", "b", "skip_connect"),), "normal cell")
    reduction = Picture(("a", "b"), (("a", "b", "sep_conv_3x3"), ("a", "b", "skip_connect")), "reduction cell")
    colours = colours_of((normal, reduction))
    assert colours["skip_connect"] != colours["sep_conv_3x3"]
    for picture in (normal, reduction):
        assert f"stroke:{colours['skip_connect']}" in draw_cell(picture, colours)


def test_a_page_shows_the_cell_below_another() -> None:
    below = {"nodes": ["a", "b"], "edges": [["a", "b", "max_pool"]], "title": "reduction cell", "below": None}
    first = {"nodes": ["a", "b"], "edges": [["a", "b", "skip"]], "title": "normal cell", "below": below}
    assert [picture.title for picture in pictures_of(first)] == ["normal cell", "reduction cell"]
    endless: dict[str, object] = dict(first)
    endless["below"] = endless
    assert len(pictures_of(endless)) == 8
    assert pictures_of(None) == ()


def test_a_terminal_shows_both_cells() -> None:
    out = StringIO()
    picture = load("darts").draw(load("darts").parse("DARTS_V2"))  # type: ignore[misc]
    show_picture(Console(file=out, width=200), asdict(picture))
    lines = [line.strip() for line in out.getvalue().splitlines()]
    assert lines[:3] == [
        "normal cell:",
        "node 2 = sep_conv_3x3(k-2)  +  sep_conv_3x3(k-1)",
        "node 3 = sep_conv_3x3(k-2)  +  sep_conv_3x3(k-1)",
    ]
    assert lines[5:7] == ["output = node 2, node 3, node 4, node 5", "reduction cell:"]


@pytest.mark.parametrize("name", CASES)
def test_no_label_of_a_tall_drawing_meets_another_or_a_node(name: str) -> None:
    drawing = draw_tall_cell(CASES[name])
    labels, nodes = boxes(drawing, "label"), boxes(drawing, "node")
    assert len(labels) == len([edge for edge in CASES[name].edges if edge[0] != edge[1]])
    for a, b in itertools.combinations(labels + nodes, 2):
        assert not meet(a, b)
    width, height = map(float, re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', drawing)[0])
    assert all(x0 >= 0 and x1 <= width and y0 >= 0 and y1 <= height for x0, y0, x1, y1 in labels + nodes)


def test_a_cell_of_nasbench201_is_narrow_enough_for_a_phone() -> None:
    drawing = draw_tall_cell(CASES["nasbench201"])
    assert float(re.findall(r'viewBox="0 0 ([\d.]+)', drawing)[0]) < 450
