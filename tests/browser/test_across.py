"""A model tried on photos in a real browser: started, looked at, found again after a reload, on a phone.

And the result of a run with many classes, which stays within a few screens.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.browser.conftest import PHONE, settle
from tests.browser.test_page import open_tab
from tests.browser.test_result import NOT_CUT
from tests.training.conftest import squares
from vit_demo.data.open.sources import open_dataset
from vit_demo.training.result.evaluation import score

CLASSES = 150
# With the 24 photos of a page, which are more than half of it; it was 14,000.
MOST_PIXELS = {"page": 5000, "phone": 7000}


@pytest.fixture(scope="module")
def other_leaves(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Real test photos, four of each class: one spelled otherwise, one under a name that the model does not
    know.
    """
    folder, test = tmp_path_factory.mktemp("other leaves"), open_dataset("beans")["test"]
    labels = np.asarray(test["labels"])
    for label, name in enumerate(("Angular leaf-spot", "orange dots", "healthy")):
        for number, row in enumerate(np.flatnonzero(labels == label)[:4]):
            for split in ("train", "validation", "test"):
                place = folder / split / name
                place.mkdir(parents=True, exist_ok=True)
                test[int(row)]["image"].save(place / f"{number}.jpg")
    return str(folder)


def open_view(page) -> None:
    open_tab(page, "Fine-tune")
    page.get_by_role("tab", name="Try on photos").click()
    page.locator("#across-start").wait_for()


def choose_photos(page, source: str) -> None:
    page.locator("#across-source input").fill(source)
    page.locator("#across-source input").press("Enter")


def test_a_model_is_tried_on_photos_and_found_again(page, other_leaves):
    open_view(page)
    choose_photos(page, f"{other_leaves}/nowhere")
    page.click("#across-start")
    page.locator("#across-status").get_by_text("There is no folder").wait_for()
    choose_photos(page, other_leaves)
    page.click("#across-start")
    about = page.locator("#across-about")
    about.get_by_text("of 8 photos right").wait_for(timeout=240_000)
    about.get_by_text("does not know: Orange dots.").wait_for()
    page.locator("#across-stop").wait_for(state="hidden")
    # A number, touched, opens as many photos as it says.
    number = page.locator("#across-verdicts tbody tr").nth(2).locator("button").first
    count = int(number.inner_text())
    name = page.locator("#across-verdicts tbody tr").nth(2).locator("th").inner_text()
    number.click()
    page.locator("#across-title h4").get_by_text(f"{name}: ").wait_for()
    photos = page.locator("#across-photos li img")
    page.wait_for_function(f"document.querySelectorAll('#across-photos li img').length === {count}")
    assert photos.evaluate_all("images => images.every(image => image.naturalWidth > 0)")
    assert page.locator("#across-matrix table.result-matrix tbody tr").count() == 2
    # After a reload it is there again, as it was asked for.
    page.reload()
    settle(page)
    open_view(page)
    about.get_by_text("of 8 photos right").wait_for()
    assert page.locator("#across-source input").input_value() == other_leaves
    page.locator("#across-other-names button").first.click()
    page.locator("#across-pairs textarea").fill("orange dots = bean rust")
    page.click("#across-start")
    about.get_by_text("of 12 photos right").wait_for(timeout=240_000)
    page.set_viewport_size(PHONE)
    page.wait_for_function(NOT_CUT)


@pytest.fixture(scope="module")
def kinds(server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The id of a run that ended with 150 classes, of which each is taken for some others."""
    from tests.ui.tabs.finetune.test_result import finished

    folder: Path = tmp_path_factory.mktemp("kinds")
    names = [f"kind of leaf number {number:03d}" for number in range(CLASSES)]
    squares(
        folder,
        train=1,
        validation=1,
        test=3,
        colours={name: (40, number, 90) for number, name in enumerate(names)},
    )
    rng = np.random.default_rng(0)
    found = {}
    for split in ("validation", "test"):
        data = open_dataset(folder)[split]
        targets = np.array(data["labels"])
        said = np.where(rng.random(len(targets)) < 0.6, targets, rng.integers(0, CLASSES, len(targets)))
        logits = torch.nn.functional.one_hot(torch.from_numpy(said), CLASSES).float() * 3
        found[split] = score(logits, targets, names, places=list(enumerate(data["image_file_path"])))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIT_DEMO_HOME", str(server.home))
        return finished(folder, found).id


@pytest.mark.parametrize("size", ["page", "phone"])
def test_a_result_with_many_classes_stays_within_a_few_screens(size, request, kinds, server):
    page = request.getfixturevalue(size)
    page.goto(f"{server.url}/?run={kinds}")
    settle(page)
    page.get_by_role("tab", name="Result", exact=True).click()
    page.wait_for_selector("#result-matrix [data-cell]")
    page.wait_for_selector("#result-picture .js-plotly-plot .heatmaplayer image, #result-picture .hm image")
    page.locator("#result-photos li img").first.wait_for()
    height = page.evaluate("document.getElementById('result-body').getBoundingClientRect().height")
    assert height < MOST_PIXELS[size]
    for table, rows in (("classes", CLASSES), ("matrix", 100)):
        box = page.locator(f"#result-{table} .table-long")
        assert box.evaluate("box => box.clientHeight <= 430 && box.scrollHeight > 2 * box.clientHeight")
        assert page.locator(f"#result-{table} tbody tr").count() == rows
    counts = [int(one) for one in page.locator("#result-matrix tbody button").all_inner_texts()]
    assert counts == sorted(counts, reverse=True)
    # The list and its picture stand one after the other, and the names can be read.
    ticks = page.locator("#result-picture .ytick text")
    assert ticks.count() == 40
    tops = sorted(box["y"] for box in map(lambda one: one.bounding_box(), ticks.all()))
    assert min(np.diff(tops)) >= 10
    # With the keys alone, further down.
    page.locator("#result-classes .table-long").focus()
    page.keyboard.press("PageDown")
    page.wait_for_function("document.querySelector('#result-classes .table-long').scrollTop > 0")
