"""The space that a user's file makes: the only place where a file of a user is executed."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, cast, final

from sharewise.engine import seeded_modules
from sharewise.errors import ConfigurationError, SharewiseError, unknown_name
from sharewise.own_file import OwnFile
from sharewise.space import Space
from sharewise.supernet import Supernet, networks_of
from sharewise.supernet.elastic import ElasticModel
from sharewise.supernet.structures import integers_of, shapes_of

__all__ = ["elastic_model_of", "form_of", "made_by", "model_of", "space_made_by"]

_SPACES: dict[OwnFile, tuple[Space, ElasticModel | None]] = {}
"""Made once in a process, with the elastic model that it is of: to make one of a large model takes seconds."""


def made_by(own: OwnFile) -> ElasticModel | Space:
    """Execute a file, unless this process has done so, and call its function.

    Args:
        own: the file as the user named it.

    Raises:
        ConfigurationError: when the file has changed, fails, or makes something else than a model that
            `sharewise.elastic` has made a supernet, or a space.
    """
    function = _function(_executed(own), own)
    with _importing(own), _explained(own):
        found = function()
    if not isinstance(found, ElasticModel | Space):
        raise ConfigurationError(
            f"{own.factory} in {own.file} must return what sharewise.elastic returns, or a space, but returned "
            f"a {type(found).__name__}"
        )
    return found


def space_made_by(own: OwnFile) -> Space:
    """The space of a file; every supernet of it is made anew, so that the seed of a run says how its weights begin.

    Args:
        own: the file as the user named it.

    Raises:
        ConfigurationError: as `made_by`, and for a space without networks.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from sharewise.own_file import own_file
        >>> path = Path(tempfile.mkdtemp()) / "mine.py"
        >>> _ = path.write_text("from sharewise.spaces import toy_tied_width as factory")
        >>> space_made_by(own_file(f"{path}:factory")).size
        12
    """
    return _loaded(own)[0]


def model_of(own: OwnFile) -> ElasticModel | None:
    """The elastic model that a file makes; `None` where it makes a space, whose networks take inputs of any shape.

    Args:
        own: the file as the user named it.
    """
    return _loaded(own)[1]


def elastic_model_of(own: OwnFile) -> ElasticModel:
    """The elastic model that a file makes.

    Raises:
        ConfigurationError: when it makes a space.
    """
    found = model_of(own)
    if found is None:
        raise ConfigurationError(
            f"{own.factory} in {own.file} must return what sharewise.elastic returns, but returned a space"
        )
    return found


def form_of(model: ElasticModel) -> tuple[Any, Any]:
    """The shape of one input of a model, and whether inputs are indices, as its example says; by name for several.

    Args:
        model: whose networks are counted.
    """
    return shapes_of(model.example), integers_of(model.example)


def _loaded(own: OwnFile) -> tuple[Space, ElasticModel | None]:
    if own not in _SPACES:
        with seeded_modules(0, "own space"):
            made = made_by(own)
        if isinstance(made, ElasticModel):
            networks = replace(networks_of(made.space), supernet=_Anew(own))
            _SPACES[own] = replace(made.space, networks=networks), made
        else:
            networks_of(made)  # a space of values only cannot be searched
            _SPACES[own] = made, None
    return _SPACES[own]


@final
@dataclass(frozen=True)
class _Anew:
    """Builds the supernet of a user's model by asking the file again, under whatever seed is set."""

    own: OwnFile

    def __call__(self, space: Space, input_shape: Sequence[int], outputs: int, options: Any) -> Supernet:
        made = made_by(self.own)
        if not isinstance(made, ElasticModel) or made.space.name != space.name:
            raise ConfigurationError(f"{self.own.reference} makes another space each time it is called")
        supernet = networks_of(made.space).supernet(space, input_shape, outputs, options)
        supernet.space = space
        return supernet


def _executed(own: OwnFile) -> ModuleType:
    """The module of a file, executed once in a process, from the very bytes whose checksum was compared."""
    place = hashlib.sha256(os.fsencode(own.file)).hexdigest()[:8]
    name = f"sharewise_own_{own.checksum[:16]}_{place}"
    if name in sys.modules:
        return sys.modules[name]
    sources = own.sources()
    specification = importlib.util.spec_from_file_location(name, own.file)
    if specification is None:
        raise ConfigurationError(f"{own.file} is no Python file; its name must end in .py")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # dataclasses and exports look up the module of a class
    try:
        with _importing(own), _explained(own):
            exec(compile(sources[""], str(own.file), "exec"), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module


_NEIGHBOURS: dict[OwnFile, dict[str, ModuleType]] = {}
"""By file, the modules beside it that it has imported; two files may each have one of the same name."""


@final
class _Neighbours(MetaPathFinder, Loader):
    """Imports what a file names beside itself, from the very source that the checksum covers.

    Python's own importer would take a compiled file in its place, which may hold anything.
    """

    def __init__(self, own: OwnFile) -> None:
        self._folder = own.file.parent
        self._files = {_module_name(path): (path, content) for path, content in own.sources().items() if path}

    @property
    def names(self) -> list[str]:
        """Of the modules."""
        return list(self._files)

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """A module of a file, or the folder of one as a package without code."""
        if fullname in self._files:
            file, _ = self._files[fullname]
            package = file.endswith("__init__.py")
            found = ModuleSpec(fullname, self, origin=str(self._folder / file), is_package=package)
            found.has_location = True
            return found
        if any(name.startswith(f"{fullname}.") for name in self._files):
            return ModuleSpec(fullname, None, is_package=True)
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Execute its source."""
        file, content = self._files[module.__name__]
        exec(compile(content, str(self._folder / file), "exec"), module.__dict__)


@contextmanager
def _importing(own: OwnFile) -> Iterator[None]:
    """Let a file import its neighbours, as a script can, and no module that is only called as one of them."""
    neighbours = _Neighbours(own)
    known = [module for found in _NEIGHBOURS.values() for module in found.values()]
    there = {name: sys.modules.pop(name) for name in neighbours.names if name in sys.modules}
    others = {name: module for name, module in there.items() if all(module is not one for one in known)}
    sys.modules.update(_NEIGHBOURS.get(own, {}))
    sys.meta_path.insert(0, neighbours)
    try:
        yield
    finally:
        sys.meta_path.remove(neighbours)
        _NEIGHBOURS[own] = {name: sys.modules[name] for name in neighbours.names if name in sys.modules}
        sys.modules.update(others)  # everybody else still means what they meant by the name


def _module_name(path: str) -> str:
    """What a file beside another one is imported as."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@contextmanager
def _explained(own: OwnFile) -> Iterator[None]:
    """Name the file whose code fails, whatever it raises."""
    try:
        yield
    except SharewiseError:
        raise
    except (Exception, SystemExit) as error:
        said = " ".join(str(error).split())
        raise ConfigurationError(f"{own.reference} failed: {type(error).__name__}: {said}") from error


def _function(module: ModuleType, own: OwnFile) -> Callable[[], Any]:
    found = getattr(module, own.factory, None)
    if not callable(found):
        here = module.__name__
        functions = [n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == here]
        raise unknown_name(f"factory in {own.file}:", own.factory, functions)
    return cast("Callable[[], Any]", found)
