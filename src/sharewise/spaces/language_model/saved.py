"""The files in which transformers keeps a trained model: settings, and tensors by name, perhaps of strangers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from sharewise.errors import DataError, shown
from sharewise.files import read_bytes
from sharewise.sealed_json import parse_json

__all__ = ["Row", "number_of", "require_fixed", "settings_of", "sizes_of", "tensors_of"]

_MOST_CONFIGURATION = 1 << 20
_MOST = 1 << 34  # bytes of weights


def settings_of(path: Path) -> dict[str, Any]:
    """The settings of a model by name.

    Raises:
        DataError: when the file cannot be read, or holds something else.
    """
    try:
        found = parse_json(_read(path, _MOST_CONFIGURATION))
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{str(path)!r} is no valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise DataError(f"{str(path)!r} must hold the settings of a model by name")
    return found


def require_fixed(path: Path, settings: Mapping[str, Any], fixed: Mapping[str, Sequence[Any]]) -> None:
    """Refuse settings under which our network would be another function.

    Args:
        path: of the file, for messages.
        settings: of the model.
        fixed: by name the values that can be read, the first of which is named; `None` for one that is absent.

    Raises:
        DataError: naming the first that is something else.
    """
    for name, legal in fixed.items():
        value = settings.get(name)
        if not any(value == each and type(value) is type(each) for each in legal):
            raise DataError(f"{str(path)!r}: {name} is {shown(value)}, only {legal[0]!r} can be read")


def sizes_of(path: Path, settings: Mapping[str, Any], most: Mapping[str, int]) -> dict[str, int]:
    """Whole numbers by name, all of which are possible.

    Args:
        path: of the file, for messages.
        settings: of the model.
        most: by name, more than any model has.

    Raises:
        DataError: naming the first that is none.
    """
    sizes = {}
    for name, largest in most.items():
        size = settings.get(name)
        if type(size) is not int or not 1 <= size <= largest:
            raise DataError(f"{str(path)!r}: {name} must be a whole number from 1 to {largest:,}, got {shown(size)}")
        sizes[name] = size
    return sizes


def number_of(path: Path, settings: Mapping[str, Any], name: str, default: float) -> float:
    """A positive number; the default where there is none.

    Raises:
        DataError: for anything else.
    """
    value = settings.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= sys.float_info.max:
        raise DataError(f"{str(path)!r}: {name} must be a positive number, got {shown(value)}")
    return float(value)


def tensors_of(path: Path, prefix: str) -> dict[str, Tensor]:
    """The tensors of a file by name, without a prefix that they may have.

    Raises:
        DataError: when the file cannot be read, or is damaged.
    """
    try:
        found = load(_read(path, _MOST))
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{str(path)!r} is no file of safetensors: {error}") from None
    return {name.removeprefix(prefix): tensor for name, tensor in found.items()}


def _read(path: Path, most: int) -> bytes:
    try:
        return read_bytes(path, most=most)
    except OSError as error:
        raise DataError(
            f"cannot read {str(path)!r} ({error.strerror}); give a folder as save_pretrained of transformers writes it"
        ) from None


@final
@dataclass(frozen=True)
class Row:
    """One of our tensors, and where it comes from.

    Args:
        ours: its name in our network.
        theirs: the name in the file.
        shape: of theirs.
        change: from theirs to ours.
    """

    ours: str
    theirs: str
    shape: tuple[int, ...]
    change: Callable[[Tensor], Tensor] = torch.Tensor.contiguous

    def read(self, place: Path, tensors: Mapping[str, Tensor]) -> Tensor:
        """Our tensor.

        Raises:
            DataError: when theirs is missing, or of another shape or type.
        """
        tensor = tensors.get(self.theirs)
        if tensor is None:
            raise DataError(
                f"{str(place)!r} holds no tensor {self.theirs!r}, which a model of its config.json has; is it another "
                "kind of model?"
            )
        if tuple(tensor.shape) != self.shape or not tensor.is_floating_point():
            kind = str(tensor.dtype).removeprefix("torch.")
            raise DataError(
                f"{str(place)!r} holds another model than its config.json says: {self.theirs!r} should have the shape "
                f"{self.shape}, it has {tuple(tensor.shape)} of {kind}"
            )
        return self.change(tensor).float().contiguous()
