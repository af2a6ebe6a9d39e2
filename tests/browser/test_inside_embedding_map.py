"""The map of a data set in a real browser: drawn when asked, touched, and its photos handed on."""

from __future__ import annotations

from PIL import Image

from tests.browser.conftest import settle
from tests.browser.test_page import open_tab, sideways_overflow
from vit_demo.common.words import label_title, say
from vit_demo.data.open.sources import open_dataset
from vit_demo.diagnose.diagnosis import diagnose
from vit_demo.model.classifier import LeafClassifier

PLACE = """index => {
    const canvas = document.querySelector('.embedding-map-canvas');
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    const ratio = canvas.width / canvas.clientWidth, legend = 60 * ratio;
    for (let y = Math.ceil(legend); y < canvas.height; y++) for (let x = 0; x < canvas.width; x++) {
        const at = 4 * (y * canvas.width + x);
        if (data[at] === 213 && data[at + 1] === 94 && data[at + 2] === 0)
            return [(x + 1) / ratio, (y + 1) / ratio];
    }
}"""


def open_view(page) -> None:
    open_tab(page, "Look inside")
    tab = page.locator("#inside-views").get_by_role("tab", name="Map of the data set")
    page.locator("#inside-views [role=tab]").first.wait_for()
    if not tab.is_visible():  # on a phone
        page.locator("#inside-views").get_by_label("More tabs").first.click()
        tab = page.locator("#inside-views .overflow-dropdown button", has_text="Map of the data set")
    tab.click()


def draw(page) -> None:
    """The map of the test photos of beans, which are chosen from the start."""
    open_view(page)
    page.locator("#inside-embedding-map-draw", has_text="128 photos").or_(
        page.locator(".embedding-map-canvas")
    ).first.wait_for()
    if page.locator("#inside-embedding-map-draw").is_visible():
        page.click("#inside-embedding-map-draw")
    page.locator(".embedding-map-canvas").wait_for(timeout=120_000)
    page.locator("#inside-embedding-map-words", has_text="128 photos.").wait_for()


def test_a_map_is_drawn_touched_and_its_photos_go_to_the_other_views(page, tmp_path):
    open_view(page)
    # Nothing is computed before someone asks for it.
    page.locator("#inside-embedding-map-draw", has_text="Draw the map of 128 photos").wait_for()
    assert not page.locator(".embedding-map-canvas").is_visible()
    draw(page)
    assert "How far to trust it: 0.9" in page.inner_text("#inside-embedding-map-words")
    # A dot of the second class, by its colour.
    x, y = page.evaluate(PLACE)
    page.locator(".embedding-map-canvas").hover(position={"x": x, "y": y})
    page.locator(".embedding-map-tip", has_text="is Bean rust").wait_for()
    page.locator(".embedding-map-canvas").click(position={"x": x, "y": y})
    page.locator("#inside-embedding-map-facts", has_text="Bean rust").wait_for()
    name = page.locator(".embedding-map-words span").first.inner_text()
    page.locator("#inside-embedding-map-large img").wait_for()
    assert name in page.inner_text("#inside-embedding-map-facts")
    # The other layout keeps the chosen photo, and its picture and numbers can be taken away.
    page.get_by_label("t-SNE, neighbours kept together").check()
    page.locator("#inside-embedding-map-words", has_text="t-SNE moves the dots").wait_for(timeout=120_000)
    with page.expect_download() as saved:
        page.click(".embedding-map-save")
    saved.value.save_as(tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as picture:
        assert picture.width > 400 and (213, 94, 0) in {colour[:3] for _, colour in picture.getcolors(10**6)}
    with page.expect_download() as saved:
        page.click("#inside-embedding-map-csv")
    saved.value.save_as(tmp_path / "map.csv")
    lines = (tmp_path / "map.csv").read_text(encoding="utf-8").splitlines()
    assert (
        saved.value.suggested_filename == "map-tsne.csv"
        and len(lines) == 129
        and lines[0].startswith("file,split,row (from 0),label,prediction")
    )
    before = page.locator("#inside-photo img").first.get_attribute("src")
    page.click("#inside-embedding-map-look")
    page.wait_for_function("before => document.querySelector('#inside-photo img').src !== before", arg=before)
    page.locator("#inside-embedding-map-map").wait_for(state="hidden")
    # Coming back finds the map with its thumbnails.
    open_view(page)
    page.locator(".embedding-map-canvas").wait_for()
    page.click("#inside-embedding-map-diagnose")
    page.locator("#diagnose-photo img").wait_for()
    handed = next(row for row in open_dataset("beans")["test"] if row["image_file_path"].endswith(f"/{name}"))
    answer = diagnose(LeafClassifier.open(device="cpu"), handed["image"])
    said = {"diagnosis": label_title(answer.label), "not_known": say("diagnose.not_known_label")}.get(
        answer.verdict, "Either"
    )
    page.locator("#diagnose-answer .answer-label", has_text=said).wait_for()


def test_a_map_on_a_phone_by_touch_and_by_keyboard_and_after_a_reload(phone):
    draw(phone)
    assert sideways_overflow(phone) <= 0
    box = phone.locator(".embedding-map-canvas").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["width"] > 300
    for button in phone.locator(".embedding-map-bar button").all():
        assert min(button.bounding_box()[side] for side in ("width", "height")) >= 42
    phone.locator(".embedding-map-canvas").focus()
    phone.keyboard.press("ArrowRight")
    first = phone.inner_text(".embedding-map-told")
    phone.keyboard.press("ArrowRight")
    assert phone.inner_text(".embedding-map-told") != first
    phone.keyboard.press("+")
    phone.keyboard.press("Enter")
    told = phone.inner_text(".embedding-map-told").split(";")[0]
    phone.locator("#inside-embedding-map-facts", has_text=told).wait_for()
    assert sideways_overflow(phone) <= 0
    # The mistakes without the picture.
    phone.click(".embedding-map-mistakes summary")
    mistake = phone.locator(".embedding-map-mistakes button").first
    mistake.click()
    assert mistake.get_attribute("aria-pressed") == "true"
    phone.locator("#inside-embedding-map-facts", has_text="wrong").wait_for()
    # The last choice comes back with the page.
    phone.check("#inside-embedding-map-split input[value=train]")
    phone.locator("#inside-embedding-map-draw", has_text="Draw the map of 1,034 photos").wait_for()
    phone.reload()
    settle(phone)
    open_view(phone)
    phone.locator("#inside-embedding-map-draw", has_text="Draw the map of 1,034 photos").wait_for()
    assert phone.is_checked("#inside-embedding-map-split input[value=train]")
    assert sideways_overflow(phone) <= 0
