"""`sharewise cost`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sharewise.cli.options import Field, Words, add_fields, given, listed, require_own
from sharewise.cli.output import print_json
from sharewise.cli.own import named, space_named
from sharewise.cli.parser import Parser
from sharewise.cli.space_options import fields_of_network, fields_of_space, own_and_others
from sharewise.errors import ConfigurationError
from sharewise.own_file import OwnFile
from sharewise.space import Space
from sharewise.spaces import SPACES, with_options

if TYPE_CHECKING:
    import torch

__all__ = ["execute"]


def execute(parser: Parser, words: list[str]) -> int:
    """Count the cost of an architecture's plain network."""
    sizes, fields, own = _add_options(parser, words)
    options = parser.parse(words)
    options.integers = None
    if own is not None:
        _take_form(options, own)
    options.input_shape = (3, 32, 32) if options.input_shape is None else options.input_shape
    options.outputs = 10 if options.outputs is None else options.outputs
    space = space_named(options.space if own else with_options(options.space, given(options, sizes)), own)
    _require_positive(options)
    description = _described(space, options, fields)
    if options.json:
        print_json(description)
    else:
        _show(description)
    return 0


def _add_options(parser: Parser, words: list[str]) -> tuple[list[Field], list[Field], OwnFile | None]:
    """Add the options, and return those of the space and of its networks, with the file that makes it if one does."""
    first = Parser(parser.prog, add_help=False)
    for each in (first, parser):
        each.add_argument(
            "--space",
            default="nasbench201",
            help=f"of {', '.join(SPACES)}, or FILE.py:FACTORY, a function that makes one or an elastic model "
            "(default: nasbench201)",
        )
    parser.add_argument(
        "--architecture",
        required=True,
        metavar="TEXT",
        help="standard string of the architecture; largest or smallest where all choices have an order",
    )
    parser.add_argument(
        "--input-shape",
        action=Words,
        read=listed(int),
        metavar="N",
        help="of one input, by commas or spaces (default: 3 32 32; for a model of your own, of its example)",
    )
    parser.add_argument("--outputs", type=int, metavar="N", help="number of classes (default: 10, or as your model)")
    parser.add_argument("--latency", action="store_true", help="also measure seconds per forward pass here")
    parser.add_argument("--batch-size", type=int, default=1, metavar="N", help="of the latency (default: 1)")
    parser.add_argument("--device", default="cpu", help="of the latency (default: cpu)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    early, _ = first.parse_known_args(words)
    own = named(early.space)
    space = space_named(early.space, own)
    sizes, fields = fields_of_space(early.space), fields_of_network(space)
    if sizes:
        add_fields(parser.add_argument_group("space"), sizes)
    add_fields(parser.add_argument_group("network"), fields)
    mine, others = own_and_others(early.space, space)
    require_own(words, f"space {space.name!r} and its networks have", mine, mine, others)
    return sizes, fields, own


def _take_form(options: argparse.Namespace, own: OwnFile) -> None:
    """Take what is not given from an elastic model, whose example says what it is."""
    from sharewise.run.own_space import form_of, model_of

    model = model_of(own)
    if model is None:
        return
    shape, options.integers = form_of(model)
    if options.input_shape is None:
        options.input_shape = shape
    if options.outputs is None:
        options.outputs = model.output_shape[-1]


def _require_positive(options: argparse.Namespace) -> None:
    if not isinstance(options.input_shape, Mapping) and min(options.input_shape) < 1:
        raise ConfigurationError(f"sizes of --input-shape must be at least 1, got {tuple(options.input_shape)}")
    if options.outputs < 1:
        raise ConfigurationError(f"--outputs must be at least 1, got {options.outputs}")
    if options.batch_size < 1:
        raise ConfigurationError(f"--batch-size must be at least 1, got {options.batch_size}")


def _described(space: Space, options: argparse.Namespace, fields: list[Field]) -> dict[str, Any]:
    """What was asked and what it costs, the latency only where it is wanted."""
    architecture = space.parse(options.architecture)

    import torch

    from sharewise.cost import cost_of, latency
    from sharewise.supernet import networks_of
    from sharewise.supernet.weights import fitting

    networks = networks_of(space)
    configured = networks.configure(given(options, fields))
    device = _device(options.device) if options.latency else None

    def network() -> torch.nn.Module:
        with fitting():
            return networks.plain(architecture, options.input_shape, options.outputs, configured)

    if device is None:
        torch.set_num_threads(1)  # waiting for a second one takes longer than counting
    integers = networks.input_kinds == ("text",) if options.integers is None else options.integers
    description: dict[str, Any] = {
        "space": space.name,
        "architecture": str(architecture),
        "input_shape": _plain(options.input_shape),
        "outputs": options.outputs,
        **cost_of(network, options.input_shape, integers=integers).to_json(),
    }
    if device is not None:
        description["latency"] = latency(
            network(), options.input_shape, batch_size=options.batch_size, device=device, integers=integers
        )
    return description


def _plain(shape: Any) -> Any:
    """A shape, or those of several inputs by name, as lists."""
    return {name: list(one) for name, one in shape.items()} if isinstance(shape, Mapping) else list(shape)


def _device(name: str) -> torch.device:
    """The device of a measurement; the engine is imported for that alone."""
    from sharewise.engine import numerics

    return numerics(name).device


def _show(description: dict[str, Any]) -> None:
    print(f"parameters:            {description['parameters']:>14,}")
    print(f"multiply-accumulates:  {description['multiply_accumulates']:>14,}")
    print(f"activations:           {description['activations']:>14,}")
    if "latency" in description:
        print(f"latency (median):      {description['latency']['median_seconds'] * 1e3:>14.3f} ms")
