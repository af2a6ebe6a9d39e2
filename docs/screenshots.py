"""Take the README's pictures of all tabs, and of a run's result and film, at desktop and phone width, of a
page that is already running.

    python app.py &
    python docs/screenshots.py

The Fine-tune pictures show the newest run, so do one first.
"""

from __future__ import annotations

from pathlib import Path

from browser import browser, open_page, url_of_arguments
from playwright.sync_api import Page

FOLDER = Path(__file__).parent / "screenshots"
SIZES = {"desktop": {"width": 1280, "height": 860}, "phone": {"width": 390, "height": 844}}


def diagnose(page: Page) -> None:
    page.locator("button.gallery-item").nth(1).click()
    page.get_by_text("What spoke for this answer").click()
    page.wait_for_selector("#diagnose-map img")


def inside(page: Page) -> None:
    page.get_by_role("tab", name="Look inside", exact=True).click()
    page.wait_for_selector("#inside-why-map-0 img")
    page.locator("#inside-trust").click()
    page.wait_for_selector("#inside-trust-areas table")
    page.wait_for_selector("#inside-trust-insertion .js-plotly-plot")


def data(page: Page) -> None:
    page.get_by_role("tab", name="Data", exact=True).click()
    page.wait_for_selector("#data-gallery img")
    page.locator("#data-gallery img").nth(2).click()
    page.wait_for_selector("#data-steps table")


def finetune(page: Page) -> None:
    page.get_by_role("tab", name="Fine-tune", exact=True).click()
    page.wait_for_selector("#train-plot .js-plotly-plot")


def result(page: Page) -> None:
    page.get_by_role("tab", name="Result", exact=True).click()
    page.locator("#result-meaning").get_by_text("test photos").wait_for()


def film(page: Page) -> None:
    page.get_by_role("tab", name="Where it looked", exact=True).click()
    slider = page.locator(".film input[type=range]")
    slider.wait_for()
    slider.press("End")


def runs(page: Page) -> None:
    page.get_by_role("tab", name="All runs", exact=True).click()
    page.wait_for_selector("table.runs tbody tr[data-run]")


def main() -> None:
    url = url_of_arguments(__doc__)
    FOLDER.mkdir(exist_ok=True)
    with browser() as opened:
        for size_name, size in SIZES.items():
            page = open_page(opened, url, size)
            for show in (diagnose, inside, data, finetune, result, film, runs):
                show(page)
                page.wait_for_timeout(1500)
                # Full pages, as a reader would scroll them; as JPEG, since most of them is photos.
                page.screenshot(
                    path=FOLDER / f"{show.__name__}-{size_name}.jpg", full_page=True, type="jpeg", quality=85
                )


if __name__ == "__main__":
    main()
