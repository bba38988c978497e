"""The site is built with warnings as errors; its links lead somewhere, and no page complains in a browser."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
CHECK: dict[str, Any] = runpy.run_path(str(ROOT / "docs" / "site" / "check.py"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return folder


@pytest.mark.slow
def test_no_link_is_dead_and_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    assert list(CHECK["dead_links"](site)) == []


@pytest.mark.slow
def test_no_page_complains_in_a_browser(site: Path) -> None:
    program = CHECK["browser"]()
    if program is None:
        pytest.skip("no Chromium on this machine")
    pages = [str(path.relative_to(site)) for path in sorted(site.rglob("*.html"))]
    assert len(pages) > 30
    assert CHECK["console"](site, pages, program) == []


def test_what_is_wrong_with_a_site_is_found(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(
        '<body id="top"><a href="other.html#there">1</a><a href="other.html#not">2</a><a href="gone.html">3</a>'
        '<a href="#top">4</a><img src="https://example.org/x.png"></body>',
        encoding="utf-8",
    )
    (tmp_path / "other.html").write_text('<p id="there">', encoding="utf-8")
    assert list(CHECK["dead_links"](tmp_path)) == [
        "index.html loads https://example.org/x.png",
        "index.html leads to other.html#not, whose anchor is not there",
        "index.html leads to gone.html, which is not there",
    ]


@pytest.mark.slow
def test_a_page_that_complains_is_named(tmp_path: Path) -> None:
    program = CHECK["browser"]()
    if program is None:
        pytest.skip("no Chromium on this machine")
    (tmp_path / "index.html").write_text("<body><main></main><script>nothing.there</script></body>", encoding="utf-8")
    (said,) = CHECK["console"](tmp_path, ["index.html"], program)
    assert said.startswith("index.html: ")
    assert "nothing is not defined" in said
