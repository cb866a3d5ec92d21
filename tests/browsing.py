"""Chromium for tests of pages with JavaScript: Debian's package, driven by Playwright."""

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
    """Return a tab with a local page; at the end of the test, `quiet` holds that nothing was loaded or went wrong."""
    tab = browser.new_page(**({"viewport": {"width": 1300, "height": 900}} | options))
    tab.trouble = []
    tab.on("console", lambda said: tab.trouble.append(said.text))
    tab.on("pageerror", lambda error: tab.trouble.append(str(error)))
    tab.on("request", lambda asked: tab.trouble.append(asked.url) if not asked.url.startswith("file:") else None)
    tab.goto(f"{path.as_uri()}{fragment}")
    return tab
