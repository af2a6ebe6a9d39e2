"""Photos brought in on a phone: a zip in, what was left out, the photos to look at, and all of it removed
again.
"""

from __future__ import annotations

import io
import zipfile

import numpy as np
from PIL import Image

from tests.browser.conftest import PHONE, settle
from tests.browser.test_page import sideways_overflow

THUMB = 44  # CSS pixels of the smallest thing to touch (WCAG 2.2, 2.5.5)


def test_a_zip_is_brought_in_looked_at_and_removed(phone, tmp_path):
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(tmp_path / "my farm.zip", "w") as out:
        for number in range(40):
            photo = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (120, 120, 3), dtype=np.uint8)).save(photo, "JPEG")
            out.writestr(f"farm/{('rust', 'healthy')[number % 2]}/IMG_{number:02}.jpg", photo.getvalue())
        out.writestr("farm/rust/broken.jpg", b"no photo")
        out.writestr("farm/.DS_Store", b"what a Mac leaves")
    phone.get_by_role("tab", name="Data").click()
    phone.locator("#data-gallery button").first.wait_for()
    phone.get_by_role("tab", name="Bring photos").click()
    phone.get_by_text("No photos were brought in so far.").wait_for()
    phone.click("#bring-start")  # without a file it says what to do
    phone.get_by_text("Choose a zip or tar file, or photos first.").wait_for()
    with open(tmp_path / "huge.zip", "wb") as huge:
        huge.truncate(3 * 2**30)
    phone.set_input_files("#bring-files input[type=file]", tmp_path / "huge.zip")
    phone.get_by_text("huge.zip has 3.0 GB, and a page can send at most 2.0 GB.").wait_for()
    phone.set_input_files("#bring-files input[type=file]", tmp_path / "my farm.zip")
    phone.wait_for_function("document.querySelector('#bring-name').value === 'my-farm'")
    phone.click("#bring-start")
    head = phone.locator("#bring-head")
    head.get_by_text("40 photos of 2 classes are in.").wait_for()
    head.get_by_text("2 files left out").click()
    assert [row.inner_text() for row in head.locator("li").all()] == [
        "farm/.DS_Store is hidden, or was put there by a computer.",
        "farm/rust/broken.jpg is not a photo.",
    ]
    # It is opened at once.
    phone.wait_for_function(
        "document.querySelector('#data-source input').value === 'my-farm, 40 photos brought in'"
    )
    phone.locator("#data-summary").get_by_text("40 photos of 2 classes:").wait_for()
    assert sideways_overflow(phone) <= 0
    for thing in phone.locator("#data-bring").locator("button, input, summary").all():
        if thing.is_visible() and (place := thing.bounding_box())["height"]:  # not folded away
            assert (
                place["height"] >= THUMB and place["x"] >= 0 and place["x"] + place["width"] <= PHONE["width"]
            )
    head.get_by_text("See the photos").click()
    phone.get_by_text("Page 1 of 2, 40 photos").wait_for()
    # A page that was loaded anew finds it again, here and where one learns from it.
    phone.reload()
    settle(phone)
    phone.get_by_role("tab", name="Fine-tune").click()
    phone.locator("#train-data input").click()
    phone.get_by_role("option", name="my-farm, 40 photos brought in").wait_for()
    phone.keyboard.press("Escape")
    phone.get_by_role("tab", name="Data").click()
    phone.get_by_role("tab", name="Bring photos").click()
    row = phone.locator(".bring-all li").filter(has_text="my-farm")
    row.get_by_role("button", name="Open").click()
    phone.get_by_text("Page 1 of 2, 40 photos").wait_for()
    phone.get_by_role("tab", name="Bring photos").click()
    row.locator("summary").click()
    row.get_by_role("button", name="Yes, delete").click()
    phone.get_by_text("my-farm is removed.").wait_for()
    phone.locator("#data-summary").get_by_text("1,295 photos of 3 classes:").wait_for()
    assert (
        row.count() == 0
        and phone.locator("#data-source input").input_value() == "beans: 1,295 leaves, in the app"
    )
