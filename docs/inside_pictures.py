"""Take the pictures of docs/inside-a-vit.md from the Look inside tab of a page that is already running, on
its first example.

python app.py &
python docs/inside_pictures.py
"""

from __future__ import annotations

from pathlib import Path

from browser import browser, open_page, url_of_arguments
from playwright.sync_api import Page

FOLDER = Path(__file__).parent / "inside"
# By the view: what is waited for, and the element of each picture.
PICTURES = {
    "From photo to tokens": (
        "#tokens-costs .js-plotly-plot",
        {"costs": "#tokens-costs", "tokens": "#tokens-vectors"},
    ),
    "Filters and positions": (
        "#inside-distance .js-plotly-plot",
        {
            "filters": "#inside-filters",
            "positions": "#inside-similarity-sheet",
            "distance": "#inside-distance",
        },
    ),
    "Attention": ("#inside-heads img", {"heads": "#inside-heads"}),
    "Layer by layer": ("#inside-lens-plot .js-plotly-plot", {"lens": "#inside-lens-plot"}),
    "Map of the data set": (
        "#inside-embedding-map-map canvas",
        {"embedding-map": "#inside-embedding-map-map"},
    ),
}


def open_view(page: Page, title: str) -> None:
    page.get_by_role("tab", name=title, exact=True).click()


def compare(page: Page) -> None:
    """The first view, with the answer beside another class."""
    page.wait_for_selector("#inside-why-map-0 img")
    page.locator("#inside-why-versus input").click()
    page.get_by_role("option", name="Bean rust").click()
    page.wait_for_selector("#inside-why-map-2 img")


def main() -> None:
    url = url_of_arguments(__doc__)
    FOLDER.mkdir(exist_ok=True)
    with browser() as opened:
        page = open_page(opened, url, {"width": 1280, "height": 900})
        page.get_by_role("tab", name="Look inside").click()
        compare(page)
        page.wait_for_timeout(1500)
        page.locator("#inside-why-maps").screenshot(path=FOLDER / "why.png")
        for title, (landmark, pictures) in PICTURES.items():
            open_view(page, title)
            if title == "Attention":
                page.get_by_label("All layers and heads").check()
            if title == "Map of the data set":
                page.locator("#inside-embedding-map-draw").click()
            page.wait_for_selector(landmark)
            # Plots and pictures slide into their places.
            page.wait_for_timeout(2500)
            for name, element in pictures.items():
                page.locator(element).screenshot(path=FOLDER / f"{name}.png")


if __name__ == "__main__":
    main()
