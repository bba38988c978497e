"""What `search` and `train` share: options from fields, YAML and a run folder, and how they are merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharewise.cli.declared import fields_of_class, fields_of_method, fields_of_network, methods, names_of_table
from sharewise.cli.options import Field, add_fields, given, place, require_own
from sharewise.cli.output import print_json, unicode_output
from sharewise.cli.parser import Parser
from sharewise.data.sources import SOURCES
from sharewise.errors import CheckpointError, ConfigurationError, SharewiseError, unknown_name
from sharewise.files import read_bytes
from sharewise.sealed_json import parse_json
from sharewise.spaces import SPACES, load

if TYPE_CHECKING:
    from sharewise.run import RunFolder, SearchConfiguration, TrainConfiguration

__all__ = ["Request", "read_request", "require_run"]

_NESTED = ("network", "recipe")
_TABLES = ("latency",)
"""Read from files of their own, not from the command line."""
_PLACE = ("device", "threads")
"""What a run may go on with that it was not started with: they change the last bits of sums, and nothing else."""

_CONFIGURATIONS = {"search": "SearchConfiguration", "train": "TrainConfiguration"}
_OWNERS = {"network": "space", "recipe": "method"}
"""Whose options the sections of a configuration hold."""


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
    ) -> None:
        self.configuration, self.out, self.dry_run = configuration, out, dry_run
        self.resume, self.print_config, self.as_json, self.tensorboard = resume, print_config, as_json, tensorboard

    def show_config(self) -> None:
        """Print the complete configuration as YAML (or JSON), fit for `--config`."""
        values = self.configuration.complete()
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
    for name, kind in (("space", str), ("method", str), ("config", place), ("resume", place)):
        first.add_argument("--" + name, type=kind)
    early, _ = first.parse_known_args(words)
    named = {name: getattr(early, name) for name in ("space", "method") if getattr(early, name) is not None}
    folder, stored = (None, {}) if early.resume is None else _stored(command, early.resume)
    file = {} if early.config is None else _file(early.config, named)
    network, recipe = _nested(command, {field.name: field.default for field in common} | stored | file | named)
    # A name may serve network and recipe alike only if it means the same; spaces and methods avoid each other's. What a
    # method has for itself as well (`keep`) is the method's.
    common = [field for field in common if field.name not in {own.name for own in recipe}]
    add_fields(parser.add_argument_group("what to run"), common)
    add_fields(parser.add_argument_group("network"), network)
    add_fields(parser.add_argument_group("recipe"), recipe)
    _require_options(command, words, {**stored, **file, **named}, (*common, *network, *recipe))
    namespace = parser.parse(words)
    looks = namespace.print_config or getattr(namespace, "dry_run", False)
    if folder is None and namespace.out is None and not looks:
        raise ConfigurationError("give a folder for the run: --out DIR (or continue one: --resume DIR)")
    if getattr(namespace, "data", None) is not None and namespace.data not in SOURCES:
        raise unknown_name("data set", namespace.data, SOURCES)
    table = getattr(namespace, "latency_table", None)
    if table is not None:
        file = {**file, "latency": _read_table(table)}
    asked = _merged(file, given(namespace, common), given(namespace, network), given(namespace, recipe))
    from sharewise.run import from_mapping

    if folder is not None:
        _require_agreement(command, stored, asked, folder.path, namespace.out)
        elsewhere = {name: asked[name] for name in _PLACE if asked.get(name) is not None}
        asked = {**stored, **elsewhere}
    return Request(
        from_mapping(command, asked),
        Path(namespace.out or ".") if folder is None else folder.path,
        resume=folder is not None,
        print_config=namespace.print_config,
        as_json=namespace.json,
        tensorboard=namespace.tensorboard,
        dry_run=getattr(namespace, "dry_run", False),
    )


def require_run(path: str) -> str:
    """The path of a run folder, seen to be one before anything slow is imported.

    Raises:
        CheckpointError: when there is no such folder, or it holds no run.
    """
    if not Path(path).is_dir():
        raise CheckpointError(f"there is no run folder {path}; start a run with --out {path}")
    if not (Path(path) / "config.yaml").exists():
        raise CheckpointError(f"{path} is not a run folder: it has no config.yaml")
    return path


def _common(command: str) -> list[Field]:
    """The options of the configuration itself; those that name something list what there is."""
    names = {"space": list(SPACES), "method": list(methods()), "data": list(SOURCES)}
    names["selection"] = names_of_table("sharewise.engine.selections", "SELECTIONS")
    fields = fields_of_class("sharewise.run.configuration", _CONFIGURATIONS[command], skip=(*_NESTED, *_TABLES))
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
        "--resume", type=place, metavar="DIR", help="continue the run in this folder; other options may be left out"
    )
    run.add_argument(
        "--config", type=place, metavar="FILE", help="YAML file with any of these options, as --print-config shows"
    )
    run.add_argument("--print-config", action="store_true", help="print the complete configuration and stop")
    run.add_argument("--json", action="store_true", help="print the result as one JSON object")
    run.add_argument("--tensorboard", action="store_true", help="also write TensorBoard scalars into the run folder")
    if command == "search":
        run.add_argument(
            "--latency-table",
            type=place,
            metavar="FILE",
            help="JSON file of milliseconds by option, in place of a measurement",
        )
        run.add_argument(
            "--dry-run", action="store_true", help="make a few steps, say what the search will need, and stop"
        )


def _nested(command: str, values: Mapping[str, Any]) -> tuple[list[Field], list[Field]]:
    """The options of network and recipe, which depend on space and method."""
    network = fields_of_network(load(str(values["space"])))
    if command == "train":
        return network, fields_of_class("sharewise.run.standalone", "TrainingRecipe")
    return network, fields_of_method(str(values["method"]))


def _require_options(command: str, words: list[str], values: Mapping[str, Any], own: tuple[Field, ...]) -> None:
    """Say whose option a word is that belongs to another space's networks or to another method."""
    space = str(values.get("space", "nasbench201"))
    mine = fields_of_network(load(space))
    others = [field for name in SPACES for field in fields_of_network(load(name))]
    require_own(words, f"networks of space {space!r} have", own, mine, others)
    if command == "search":
        method = str(values.get("method", "gaea-erm"))
        others = [field for each in methods().values() for field in each.fields]
        require_own(words, f"method {method!r} has", own, fields_of_method(method), others)


