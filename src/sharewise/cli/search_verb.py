"""`sharewise search`."""

from __future__ import annotations

from sharewise.cli.output import print_json
from sharewise.cli.parser import Parser
from sharewise.cli.running import read_request

__all__ = ["execute"]


def execute(parser: Parser, words: list[str]) -> int:
    """Search, and print what was found."""
    request = read_request("search", parser, words)
    if request.print_config:
        request.show_config()
        return 0
    from rich.markup import escape

    from sharewise.cli.display import console, progress, show_picture
    from sharewise.run import RunFolder, SearchConfiguration, tensorboard

    configuration = request.configuration
    assert isinstance(configuration, SearchConfiguration)
    screen = console(quiet=request.as_json)
    folder = RunFolder(request.out)
    screen.print(
        f"[bold]{escape(configuration.method)}[/bold] on [bold]{escape(configuration.space)}[/bold] with data "
        f"[bold]{escape(configuration.data)}[/bold]: {escape(configuration.build_recipe().describe())}"
    )
    extra = [tensorboard(folder.path / "tensorboard")] if request.tensorboard else []
    with progress(screen) as display:
        configuration.execute(request.out, resume=request.resume, callbacks=[display, *extra])
    result = folder.read_result()
    if request.as_json:
        print_json(result)
        return 0
    screen.print(f"found: [bold]{escape(result['architecture'])}[/bold]")
    screen.print(f"by: {result['selection']['rule']}", markup=False)
    show_picture(screen, result["picture"])
    primary = result["task"]["primary"]
    screen.print(
        f"{primary} with inherited weights: {result['inherited'][primary]:.4f} on "
        f"{result['inherited']['examples']} {result['inherited']['on']} (never the test examples)",
        markup=False,
    )
    screen.print(f"parameters: {result['cost']['parameters']:,}   seconds: {result['cost']['seconds']:.1f}")
    screen.print(f"report: {folder.report}", markup=False)
    return 0
