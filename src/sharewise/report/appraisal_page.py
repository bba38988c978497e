"""The page of an appraisal: the verdict first, then every picture and table that it rests on, explained in words.

Everything is drawn from `appraisal.json` and `architectures.json`, so that a folder can be shown again at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from sharewise.report import appraisal_views as views
from sharewise.report.appraisal_figures import draw_appraisal
from sharewise.report.components import FIGURES, Page, Section, card, cards, render, save
from sharewise.report.documents import Document, showing
from sharewise.report.markup import Markup, element
from sharewise.report.words import mean

__all__ = ["write_appraisal"]


def write_appraisal(folder: Path) -> Path:
    """Draw the figures of an appraisal as SVG and PNG, and write its `report.html`.

    Args:
        folder: with `appraisal.json` and `architectures.json`.

    Returns:
        The path of the page, which replaces an older one only once it is complete.

    Raises:
        CheckpointError: when a file is missing or damaged.
        SharewiseError: when the folder cannot be written.
    """
    with showing(folder, "appraisal", "run sharewise appraise again") as document_of:
        document, rows = document_of("appraisal.json"), document_of("architectures.json")
        pictures = folder / "figures"
        pictures.mkdir(exist_ok=True)
        captions = draw_appraisal(document, rows, pictures)
        return save(folder / "report.html", _page(folder, document, captions))


def _page(folder: Path, document: Document, captions: Mapping[str, str]) -> str:
    page = Page(
        eyebrow="sharewise appraisal",
        title=f"Should {document['space']} share weights?",
        subtitle=f"{document['method']}: {document['description']}, on {document['data']}",
        headline=_cards(document),
        sections=[Section(key, title, build(folder, document, captions)) for key, title, build in _SECTIONS],
        footer=element("footer", "Made by sharewise from ", element("code", str(folder)), "."),
    )
    return render(page, FIGURES)


def _cards(document: Document) -> Markup:
    verdict = document["verdict"]
    variant = verdict["variant"]
    spearman = document["agreement"][variant]["over_seeds"]["spearman"]
    row = next(r for r in document["regret"]["variants"][variant] if r["k"] == verdict["top"])
    found = [
        card("Answer", verdict["answer"], None, wide=True),
        card("Spearman", mean(spearman["interval"], 2), variant),
        card(f"TOP-{verdict['top']} regret", mean(row.get("interval"), 2), document["truth"]["unit"]),
        card("Architectures", f"{document['n']:,}", document["truth"]["source"]),
        card("Supernets", str(len(document["seeds"])), f"seed {', '.join(document['seeds'])}"),
    ]
    return cards(found)


_View = Callable[[Path, Document, Mapping[str, str]], Markup | None]
_SECTIONS: tuple[tuple[str, str, _View], ...] = (
    ("verdict", "Verdict", views.what_follows),
    ("agreement", "Does the supernet rank rightly?", views.agreement),
    ("training-free", "Without any training", views.training_free),
    ("disorder", "Disorder of ranks", views.disorder),
    ("bias", "What is over- or under-valued?", views.bias),
    ("regret", "Regret at equal cost", views.regret),
    ("larger", "What a larger sample would cost", views.larger),
    ("costs", "Costs of the supernets", views.costs),
)
