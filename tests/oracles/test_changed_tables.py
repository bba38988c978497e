"""A table whose bytes were changed is refused where its numbers are used, never answered from."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from sharewise.errors import DataError
from sharewise.oracle.columns import ColumnFile, write_columns


@pytest.mark.parametrize("count", [60, pytest.param(600, marks=pytest.mark.slow)])
def test_a_flipped_bit_is_refused_or_changes_no_value(count: int, tmp_path: Path) -> None:
    path, draw = tmp_path / "numbers.table", random.Random(7)
    arrays = {"a": np.arange(500, dtype=np.uint8), "b": np.linspace(0, 1, 300), "c": np.arange(7, dtype=np.uint32)}
    write_columns(path, {"about": "numbers"}, arrays)
    whole, refused = path.read_bytes(), 0
    for _ in range(count):
        content = bytearray(whole)
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        try:
            file = ColumnFile(path)
            assert file.document["about"] == "numbers"
            for name, values in arrays.items():
                assert np.array_equal(file.column(name), values)
        except DataError:
            refused += 1
    assert refused > count // 2
