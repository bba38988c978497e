"""Export: a folder with a plain network that loads where sharewise is not installed.

As Python source beside its weights, as a program of `torch.export`, or as ONNX. Programs are run once more from their
file, and what they compute is compared with the network.
"""

from __future__ import annotations

import ast
import copy
import inspect
import json
import logging
import math
import pprint
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, suppress
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from sharewise.atomic import replacing
from sharewise.errors import ConfigurationError, SharewiseError, unknown_name
from sharewise.given import folder as named_folder
from sharewise.given import got, mapping, optional

__all__ = ["FORMATS", "export", "model_source"]

_TOLERANCE = 1e-4
"""Of the outputs of an exported program, relative to the largest output."""

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
            "network must carry its constructor's keyword arguments as a dictionary named `configuration`. Programs "
            "need neither: give the format torch-export or onnx"
        )
    return source + _LOADER.format(configuration=pprint.pformat(configuration, width=100), name=cls.__name__)


def export(
    network: nn.Module,
    folder: str | Path,
    *,
    description: Mapping[str, object] | None = None,
    format: str = "source",  # noqa: A002 – the word that the command line uses
    example: Tensor | None = None,
) -> Path:
    """Write a plain network and a `manifest.json`.

    `source` writes `model.py` and `weights.safetensors`; `import model; model.load()` in that folder needs `torch` and
    `safetensors` only. `torch-export` writes `model.pt2`, which `torch.export.load` reads, and `onnx` writes
    `model.onnx`; both are run from their file and compared with the network before anything is called done.

    Args:
        network: a plain network, such as `extract` returns.
        folder: created if absent; existing files of these names are replaced.
        description: JSON-compatible facts for the manifest (architecture, input shape, normalisation, accuracy).
        format: a name in `FORMATS`.
        example: a batch of inputs of at least two examples, on the CPU, which the formats of programs need.

    Returns:
        The folder.

    Raises:
        ConfigurationError: when the network's class cannot stand alone (`source`), torch cannot export it, or a package
            is missing.
        SharewiseError: when the exported program computes something else than the network.

    Example:
        >>> import tempfile
        >>> folder = export(nn.Linear(3, 2), tempfile.mkdtemp(), format="torch-export", example=torch.randn(2, 3))
        >>> sorted(path.name for path in folder.iterdir())
        ['manifest.json', 'model.pt2']
    """
    if format not in FORMATS:
        raise unknown_name("format", format, FORMATS)
    if not isinstance(network, nn.Module):
        raise ConfigurationError(f"export needs a network, {got(network)}: give what sharewise.extract returns")
    if example is not None and not isinstance(example, Tensor):
        raise ConfigurationError(f"the example must be a batch of inputs as one tensor, {got(example)}")
    description, folder = optional(mapping, "description", description), named_folder("folder", folder)
    absent = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        facts = FORMATS[format](network, folder, example)
    except BaseException:
        if absent:
            with suppress(OSError):
                folder.rmdir()
        raise
    text = json.dumps({**(description or {}), **facts}, indent=2) + "\n"
    with replacing(folder / "manifest.json") as place:
        place.write_text(text, encoding="utf-8")
    return folder


def _write_source(network: nn.Module, folder: Path, example: Tensor | None) -> dict[str, object]:
    source = model_source(network)
    with replacing(folder / "model.py") as place:
        place.write_text(source, encoding="utf-8")
    # Copies: what two parameters share, as a decoder and its embedding do, stands under both names.
    copies = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
    state = {name: value.contiguous() for name, value in copies.items()}
    with replacing(folder / "weights.safetensors") as place:
        # As bytes: save_file leaves a file that nobody but its owner may read, whatever the umask says.
        place.write_bytes(save(state, metadata={"format": "pt"}))
    return {"format": "source"}


def _write_program(network: nn.Module, folder: Path, example: Tensor | None) -> dict[str, object]:
    network, inputs = _evaluating(network, example)
    program, dynamic = _program(network, inputs)
    with replacing(folder / "model.pt2", ".pt2") as place:
        torch.export.save(program, place)
        loaded = torch.export.load(place).module()
        difference = _compared(network, inputs, dynamic, lambda x: loaded(x))
    return {"format": "torch-export", "batch": "any" if dynamic else len(inputs), "difference": difference}


