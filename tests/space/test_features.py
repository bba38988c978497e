"""Features are the same for every architecture of a space, and say what they say."""

from __future__ import annotations

import numpy as np
import pytest

from sharewise.space import features, longest_path, sample
from sharewise.spaces import load
from sharewise.spaces.nasbench101.space import cell_of


@pytest.mark.parametrize("name", ["nasbench201", "nasbench101", "nasbench101:A_4", "toy-two-inputs", "toy-tied-width"])
def test_every_architecture_has_the_same_features(name: str) -> None:
    space, rng = load(name), np.random.default_rng(0)
    rows = [features(space, sample(space, rng)) for _ in range(20)]
    kinds = [{key: isinstance(value, bool) for key, value in row.items()} for row in rows]
    assert all(list(row) == list(rows[0]) for row in rows)
    assert all(kind == kinds[0] for kind in kinds)
    assert all(np.isfinite(float(value)) for row in rows for value in row.values())


def test_a_nasbench201_cell_is_described() -> None:
    space = load("nasbench201")
    cell = space.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|avg_pool_3x3~2|")
    found = features(space, cell)
    assert found["number of none"] == 2
    assert found["number of skip_connect"] == 2
    assert found["residual edge (input to output skips)"] is True
    assert found["depth (operations on the longest path)"] == 2  # convolution, skip, pool
    assert found["edge 1 to 2: skip_connect"] is True
    nothing = space.parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    assert features(space, nothing)["depth (operations on the longest path)"] == 0


def test_a_nasbench101_cell_is_described() -> None:
    space = load("nasbench101")
    cell = space.parse("conv3x3-bn-relu~0|maxpool3x3~1|conv1x1-bn-relu~0|output~0,2,3")
    found = features(space, cell)
    assert found["number of conv3x3-bn-relu"] == 1
    assert found["residual edge (input to output)"] is True
    assert found["depth (operations on the longest path)"] == 2
    assert found["vertices"] == 5
    assert found["edges"] == cell_of(cell).edges.bit_count() == 6
    assert found["vertices that feed the output"] == 2
    assert found["conv3x3-bn-relu right after the input"] is True
    assert found["conv3x3-bn-relu right before the output"] is False
    assert found["maxpool3x3 right before the output"] is True


def test_the_longest_path_is_that_of_brute_force() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        lengths = {
            (s, t): None if rng.random() < 0.4 else float(rng.integers(0, 4)) for t in range(1, 5) for s in range(t)
        }

        def walks(node: int, lengths: dict[tuple[int, int], float | None] = lengths) -> list[float]:
            if node == 4:
                return [0.0]
            steps = ((t, lengths[node, t]) for t in range(node + 1, 5))
            return [step + rest for t, step in steps if step is not None for rest in walks(t)]

        assert longest_path(lengths, range(5)) == max(walks(0), default=0.0)
