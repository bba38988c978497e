"""What a training takes its settings from: a finished search, a named recipe, and what is said beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sharewise.errors import ConfigurationError
from sharewise.own_file import OwnFile, is_reference, require_named
from sharewise.recipes import with_recipe
from sharewise.run.folder import RunFolder

__all__ = ["completed_training", "settings_of_search"]

_TAKEN_OVER = ("space", "space_checksum", "data", "data_path", "train_examples", "image_size", "text_length", "seed")


def settings_of_search(path: str | Path) -> dict[str, Any]:
    """What a training of what a search found takes over: space, data, seed, network, and the architecture.

    Args:
        path: folder of a finished search.

    Raises:
        CheckpointError: when it is not finished or damaged.
        ConfigurationError: when it holds something else, or was made of objects that no file can name.
    """
    folder = RunFolder(path)
    stored = folder.read_config()
    if stored["command"] != "search":
        raise ConfigurationError(f"{path} holds a training; give the folder of a search as from_search")
    if "origin" in stored:
        raise ConfigurationError(
            f"{path} was started from Python, with objects that no file can name; train what it found there: "
            "sharewise.train(space, pathlib.Path(folder), data, …)"
        )
    found = {name: stored[name] for name in _TAKEN_OVER if stored.get(name) is not None}
    return {**found, "network": dict(stored["network"]), "architecture": folder.read_result()["architecture"]}


def _one_space(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two settings name one space; the file of a user's own may have moved, with the same content."""
    names = [str(values.get("space")) for values in (one, other)]
    sums = [values.get("space_checksum") for values in (one, other)]
    moved = sums[0] is not None and names[0].rpartition(":")[2] == names[1].rpartition(":")[2]
    return sums[0] == sums[1] and (names[0] == names[1] or moved)


def completed_training(values: Mapping[str, Any], own: OwnFile | None = None) -> dict[str, Any]:
    """The settings of a training with those of what it names; what is given wins.

    A recipe says what a search does not, and what the network shall be: papers search in small and train in large. Only
    a training that starts from inherited weights keeps the network of its search.

    Args:
        values: of a configuration. One that a run folder stores is complete, so that its search need not be there.
        own: the file that makes the space, where the user has named one: it must be that of the search.

    Raises:
        ConfigurationError: for an unknown recipe, or a folder that holds no search.
        CheckpointError: when the search is not finished or damaged.
    """
    network, options = values.get("network") or {}, values.get("recipe") or {}
    if not isinstance(network, Mapping) or not isinstance(options, Mapping):
        return dict(values)  # whoever reads them says so
    recipe, training = with_recipe(options)
    stored = "command" in values and "architecture" in values
    path = None if stored else values.get("from_search")
    searched = {} if path is None else settings_of_search(path)
    if is_reference(searched.get("space")):
        require_named(searched, own)
    of_file = {"space_checksum": None} if "space" in values else {}  # a space and its file's checksum are one setting
    found = {**searched, **of_file, **values}
    if recipe is not None:
        training = {"recipe": options["recipe"], **training}
        found = {"space": recipe.space, "data": recipe.data, **found}
        if found["data"] == recipe.data:
            found = {"image_size": recipe.image_size, **found}
    kept = searched.get("network", {}) if _one_space(found, searched) else {}
    wanted = {} if recipe is None or values.get("start") == "inherited" else recipe.network_in(str(found["space"]))
    return {**found, "recipe": training, "network": {**kept, **wanted, **network}}
