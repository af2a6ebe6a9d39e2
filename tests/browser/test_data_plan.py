"""A zip as Kaggle packs it: how it was understood is seen, a guess is corrected, and it is trained on."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.browser.conftest import PHONE, Little
from tests.browser.test_accessibility import AXE, OPTIONS, SEVERE
from tests.browser.test_data_loop import open_view
from tests.browser.test_finetune import press_start, wait_for_status, wait_until_ended
from tests.browser.test_page import open_tab, sideways_overflow

THUMB = 44  # CSS pixels of the smallest thing to touch (WCAG 2.2, 2.5.5)
COLOURS = {"red_rot": (200, 60, 60), "green_mould": (60, 200, 60), "blue_blight": (60, 60, 200)}
SPLITS = {"train": 10, "valid": 4, "extra": 5}
UNLABELLED = 6


def _photo(rng: np.random.Generator, colour: tuple[int, ...]) -> bytes:
    out = io.BytesIO()
    pixels = np.clip(rng.normal(colour, 30, (48, 48, 3)), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(out, "JPEG", quality=95)
    return out.getvalue()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes; the test photos have none, and nobody can know what "extra" is for."""
    file, rng, number = tmp_path_factory.mktemp("kaggle") / "plants.zip", np.random.default_rng(0), 0
    with zipfile.ZipFile(file, "w") as out:
        for split, count in SPLITS.items():
            for label, colour in COLOURS.items():
                for _ in range(count):
                    number += 1
                    out.writestr(f"archive/{split}/{label}/IMG_{number:03}.jpg", _photo(rng, colour))
        for number in range(UNLABELLED):
            out.writestr(f"archive/test/test/IMG_{number:03}.jpg", _photo(rng, (128, 128, 128)))
        out.writestr("archive/readme.txt", b"about")
    return file


def upload(page, file: Path) -> None:
    open_view(page, "Bring photos")
    page.set_input_files("#bring-files input[type=file]", str(file))
    page.locator("#bring-plan h3").wait_for()


def branches(page) -> list[str]:
    return [
        one.inner_text() for one in page.locator("#bring-plan .bring-tree > li > details > summary").all()
    ]


def test_a_zip_is_understood_corrected_brought_in_and_trained_on(page, little: Little, archive):
    upload(page, archive)
    assert branches(page) == [
        "Training: 30 photos of 3 classes",
        "Validation: 12 photos of 3 classes",
        f"Without a class: {UNLABELLED} photos",
        "16 files left out",
    ]
    page.locator("#bring-plan").get_by_text("archive/test/test").wait_for()
    # What is not clear has to be answered, and is, by the keyboard.
    assert page.locator("#bring-start").is_disabled()
    page.locator("#bring-asked", has_text="First answer what is marked.").wait_for()
    page.get_by_label("It is not clear whether extra is for training, validation or test").focus()
    page.keyboard.type("Leave")
    page.locator("#bring-plan summary", has_text="16 files left out").wait_for()
    page.wait_for_function("!document.querySelector('#bring-start').disabled")
    assert page.evaluate("document.activeElement.dataset.option") == "split:extra"
    # The answer is another one after all.
    page.get_by_label("What the folder extra is for").select_option("train")
    page.locator("#bring-plan summary", has_text="Training: 45 photos of 3 classes").wait_for()
    page.wait_for_function("!document.querySelector('#bring-start').disabled")
    assert branches(page)[-1] == "1 file left out" and not page.locator("#bring-asked").is_visible()

    page.fill("#bring-name", "plants-1")
    page.click("#bring-start")
    head = page.locator("#bring-head")
    head.get_by_text("57 photos of 3 classes are in.").wait_for()
    head.get_by_text(f"{UNLABELLED} photos have no class (in archive/test/test).").wait_for()
    page.wait_for_function("document.querySelector('#bring-plan').childNodes.length === 0")
    head.locator("[data-do=open]").click()
    page.locator("#data-summary", has_text="57 photos of 3 classes").wait_for()

    open_tab(page, "Fine-tune")
    little.fill_in(page, epochs=1)
    page.locator("#train-data input").fill("import:plants-1")
    page.locator("#train-data input").press("Enter")
    run = press_start(page)
    wait_until_ended(page, run)
    wait_for_status(page, "Finished")
    page.get_by_role("tab", name="Result").click()
    page.locator("#result-meaning").get_by_text("test photos").first.wait_for()
    assert '"data": "import:plants-1"' in (run / "config.json").read_text(encoding="utf-8")


def test_on_a_phone_and_in_another_language(phone, archive):
    upload(phone, archive)
    assert sideways_overflow(phone) <= 0
    for thing in phone.locator("#bring-plan").locator("select, summary, button, input").all():
        if thing.is_visible():
            place = thing.bounding_box()
            assert place["height"] >= THUMB
            assert place["x"] >= 0 and place["x"] + place["width"] <= PHONE["width"]
    # Gradio's own list of uploaded files has faults of its own.
    found = AXE.run(phone, context={"include": [["#data-bring"]]}, options=OPTIONS).response["violations"]
    assert [one["id"] for one in found if one["impact"] in SEVERE] == []
    phone.locator("#bring-plan summary", has_text="files left out").click()
    phone.locator("#language input").click()
    phone.get_by_role("option", name="Kiswahili").click()
    phone.locator("#bring-plan summary", has_text="Mafunzo: picha 30").wait_for()
    phone.locator("#bring-asked", has_text="Kwanza jibu").wait_for()
    # What was unfolded stays so.
    fold = phone.locator("#bring-plan [data-fold='left out']")
    assert fold.get_attribute("open") is not None and sideways_overflow(phone) <= 0
    assert fold.locator("li").count() == 16

    # Other files in its place: the plan goes with its own.
    phone.locator("#bring-files button[aria-label]").last.click()
    phone.wait_for_function("document.querySelector('#bring-plan').childNodes.length === 0")
    assert phone.locator("#bring-start").is_enabled()
