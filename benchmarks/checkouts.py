"""Real peers beside their stand-ins, where a folder of checkouts is given: `PEERS=FOLDER make bench`.

A checkout lies in the folder under its repository's name: AutoDL-Projects (D-X-Y), darts (quark0), PC-DARTS
(yuhuixu1993), ConfigurableOptimizer (automl; confopt), nni (microsoft), once-for-all (mit-han-lab). Search networks of
the first four are built as their scripts build them, on the CPU, and stepped by the loop of the stand-ins, so that a
row compares networks, not loops; of the last two the layers are taken. Their code is imported, thus executed: give none
that you would not run yourself. NNI's writes a list of torch's layers (`_layers.py`) into its checkout.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import MappingProxyType, ModuleType, SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor, nn

from benchmarks.plain import Peer

__all__ = ["PEERS", "checkouts", "layers", "real"]

PEERS = "PEERS"
"""The variable of the environment that names the folder."""

_UNEXPECTED = (ImportError, AttributeError)
"""What importing another version of a checkout, or another folder, raises."""

_OPTIONS = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]


class _Answering(nn.Module):
    """A search network that holds its architecture parameters beside its weights, as a stand-in does."""

    def __init__(self, network: nn.Module, scores: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.network, self.scores = network, scores

    def forward(self, x: Tensor, *theta: Tensor) -> Tensor:
        """Class scores; θ is what the network holds itself."""
        return self.scores(self.network(x))


def _autodl(folder: Path, channels: int, cells: int) -> Peer:
    with _imported(folder, "xautodl.models.cell_searchs.search_model_darts") as module:
        network = module.TinyNetworkDarts(channels, cells, 4, 10, _OPTIONS, False, False)
    theta = network._parameters.pop("arch_parameters")
    network.__dict__["arch_parameters"] = theta  # which its script gives to an optimiser of its own
    inner = [cell for index, cell in enumerate(network.cells) if index not in (cells, 2 * cells + 1)]
    between = [network.cells[index] for index in (cells, 2 * cells + 1)]
    own = [p for part in (network.stem, network.lastact, network.classifier) for p in part.parameters()]
    own += [p for cell in inner for name, p in cell.named_parameters() if not name.endswith("bias")]
    own += [p for block in between for p in block.parameters()]
    return Peer(_Answering(network, lambda answer: answer[1]), [theta], own)


def _darts(folder: Path, channels: int, layers: int) -> Peer:
    where = folder / "cnn" if (folder / "cnn").is_dir() else folder
    with _imported(where, "model_search") as module:
        network = module.Network(channels, 10, layers, nn.CrossEntropyLoss())
    return Peer(_Answering(network, lambda scores: scores), network.arch_parameters())


def _confopt(folder: Path, channels: int, layers: int) -> Peer:
    held: dict[str, dict[str, Any]] = {"confopt.searchspace": {}, "confopt.oneshot": {}, "wandb": {}}
    held["thop"] = {"profile": lambda *_, **__: (0.0, 0.0)}  # counts an operation before its first step
    search = _imported(folder / "src", "confopt.searchspace.darts.core.model_search", held)
    with patch("torch.cuda.is_available", return_value=False), search as module:
        network = module.Network(channels, 10, layers, nn.CrossEntropyLoss())
    theta = network.arch_parameters()
    for name, own in zip(("alphas_normal", "alphas_reduce"), theta, strict=True):
        del network._parameters[name]
        network.__dict__[name] = own  # which its trainer gives to an optimiser of its own
    idle = ("betas_", "multihead_attention.")  # parts of other methods, which no step reaches
    shared = [
        p
        for name, p in network.named_parameters()
        if not name.startswith(idle) and not {"aux_skip", "dan"} & set(name.split("."))
    ]
    return Peer(_Answering(network, lambda answer: answer[1]), theta, shared)


_REPOSITORIES: Mapping[str, Callable[[Path, int, int], Peer]] = {
    "AutoDL-Projects": _autodl,
    "darts": _darts,
    "PC-DARTS": _darts,
    "ConfigurableOptimizer": _confopt,
}


class _Layers(NamedTuple):
    """Where a checkout defines its layers.

    Args:
        modules: by name of what is taken.
        empty: packages and modules that are entered by name alone: what they would import is not asked for by layers.
    """

    modules: Mapping[str, str]
    empty: Sequence[str]


_SUPERMODULE = "nni.nas.oneshot.pytorch.supermodule"
_LAYERS: Mapping[str, _Layers] = {
    "nni": _Layers(
        {
            "Categorical": "nni.mutable",
            "frozen_context": "nni.mutable",
            "MutableLinear": "nni.nas.nn.pytorch",
            "MixedLinear": f"{_SUPERMODULE}.operation",
            "MixedOpPathSamplingPolicy": f"{_SUPERMODULE}.sampling",
            "MixedOpDifferentiablePolicy": f"{_SUPERMODULE}.differentiable",
        },
        ("nni", "nni.nas.oneshot", "nni.nas.oneshot.pytorch", "json_tricks"),
    ),
    "once-for-all": _Layers(
        {"DynamicMBConvLayer": "ofa.imagenet_classification.elastic_nn.modules.dynamic_layers"},
        ("ofa.utils.my_dataloader",),
    ),
}


def checkouts() -> dict[str, Path]:
    """The repositories of the folder that are known here, by name; none without the variable.

    Raises:
        SystemExit: when the folder holds none of them.
    """
    given = os.environ.get(PEERS)
    if not given:
        return {}
    known = [*_REPOSITORIES, *_LAYERS]
    found = {name: Path(given) / name for name in known if (Path(given) / name).is_dir()}
    if not found:
        raise SystemExit(f"{PEERS}={given} holds no checkout of {', '.join(known)}")
    return found


def real(name: str, channels: int, depth: int) -> dict[str, Peer]:
    """The peer of a checkout under its name, if there is one.

    Args:
        name: of the repository.
        channels: C.
        depth: cells a stage, or layers.

    Raises:
        SystemExit: when the checkout does not hold its network.
    """
    if (folder := checkouts().get(name)) is None:
        return {}
    try:
        return {name: _REPOSITORIES[name](folder, channels, depth)}
    except _UNEXPECTED as error:
        raise SystemExit(f"{folder} does not hold its search network as expected: {error}") from error


def layers(name: str) -> SimpleNamespace | None:
    """The layers of a checkout by their names, if there is one; with `PEERS`, a line says why there are none.

    Args:
        name: of the repository.
    """
    if not (found := checkouts()):
        return None
    if (folder := found.get(name)) is None:
        print(f"  {name}: skipped, {PEERS}={os.environ[PEERS]} holds no checkout of that name")
        return None
    modules, empty = _LAYERS[name]
    try:
        # NNI's own switch: without it `nni.nas.evaluator` asks for PyTorch Lightning
        held: dict[str, dict[str, Any]] = {each: {} for each in empty}
        with patch.dict(os.environ, NNI_FRAMEWORK="none"), _imported(folder, next(iter(modules.values())), held):
            return SimpleNamespace(**{what: getattr(import_module(where), what) for what, where in modules.items()})
    except _UNEXPECTED as error:
        print(f"  {name}: skipped, {folder} does not hold its layers as expected: {error}")
        return None


@contextmanager
def _imported(folder: Path, module: str, held: Mapping[str, Mapping[str, Any]] = MappingProxyType({})) -> Iterator[Any]:
    """A module of a checkout, whose other modules are forgotten afterwards, since two have the same names.

    Within the block nothing is moved to a CUDA device: these networks put their architecture parameters there. Some
    modules are not executed and hold what is said, so that what they would import need not be installed.
    """
    before, cuda, place = set(sys.modules), torch.Tensor.cuda, str(folder.resolve())
    for name in held.keys() - before:
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__dict__.update(held[name], __path__=[str(folder.resolve().joinpath(*name.split(".")))])
    sys.path.insert(0, place)
    torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign,assignment]
    try:
        yield import_module(module)
    finally:
        torch.Tensor.cuda = cuda  # type: ignore[method-assign]
        sys.path.remove(place)
        for name in set(sys.modules) - before:
            if name in held or place in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]
