"""What all tests share: one thread, quick property tests, and the path of the published data."""

from __future__ import annotations

import gc
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from torch import Tensor

from sharewise.supernet import native
from sharewise.supernet.native.library import library

torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell's background jobs inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("sharewise", deadline=None, max_examples=50)
settings.load_profile("sharewise")


KERNELS = (
    "depthwise_by_kernel",
    "depthwise_gradient",
    "convolution_by_kernel",
    "transposed_by_kernel",
    "convolution_gradient",
    "norm_by_kernel",
    "norm_gradient",
    "norm_second_gradient",
    "average_by_kernel",
    "layer_norm_by_kernel",
    "layer_norm_gradient",
    "combined_by_kernel",
    "products_by_kernel",
)
"""Functions of `sharewise.supernet.native` that call compiled kernels."""


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of published tables and images: `$SHAREWISE_DATA`, or `../shared/data` beside the repository."""
    given = os.environ.get("SHAREWISE_DATA")
    path = Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"no published data at {path}; set SHAREWISE_DATA to their folder")
    return path


@pytest.fixture(scope="session")
def compiler() -> None:
    """A C compiler, without which the test is skipped."""
    if all(shutil.which(name) is None for name in ("cc", "gcc", "clang")):
        pytest.skip("there is no C compiler here")


@pytest.fixture(scope="module")
def kernel_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Native kernels are compiled into a folder of a module's tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        library.cache_clear()
        yield
    library.cache_clear()


@pytest.fixture
def kernel_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The compiled kernels that are called from now on, by name and in order."""
    called: list[str] = []

    def told(name: str, plain: Callable[..., Tensor], *given: object, **named: object) -> Tensor:
        called.append(name)
        return plain(*given, **named)

    for name in KERNELS:
        monkeypatch.setattr(native, name, partial(told, name, getattr(native, name)))
    return called


def pytest_collection_finish() -> None:
    """Thousands of tests are as many objects, which no search for what refers to itself alone need go through."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test marked `sweep(n, slow=m)` every n-th case is fast; of the others every m-th is slow, the rest long."""
    seen: Counter[tuple[str, str]] = Counter()
    for item in items:
        sweep = item.get_closest_marker("sweep")
        if sweep is None or any(item.iter_markers("long")):
            continue
        name = item.nodeid.partition("[")[0]
        if not any(item.iter_markers("slow")):
            stays = seen[name, "fast"] % sweep.args[0] == 0
            seen[name, "fast"] += 1
            if stays:
                continue
            item.add_marker(pytest.mark.slow)
        if seen[name, "slow"] % sweep.kwargs.get("slow", 1):
            item.add_marker(pytest.mark.long)
        seen[name, "slow"] += 1
