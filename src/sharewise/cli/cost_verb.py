"""`sharewise cost`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sharewise.cli.declared import fields_of_network
from sharewise.cli.options import add_fields, given, require_own
from sharewise.cli.output import print_json
from sharewise.cli.parser import Parser
from sharewise.errors import ConfigurationError
from sharewise.spaces import SPACES, load

if TYPE_CHECKING:
    import torch

__all__ = ["execute"]


def _device(name: str) -> torch.device:
    """The device of a measurement; the engine is imported for that alone."""
    from sharewise.engine import numerics

    return numerics(name).device


def execute(parser: Parser, words: list[str]) -> int:
    """Count the cost of an architecture's plain network."""
    first = Parser(parser.prog, add_help=False)
    for each in (first, parser):
        each.add_argument("--space", default="nasbench201", help=f"of {', '.join(SPACES)} (default: nasbench201)")
    parser.add_argument("--architecture", required=True, metavar="TEXT", help="standard string of the architecture")
    parser.add_argument(
        "--input-shape", type=int, nargs="+", default=[3, 32, 32], metavar="N", help="of one input (default: 3 32 32)"
    )
    parser.add_argument("--outputs", type=int, default=10, metavar="N", help="number of classes (default: 10)")
    parser.add_argument("--latency", action="store_true", help="also measure seconds per forward pass here")
    parser.add_argument("--batch-size", type=int, default=1, metavar="N", help="of the latency (default: 1)")
    parser.add_argument("--device", default="cpu", help="of the latency (default: cpu)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    early, _ = first.parse_known_args(words)
    space = load(early.space)
    fields = fields_of_network(space)
    add_fields(parser.add_argument_group("network"), fields)
    others = [field for name in SPACES for field in fields_of_network(load(name))]
    require_own(words, f"networks of space {space.name!r} have", fields, fields, others)
    options = parser.parse(words)
    if min(options.input_shape) < 1:
        raise ConfigurationError(f"sizes of --input-shape must be at least 1, got {tuple(options.input_shape)}")
    if options.outputs < 1:
        raise ConfigurationError(f"--outputs must be at least 1, got {options.outputs}")
    if options.batch_size < 1:
        raise ConfigurationError(f"--batch-size must be at least 1, got {options.batch_size}")
    architecture = space.parse(options.architecture)

    import torch

    from sharewise.cost import cost, latency
    from sharewise.supernet import networks_of
    from sharewise.supernet.weights import fitting

    networks = networks_of(space)
    configured = networks.configure(given(options, fields))
    device = _device(options.device) if options.latency else None
    with fitting():
        network = networks.plain(architecture, options.input_shape, options.outputs, configured)
    if device is None:
        torch.set_num_threads(1)  # waiting for a second one takes longer than counting
    counted = cost(network, options.input_shape)
    description: dict[str, object] = {
        "space": space.name,
        "architecture": str(architecture),
        "input_shape": options.input_shape,
        "outputs": options.outputs,
        **counted.to_json(),
    }
    if device is not None:
        description["latency"] = latency(network, options.input_shape, batch_size=options.batch_size, device=device)
    if options.json:
        print_json(description)
        return 0
    print(f"parameters:            {counted.parameters:>14,}")
    print(f"multiply-accumulates:  {counted.multiply_accumulates:>14,}")
    print(f"activations:           {counted.activations:>14,}")
    if options.latency:
        timing = description["latency"]
        assert isinstance(timing, dict)
        print(f"latency (median):      {timing['median_seconds'] * 1e3:>14.3f} ms")
    return 0
