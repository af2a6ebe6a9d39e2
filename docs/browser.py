"""The browser of the scripts that take this folder's pictures."""

from __future__ import annotations

import argparse
import contextlib
import shutil
from collections.abc import Iterator

from playwright.sync_api import Browser, Page, sync_playwright

PATIENCE = 60_000  # milliseconds until an element that does not come is an error


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A Chromium without a window, closed at the end."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        yield opened
        opened.close()


def open_page(opened: Browser, url: str, size: dict[str, int]) -> Page:
    """The app at this address, once its first tab is there. size: width and height in pixels."""
    page = opened.new_page(viewport=size)
    page.set_default_timeout(PATIENCE)
    page.goto(url)
    page.wait_for_selector("#diagnose-photo")
    page.wait_for_timeout(2000)
    return page


def url_of_arguments(description: str) -> str:
    """The address of the page that is already running, from the command line."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default="http://127.0.0.1:7860")
    return parser.parse_args().url
