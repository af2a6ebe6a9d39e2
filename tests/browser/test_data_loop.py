"""From a zip of photos to a training set one can trust: brought, checked, mended, trained on, and back by the
run's mistakes.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest

from tests.browser.conftest import settle
from tests.browser.test_finetune import press_start, wait_for_status, wait_until_ended
from tests.browser.test_page import open_tab, sideways_overflow

COPY, WRONG = "planted_copy.jpg", "planted_wrong.jpg"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zip of 55 real photos: one of train is in test once more, and a healthy one of train is called bean
    rust.
    """
    from datasets import Image

    from vit_demo.data.open.sources import open_dataset

    data, place = open_dataset("beans"), tmp_path_factory.mktemp("beans") / "beans"
    for split, count in (("train", 12), ("validation", 3), ("test", 3)):
        part = data[split].cast_column("image", Image(decode=False))
        for label, name in enumerate(part.features["labels"].names):
            (place / split / name).mkdir(parents=True)
            for row in [row for row, found in enumerate(part["labels"]) if found == label][:count]:
                (place / split / name / f"{row}.jpg").write_bytes(part[row]["image"]["bytes"])
    shutil.copy(
        sorted((place / "train" / "angular_leaf_spot").iterdir())[3],
        place / "test" / "angular_leaf_spot" / COPY,
    )
    sorted((place / "train" / "healthy").iterdir())[2].rename(place / "train" / "bean_rust" / WRONG)
    file = place.with_name("my beans.zip")
    with zipfile.ZipFile(file, "w") as made:
        for photo in sorted(place.rglob("*.jpg")):
            made.write(photo, photo.relative_to(place))
    return file


def open_view(page, name: str) -> None:
    """A view of the Data tab."""
    open_tab(page, "Data")
    page.locator("#data-views [role=tab]").first.wait_for()
    tab = page.locator("#data-views").get_by_role("tab", name=name)
    if not tab.is_visible():  # on a phone
        page.locator("#data-views").get_by_label("More tabs").first.click()
        tab = page.locator("#data-views .overflow-dropdown button", has_text=name)
    tab.click()


def title(page, text: str) -> None:
    """Wait until the finding that is shown is called so."""
    page.locator("#data-check h3", has_text=text).wait_for()


def test_photos_are_brought_checked_mended_and_trained_on(page, server, shared, archive):
    # Brought.
    open_view(page, "Bring photos")
    page.set_input_files("#bring-files input[type=file]", str(archive))
    page.wait_for_function("document.querySelector('#bring-name').value !== ''")
    page.fill("#bring-name", "field-1")
    page.click("#bring-start")
    page.locator("#bring-head", has_text="55 photos of 3 classes are in.").wait_for()
    page.locator("#bring-head [data-do=open]").click()
    page.locator("#data-summary", has_text="55 photos").wait_for()

    # Checked: the copy across the splits is the first finding, and is left out of the test photos.
    open_view(page, "Check")
    page.locator("#data-check [data-do=start]").click()
    title(page, "Two photos with the same pixels, in train and test")
    page.set_viewport_size({"width": 390, "height": 844})
    assert sideways_overflow(page) <= 0
    boxes = [card.bounding_box() for card in page.locator("#data-check figure").all()]
    assert len(boxes) == 2 and boxes[1]["y"] >= boxes[0]["y"] + boxes[0]["height"] and boxes[0]["width"] > 300
    assert (
        min(
            button.bounding_box()["height"]
            for button in page.locator("#data-check button").all()
            if button.is_visible()
        )
        >= 44
    )
    page.set_viewport_size({"width": 1280, "height": 900})
    page.locator("#data-check figure", has_text=COPY).locator("[data-do=exclude]").click()
    page.locator("#data-check .check-last", has_text=f"Left out: test/angular_leaf_spot/{COPY}").wait_for()
    # By the keyboard: taken back, and left out again.
    page.locator("#data-check .check-last [data-do=undo]").focus()
    page.keyboard.press("Enter")
    title(page, "Two photos with the same pixels")
    page.locator("#data-check figure", has_text=COPY).locator("[data-do=exclude]").click()
    page.locator("#data-check .check-last", has_text="Left out").wait_for()

    # The wrong label is found, with what it should be.
    page.locator("#data-check .check-kinds button", has_text="Probably wrong labels").click()
    title(page, "Called Bean rust, looks more like Healthy")
    wrong = page.locator("#data-check figure", has_text=WRONG)
    assert wrong.locator("select").first.input_value() == "healthy"
    wrong.locator("[data-do=relabel]").first.click()
    page.locator(
        "#data-check .check-last", has_text=f"Relabelled as Healthy: train/bean_rust/{WRONG}"
    ).wait_for()

    # Browse knows what was found and decided.
    open_view(page, "Browse")
    page.locator("#data-problem").wait_for()
    page.fill("#data-search", WRONG)
    page.locator("#data-where", has_text=" 1 photo").wait_for()
    page.locator("#data-gallery button").click()
    facts = page.locator("#data-about tr")
    facts.filter(has_text="Decided").filter(has_text="it is Healthy (probably wrong labels)").wait_for()
    assert facts.filter(has_text="The check found").count() >= 1
    page.click("#data-all")

    # Both outlive a reload, and the photos need not be read again.
    page.reload()
    settle(page)
    open_tab(page, "Data")
    page.locator("#data-source input").fill("import:field-1")
    page.locator("#data-source input").press("Enter")
    page.locator("#data-summary", has_text="55 photos").wait_for()
    open_view(page, "Check")
    journal = page.locator("#data-check [data-part=journal]")
    journal.locator("summary", has_text="2 decisions").click()
    mark = re.search(r"[0-9a-f]{16}", journal.locator("[data-mark]").inner_text())[0]

    # Trained on.
    page.locator("#data-check [data-do=train]").click()
    page.locator("#train-start").wait_for()
    assert page.locator("#train-data input").input_value() == "mended:import:field-1"
    page.locator("#train-model input").fill(str(shared / "models" / "vit-tiny-patch16-224"))
    page.locator("#train-model input").press("Enter")
    page.locator("#train-epochs input").fill("2")
    run = press_start(page)
    wait_until_ended(page, run)
    wait_for_status(page, "Finished")
    card = (run / "model" / "README.md").read_text(encoding="utf-8")
    assert mark in card and "mended:import:field-1" in card
    assert json.loads((run / "config.json").read_text())["data"] == "mended:import:field-1"

    # Back by the run's mistakes.
    with open(run / "model" / "predictions.csv", encoding="utf-8", newline="") as file:
        mistakes = sum(
            row["true"] != row["said"]
            for row in csv.DictReader(file)
            if row["split"] in ("validation", "test")
        )
    assert mistakes > 0
    open_view(page, "Browse")
    page.locator(f"#data-run option[value='{run.name}']").wait_for(state="attached")
    page.select_option("#data-run", run.name)
    page.locator("#data-where", has_text=f" {mistakes} photo").wait_for()
    assert (
        page.locator("#data-gallery button").count()
        == page.locator("#data-gallery .browse-wrong").count()
        == mistakes
    )
