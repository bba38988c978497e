"""What runs without torch stays without torch."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import sharewise


def loaded(program: str) -> str:
    program += "\nimport sys; print(sorted(m for m in sys.modules if m in ('torch', 'matplotlib', 'scipy')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "program",
    [
        "import sharewise",
        "import sharewise, sharewise.space, sharewise.spaces",
        "import sharewise.data; sharewise.data.SOURCES",
        (
            "from sharewise.spaces import load\n"
            "from sharewise.space import sample, mutate\nimport numpy as np\n"
            "for name in ('nasbench201', 'toy-tied-width', 'toy-two-inputs'):\n"
            "    s = load(name); a = sample(s, np.random.default_rng(0)); mutate(s, a, np.random.default_rng(0))\n"
            "    assert s.relaxation.project(s.relaxation.encode(a)) == a and s.parse(str(a)) == a\n"
        ),
        "import sharewise.errors, sharewise.ledger",
        "import sharewise.oracle, sharewise.strategy; sharewise.strategy.RegularizedEvolution()",
    ],
    ids=["package", "spaces", "data", "use-of-spaces", "ledger", "tables-and-strategies"],
)
def test_no_torch(program: str) -> None:
    assert loaded(program) == "[]"


def test_a_search_loads_no_statistics() -> None:
    assert loaded("import sharewise.methods; sharewise.methods.spos()") == "['torch']"


@pytest.mark.parametrize("package", ["sharewise", "sharewise.data", "sharewise.strategy"])
def test_every_lazy_name_has_a_home(package: str) -> None:
    module = importlib.import_module(package)
    assert set(dir(module)) == set(module.__all__), "imports under TYPE_CHECKING and __all__ name the same"
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        _ = module.nothing


def test_public_names() -> None:
    assert set(dir(sharewise)) == set(sharewise.__all__)
    for name in sharewise.__all__:
        assert getattr(sharewise, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        _ = sharewise.serach
