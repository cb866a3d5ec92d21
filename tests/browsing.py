"""Chromium for tests of pages with JavaScript: Debian's package, driven by Playwright."""

import json
import re
import shutil

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WHY_NOT = "no Chromium is installed (Debian: apt-get install chromium)"


@pytest.fixture(scope="module")
def browser():
    """Start Chromium for the tests of one file. A loop of asyncio runs meanwhile, which other files could not start beside it."""
    if CHROMIUM is None:
        pytest.skip(WHY_NOT)
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="pages are driven by Playwright: pip install playwright"
    )
    with playwright.sync_playwright() as running:
        one = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield one
        one.close()


def opened(browser, path, *, fragment="", **options):
    """Return a tab with a local page; its `trouble` lists what the page said to the console, errors, and addresses that it asked for: tests hold that it is empty."""
    tab = browser.new_page(**({"viewport": {"width": 1300, "height": 900}} | options))
    tab.trouble = []
    tab.on("console", lambda said: tab.trouble.append(said.text))
    tab.on("pageerror", lambda error: tab.trouble.append(str(error)))
    tab.on("request", lambda asked: tab.trouble.append(asked.url) if not asked.url.startswith("file:") else None)
    tab.goto(f"{path.as_uri()}{fragment}")
    return tab


def shares(tab):
    """Return the shares that the explorer of a page would copy."""
    tab.get_by_role("button", name="Copy as json").click()
    return json.loads(tab.get_by_label("The mixture as text").input_value())


def cells(tab, name):
    """Return the text of the cells behind a domain or metric of the explorer: without a slider's, whose text is empty."""
    row = tab.locator("tr").filter(has=tab.locator("th", has_text=re.compile(f"^{re.escape(name)}$")))
    return [text.strip() for text in row.get_by_role("cell").all_inner_texts()]


def settled(tab):
    """Wait until the page has shown the last change."""
    tab.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
