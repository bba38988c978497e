"""`sharewise train`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.markup import escape

from sharewise.cli.display import console, progress
from sharewise.cli.options import Field, dataclass_fields
from sharewise.cli.parser import Parser
from sharewise.cli.running import print_json, read_request
from sharewise.errors import printable
from sharewise.run import RunFolder, TrainConfiguration, tensorboard
from sharewise.run.standalone import TrainingRecipe
from sharewise.spaces import load
from sharewise.supernet import networks_of

__all__ = ["execute"]


def _nested(values: Mapping[str, Any]) -> tuple[list[Field], list[Field]]:
    space = str(values.get("space", TrainConfiguration.space))
    return dataclass_fields(networks_of(load(space)).options), dataclass_fields(TrainingRecipe)


def execute(parser: Parser, words: list[str]) -> int:
    """Train, and print the scores on the test examples."""
    request = read_request("train", TrainConfiguration, parser, words, _nested)
    if request.print_config:
        request.show_config()
        return 0
    configuration = request.configuration
    assert isinstance(configuration, TrainConfiguration)
    screen = console(quiet=request.as_json)
    folder = RunFolder(request.out)
    screen.print(f"training {configuration.parse_architecture()} on {configuration.data}", markup=False)
    extra = [tensorboard(folder.path / "tensorboard")] if request.tensorboard else []
    with progress(screen) as display:
        configuration.execute(request.out, resume=request.resume, callbacks=[display, *extra])
    result = folder.read_result()
    if request.as_json:
        print_json(result)
        return 0
    primary = result["task"]["primary"]
    score = f"[bold]{result['test'][primary]:.4f}[/bold]"
    screen.print(f"test {escape(primary)}: {score} on {result['test']['examples']} examples")
    screen.print(f"parameters: {result['cost']['parameters']:,}   seconds: {result['cost']['seconds']:.1f}")
    screen.print(f"report: {printable(folder.report)}", markup=False)
    return 0