def _write_onnx(network: nn.Module, folder: Path, example: Tensor | None) -> dict[str, object]:
    try:
        onnxruntime: Any = import_module("onnxruntime")
        import_module("onnxscript")  # torch needs it and would fail later, less clearly
    except ImportError as error:
        raise ConfigurationError(
            f"the format onnx needs the package {error.name}, which is not installed: pip install onnx onnxruntime "
            "onnxscript, or export with --format torch-export"
        ) from None
    network, inputs = _evaluating(network, example)
    program, dynamic = _program(network, inputs)
    with replacing(folder / "model.onnx", ".onnx") as place:
        with _quiet():
            try:
                torch.onnx.export(program, (inputs,), str(place), dynamo=True, external_data=False, verbose=False)
            except Exception as error:  # torch raises many kinds
                raise _refused(network, "torch.onnx.export", error) from error
        session = onnxruntime.InferenceSession(str(place), providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name

        def run(x: Tensor) -> Tensor:
            return torch.from_numpy(session.run(None, {name: x.numpy()})[0])

        difference = _compared(network, inputs, dynamic, run)
    return {"format": "onnx", "batch": "any" if dynamic else len(inputs), "difference": difference}


FORMATS: Mapping[str, Callable[[nn.Module, Path, Tensor | None], dict[str, object]]] = {
    "source": _write_source,
    "torch-export": _write_program,
    "onnx": _write_onnx,
}
"""Writers by the name of their format; each returns facts for the manifest."""


def _evaluating(network: nn.Module, example: Tensor | None) -> tuple[nn.Module, Tensor]:
    if example is None or len(example) < 2:
        raise ConfigurationError("this format needs an example: a batch of inputs of at least two examples")
    dtype = next((p.dtype for p in network.parameters()), torch.float32)
    if example.is_floating_point() and dtype not in (torch.float32, torch.float64):
        raise ConfigurationError(f"export a network of float32 or float64, not of {dtype}: call network.float()")
    plain = copy.deepcopy(network).eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return plain, example.to(dtype) if example.is_floating_point() else example


def _program(network: nn.Module, inputs: Tensor) -> tuple[Any, bool]:
    """The exported program, for any number of examples where torch can prove that, and whether it could."""
    with _quiet():
        try:
            shapes = ({0: torch.export.Dim("batch", min=1)},)
            return torch.export.export(network, (inputs,), dynamic_shapes=shapes, strict=False), True
        except Exception:  # a size of the batch in the code: the program then takes batches of this size alone
            try:
                return torch.export.export(network, (inputs,), strict=False), False
            except Exception as error:
                raise _refused(network, "torch.export", error) from error


def _refused(network: nn.Module, by: str, error: Exception) -> ConfigurationError:
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return ConfigurationError(f"{type(network).__name__} cannot be exported: {by} says: {reason}")


def _compared(network: nn.Module, inputs: Tensor, dynamic: bool, run: Callable[[Tensor], Tensor]) -> float:
    """The largest difference between the network and the program, on the example and on one example alone."""
    worst = 0.0
    with torch.no_grad():
        for batch in (inputs, inputs[:1]) if dynamic else (inputs,):
            expected, actual = network(batch), run(batch)
            difference = _difference(expected, actual)
            if not difference <= _TOLERANCE:
                raise SharewiseError(
                    f"the exported program differs from the network by {difference:.3g} relative to its largest "
                    f"output, more than {_TOLERANCE:g}; nothing was written"
                )
            worst = max(worst, difference)
    return worst


def _difference(expected: Tensor, actual: Tensor) -> float:
    """The largest difference, relative to the largest finite output; infinite between unequal shapes.

    Equal infinities, which a mask leaves in the outputs, differ by nothing; subtracted, they would not be a number.
    """
    if expected.shape != actual.shape:
        return math.inf
    finite = expected[expected.isfinite()]
    scale = max(1.0, float(finite.abs().max()) if finite.numel() else 0.0)
    return float((expected - actual).masked_fill(expected == actual, 0.0).abs().max()) / scale


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings and pages of torch's own log, which end in an error that is said once, in one line."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
