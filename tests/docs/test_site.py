"""The built documentation: links, names and options are complete, and pages work in a browser without a network.

`make docs` builds it and runs these tests; without a built site they are skipped.
"""

import importlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import mixfast
from mixfast.cli._main import build_parser

if "MIXFAST_DOCS" not in os.environ:
    pytest.skip("run by `make docs`, on the site that it built", allow_module_level=True)
SITE = Path(os.environ["MIXFAST_DOCS"]).resolve()
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Network requests of a local page in Chromium's log; the browser's own requests, such as for updates, have no origin.
ASKED = re.compile(r'"initiator":"(?:null|file:[^"]*)".*"url":"((?:https?|wss?)://[^"]+)"')
ROOMS = ["mixfast", *(f"mixfast.{room}" for room in mixfast._ROOMS)]


class Page(HTMLParser):
    """The links of a page, the files that it loads, and its anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links, self.loads, self.anchors = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.anchors.update(found[name] for name in ("id", "name") if found.get(name))
        if tag in ("script", "img", "link", "iframe", "source"):
            self.loads += [found[name] for name in ("src", "href") if found.get(name)]
        elif tag == "a" and found.get("href"):
            self.links.append(found["href"])


@pytest.fixture(scope="module")
def pages() -> dict[Path, Page]:
    return {path: Page(path) for path in SITE.rglob("*.html") if "_static" not in path.parts}


def test_every_link_leads_to_a_page_and_an_anchor_of_it(pages):
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                broken.append(f"{path.relative_to(SITE)}: {link}")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                broken.append(f"{path.relative_to(SITE)}: {link}: no such anchor")
    assert not broken, "\n".join(broken)


def test_nothing_is_loaded_from_elsewhere(pages):
    for path, page in pages.items():
        far = [link for link in page.loads if urlsplit(link).scheme in ("http", "https") or link.startswith("//")]
        assert not far, f"{path.relative_to(SITE)} loads {far}"
    for sheet in SITE.rglob("*.css"):
        far = re.findall(r"(?:url\(|@import\s+)[\"']?(?:https?:)?//[^)\"']+", sheet.read_text(encoding="utf-8"))
        assert not far, f"{sheet.relative_to(SITE)} loads {far}"


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_is_in_the_reference(room, pages):
    folder = SITE / "reference" / "api" / "generated"
    anchors = set().union(*(page.anchors for path, page in pages.items() if path.parent == folder))
    for name in importlib.import_module(room).__all__:
        top = f"mixfast.{name}" if name in mixfast.__all__ else ""
        assert {top, f"{room}.{name}"} & anchors, f"{room}.{name} is not in the API reference"


def parsers(parser) -> Iterator:
    yield parser
    for action in parser._actions:
        if action.nargs == "A...":
            for one in action.choices.values():
                yield from parsers(one)


def test_every_command_and_option_has_an_anchor(pages):
    anchors = pages[SITE / "reference" / "commands.html"].anchors
    for parser in parsers(build_parser()):
        command = parser.prog.replace(" ", "-")
        assert command in anchors, f"{parser.prog} is not in the reference of commands"
        for action in parser._actions:
            for option in action.option_strings:
                if option not in ("-h", "--help") and action.help != "==SUPPRESS==":
                    assert f"cmdoption-{command}-{option.lstrip('-')}" in anchors, f"{parser.prog} {option}"


@pytest.fixture(scope="module")
def look(tmp_path_factory):
    """Open a page in a browser; return its elements, its messages, and the addresses that it requested."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here (Debian: chromium)")
    folder = tmp_path_factory.mktemp("browser")

    def load(address: str) -> tuple[str, list[str], set[str]]:
        log = folder / "net.json"
        done = subprocess.run(
            [
                CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
                "--disable-component-update", "--disable-sync", "--disable-default-apps", "--enable-logging=stderr",
                f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", "--virtual-time-budget=8000", "--dump-dom",
                f"file://{SITE}/{address}",
            ],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        # Ignore the theme's own message about its mode.
        said = [line for line in done.stderr.splitlines() if "CONSOLE" in line and '"[PST]: ' not in line]
        return done.stdout, said, set(ASKED.findall(log.read_text(encoding="utf-8")))

    return load


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("index.html", "mixfast"),
        ("reference/api/generated/mixfast.solve.html", "Frank-Wolfe"),
        ("reference/commands.html", "--max-epochs"),
        ("search.html?q=gap", "Search finished"),
    ],
)
def test_the_page_works_without_a_network(address, shown, look):
    elements, said, asked = look(address)
    assert shown in elements
    assert not said, "\n".join(said)
    assert not asked, f"the page asked for {asked}"
    if "search" in address:
        assert re.search(r'class="search-summary">Search finished, found \d+ page', elements)


def test_the_index_of_the_search_names_every_page(pages):
    text = (SITE / "searchindex.js").read_text(encoding="utf-8")
    names = set(json.loads(text[text.index("{") : text.rindex("}") + 1])["docnames"])
    made = {str(path.relative_to(SITE).with_suffix("")) for path in pages} - {"search", "genindex", "py-modindex"}
    assert made <= names
