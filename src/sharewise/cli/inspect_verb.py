"""`sharewise inspect`, once called `check-model`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from sharewise.cli.output import print_json
from sharewise.cli.parser import Parser
from sharewise.errors import ConfigurationError, printable
from sharewise.own_file import own_file

if TYPE_CHECKING:
    from sharewise.run.inspection import Ends, Inspection
    from sharewise.testing import ModelReport

__all__ = ["execute"]

_MOST = 8
"""Modules that a line names."""


def execute(parser: Parser, words: list[str]) -> int:
    """Execute the user's own file, and show and check the model that a function in it returns."""
    parser.add_argument(
        "model", metavar="FILE:FACTORY", help="a Python file, and a function in it that returns sharewise.elastic(…)"
    )
    parser.add_argument("--samples", type=int, default=20, metavar="N", help="networks to extract (default: 20)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the networks (default: 0)")
    parser.add_argument(
        "--batch-size",
        type=int,
        default=32,
        metavar="N",
        help="of the step whose memory is shown (default: 32)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse(words)
    for name in ("samples", "batch_size"):
        if getattr(options, name) < 1:
            raise ConfigurationError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(options, name)}")
    own = own_file(options.model)

    from sharewise.run.inspection import inspected
    from sharewise.run.own_space import elastic_model_of
    from sharewise.testing import check_model

    supernet = elastic_model_of(own)
    try:
        report = check_model(supernet, samples=options.samples, seed=options.seed)
    except AssertionError as error:
        if options.json:
            print_json({"model": options.model, "holds": False, "broken": str(error)})
        print(f"broken: {error}", file=sys.stderr)
        return 1
    found = inspected(supernet, batch_size=options.batch_size)
    if options.json:
        print_json({"model": options.model, "holds": True, **report.to_json(), "offers": found.to_json()})
        return 0
    print(f"{options.model}: {report.architectures:,} architectures")
    _show(found)
    _show_proof(report)
    return 0


def _show(found: Inspection) -> None:
    for group in found.groups:
        print(printable(f"  {group.choice}: {', '.join(map(str, group.options))}  ({group.kind} at {_some(group.at)})"))
        if group.follow:
            print(printable(f"      with it: {_some(group.follow)}"))
    for path, why in found.fixed.items():
        print(printable(f"  {path or 'the model itself'} stays: {why}"))
    print(f"parameters:            {_from_to(found.parameters)}")
    print(f"multiply-accumulates:  {_from_to(found.multiply_accumulates)}")
    print(
        f"memory of a step:      {_from_to(found.memory)} bytes, of {found.batch_size} examples"
        if found.memory is not None
        else "memory of a step:      not foreseen, since the model looks at values"
    )


def _show_proof(report: ModelReport) -> None:
    if report.original:
        print("the largest architecture computes what the model computes, bit for bit")
    else:
        print("the model has Choose modules, so that there is no original to compare with")
    print(f"{report.samples} extracted networks equal their slices, bit for bit")
    own = "" if report.computes_in == "float64" else f"; the model casts to {report.computes_in}"
    print(f"one-hot mixtures equal their slices up to {report.continuity:.1e} (float64, relative{own})")


def _some(paths: tuple[str, ...]) -> str:
    more = f" and {len(paths) - _MOST} more" if len(paths) > _MOST else ""
    return ", ".join(path or "the model itself" for path in paths[:_MOST]) + more


def _from_to(ends: Ends) -> str:
    return f"{ends.smallest:>14,} to {ends.largest:,}"
