"""From photo to tokens in a real browser: a patch is clicked and followed, a patch size is tried out, numbers
are taken away.
"""

from __future__ import annotations

import csv

import numpy as np

from tests.browser.test_inside_attention import open_view as open_inside
from tests.browser.test_page import choose, open_tab, sideways_overflow
from vit_demo.explain.patches import patchify
from vit_demo.model.classifier import LeafClassifier


def open_view(page, photo=None) -> None:
    open_tab(page, "Look inside")
    if photo is not None:
        choose(page, "inside-photo", photo)
    open_inside(page, "tokens")
    page.wait_for_selector("#tokens-photo img")
    page.wait_for_selector("#tokens-vectors .js-plotly-plot")


def click_at(page, element: str, across: float, down: float) -> None:
    """Click in a picture, at shares of its sides."""
    picture = page.locator(f"#{element} img")
    picture.scroll_into_view_if_needed()
    size = picture.bounding_box()
    picture.click(position={"x": size["width"] * across, "y": size["height"] * down})


def test_the_view_on_a_desktop(page, leaf_photo, tmp_path):
    """One page for all of it: to open it takes longer than to look at it."""
    open_view(page, leaf_photo)
    _follows_a_clicked_patch_through_all_steps(page, leaf_photo, tmp_path)
    _tries_out_another_patch_size_and_gives_its_numbers_away(page)


def _follows_a_clicked_patch_through_all_steps(page, leaf_photo, tmp_path):
    from PIL import Image

    sentence = page.locator("#tokens-sentence")
    pixel_values = LeafClassifier.open(device="cpu").preprocess([Image.open(leaf_photo)])
    values = patchify(pixel_values, 16)[0].numpy()
    # The middle of the patch in row 3, column 10 of 14.
    click_at(page, "tokens-photo", 10.5 / 14, 3.5 / 14)
    sentence.get_by_text("(row 3, column 10)").wait_for()
    page.locator("#tokens-flat").get_by_text(", ".join(f"{value:.3f}" for value in values[52][:4])).wait_for()
    assert "197 x 192" in page.inner_text("#tokens-sum") and "Token 53" in page.inner_text("#tokens-sum")
    # Another in the pulled-apart sheet.
    click_at(page, "tokens-sheet", 2.5 / 14, 12.5 / 14)
    sentence.get_by_text("(row 12, column 2)").wait_for()
    page.locator("#tokens-flat").get_by_text(
        ", ".join(f"{value:.3f}" for value in values[170][:4])
    ).wait_for()
    assert page.locator("#tokens-patch input[type=number]").input_value() == "170"
    with page.expect_download() as download:
        page.locator("#tokens-download").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    with np.load(file, allow_pickle=False) as numbers:
        assert np.allclose(numbers["values"], values[170], atol=1e-6)
        assert np.allclose(numbers["token"], numbers["projected"] + numbers["position"], atol=1e-6)


def _tries_out_another_patch_size_and_gives_its_numbers_away(page):
    why = page.locator("#tokens-why")
    why.get_by_text("197 tokens").wait_for()
    page.locator("#tokens-patch-size").get_by_text("8", exact=True).click()
    why.get_by_text("785 tokens").wait_for()
    side = page.locator("#tokens-side input[type=number]")
    side.fill("380")
    side.press("Enter")
    why.get_by_text("2,305 tokens").wait_for()
    assert side.input_value() == "384"
    assert "2,305" in page.inner_text("#tokens-costs-table")
    page.locator("#tokens-measure").get_by_text("memory").click()
    page.locator("#tokens-costs").get_by_text("bytes of one layer's attention").wait_for()
    with page.expect_download() as download:
        page.locator("#tokens-costs-download").click()
    with open(download.value.path(), newline="") as file:
        rows = list(csv.DictReader(file))
    assert any(row["way"] == "ViT, 8 px patches" and row["tokens"] == "2305" for row in rows)


def test_a_plot_is_taken_away_as_a_picture_on_a_phone_too(phone):
    open_view(phone)
    phone.wait_for_selector("#tokens-costs .js-plotly-plot")
    assert sideways_overflow(phone) <= 0
    for plot in ("tokens-vectors", "tokens-costs"):
        camera = phone.locator(f"#{plot} .modebar-btn[data-title*='png' i]")
        camera.scroll_into_view_if_needed()
        with phone.expect_download() as download:
            camera.click()
        assert download.value.suggested_filename.endswith(".png")
    click_at(phone, "tokens-sheet", 0.5 / 14, 0.5 / 14)
    phone.locator("#tokens-sentence").get_by_text("(row 0, column 0)").wait_for()
    assert sideways_overflow(phone) <= 0
