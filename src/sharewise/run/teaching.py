"""Teachers as users name them: a module, a result in memory, the folder of a finished run, or an exported program."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch import nn

from sharewise.engine import SearchResult, Teacher
from sharewise.errors import ConfigurationError
from sharewise.files import expanded
from sharewise.given import got
from sharewise.run.folder import RunFolder

__all__ = ["AnyTeacher", "no_teacher", "teacher_named", "teacher_of"]

AnyTeacher = Teacher | nn.Module | SearchResult | str | Path
"""What can be given as a teacher; the result of a training is asked for its network."""


def no_teacher() -> None:
    """What gives no teacher."""


def teacher_of(given: AnyTeacher | Any | None) -> Teacher | None:
    """A teacher: itself, a module, the result of a search or training, or where one lies.

    A search gives the network that it has found, with the weights that it has shared and statistics of its own.

    Args:
        given: one of these, or `None`.

    Raises:
        ConfigurationError: naming what was given.
    """
    if given is None or isinstance(given, Teacher):
        return given
    if isinstance(given, nn.Module):
        return Teacher(given, source=f"{type(given).__name__} in memory")
    if isinstance(given, SearchResult):
        from sharewise.run.inherit import extracted

        return Teacher(extracted(given.state, given.architecture)[0], source="the search in memory")
    if isinstance(given, str | Path):
        return teacher_named(given)
    network = getattr(given, "network", None)
    if isinstance(network, nn.Module):
        return Teacher(network, source="the training in memory")
    raise ConfigurationError(
        "a teacher is a torch module, the result of a search or training, sharewise.Teacher(…), or the path of a "
        f"finished run or of an exported program (model.pt2), {got(given)}"
    )


def teacher_named(path: str | Path, weight: float = 1.0, temperature: float = 1.0) -> Teacher:
    """The teacher that lies at a path.

    Args:
        path: folder of a finished run, or a program that `sharewise.export(…, format="torch-export")` has written, or
            its folder.
        weight: of its soft loss.
        temperature: of both outputs.

    Raises:
        ConfigurationError: when there is neither.
        CheckpointError: when the run is not finished, or damaged.
    """
    place = expanded(path)
    program = place / "model.pt2" if place.is_dir() else place
    if program.suffix == ".pt2" and program.is_file():
        return Teacher(_program(program), weight, temperature, source=str(place))
    if not (place / "config.yaml").is_file():
        raise ConfigurationError(
            f"no teacher at {str(path)!r}: it is neither the folder of a finished run nor an exported program "
            "(model.pt2); a folder with model.py is code, which is not run here: load it in Python, and give the module"
        )
    from sharewise.run.restore import restore  # which knows searches and trainings, and those know this module

    return Teacher(restore(RunFolder(place), device="cpu").network, weight, temperature, source=str(place))


def _program(path: Path) -> nn.Module:
    """A program of `torch.export` as a module that has no modes, which it refuses to be asked for."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of torch about the insides of its own programs
            network = torch.export.load(path).module()
    except Exception as error:  # torch raises many kinds
        raise ConfigurationError(
            f"{path} holds no program of torch.export: {' '.join(str(error).split())[:160]}"
        ) from error
    for name in ("train", "eval"):
        setattr(network, name, MethodType(_unmoved, network))
    return network


def _unmoved(network: nn.Module, mode: bool = True) -> nn.Module:
    return network
