"""What `search` and `train` share: options from fields, YAML and a run folder, and how they are merged."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from sharewise.cli.declared import fields_of_class, fields_of_method, methods, names_of_table
from sharewise.cli.executor import PROCESSES, TASK_TIMEOUT, add_workers, workers_of
from sharewise.cli.options import Field, Words, add_fields, given, place, require_own
from sharewise.cli.output import print_json, unicode_output
from sharewise.cli.own import named as own_named
from sharewise.cli.own import space_named
from sharewise.cli.parser import Parser
from sharewise.cli.space_options import fields_of_network, fields_of_space, own_and_others
from sharewise.cli.trial import small_selection, trial_in_words
from sharewise.data.sources import SOURCES
from sharewise.errors import CheckpointError, ConfigurationError, SharewiseError, unknown_name
from sharewise.files import read_bytes
from sharewise.own_file import OwnFile, is_reference, require_named
from sharewise.recipes import RECIPES, NamedRecipe
from sharewise.recipes import named as recipe_of
from sharewise.sealed_json import parse_json
from sharewise.space import Space
from sharewise.spaces import SPACES, with_options
from sharewise.studies.seeds import seeds_of

if TYPE_CHECKING:
    from sharewise.engine import Extension
    from sharewise.run import RunFolder, SearchConfiguration, TrainConfiguration

__all__ = ["Many", "Request", "read_latency_table", "read_request", "require_front", "require_run"]

_NESTED = ("network", "recipe")
_APART = ("latency", "space_checksum", "own")
"""Read from files of their own, or with the name of one, not as options."""
_PLACE = ("device", "threads", "native", "compile", "capture")
"""What a run may go on with that it was not started with: they change the last bits of sums at most."""

_CONFIGURATIONS = {"search": "SearchConfiguration", "train": "TrainConfiguration"}
_OWNERS = {"network": "space", "recipe": "method"}
"""Whose options the sections of a configuration hold."""


@final
@dataclass(frozen=True)
class Many:
    """Several seeds of one search.

    Args:
        seeds: of the searches.
        retrain: the words of `--retrain`: a recipe and what shall differ from it; empty for no retraining.
        workers: who does it, as arguments of a study.
    """

    seeds: tuple[int, ...]
    retrain: tuple[str, ...]
    workers: Mapping[str, Any]


class Request:
    """What the user asked for.

    Args:
        configuration: complete and checked.
        out: the run folder.
        resume: whether the folder holds the run to be continued.
        print_config: whether to print the configuration and stop.
        as_json: whether to print one JSON object instead of words.
        tensorboard: whether to write TensorBoard scalars as well.
        dry_run: whether to say what the search will need, and stop.
        extension: what a run that has ended shall go on by.
        many: several seeds, and how what they find is retrained; `None` for one search or training.
        jobs: of one search, candidates of its selection at a time; `None` for one per core.
        note: what the user should know before it starts, in one line, if anything.
    """

    def __init__(
        self,
        configuration: SearchConfiguration | TrainConfiguration,
        out: Path,
        *,
        resume: bool,
        print_config: bool,
        as_json: bool,
        tensorboard: bool,
        dry_run: bool = False,
        extension: Extension | None = None,
        many: Many | None = None,
        jobs: int | None = None,
        note: str = "",
    ) -> None:
        self.configuration, self.out, self.dry_run = configuration, out, dry_run
        self.extension, self.many, self.jobs, self.note = extension, many, jobs, note
        self.resume, self.print_config, self.as_json, self.tensorboard = resume, print_config, as_json, tensorboard

    def show_config(self) -> None:
        """Print the complete configuration as YAML (or JSON), fit for `--config`."""
        values = self.configuration.complete()
        if self.note:
            print(self.note, file=sys.stderr)
        if self.as_json:
            print_json(values)
        else:
            import yaml

            print(yaml.safe_dump(values, sort_keys=False, allow_unicode=unicode_output()), end="")


def read_request(command: str, parser: Parser, words: list[str]) -> Request:
    """Parse the words of `search` or `train`.

    Later sources win: defaults, the YAML file, the command line. Beside `--resume`, options must agree with the run's.
    Words are understood before anything slow is imported, so that a mistake is answered at once.

    Args:
        command: `"search"` or `"train"`.
        parser: empty.
        words: after the verb.

    Raises:
        ConfigurationError: when options clash.
    """
    common = _common(command)
    _add_run(parser, command)
    first = Parser(parser.prog, add_help=False)
    for name in ("space", "method", "recipe"):
        first.add_argument("--" + name)
    for name in ("config", "resume", "from-search", "from-front"):
        first.add_argument("--" + name, type=place)
    first.add_argument("--point", type=int)
    early, _ = first.parse_known_args(words)
    point = _point(early) if command == "train" else {}
    named = {name: getattr(early, name) for name in ("space", "method") if getattr(early, name) is not None}
    own = own_named(early.space)
    folder, stored = (None, {}) if early.resume is None else _stored(command, early.resume, own)
    file = {**({} if early.config is None else _file(early.config, named)), **point}
    early.from_search = point.get("from_search", early.from_search)
    recipe_named, origin = _origin(command, early, {**stored, **file}, own)
    defaults = {field.name: field.default for field in common}
    values = defaults | origin | stored | file | named
    space, sizes = space_named(str(values["space"]), own), fields_of_space(str(values["space"]))
    network, recipe = _nested(command, space, values, recipe_named)
    # Spaces and methods avoid each other's names. What a method has for itself as well as all searches (`keep`) is the
    # method's, and what a network has for itself as well as all trainings (`drop_path`) is the network's.
    recipe = [field for field in recipe if field.name not in {own.name for own in network}]
    common = [field for field in common if field.name not in {own.name for own in recipe}]
    add_fields(parser.add_argument_group("what to run"), common)
    if sizes:
        add_fields(parser.add_argument_group("space"), sizes)
    add_fields(parser.add_argument_group("network"), network)
    add_fields(parser.add_argument_group("recipe"), recipe)
    _require_options(command, words, space, values, (*common, *sizes, *network, *recipe))
    namespace = parser.parse(words)
    if point and getattr(namespace, "architecture", None) is not None:
        raise ConfigurationError("--point names the architecture: leave --architecture out")
    looks = namespace.print_config or getattr(namespace, "dry_run", False)
    if folder is None and namespace.out is None and not looks:
        raise ConfigurationError("give a folder for the run: --out DIR (or continue one: --resume DIR)")
    if getattr(namespace, "data", None) is not None and namespace.data not in SOURCES:
        raise unknown_name("data set", namespace.data, SOURCES)
    table = getattr(namespace, "latency_table", None)
    if table is not None:
        file = {**file, "latency": read_latency_table(table)}
    asked = _merged(file, given(namespace, common), given(namespace, network), given(namespace, recipe))
    if own is not None:
        asked |= {"space": own.reference, "space_checksum": own.checksum}
    elif chosen := given(namespace, sizes):
        asked["space"] = with_options(str(values["space"]), chosen)
    extension = _extension(asked, namespace.extension_rate, resumes=folder is not None)
    single = command == "search" and folder is None and namespace.seeds is None and not namespace.retrain
    few = small_selection(asked.get("max_steps"), recipe, asked.get("recipe") or {}) if single else {}
    if few:
        asked["recipe"] = {**(asked.get("recipe") or {}), **few}
    from sharewise.run import from_mapping

    if folder is not None:
        _require_agreement(command, stored, asked, folder.path, namespace.out, own)
        elsewhere = {name: asked[name] for name in _PLACE if asked.get(name) is not None}
        asked = {**stored, **elsewhere}
    return Request(
        from_mapping(command, asked, own),
        Path(namespace.out or ".") if folder is None else folder.path,
        resume=folder is not None,
        print_config=namespace.print_config,
        as_json=namespace.json,
        tensorboard=namespace.tensorboard,
        dry_run=getattr(namespace, "dry_run", False),
        extension=extension,
        many=_many(namespace, asked) if command == "search" else None,
        jobs=namespace.jobs if command == "search" else None,
        note=trial_in_words(asked["max_steps"], recipe, few) if few else "",
    )


def _point(early: argparse.Namespace) -> dict[str, Any]:
    """The search and the architecture of a point of a front, where one is named."""
    if early.from_front is None:
        if early.point is not None:
            raise ConfigurationError(f"--point {early.point} is a point of a front: give --from-front FRONT as well")
        return {}
    if early.point is None or early.from_search is not None:
        raise ConfigurationError("--from-front FRONT takes the place of --from-search, and needs --point N")
    require_front(early.from_front)
    from sharewise.studies.front import point_of

    run, architecture = point_of(Path(early.from_front), early.point)
    return {"from_search": run, "architecture": architecture}


def _extension(asked: dict[str, Any], rate: float | None, *, resumes: bool) -> Extension | None:
    """The epochs beside `--resume`, taken out of what is asked: a run that has ended goes on to them."""
    recipe = asked.get("recipe") or {}
    given = resumes and recipe.get("epochs") is not None
    if rate is not None and not given:
        raise ConfigurationError(f"--extension-rate {rate:g} is for a run that has ended: --resume RUN --epochs N")
    if not given:
        return None
    from sharewise.engine import EXTENSION_RATE, Extension
    from sharewise.run.arguments import checked

    asked["recipe"] = {name: value for name, value in recipe.items() if name != "epochs"}
    return Extension(checked("epochs", int, recipe["epochs"]), EXTENSION_RATE if rate is None else rate)


def _many(namespace: argparse.Namespace, wanted: Mapping[str, Any]) -> Many | None:
    """Several seeds, where they or a retraining are asked for.

    Args:
        namespace: of the command line.
        wanted: what is asked for, configuration file included, whose seed is that of a single search.

    Raises:
        ConfigurationError: when something that belongs to a single run is asked for as well.
    """
    seeds, retrain = namespace.seeds, tuple(namespace.retrain or ())
    if seeds is None and not retrain:
        if namespace.executor != PROCESSES:
            raise ConfigurationError("--executor spreads several searches over workers: give --seeds")
        if namespace.task_timeout != TASK_TIMEOUT:
            raise ConfigurationError("--task-timeout ends workers of several searches: give --seeds")
        return None
    single = {"resume": namespace.resume, "tensorboard": namespace.tensorboard, "dry-run": namespace.dry_run}
    for name, asked in single.items():
        if asked:
            raise ConfigurationError(
                f"--{name} belongs to one search; with --seeds or --retrain leave it out (the same command goes on)"
            )
    if seeds is not None and getattr(namespace, "seed", None) is not None:
        raise ConfigurationError("give --seed for one search or --seeds for several, not both")
    under = (wanted.get("seed") or 0,) if seeds is None else seeds
    workers = workers_of(namespace)
    return Many(under, retrain, {**workers, "jobs": 1 if namespace.jobs is None else namespace.jobs})


def require_run(path: str) -> str:
    """The path of a run folder, seen to be one before anything slow is imported.

    Raises:
        CheckpointError: when there is no such folder, or it holds no run.
    """
    if not Path(path).is_dir():
        raise CheckpointError(f"there is no run folder {path}; start a run with --out {path}")
    if not (Path(path) / "config.yaml").exists():
        if (Path(path) / "plan.json").exists():
            raise CheckpointError(
                f"{path} holds a study, not a run; go on with: sharewise study {path}/plan.json --out {path}"
            )
        raise CheckpointError(f"{path} is not a run folder: it has no config.yaml")
    return path


def require_front(path: str) -> str:
    """The path of a folder that holds a front.

    Raises:
        CheckpointError: when it holds none.
    """
    if not (Path(path) / "front.json").is_file():
        raise CheckpointError(f"{path} holds no front; find one: sharewise front RUN --parameters N,… --out {path}")
    return path


def _common(command: str) -> list[Field]:
    """The options of the configuration itself; those that name something list what there is."""
    names = {"space": list(SPACES), "method": list(methods()), "data": list(SOURCES)}
    names["selection"] = names_of_table("sharewise.engine.selections", "SELECTIONS")
    fields = fields_of_class("sharewise.run.configuration", _CONFIGURATIONS[command], skip=(*_NESTED, *_APART))
    return [
        replace(field, text=f"{field.text.rstrip('.')}: {', '.join(names[field.name])}")
        if field.name in names
        else field
        for field in fields
    ]


def _add_run(parser: Parser, command: str) -> None:
    run = parser.add_argument_group("run")
    run.add_argument("--out", type=place, metavar="DIR", help="folder of the run, to be created")
    run.add_argument(
        "--resume",
        type=place,
        metavar="DIR",
        help="continue the run in this folder; other options may be left out; more --epochs extend one that has ended",
    )
    run.add_argument(
        "--config", type=place, metavar="FILE", help="YAML file with any of these options, as --print-config shows"
    )
    run.add_argument(
        "--extension-rate",
        type=float,
        metavar="X",
        help="beside --resume RUN --epochs N, which extends a run that has ended: where a learning rate that has come "
        "to its end starts anew, as a fraction of the first (default: 0.1)",
    )
    run.add_argument("--print-config", action="store_true", help="print the complete configuration and stop")
    run.add_argument("--json", action="store_true", help="print the result as one JSON object")
    run.add_argument("--tensorboard", action="store_true", help="also write TensorBoard scalars into the run folder")
    if command == "train":
        run.add_argument(
            "--from-front",
            type=place,
            metavar="DIR",
            help="folder of a front, one of whose points is trained with what its search leaves, as by --from-search",
        )
        run.add_argument("--point", type=int, metavar="N", help="which point of the front, from 1")
    if command == "search":
        run.add_argument(
            "--latency-table",
            type=place,
            metavar="FILE",
            help="JSON file of milliseconds by option, in place of a measurement",
        )
        many = parser.add_argument_group("several seeds (--out is a study then, which the same command goes on with)")
        many.add_argument(
            "--seeds",
            action=Words,
            read=_seeds,
            metavar="N",
            help="search under several seeds: 5 for those from 0 to 4, or a list such as 3,7,9",
        )
        many.add_argument(
            "--retrain",
            nargs="+",
            metavar=("RECIPE", "NAME=VALUE"),
            help="train what every seed found by a recipe (see `sharewise list recipes`); options of the training or "
            "of its network may follow, such as epochs=3 channels=8",
        )
        add_workers(
            many,
            jobs=None,
            meaning="workers (default: 1), or candidates that the selection of one search scores at a time (default: "
            "one per core); results do not depend on them",
        )
        run.add_argument(
            "--dry-run", action="store_true", help="make a few steps, say what the search will need, and stop"
        )


def _origin(
    command: str, early: argparse.Namespace, given: Mapping[str, Any], own: OwnFile | None
) -> tuple[NamedRecipe | None, dict[str, Any]]:
    """The recipe that a training names, and its space where only that recipe or its search says it."""
    if command != "train":
        return None, {}
    section = given.get("recipe") or {}
    name, path = early.recipe or section.get("recipe"), early.from_search or given.get("from_search")
    recipe = None if name is None else recipe_of(str(name))
    if "space" in given:
        return recipe, {}
    if path is not None:
        from sharewise.run import settings_of_search

        searched = settings_of_search(path)
        if is_reference(searched["space"]):
            require_named(searched, own)
        return recipe, {"space": searched["space"]}
    return recipe, {} if recipe is None else {"space": recipe.space}


def _seeds(words: Sequence[str]) -> tuple[int, ...]:
    """Seeds of one word or of several, which are a list."""
    return seeds_of(words[0] if len(words) == 1 else ",".join(word.removesuffix(",") for word in words))


def _nested(
    command: str, space: Space, values: Mapping[str, Any], named: NamedRecipe | None
) -> tuple[list[Field], list[Field]]:
    """The options of network and recipe, which depend on space and method; a named recipe has defaults of its own."""
    network = fields_of_network(space)
    if command != "train":
        return network, fields_of_method(str(values["method"]))
    choice = Field("recipe", str, None, f"named training whose options are the defaults: {', '.join(RECIPES)}")
    training = fields_of_class("sharewise.run.standalone", "TrainingRecipe")
    if named is not None:
        network = [replace(f, default=named.network_in(space.name).get(f.name, f.default)) for f in network]
        training = [replace(f, default=named.training.get(f.name, f.default)) for f in training]
    return network, [choice, *training]


def _require_options(
    command: str, words: list[str], space: Space, values: Mapping[str, Any], own: tuple[Field, ...]
) -> None:
    """Say whose option a word is that belongs to another space's networks or to another method."""
    mine, others = own_and_others(str(values["space"]), space)
    require_own(words, f"space {space.name!r} and its networks have", own, mine, others)
    if command == "search":
        method = str(values.get("method", "gaea-erm"))
        others = [field for each in methods().values() for field in each.fields]
        require_own(words, f"method {method!r} has", own, fields_of_method(method), others)


