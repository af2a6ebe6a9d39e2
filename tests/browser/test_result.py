"""The result of a run on the page: a short fine-tune on leaves, its matrix, its photos, the other split, and
its model to take away.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.browser.conftest import PHONE
from tests.browser.test_finetune import press_start, wait_until_ended
from tests.browser.test_page import open_tab

NOT_CUT = "innerWidth < 500 && document.documentElement.scrollWidth === document.documentElement.clientWidth"


@pytest.fixture
def result(page, little, few_leaves):
    """The Result tab of a run that has ended; open before it has, so that it must come by itself."""
    open_tab(page, "Fine-tune")
    page.get_by_role("tab", name="Result", exact=True).click()
    # A small model, since what is looked at here is how its answers are shown.
    for field, value in (("train-data", few_leaves), ("train-model", little.model)):
        page.locator(f"#{field} input").fill(value)
        page.locator(f"#{field} input").press("Enter")
    page.locator("#train-epochs input").fill("1")
    wait_until_ended(page, press_start(page))
    page.wait_for_selector("#result-matrix [data-cell]", timeout=240_000)
    return page


def test_the_result_opens_its_photos(result):
    page = result
    page.locator("#result-meaning").get_by_text("Of 48 test photos").wait_for()
    page.locator("#result-meaning").get_by_text("it is too kind").wait_for()
    page.wait_for_selector("#result-plot .js-plotly-plot")
    page.locator("#result-sure").get_by_text("expected calibration error").wait_for()
    # A cell, touched, opens as many photos as it says.
    cell = page.locator("#result-matrix td button").first
    count = int(cell.inner_text())
    cell.click()
    title = page.locator("#result-title h4")
    title.get_by_text("called").wait_for()
    assert f"{count} photo" in title.inner_text()
    photos = page.locator("#result-photos li img")
    photos.first.wait_for()
    assert photos.count() == min(24, count)
    assert photos.evaluate_all("images => images.every(image => image.complete && image.naturalWidth > 0)")
    assert cell.get_attribute("aria-pressed") == "true"
    # A photo, touched, opens large with what is known of it.
    page.locator("#result-photos button").first.click()
    page.wait_for_function("document.querySelector('#result-large img')?.naturalWidth > 0")
    page.locator("#result-facts").get_by_text("Its probability").wait_for()
    # With the keys alone, back to the worst mistakes.
    worst = page.locator("#result-matrix .result-worst")
    worst.focus()
    page.keyboard.press("Enter")
    page.locator("#result-title h4").get_by_text("Worst mistakes first").wait_for()
    assert (worst.get_attribute("aria-pressed"), cell.get_attribute("aria-pressed")) == ("true", "false")
    page.locator("#result-detail").wait_for(state="hidden")
    # The other split, said to be another one.
    page.locator("#result-split").get_by_text("validation photos").click()
    page.locator("#result-about").get_by_text("The weights were chosen on these").wait_for()
    page.click("#result-export-make")
    page.locator("#result-export table").get_by_text("Small (int8)").wait_for()
    with page.expect_download() as download:
        page.click("#result-export-file")
    with zipfile.ZipFile(download.value.path()) as packed:
        assert {"model.onnx", "model-int8.onnx", "README.md"} <= {
            Path(name).name for name in packed.namelist()
        }
    page.set_viewport_size(PHONE)
    page.wait_for_function(NOT_CUT)
    buttons = page.locator("#result-matrix td button").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect()).map(box => [box.left, box.right])"
    )
    assert buttons and all(0 <= left < right <= PHONE["width"] for left, right in buttons)
