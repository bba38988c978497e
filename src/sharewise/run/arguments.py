"""What users give, read as the house takes it: names, functions and plain values become spaces, recipes, data.

Every public function that takes a space, a method, a data set or an architecture reads it here, so that a natural
argument means the same everywhere. What is unambiguous is taken; all else ends in one line that says what to give.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import torch
from torch import nn

from sharewise.data import Dataset
from sharewise.data.sources import load as load_data
from sharewise.engine import EXTENSION_RATE, Callback, Extension, Recipe, SearchResult
from sharewise.errors import ConfigurationError, unknown_name
from sharewise.given import folder, got, optional, truth, whole
from sharewise.methods import build
from sharewise.recipes import with_recipe
from sharewise.run.folder import RunFolder
from sharewise.run.place import Keep, Place, Setting
from sharewise.run.standalone import TrainingRecipe
from sharewise.space import Architecture, Space
from sharewise.spaces import load as load_space
from sharewise.supernet import Supernet, networks_of

__all__ = [
    "AnyArchitecture",
    "AnyData",
    "AnyMethod",
    "AnySpace",
    "AnyTraining",
    "architecture_of",
    "callbacks_of",
    "checked",
    "dataset_of",
    "keep_of",
    "network_of",
    "network_of_training",
    "recipe_of",
    "setting_of",
    "space_of",
    "training_of",
    "whole",
]

AnySpace = Space | Supernet | str | Callable[[], Space]
AnyMethod = Recipe | str | Callable[..., Recipe]
AnyData = Dataset | str | Callable[[], Dataset]
AnyArchitecture = Architecture | str | Mapping[str, Any] | SearchResult | Path
AnyTraining = TrainingRecipe | str | Mapping[str, Any]

Value = TypeVar("Value")


def space_of(given: AnySpace) -> Space:
    """A space: itself, that of a supernet, its name, or the function that makes it.

    Raises:
        ConfigurationError: naming what was given.

    Example:
        >>> space_of("toy-tied-width").size
        12
        >>> space_of(nn.Linear(4, 3))
        Traceback (most recent call last):
        sharewise.errors.ConfigurationError: expected a space, got a Linear: make a model of your own a space by ...
    """
    if isinstance(given, Supernet):
        return given.space
    advice = "give its name or a value such as sharewise.spaces.nasbench201()"
    if isinstance(given, nn.Module):
        advice = "make a model of your own a space by sharewise.elastic(model, {…}, example=…)"
    return _read("space", Space, given, load_space, advice)


def recipe_of(given: AnyMethod | TrainingRecipe, epochs: int | None = None, batch_size: int | None = None) -> Recipe:
    """A recipe: itself, the name of a method, or the function that returns it; over other epochs where they are given.

    Args:
        given: by the user.
        epochs: in place of the recipe's.
        batch_size: of the data, in place of that of a recipe which is not given as a value.

    Raises:
        ConfigurationError: naming what was given.

    Example:
        >>> recipe_of("gdas", epochs=3).epochs
        3
    """
    advice = "give a method's name or a recipe such as sharewise.methods.gaea_erm()"
    if isinstance(given, TrainingRecipe):
        advice = "it trains one architecture, by sharewise.train(…, training=…)"
    recipe = _read("recipe of a method", Recipe, given, build, advice)
    if batch_size is not None and not isinstance(given, Recipe):
        recipe = replace(recipe, batch_size=batch_size)
    return recipe if epochs is None else recipe.with_epochs(whole("epochs", epochs))


def dataset_of(given: AnyData) -> Dataset:
    """A data set: itself, its name, or the function that reads it.

    Data of torch are refused, since one source holds no sealed test examples; the error names what takes two.

    Raises:
        ConfigurationError: naming what was given.

    Example:
        >>> dataset_of("digits").name
        'digits'
    """
    advice = (
        "give a name, sharewise.data.digits(), sharewise.data.arrays('FILE.npz') of your own x_train, y_train, x_test "
        "and y_test, sharewise.data.from_torch(train, test, task=…) of data sets and loaders of torch, or a "
        "sharewise.data.Dataset"
    )
    return _read("data set of sharewise", Dataset, given, load_data, advice)


def architecture_of(given: AnyArchitecture, space: Space) -> Architecture:
    """An architecture: itself, its standard string, a mapping of choices to options, or what a search found.

    A path is the folder of a finished search.

    Raises:
        ConfigurationError: naming what was given, or why it is no architecture of the space.

    Example:
        >>> architecture_of({"width": 8, "activation": "relu"}, space_of("toy-tied-width"))["width"]
        8
    """
    if isinstance(given, SearchResult):
        given = given.architecture
    if isinstance(given, Path):
        given = str(RunFolder(given).read_result()["architecture"])
    return space.own(given)


def training_of(given: AnyTraining | None, epochs: int | None = None, batch_size: int | None = None) -> TrainingRecipe:
    """A recipe of a training: itself, the name of one, its options by name, or the default; over other epochs if given.

    Options may name a recipe under `recipe`, whose options they then change.

    Args:
        given: by the user.
        epochs: in place of the recipe's.
        batch_size: of the data, where neither a recipe nor an option says one.

    Raises:
        ConfigurationError: naming what was given, or an option that is unknown or of a wrong type.

    Example:
        >>> training_of({"recipe": "darts-cifar10", "epochs": 3}).drop_path
        0.2
    """
    if isinstance(given, str):
        given = {"recipe": given}
    alone: Any = {} if given is None else given
    if batch_size is not None and isinstance(alone, Mapping) and not {"recipe", "batch_size"} & set(alone):
        given = {**alone, "batch_size": batch_size}
    options = _options("training option", with_recipe(given)[1], TrainingRecipe) if isinstance(given, Mapping) else {}
    recipe = TrainingRecipe(**options) if given is None or isinstance(given, Mapping) else given
    advice = "give the name of one, or a sharewise.TrainingRecipe(epochs=…)"
    recipe = _read("recipe of a training", TrainingRecipe, recipe, None, advice)
    return recipe if epochs is None else replace(recipe, epochs=whole("epochs", epochs))


def network_of_training(space: Space, training: AnyTraining | None) -> Mapping[str, Any]:
    """The options of the network that a named recipe of a training brings with it.

    Example:
        >>> network_of_training(space_of("nasbench201"), "nasbench201-short")
        {'channels': 8, 'cells': 1}
    """
    options = {"recipe": training} if isinstance(training, str) else training
    recipe = with_recipe(options)[0] if isinstance(options, Mapping) else None
    return {} if recipe is None else recipe.network_in(space.name)


def network_of(space: Space, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Options of a space's network, each of its type; those that are left out stay out.

    Raises:
        ConfigurationError: when they are no mapping, or one is unknown or of a wrong type.

    Example:
        >>> network_of(space_of("nasbench201"), {"channels": "many"})
        Traceback (most recent call last):
        sharewise.errors.ConfigurationError: option channels must be of type int, got 'many'
    """
    if given is not None and not isinstance(given, Mapping):
        raise ConfigurationError(f"network must be a mapping of options to values, {got(given)}")
    return _options("network option", given or {}, networks_of(space).options)


