"""All tables and figures of *To Share or Not To Share*, as far as the published scores of 210 supernets go.

Writes `results.json`, `environment.json`, `tables.html`, the figures and the generated part of `README.md`. Usage, from
anywhere::

    SHAREWISE_DATA=FOLDER python experiments/to_share_or_not/run.py [--out DIRECTORY]
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import matplotlib as mpl
import numpy as np
import regrets
import scipy
import table1
from published import HERE, SPACES, VARIANTS, Published, arguments, load, settings
from regrets import Arena, arena, stream

import sharewise
from sharewise.appraisal import (
    compare_groups,
    find_biases,
    holm,
    over_seeds,
    rank_agreement,
    rank_association,
    regret_curve,
    reliability,
    to_plain,
)
from sharewise.appraisal.groups import achieved_power, needed_size, superiority_of_effect
from sharewise.appraisal.interval import Estimate
from sharewise.atomic import replacing
from sharewise.report.markup import Markup, element
from sharewise.report.rank_figures import (
    Curve,
    RegretPanel,
    ScatterPanel,
    draw_disorder,
    draw_guided_regret,
    draw_scatter,
)
from sharewise.report.rank_tables import correlation_table, effect_table

MARKS = "<!-- written by run.py: begin -->", "<!-- written by run.py: end -->"
POINTED_OUT = {"A_1": "residual edge", "A_4": "3x3 convolution on the first node"}
RECALIBRATED = [name for name in VARIANTS if name != "NO-FT"]


# ---------------------------------------------------------------------------------------------------------------------
# Findings


def recalibration(cells: table1.Cells) -> dict[str, Any]:
    """Correlation with adapted batch-normalisation statistics less that without, a space at a time."""
    compared = {space: compare_groups(kept(cells, space, "BNS-FT"), kept(cells, space, "NO-FT")) for space in SPACES}
    corrected = holm([found.welch.p_value for found in compared.values()])
    means = [np.mean([mean(cells, space, name) for space in SPACES]) for name in ("BNS-FT", "NO-FT")]
    return {
        "spaces": {
            space: {"corrected_p": float(p), **to_plain(found.welch)}
            for (space, found), p in zip(compared.items(), corrected, strict=True)
        },
        "mean_with": float(means[0]),
        "mean_without": float(means[1]),
    }


def space_or_variant(cells: table1.Cells) -> dict[str, Any]:
    """Shares of the variation of mean correlations that spaces and recalibrated variants explain, and paired tests."""
    table = np.array([[mean(cells, space, variant) for variant in RECALIBRATED] for space in SPACES])
    whole = ((table - table.mean()) ** 2).sum()
    spaces = len(RECALIBRATED) * ((table.mean(axis=1) - table.mean()) ** 2).sum()
    variants = len(SPACES) * ((table.mean(axis=0) - table.mean()) ** 2).sum()
    pairs = [(space, variant) for space in SPACES for variant in RECALIBRATED if variant != "BNS-FT"]
    found = [compare_groups(kept(cells, s, v), kept(cells, s, "BNS-FT")).welch for s, v in pairs]
    corrected = holm([test.p_value for test in found])
    claims = {
        f"{variant} on {space}": {"difference": test.difference.value, "corrected_p": float(p)}
        for (space, variant), test, p in zip(pairs, found, corrected, strict=True)
        if p < 0.05 and test.difference is not None
    }
    return {
        "explained_by_space": float(spaces / whole),
        "explained_by_variant": float(variants / whole),
        "comparisons_with_BNS-FT": len(pairs),
        "claims_after_Holm": claims,
    }


def links(cells: table1.Cells, data: Published, table: Mapping[str, Any]) -> dict[str, Any]:
    """Size of a space against correlation, and correlation against usefulness."""
    levels = [mean(cells, space, "BNS-FT") for space in SPACES]
    sizes = [int(data.members(space).sum()) for space in SPACES]
    found: dict[str, Any] = {
        "sizes": dict(zip(SPACES, sizes, strict=True)),
        "size_and_correlation": to_plain(
            rank_association(sizes, levels, names=("size of the space", "correlation with the truth"))
        ),
    }
    pairs = {}
    for k in settings()["tops"]:
        for cost in ("by_mac", "as_implied"):
            values = [entry[cost]["difference"] for entry in table["cells"] if entry["top"] == k]
            names = ("correlation with the truth", f"TOP-{k} regret less that of random search")
            pairs[f"TOP-{k}, {cost}"] = rank_association(levels, values, names=names)
    corrected = holm([link.p_value for link in pairs.values()])
    found["correlation_and_regret"] = {
        name: {**to_plain(link), "corrected_p": float(p)}
        for (name, link), p in zip(pairs.items(), corrected, strict=True)
    }
    return found


def biases(data: Published, config: Mapping[str, Any]) -> dict[str, Any]:
    """Features that supernets over- or under-value: in how many of a space's supernets, and how strongly."""
    found: dict[str, Any] = {}
    for space in SPACES:
        reports = {}
        for seed, sample in data.samples(config["variant"], space):
            if not sample.failed:
                reports[seed] = find_biases(
                    data.features(sample.rows),
                    sample.proxy,
                    sample.valid,
                    generator=stream(config["seed"], space, "bias", seed),
                    permutations=config["permutations"],
                    resamples=0,
                    reliability=reliability(data.repeats(sample.rows)),
                )
        entries = {}
        for name in data.features(data.pool(space)[:1]):
            seen = [b for report in reports.values() for b in report.biases if b.feature == name]
            if not seen:  # the same in every architecture of the space
                continue
            entries[name] = {
                "effect": to_plain(over_seeds([b.effect.value for b in seen]).interval),
                "found_over_valued": sum(b.found and b.effect.value > 0 for b in seen),
                "found_under_valued": sum(b.found and b.effect.value < 0 for b in seen),
                "supernets": len(seen),
            }
        found[space] = entries
    return found


