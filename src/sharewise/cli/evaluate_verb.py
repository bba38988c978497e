"""`sharewise evaluate`."""

from __future__ import annotations

from sharewise.cli.output import print_json
from sharewise.cli.own import add_own
from sharewise.cli.parser import Parser
from sharewise.cli.running import require_run
from sharewise.own_file import own_of

__all__ = ["execute"]


def execute(parser: Parser, words: list[str]) -> int:
    """Evaluate the network of a run on the test examples."""
    parser.add_argument("run", metavar="RUN", help="folder of a finished search or training")
    add_own(parser)
    parser.add_argument("--device", help="where to compute (default: as the run did)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse(words)
    require_run(options.run)
    own = own_of(options.space)

    from sharewise.run import RunFolder, evaluate_test, restore

    folder = RunFolder(options.run)
    restored = restore(folder, device=options.device, own=own)
    scores = evaluate_test(restored.network, restored.dataset, restored.numerics, reader="sharewise evaluate")
    with folder.locked():  # every look at the test examples stays on record
        result = folder.read_result()
        result["test_openings"] += restored.dataset.openings
        folder.write_result(result)
    recorded = result.get("test")
    if options.json:
        print_json(
            {
                "run": str(folder.path),
                "architecture": str(restored.architecture),
                "weights": restored.origin,
                "split": "test",
                "test": scores,
                "recorded_test": recorded,
            }
        )
        return 0
    print(f"{restored.architecture}\nweights: {restored.origin}")
    for name, value in scores.items():
        print(f"test {name}: {value:.4f}" if name != "examples" else f"test examples: {value}")
    primary = restored.dataset.task.primary
    if recorded is not None and isinstance(recorded.get(primary), float):
        print(f"recorded when the run ended: {primary} {recorded[primary]:.4f}")
    return 0
