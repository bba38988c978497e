"""`sharewise benchmark`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from sharewise.cli.output import print_json
from sharewise.cli.parser import Parser
from sharewise.errors import printable, unknown_name
from sharewise.oracle.quantity import Key, Seed
from sharewise.oracle.table import Table, open_table

__all__ = ["execute"]

_SOURCES = (
    "a folder with nasbench101_test108.npz, nasbench201.csv.gz, nasbench_macro_cifar10.csv.gz or meta.pickle.pbz2 (an "
    "unpacked NATS-Bench archive), or a file .tfrecord (NAS-Bench-101) or .pth (NAS-Bench-201)"
)


def execute(parser: Parser, words: list[str]) -> int:
    """Convert, describe or query a table."""
    if words and words[0] in _ACTIONS:
        summary, act = _ACTIONS[words[0]]
        return act(Parser(f"{parser.prog} {words[0]}", summary), words[1:])
    if words and not words[0].startswith("-"):
        raise unknown_name("action of sharewise benchmark:", words[0], _ACTIONS)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", parser_class=argparse.ArgumentParser)
    for name, (summary, _) in _ACTIONS.items():
        actions.add_parser(name, help=summary, add_help=False)
    parser.parse(words)
    parser.print_help()
    return 0


def _import(parser: Parser, words: list[str]) -> int:
    from sharewise.oracle.readers import import_benchmark

    parser.add_argument("source", metavar="SOURCE", help=_SOURCES)
    parser.add_argument("out", metavar="OUT", help="file of the table, such as nb201.table")
    parser.add_argument("--replace", action="store_true", help="replace OUT where it exists")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse(words)

    def report(line: str) -> None:
        print(line, file=sys.stderr)

    table = import_benchmark(options.source, options.out, replace=options.replace, report=report)
    if options.json:
        print_json({"table": str(table.path), **_summary(table)})
    else:
        path = printable(table.path)
        print(f"{path}: {_headline(table)}\nshow what it holds: sharewise benchmark info {path}")
    return 0


def _info(parser: Parser, words: list[str]) -> int:
    parser.add_argument("table", metavar="TABLE", help="file that sharewise benchmark import wrote")
    parser.add_argument("--verify", action="store_true", help="also compare all values with their checksums")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse(words)
    table = open_table(options.table)
    if options.verify:
        table.verify()
    if options.json:
        print_json({**table.info(), "verified": options.verify})
        return 0
    print(f"{_headline(table)}\nsource: {table.provenance.get('source')}")
    for note in table.provenance.get("notes", ()):
        print(f"  {note}")
    for column in table.columns:
        covered = "all" if column.covered == table.rows else f"{column.covered:,} of {table.rows:,}"
        print(f"{column.key} [{column.unit}]: {covered}")
    if options.verify:
        print("all values agree with their checksums")
    return 0


def _query(parser: Parser, words: list[str]) -> int:
    parser.add_argument("table", metavar="TABLE", help="file that sharewise benchmark import wrote")
    parser.add_argument("architecture", metavar="ARCHITECTURE", help="standard string of the architecture")
    parser.add_argument("--metric", required=True, help="what: accuracy, training_time, parameters, latency …")
    parser.add_argument("--dataset", help="as the source names it; left out where the quantity has none, as the rest")
    parser.add_argument("--split", help="of the evaluation: train, valid, test")
    parser.add_argument("--epochs", type=int, metavar="N", help="of the training")
    parser.add_argument("--seed", type=_seed, metavar="N|mean", help="of the training, or mean over its runs")
    parser.add_argument("--device", help="of a latency")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse(words)
    table = open_table(options.table)
    key = Key(options.metric, options.dataset, options.split, options.epochs, options.seed, options.device)
    parts: dict[str, Any] = {name: getattr(key, name) for name in Key.__slots__}
    row = table.row(options.architecture)
    measurement = table.reporter().query(row, **parts)  # the command line reports: test results are answered
    if options.json:
        print_json({"architecture": str(table.space.listing.at(row)), "row": row, **parts, **measurement.to_json()})
        return 0
    cost = "" if measurement.seconds is None else f" ({measurement.seconds:,.6g} s of training)"
    print(f"{measurement.value!r} {measurement.unit}{cost}\n{measurement.provenance}")
    return 0


def _seed(text: str) -> Seed:
    if text == "mean":
        return "mean"
    if text.isdecimal():
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a number or mean, got {text!r}")


def _summary(table: Table) -> dict[str, Any]:
    info = table.info()
    return {**{name: info[name] for name in ("benchmark", "space", "rows", "bytes")}, "columns": len(table.columns)}


def _headline(table: Table) -> str:
    summary = _summary(table)
    return (
        f"{table.benchmark}, {table.rows:,} architectures, {summary['columns']} columns, "
        f"{summary['bytes'] / 1e6:.1f} MB"
    )


_ACTIONS = {
    "import": ("convert an official release into a table, once", _import),
    "info": ("show what a table holds and where it comes from", _info),
    "query": ("look up one value", _query),
}