def _stored(command: str, path: str, own: OwnFile | None) -> tuple[RunFolder, dict[str, Any]]:
    """The run that is to be continued, and its configuration; one of a file is that of the file which was named."""
    require_run(path)
    from sharewise.run import RunFolder

    folder = RunFolder(path)
    stored = folder.read_config()
    _require_mappings(stored, CheckpointError, f"{folder.config} is damaged: ")
    if stored["command"] != command:
        raise ConfigurationError(
            f"{path} holds a {stored['command']} run; continue it with sharewise {stored['command']} --resume"
        )
    require_named(stored, own)
    return folder, stored


def _file(path: str, named: Mapping[str, str]) -> dict[str, Any]:
    """The configuration file; its options of a network or recipe belong to the space or method that it names."""
    if not Path(path).is_file():
        raise ConfigurationError(f"cannot read the configuration {path}: there is no such file")
    from sharewise.run import read_yaml

    file = read_yaml(path)
    _require_mappings(file, ConfigurationError, "")
    for section, owner in _OWNERS.items():
        there, here = file.get(owner), named.get(owner)
        if file.get(section) and there is not None and here is not None and there != here:
            raise ConfigurationError(
                f"the {section} section of {path} belongs to {owner} {there!r}, not to {here!r}; drop the {section} "
                f"section, or leave --{owner} out"
            )
    return file


