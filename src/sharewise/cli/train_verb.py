"""`sharewise train`."""

from __future__ import annotations

from sharewise.cli.output import print_json
from sharewise.cli.parser import Parser
from sharewise.cli.running import read_request
from sharewise.errors import printable

__all__ = ["execute"]


def execute(parser: Parser, words: list[str]) -> int:
    """Train, and print the scores on the test examples."""
    request = read_request("train", parser, words)
    if request.print_config:
        request.show_config()
        return 0
    from rich.markup import escape

    from sharewise.cli.display import console, show_course
    from sharewise.recipes import in_words
    from sharewise.run import RunFolder, TrainConfiguration, tensorboard
    from sharewise.run.progress import progress

    configuration = request.configuration
    assert isinstance(configuration, TrainConfiguration)
    screen = console(quiet=request.as_json)
    folder = RunFolder(request.out)
    screen.print(f"training {configuration.parse_architecture()} on {configuration.data}", markup=False)
    recipe = in_words(configuration.complete())
    if recipe is not None:
        screen.print(f"by {recipe}", markup=False)
    extra = [tensorboard(folder.path / "tensorboard")] if request.tensorboard else []
    with progress(screen) as display:
        configuration.execute(
            request.out, resume=request.resume, callbacks=[display, *extra], extension=request.extension
        )
    result = folder.read_result()
    if request.as_json:
        print_json(result)
        return 0
    primary = result["task"]["primary"]
    screen.print(result.get("description", "from scratch"), markup=False)  # older folders do not say
    score = f"[bold]{result['test'][primary]:.4f}[/bold]"
    screen.print(f"test {escape(primary)}: {score} on {result['test']['examples']} examples")
    show_course(screen, result)
    screen.print(f"parameters: {result['cost']['parameters']:,}   seconds: {result['cost']['seconds']:.1f}")
    screen.print(f"report: {printable(folder.report)}", markup=False)
    return 0
