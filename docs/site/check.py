"""Open every page of the built site: `python docs/site/check.py [FOLDER]`.

Links are read first: every address within the site leads to a file, and every anchor to an element; nothing is loaded
from elsewhere. Then all pages are opened in a headless Chromium, from a server of this process, and what their consoles
say is listed.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_LOADED = {"script": "src", "img": "src", "link": "href", "source": "srcset", "iframe": "src"}


class Read(HTMLParser):
    """What a page refers to, and what can be referred to in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note addresses and identifiers."""
        given = {name: value for name, value in attrs if value}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in _LOADED and _LOADED[tag] in given and given.get("rel") not in ("canonical", "next", "prev"):
            self.loaded.append(given[_LOADED[tag]])


def dead_links(folder: Path) -> Iterator[str]:
    """Addresses that lead nowhere, and what is loaded from outside."""
    pages = {path: Read(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}
    for path, page in pages.items():
        here = path.relative_to(folder)
        yield from (
            f"{here} loads {address}" for address in page.loaded if urlparse(address).scheme in ("http", "https")
        )
        for address in [*page.links, *page.loaded]:
            if urlparse(address).scheme:
                continue
            target, anchor = urldefrag(unquote(address))
            file = path if not target else (folder / target[1:] if target.startswith("/") else path.parent / target)
            file = (file / "index.html" if file.is_dir() else file).resolve()
            if not file.is_file():
                yield f"{here} leads to {address}, which is not there"
            elif anchor and file in pages and anchor not in pages[file].anchors:
                yield f"{here} leads to {address}, whose anchor is not there"


def browser() -> str | None:
    """A Chromium of this machine."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def console(folder: Path, pages: Sequence[str], program: str) -> list[str]:
    """What the consoles of pages say when they are opened."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, tempfile.TemporaryDirectory() as profile:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = []
        for page in pages:
            options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
            address = f"http://127.0.0.1:{server.server_port}/{page}"
            command = [program, *options, f"--user-data-dir={profile}", "--virtual-time-budget=3000", address]
            ran = subprocess.run(command, capture_output=True, text=True, timeout=180)
            found += [f"{page}: {line}" for line in re.findall(r":CONSOLE[^\]]*\] (.*)", ran.stderr)]
            if "<main" not in ran.stdout and "<body" not in ran.stdout:
                found.append(f"{page}: nothing was shown")
        server.shutdown()
    return found


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the class above
        pass


def main(words: Sequence[str]) -> int:
    """Check a site, and say what is wrong with it."""
    folder = Path(words[0] if words else "build/site").resolve()
    found = list(dead_links(folder))
    program = browser()
    pages = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*.html"))]
    if program is None:
        print("no Chromium here: consoles were not read")
    else:
        found += console(folder, pages, program)
    print("\n".join(found) or f"{len(pages)} pages, nothing to complain of")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