def read_latency_table(path: str) -> Any:
    """A latency table from a file; its form is checked with the configuration."""
    try:
        return parse_json(read_bytes(Path(path), follow=True))
    except OSError as error:
        raise ConfigurationError(f"cannot read the latency table {path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"the latency table {path} is not valid JSON: {error}") from None


def _merged(
    file: Mapping[str, Any], common: dict[str, Any], network: dict[str, Any], recipe: dict[str, Any]
) -> dict[str, Any]:
    values = {**file, **common}
    for name, extra in (("network", network), ("recipe", recipe)):
        if extra:
            values[name] = {**(values.get(name) or {}), **extra}
    return values


def _require_mappings(values: Mapping[str, Any], kind: type[SharewiseError], where: str) -> None:
    for name in _NESTED:
        value = values.get(name)
        if value is not None and not isinstance(value, Mapping):
            raise kind(f"{where}{name} must be a mapping of options to values, got {value!r}")


def _require_agreement(
    command: str,
    stored: Mapping[str, Any],
    asked: Mapping[str, Any],
    path: Path,
    out: str | None,
    own: OwnFile | None,
) -> None:
    """Options beside `--resume` may repeat what the run was started with, or say where it goes on; nothing else."""
    if out is not None and Path(out).resolve() != path.resolve():
        raise ConfigurationError(
            f"--out {out} and --resume {path} name different folders; a resumed run stays in its own"
        )
    plain = {name: value for name, value in stored.items() if name not in _NESTED}
    from sharewise.run import from_mapping

    # Both sides are typed and completed alike, so that 1e-3 (text to YAML) equals 0.001, and 1 equals 1.0.
    before = _flat(from_mapping(command, stored, own).complete())
    now = _flat(from_mapping(command, {**plain, **asked}, own).complete())
    differences = []
    for name in _flat(asked):
        if name in _PLACE or (own is not None and name == "space"):  # the history says where; the file may have moved
            continue
        if name not in before:
            differences.append(f"{name} was not part of the run and is now {now[name]!r}")
        elif now[name] != before[name]:
            differences.append(f"{name} was {before[name]!r} and is now {now[name]!r}")
    if differences:
        raise ConfigurationError(
            f"the options beside --resume {path} differ from the run's: {'; '.join(differences)}. "
            "Leave them out, or start a new run with --out"
        )


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    flat = {name: value for name, value in values.items() if name not in _NESTED}
    for name in _NESTED:
        flat |= {f"{name}.{key}": value for key, value in (values.get(name) or {}).items()}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in flat.items()}