def agreements(data: Published, config: Mapping[str, Any]) -> dict[str, Any]:
    """Every statistic of agreement, over the supernets of the baseline."""
    found = {}
    for space in SPACES:
        each = {
            seed: rank_agreement(sample.proxy, sample.valid, generator=stream(0), resamples=0, tops=config["tops"])
            for seed, sample in data.samples(config["variant"], space)
        }
        columns = {
            "spearman": {s: None if a.spearman is None else a.spearman.value for s, a in each.items()},
            "kendall": {s: None if a.kendall is None else a.kendall.value for s, a in each.items()},
            "weighted_tau_by_truth": {
                s: None if a.weighted_tau_by_truth is None else a.weighted_tau_by_truth.value for s, a in each.items()
            },
            "weighted_tau_by_proxy": {
                s: None if a.weighted_tau_by_proxy is None else a.weighted_tau_by_proxy.value for s, a in each.items()
            },
        }
        for k in config["tops"]:
            tops = {seed: agreement.at(k) for seed, agreement in each.items()}
            columns[f"precision_at_{k}"] = {s: None if t is None else t.precision.value for s, t in tops.items()}
        found[space] = {name: to_plain(over_seeds(values).interval) for name, values in columns.items()}
    return found


def protocol(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the paper's text says of its own numbers, computed again."""
    d = config["published"]["superiority"]["d"]
    effect = Estimate(d, d, d, 530, 0.95, "printed")
    return {
        "superiority": {
            "d": d,
            "printed": config["published"]["superiority"]["printed"],
            "by_its_formula": superiority_of_effect(effect, smaller=True).value,
        },
        "power_of_30_against_500_for_d_0.5": achieved_power(0.5, 30, 500),
        "needed_against_500_for_d_0.5": needed_size(0.5, other=500),
        "power_of_5_against_500_for_d_0.5": achieved_power(0.5, 5, 500),
    }


def kept(cells: table1.Cells, space: str, variant: str) -> list[float]:
    return [value for value in cells[space, variant].values.values() if value is not None]


def mean(cells: table1.Cells, space: str, variant: str) -> float:
    interval = cells[space, variant].interval
    assert interval is not None
    return interval.mean


# ---------------------------------------------------------------------------------------------------------------------
# Pictures


def draw(
    data: Published, cells: table1.Cells, arenas: Mapping[str, Arena], config: Mapping[str, Any], out: Path
) -> dict[str, str]:
    """All figures; returns their captions."""
    captions = {}
    panels = []
    for space in SPACES:
        seed, sample = next(pair for pair in data.samples(config["variant"], space) if not pair[1].failed)
        rho = cells[space, config["variant"]].values[seed]
        panels.append(ScatterPanel(f"{space}, seed {seed}", sample.valid, sample.proxy, note=f"Spearman {rho:.2f}"))
    title = "Supernet scores (BNS-FT) beside standalone training, 1,000 architectures each"
    label = "standalone validation accuracy, %"
    captions["scatter"] = draw_scatter(panels, title, [out / "scatter.png"], truth_label=label)
    panels = []
    for space, feature in POINTED_OUT.items():
        sample = data.sample(config["variant"], space, 0)
        has = data.features(sample.rows)[feature]
        panels.append(ScatterPanel(space, sample.valid, sample.proxy, has, feature))
    title = "Two biases: what the supernet over-values depends on the space"
    captions["bias"] = draw_scatter(panels, title, [out / "bias.png"], truth_label=label)
    sample = data.sample(config["variant"], "A_1", 0)
    chosen = stream(config["seed"], "disorder").choice(len(sample.rows), 100, replace=False)
    captions["disorder"] = draw_disorder(
        sample.proxy[chosen],
        sample.valid[chosen],
        f"Ranks of 100 architectures of A_1: Spearman {cells['A_1', 'BNS-FT'].values['0']:.2f} over all 1,000",
        [out / "disorder.png", out / "disorder.svg"],
    )
    shown = []
    for space, found in arenas.items():
        count = found.random.shape[1]
        costs = np.unique(np.geomspace(1, count, 60).round()).astype(int)
        few = costs[costs <= found.whole.evolution.shape[1]]
        guided = np.stack([search.regrets[costs - 1] for search in found.guided.values()])
        curves = {
            "guided by a supernet (n = 5; NRES 4)": curve(guided, costs + found.upfront),
            f"random search (n = {config['repeats']})": curve(found.random[:, costs - 1], costs.astype(float)),
            f"regularized evolution, whole space (n = {config['repeats']})": curve(
                found.whole.evolution[:, few - 1], few.astype(float)
            ),
        }
        shown.append(RegretPanel(space, curves, {k: k + found.upfront for k in config["tops"]}))
    captions["regret"] = draw_guided_regret(
        shown,
        "Test regret against cost: search guided by BNS-FT supernets beside random search and evolution",
        [out / "regret.png", out / "regret.svg"],
        unit="mean standalone trainings (by MAC)",
        ylabel="mean regret, points",
    )
    return captions


def curve(values: np.ndarray, costs: np.ndarray) -> Curve:
    found = regret_curve(values, costs.tolist())
    ends = [(np.nan, np.nan) if pair is None else pair for pair in found.mean_interval]
    low, high = np.array(ends).T
    return Curve(np.asarray(costs, dtype=float), np.array(found.mean, dtype=float), low, high)


def tables_page(cells: table1.Cells, arenas: Mapping[str, Arena], implied: float, config: Mapping[str, Any]) -> str:
    """The tables in the paper's layout as a page of its own."""
    names = {f"TOP-{k}": k for k in config["tops"]}
    parts = [
        correlation_table(
            cells,
            list(SPACES),
            list(VARIANTS),
            "Spearman correlation of supernet scores with standalone training: mean over supernets, ± half of the "
            "95 % t interval. An asterisk stands for a supernet that failed and is left out.",
        )
    ]
    for title, cost in (("by multiply-accumulates", None), ("as the paper's effect sizes imply", implied)):
        compared = {
            (space, name): regrets.compare(found, k, found.upfront if cost is None else cost)[0]
            for space, found in arenas.items()
            for name, k in names.items()
        }
        shown = next(iter(arenas.values())).upfront if cost is None else cost
        caption = (
            f"Mean test regret less that of random search, points; the supernet is charged {title}: {shown:.2g} mean "
            "trainings. ± half of Student's 95 % interval."
        )
        parts.append(effect_table(compared, list(SPACES), list(names), caption))
    style = files("sharewise.report").joinpath("style.css").read_text(encoding="utf-8")
    head = element(
        "head", Markup('<meta charset="utf-8">'), element("title", "Tables"), element("style", Markup(style))
    )
    body = element("body", element("main", *(element("section", part) for part in parts)))
    return f'<!doctype html>\n<html lang="en">\n{head}\n{body}\n</html>\n'


# ---------------------------------------------------------------------------------------------------------------------
# Words


def markdown(results: Mapping[str, Any]) -> str:
    """The generated part of the page."""
    first, second, config = results["table1"], results["regrets"], results["config"]
    implied = second["cost_of_supernet_in_trainings"]["as_implied"]
    parts = [
        "### Table 1: correlation",
        f"""\
Mean over supernets ± the paper's half width (in brackets: half of the 95 % t interval); an asterisk for a failed
supernet, which is left out.

{results["table1_text"]}

Equal to the printed table: {first["means_equal"]} of 42 means and {first["half_widths_equal"]} of 42 half widths.
Failed supernets found: {first["failed_supernets"]}.""",
        *(
            f"Seeds {one} and {other} of {entry['variant']} on {entry['space']} hold the same architectures and the "
            "same scores: one supernet stored twice, so that four and not five stand behind the cell."
            for entry in first["cells"]
            for one, other in entry["same_supernet_twice"]
        ),
        "### Tables 2 and 3: regret",
        f"{second['table'][0].upper()}{second['table'][1:]}. {second['sign']}.",
        *(regrets.text(second, k) for k in config["tops"]),
        f"""\
± is half of Student's 95 % interval, as in the paper; n = 5 supernets (NRES 4) against {config["repeats"]} random
searches. The implied cost is the median of {len(implied["each"])} printed differences, which give
{implied["range"][0]} to {implied["range"][1]} trainings.""",
        bullets(second["comparable"]),
        "### Other statistics of agreement (BNS-FT)",
        """\
Mean over supernets ± half of the 95 % t interval. Weighted tau is given in both directions: weights by true rank, and
by rank of the proxy. Precision: the share of the true best k among the best k by proxy (chance: k / 1,000).""",
        agreement_table(results["agreements"]),
        "### Biases (BNS-FT)",
        """\
Effect: correlation with the proxy's rank at equal true rank, mean over supernets; features that are found in every
supernet of a space with the same sign (corrected p < 0.05 in each), the five strongest.""",
        bias_table(results["biases"]),
        "### Statements of the paper, computed again",
        bullets(statements(results)),
        *(f"![{name}]({name}.png)\n\n*{caption}*" for name, caption in results["captions"].items()),
    ]
    return "\n\n".join(parts)


def agreement_table(found: Mapping[str, Mapping[str, Any]]) -> str:
    names = list(next(iter(found.values())))
    lines = [f"| | {' | '.join(name.replace('_', ' ') for name in names)} |", "| --- " * (len(names) + 1) + "|"]
    lines += [f"| {space} | {' | '.join(centre(row[name]) for name in names)} |" for space, row in found.items()]
    return "\n".join(lines)


def bias_table(found: Mapping[str, Mapping[str, Any]]) -> str:
    lines = ["| space | over-valued | under-valued |", "| --- | --- | --- |"]
    for space, entries in found.items():
        lists = []
        for key in ("found_over_valued", "found_under_valued"):
            always = {name: entry for name, entry in entries.items() if entry[key] == entry["supernets"] > 1}
            strongest = sorted(always, key=lambda name: -abs(always[name]["effect"]["mean"]))[:5]
            lists.append("; ".join(f"{name} ({always[name]['effect']['mean']:+.2f})" for name in strongest) or "–")
        lines.append(f"| {space} | {lists[0]} | {lists[1]} |")
    return "\n".join(lines)


def statements(results: Mapping[str, Any]) -> list[str]:
    """What the paper says in words, beside what the numbers say."""
    again, share, tied = results["recalibration"], results["space_or_variant"], results["links"]
    power, printed = results["protocol"], results["config"]["published"]
    better = sum(entry["corrected_p"] < 0.05 for entry in again["spaces"].values())
    claims = share["claims_after_Holm"]
    shown = ", ".join(f"{name} {claim['difference']:+.2f}" for name, claim in claims.items())
    links = tied["correlation_and_regret"]
    weakest = min(links, key=lambda name: links[name]["p_value"])
    cells = results["regrets"]["cells"]
    mutants = {
        k: ", ".join(f"{e['space']} {e['evolution']['mutants']:.0%}" for e in cells if e["top"] == k)
        for k in results["config"]["tops"]
    }
    order = {e["top"]: e["evolution"]["trainings"] for e in cells}
    held = [e for e in cells if _overlap(e["evolution"], e["printed_evolution"])]
    loose = [e for e in cells if _overlap(e["evolution_confined"], e["printed_evolution"])]
    found = f"""\
Recalibration: mean correlation {again["mean_with"]:.2f} with and {again["mean_without"]:.2f} without, a factor of \
{again["mean_with"] / again["mean_without"]:.1f}; better in {better} of 7 spaces (Welch, corrected by Holm, 5 %).
Space or variant: of the variation of the 35 mean correlations with recalibration, spaces explain \
{share["explained_by_space"]:.0%} and variants {share["explained_by_variant"]:.0%}. Of \
{share["comparisons_with_BNS-FT"]} comparisons of a variant with BNS-FT, {len(claims)} can be claimed after Holm's \
correction{f" ({shown})" if shown else ""}.
Size: {tied["size_and_correlation"]["sentence"]}; the paper prints {printed["size_against_correlation"]}.
Level of correlation and usefulness: six links (TOP-1, 10 and 20 at both costs) have Spearman \
{min(link["rho"] for link in links.values()):.2f} to {max(link["rho"] for link in links.values()):.2f} over 7 spaces; \
the smallest p-value is {links[weakest]["p_value"]:.2g} ({weakest.replace("_", " ").replace("by mac", "by MAC")}), \
{links[weakest]["corrected_p"]:.2g} after Holm's correction. A positive number would mean that better correlation goes \
with a *smaller* gain over random search.
Evolution by the rule of the paper, over whole sub-spaces: how many of the trainings at these costs are of mutants: \
{"; ".join(f"training {order[k]} (TOP-{k}): {mutants[k]}" for k in mutants)}.
Its RE - RS and the printed one have 95 % intervals that meet in {len(held)} of {len(cells)} cells; those of evolution \
that is confined to the sub-space meet them in {len(loose)}.
d = {power["superiority"]["d"]} means that a guided search wins with probability \
{power["superiority"]["by_its_formula"]:.2f} by Φ(-d/√2), the formula behind the paper's 61 % and 65 %; its text says \
{power["superiority"]["printed"]:.2f}.
Thirty supernets against 500 random searches find d = 0.5 with probability \
{power["power_of_30_against_500_for_d_0.5"]:.2f}; for the 0.8 that the text states, \
{power["needed_against_500_for_d_0.5"]} are needed. Five, as published, find it with probability \
{power["power_of_5_against_500_for_d_0.5"]:.2f}."""
    return found.splitlines()


def _overlap(found: Mapping[str, Any], printed: Mapping[str, Any]) -> bool:
    """Whether the interval found and the printed one meet."""
    low, high = found["interval"]
    return bool(
        low <= printed["difference"] + printed["half_width"] and printed["difference"] - printed["half_width"] <= high
    )


def bullets(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def centre(interval: Mapping[str, Any]) -> str:
    return f"{interval['mean']:.2f} ± {(interval['high'] - interval['low']) / 2:.2f}"


def insert(page: str, text: str) -> str:
    """Replace the part of a page between the marks."""
    begin, end = MARKS
    head, rest = page.split(begin)
    return f"{head}{begin}\n\n{text}\n\n{end}{rest.split(end)[1]}"


# ---------------------------------------------------------------------------------------------------------------------
# Running


def run(data: Published, config: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Compute everything, and draw it."""
    out.mkdir(parents=True, exist_ok=True)
    cells = table1.correlations(data)
    evolved = config["evolution_trainings"]
    arenas = {space: arena(data, config, space, config["variant"], evolved=evolved) for space in SPACES}
    table = regrets.document(arenas, config["tops"], config)
    results = {
        "config": dict(config),
        "table1": table1.document(cells, data),
        "table1_text": table1.text(cells),
        "regrets": table,
        "agreements": agreements(data, config),
        "biases": biases(data, config),
        "recalibration": recalibration(cells),
        "space_or_variant": space_or_variant(cells),
        "links": links(cells, data, table),
        "protocol": protocol(config),
        "captions": draw(data, cells, arenas, config, out),
    }
    implied = table["cost_of_supernet_in_trainings"]["as_implied"]["median"]
    save(out / "tables.html", tables_page(cells, arenas, implied, config))
    return results


def save(path: Path, text: str) -> None:
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def environment(seconds: float) -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=HERE, capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "platform": platform.platform(),
        "cores_visible": os.cpu_count(),
        "processes": 1,
        "python": platform.python_version(),
        "sharewise": sharewise.__version__,
        "commit": commit or None,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "matplotlib": mpl.__version__,
        "seconds": round(seconds, 1),
    }


def main(words: Sequence[str] | None = None) -> int:
    parser = arguments(__doc__)
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args(words)
    begin = time.perf_counter()
    results = run(load(Path(options.data)), settings(), options.out)
    save(options.out / "results.json", json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    save(options.out / "environment.json", json.dumps(environment(time.perf_counter() - begin), indent=1) + "\n")
    text = markdown(results)
    page = options.out / "README.md"
    if page.exists():
        save(page, insert(page.read_text(encoding="utf-8"), text))
    print(json.dumps(results, allow_nan=False) if options.json else text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