def setting_of(
    space: Space,
    network: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    precision: str | torch.dtype = "float32",
    max_steps: int | None = None,
    threads: int | None = None,
    accumulate: int = 1,
    compile: bool = False,  # noqa: A002 - as torch calls it
    capture: bool = False,
    native: bool | None = None,
) -> Setting:
    """What a run starts from; numbers of numpy are numbers, and torch's devices and types are their names.

    Raises:
        ConfigurationError: naming the first argument that is out of range or of a wrong type.
    """
    place = Place(
        checked("device", str, str(device) if isinstance(device, torch.device) else device),
        checked(
            "precision", str, str(precision).removeprefix("torch.") if isinstance(precision, torch.dtype) else precision
        ),
        optional(whole, "threads", threads),
        accumulate=whole("accumulate", accumulate),
        compile=truth("compile", compile),
        capture=truth("capture", capture),
        native=None if native is None else truth("native", native),
    )
    steps = None if max_steps is None else whole("max_steps", max_steps)
    return Setting(network_of(space, network), whole("seed", seed, least=0), place, steps)


def keep_of(
    out: str | Path | None,
    resume: bool = False,
    checkpoint_every: int | None = None,
    epochs: int | None = None,
    extension_rate: float | None = None,
) -> Keep:
    """Where a run is kept, and how many epochs it shall have in all where it has ended and is gone on with.

    Raises:
        ConfigurationError: for an empty name, when something is to be kept nowhere, or for a rate that nothing needs.
    """
    if extension_rate is not None and (not resume or epochs is None):
        raise ConfigurationError(
            f"extension_rate is for a run that has ended and goes on (resume, with epochs), {got(extension_rate)}"
        )
    place, every = optional(folder, "out", out), optional(whole, "checkpoint_every", checkpoint_every)
    extension = None
    if resume and epochs is not None:
        rate = EXTENSION_RATE if extension_rate is None else checked("extension_rate", float, _plain(extension_rate))
        extension = Extension(whole("epochs", epochs), rate)
    return Keep(place, truth("resume", resume), every, extension)


