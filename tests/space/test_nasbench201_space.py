"""NAS-Bench-201 to the letter: order, counts, strings."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, enumerate_architectures
from sharewise.spaces import load
from sharewise.spaces.nasbench201 import architecture_at, index_of
from sharewise.spaces.nasbench201.space import unique_string

SPACE = load("nasbench201")


@pytest.fixture(scope="module")
def everything() -> list[Architecture]:
    return list(enumerate_architectures(SPACE))


def test_published_counts(everything: list[Architecture]) -> None:
    assert len(set(everything)) == len(everything) == SPACE.size == 15_625
    assert len({SPACE.canonical(a, "skip") for a in everything}) == 12_751
    assert len({SPACE.canonical(a, "skip-zero") for a in everything}) == 6_466


def test_representatives_have_the_lowest_index_of_their_class(everything: list[Architecture]) -> None:
    lowest: dict[str, int] = {}
    for a in everything:
        key = unique_string(a, collapse_zero=True)
        lowest[key] = min(lowest.get(key, 15_625), index_of(a))
    for a in everything[::7]:
        assert index_of(SPACE.canonical(a, "skip-zero")) == lowest[unique_string(a, collapse_zero=True)]


def test_index_is_a_bijection(everything: list[Architecture]) -> None:
    assert sorted(map(index_of, everything)) == list(range(15_625))
    for index in (0, 11, 284, 1462, 1651, 1835, 6111, 9930, 15_624):
        assert index_of(architecture_at(index)) == index
    for index in (-1, 15_625):
        with pytest.raises(ConfigurationError, match="indices 0 to 15624"):
            architecture_at(index)


@pytest.mark.parametrize(
    ("index", "text"),
    [
        (0, "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"),
        (1462, "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"),
        (1651, "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"),
        (1835, "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"),
    ],
)
def test_published_indices(index: int, text: str) -> None:
    assert str(architecture_at(index)) == text
    assert SPACE.parse(f"  {text}\n") == architecture_at(index)


def test_order_equals_the_published_table(shared_data: Path) -> None:
    path = shared_data / "nasbench201" / "nasbench201.csv.gz"
    if not path.exists():
        pytest.skip(f"no table at {path}")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 15_625
    for row in rows:
        assert str(architecture_at(int(row["index"]))) == row["arch"]
        assert index_of(SPACE.parse(row["arch"])) == int(row["index"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "1 nodes instead of 3"),
        ("|none~0|+|none~0|none~1|", "2 nodes instead of 3"),
        ("none~0+|none~0|none~1|+|none~0|none~1|none~2|", r"node 1 is not enclosed in '\|'"),
        ("|none~0|+|none~0|+|none~0|none~1|none~2|", "node 2 has 1 incoming edges instead of 2"),
        ("|none~0|+|none~0|none~0|+|none~0|none~1|none~2|", "edge 'none~0' of node 2 should read 'op~1'"),
        ("|none~0|+|none~0|none|+|none~0|none~1|none~2|", "edge 'none' of node 2 should read 'op~1'"),
        ("|sep_conv~0|+|none~0|none~1|+|none~0|none~1|none~2|", "unknown operation 'sep_conv'"),
    ],
)
def test_parse_errors_say_what_is_wrong_and_what_is_expected(text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as caught:
        SPACE.parse(text)
    assert "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|" in str(caught.value)
    assert "nor_conv_3x3" in str(caught.value)
