"""Export: a folder with a plain network that loads where sharewise is not installed."""

from __future__ import annotations

import ast
import inspect
import json
import pprint
import sys
from pathlib import Path

from safetensors.torch import save_file
from torch import nn

from sharewise.errors import ConfigurationError

__all__ = ["export", "model_source"]

_LOADER = '''

CONFIGURATION = {configuration}


def load(folder=None):
    """The trained network in evaluation mode, on the CPU, with the weights beside this file."""
    import pathlib

    import safetensors.torch

    folder = pathlib.Path(__file__).parent if folder is None else pathlib.Path(folder)
    weights = safetensors.torch.load_file(folder / "weights.safetensors")
    dtype = next(value.dtype for value in weights.values() if value.is_floating_point())
    network = {name}(**CONFIGURATION).to(dtype)
    network.load_state_dict(weights)
    return network.eval()
'''


def model_source(network: nn.Module) -> str:
    """Python source of the network's own module, followed by its configuration and a `load` function.

    Args:
        network: an instance of a class that is defined in a module which imports nothing of sharewise, and that carries
            the keyword arguments of its constructor as `configuration`.

    Raises:
        ConfigurationError: when the network is not such a class.
    """
    cls = type(network)
    module = sys.modules[cls.__module__]
    configuration = getattr(network, "configuration", None)
    source = inspect.getsource(module)
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    if not isinstance(configuration, dict) or any(name.split(".")[0] == "sharewise" for name in imported):
        raise ConfigurationError(
            f"{cls.__module__}.{cls.__name__} cannot be exported: its module must not import sharewise, and the "
            "network must carry its constructor's keyword arguments as a dictionary named `configuration`"
        )
    return source + _LOADER.format(configuration=pprint.pformat(configuration, width=100), name=cls.__name__)


def export(network: nn.Module, folder: Path, *, description: dict[str, object] | None = None) -> Path:
    """Write `model.py`, `weights.safetensors` and `manifest.json`.

    `import model; model.load()` in that folder needs `torch` and `safetensors` only.

    Args:
        network: a plain network of a space, such as `extract` returns.
        folder: created if absent; existing files of these names are replaced.
        description: JSON-compatible facts for the manifest (architecture, input shape, normalisation, accuracy).

    Returns:
        The folder.

    Raises:
        ConfigurationError: when the network's class cannot stand alone.
    """
    source = model_source(network)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.py").write_text(source, encoding="utf-8")
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(state, folder / "weights.safetensors", metadata={"format": "pt"})
    (folder / "manifest.json").write_text(json.dumps(description or {}, indent=2) + "\n", encoding="utf-8")
    return folder