def callbacks_of(given: Callback | Sequence[Callback]) -> tuple[Callback, ...]:
    """Callbacks: one function, or several.

    Raises:
        ConfigurationError: naming what is no function.
    """
    listed: tuple[Any, ...] = tuple(given) if isinstance(given, list | tuple) else (given,)
    for one in listed:
        if not callable(one):
            raise ConfigurationError(f"callbacks must be functions of (state, event), {got(one)}")
    return listed


def checked(name: str, kind: Any, value: Any) -> Any:
    """A value of the wanted type, or an error that names option, value and type.

    Integers serve as floats, lists as tuples, and numbers in words such as `1e-3` (text to YAML) as numbers.

    Example:
        >>> checked("epochs", int, "five")
        Traceback (most recent call last):
        sharewise.errors.ConfigurationError: option epochs must be of type int, got 'five'
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return checked(name, next(a for a in arguments if a is not type(None)), value)
    if origin is Literal:
        if value in arguments:
            return value
        raise unknown_name(f"value of option {name}:", value, arguments)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(checked(name, arguments[0], item) for item in value)
    found = _scalar(kind, value)
    if found is None:
        words = kind.__name__ if isinstance(kind, type) and not arguments else str(kind).replace("typing.", "")
        raise ConfigurationError(f"option {name} must be of type {words}, got {value!r}")
    return found


def _scalar(kind: Any, value: Any) -> bool | str | int | float | None:
    """A word, a number or a truth value of the wanted type; `None` where it is of another."""
    if kind in (bool, str) and isinstance(value, kind):
        return cast("bool | str", value)
    if isinstance(value, bool):
        return None
    if kind is int and isinstance(value, int):
        return value
    if kind is float:
        with suppress(TypeError, ValueError, OverflowError):
            if math.isfinite(float(value)):
                return float(value)
    return None


def _read(what: str, kind: type[Value], given: Any, named: Callable[[str], Any] | None, advice: str) -> Value:
    """A value of a kind: itself, by its name, or what a function without arguments returns."""
    if isinstance(given, str) and named is not None:
        given = named(given)
    elif callable(given) and not isinstance(given, type | nn.Module | kind):
        try:
            given = given()
        except TypeError as error:
            raise ConfigurationError(f"expected a {what}, {got(given)}, which needs arguments: {error}") from None
    if not isinstance(given, kind):
        article = "an" if what[0] in "aeiou" else "a"
        raise ConfigurationError(f"expected {article} {what}, {got(given)}: {advice}")
    return given


def _options(what: str, given: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """Options of a dataclass by name, each of its type."""
    hints = get_type_hints(kind)
    legal = [field.name for field in fields(kind)]
    for name in given:
        if name not in legal:
            raise unknown_name(what, name, legal)
    return {name: checked(name, hints[name], _plain(value)) for name, value in given.items()}


def _plain(value: Any) -> Any:
    """A scalar of numpy or torch as Python's own."""
    is_scalar = getattr(value, "shape", None) == () and callable(getattr(value, "item", None))
    return value.item() if is_scalar else value