def _stored(command: str, path: str) -> tuple[RunFolder, dict[str, Any]]:
    """The run that is to be continued, and its configuration."""
    require_run(path)
    from sharewise.run import RunFolder

    folder = RunFolder(path)
    stored = folder.read_config()
    _require_mappings(stored, CheckpointError, f"{folder.config} is damaged: ")
    if stored["command"] != command:
        raise ConfigurationError(
            f"{path} holds a {stored['command']} run; continue it with sharewise {stored['command']} --resume"
        )
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


def _read_table(path: str) -> Any:
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
    command: str, stored: Mapping[str, Any], asked: Mapping[str, Any], path: Path, out: str | None
) -> None:
    """Options beside `--resume` may repeat what the run was started with, or say where it goes on; nothing else."""
    if out is not None and Path(out).resolve() != path.resolve():
        raise ConfigurationError(
            f"--out {out} and --resume {path} name different folders; a resumed run stays in its own"
        )
    plain = {name: value for name, value in stored.items() if name not in _NESTED}
    from sharewise.run import from_mapping

    # Both sides are typed and completed alike, so that 1e-3 (text to YAML) equals 0.001, and 1 equals 1.0.
    before = _flat(from_mapping(command, stored).complete())
    now = _flat(from_mapping(command, {**plain, **asked}).complete())
    differences = []
    for name in _flat(asked):
        if name in _PLACE:  # the history says where it goes on
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
