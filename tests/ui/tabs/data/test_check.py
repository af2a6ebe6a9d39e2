"""The Check view of the Data tab: what is found is shown one by one, decided, taken back, and handed on as a
mended set.
"""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from tests.training.conftest import squares
from vit_demo.common.errors import UserError
from vit_demo.data.browse import statistics
from vit_demo.data.checks import checkup
from vit_demo.data.checks.checks import CHECKS
from vit_demo.data.checks.finding import Finding, FindingKind
from vit_demo.data.corrections.decided import fingerprint
from vit_demo.data.corrections.journal import Decision, journal_of
from vit_demo.data.open.sources import open_dataset
from vit_demo.ui.tabs.data import browse, check, check_html, opened
from vit_demo.ui.tabs.data.check_html import Choices, Shown

CHOICES = Choices(("bean_rust", "healthy"), ("train", "validation", "test"))


@pytest.fixture(autouse=True)
def fresh(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that has just started, on an empty home folder."""
    checkup.JOBS.clear()
    opened._opened.clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """37 photos: a red one is called blue, a green one of train is in test too, and one of validation is no
    photo.
    """
    place = squares(tmp_path / "set", 8, 2, 2)
    shutil.copy(place / "train" / "green" / "003.png", place / "test" / "green" / "copy.png")
    (place / "train" / "red" / "005.png").rename(place / "train" / "blue" / "wrong.png")
    (place / "validation" / "red" / "000.png").write_bytes(b"no photo")
    return place


class Page:
    """What a browser keeps: the parts that it shows, and what goes back with each press of a button."""

    def __init__(self, source: Path | str, model: Path | str):
        self.model = str(model)
        self.parts: dict[str, str] = {}
        self._take(check.show(str(source), self.model))

    def _take(self, answer: dict) -> None:
        self.asked = json.loads(json.dumps(answer["asked"]))
        self.parts |= answer["parts"]

    def event(self, do: str, **changes: object) -> SimpleNamespace:
        return SimpleNamespace(value=json.dumps({**self.asked, "do": do, **changes}))

    def press(self, do: str, **changes: object) -> None:
        self._take(check.act(self.model, self.event(do, **changes)))

    def read(self) -> None:
        """Start, and wait as the script does until all photos are read."""
        self.press("start")
        self.wait()

    def wait(self) -> None:
        until = time.monotonic() + 60
        while self.asked["reading"]:
            assert time.monotonic() < until
            time.sleep(0.02)
            self.press("news")

    @property
    def title(self) -> str:
        return re.search("<h3[^>]*>(.*)</h3>", self.parts["one"])[1]


@pytest.fixture
def page(folder: Path, tiny_model: Path) -> Page:
    """Its photos are read."""
    shown = Page(folder, tiny_model)
    shown.read()
    return shown


def paths(page: Page) -> list[str]:
    return ["/".join(Path(path).parts[-3:]) for _, path in page.asked["photos"]]


def test_nothing_is_read_before_someone_asks_and_what_is_read_is_found_again(folder, tiny_model):
    first = Page(folder, tiny_model)
    assert (
        "Check 37 photos" in first.parts["head"] and first.parts["one"] == "" and not first.asked["reading"]
    )
    first.read()
    again = Page(folder, tiny_model)
    assert again.parts == first.parts and again.asked["photos"] == first.asked["photos"] != []
    # A server that starts anew has it on the disk, and shows it without being asked.
    checkup.JOBS.clear()
    later = Page(folder, tiny_model)
    later.wait()
    assert later.parts == again.parts


def test_what_spoils_an_examination_comes_first_and_leaving_a_copy_out_shows_the_next(page):
    assert paths(page) == ["train/green/003.png", "test/green/copy.png"] or paths(page) == [
        "test/green/copy.png",
        "train/green/003.png",
    ]
    assert (
        page.title.startswith("Two photos with the same pixels, in ")
        and page.asked["kind"] == FindingKind.LEAKAGE
    )
    assert page.parts["one"].count("data:image/jpeg") == 2 and "Keep both" in page.parts["one"]
    number = paths(page).index("test/green/copy.png")
    before, pair = page.parts["kinds"], page.asked["photos"]
    page.press("exclude", photo=number)
    assert "same pixels" not in page.title and page.parts["kinds"] != before
    assert (
        "Left out: test/green/copy.png" in page.parts["undo"] and "1 left out, 0 with" in page.parts["export"]
    )
    page.press("undo")
    assert page.asked["photos"] == pair and page.parts["undo"] == "" and page.parts["kinds"] == before


def test_a_wrong_label_is_given_the_class_that_was_suggested_and_is_not_asked_about_again(page, folder):
    page.press("kind", to=FindingKind.LABEL)
    assert paths(page) == ["train/blue/wrong.png"] and page.title == "Called Blue, looks more like Red"
    assert '<option value="red" selected>Red</option>' in page.parts["one"]
    # Another class than the suggested one: a person has looked, and that counts.
    page.press("relabel", to="green")
    assert paths(page) != ["train/blue/wrong.png"]
    page.press("kind", to=FindingKind.LABEL)
    assert paths(page) != ["train/blue/wrong.png"]
    page.press("undo")
    assert paths(page) == ["train/blue/wrong.png"]
    page.press("relabel", to="red")
    decision = journal_of(str(folder)).decisions()[-1]
    assert (decision.action, decision.to, decision.why) == ("relabel", "red", FindingKind.LABEL)


def test_a_pair_that_is_kept_hides_no_other_copy_of_its_photos(page, folder):
    page.press("keep")
    assert not page.title.startswith("Two photos with the same pixels") and "Kept: " in page.parts["undo"]
    shutil.copy(folder / "train" / "green" / "003.png", folder / "validation" / "green" / "second copy.png")
    page._take(check.show(str(folder), page.model))
    page.read()
    assert page.title.startswith("Two photos with the same pixels") and any(
        path.endswith("second copy.png") for path in paths(page)
    )


def test_a_pair_that_is_moved_into_one_split_is_no_leakage_any_more(page):
    number = paths(page).index("test/green/copy.png")
    other = page.asked["photos"][1 - number][0]
    page.press("move", photo=number, to=other)
    assert (
        page.asked["kind"] == FindingKind.LEAKAGE and "same pixels" not in page.title
    )  # candidates are left
    page.press("kind", to="duplicate")
    assert (
        page.title == "Two photos with the same pixels, both in train"
        and page.parts["one"].count("</b> in train") == 2
    )


def test_a_broken_file_is_shown_as_such(page):
    page.press("kind", to=FindingKind.BROKEN)
    assert paths(page) == ["validation/red/000.png"] and 'class="browse-broken"' in page.parts["one"]
    page.press("exclude")
    assert f'data-to="{FindingKind.BROKEN}"' not in page.parts["kinds"]


def test_back_and_next_stay_within_the_kind(page):
    total = int(re.search(r"1 of (\d+)<", page.parts["one"])[1])
    assert total > 1 and 'data-do="back" disabled' in page.parts["one"]
    page.press("back")
    assert page.asked["at"] == 0
    page.press("next")
    assert page.asked["at"] == 1 and f"2 of {total}<" in page.parts["one"]
    for _ in range(total):
        page.press("next")
    assert page.asked["at"] == total - 1 and 'data-do="next" disabled' in page.parts["one"]


def test_each_decision_can_be_taken_back_and_the_fingerprint_is_that_of_the_mended_set(page, folder):
    page.press("exclude", photo=0)
    page.press("kind", to=FindingKind.LABEL)
    page.press("relabel", to="red")
    assert "2 decisions" in page.parts["journal"] and "data-mark" not in page.parts["journal"]
    page.press("journal", open=True)
    mark = re.search("Fingerprint of the mended set: ([0-9a-f]{16})", page.parts["journal"])[1]
    assert (
        mark
        == fingerprint(open_dataset(check.train_on(page.event("train"))))
        != fingerprint(open_dataset(str(folder)))
    )
    page.press("undo", number=1)
    assert (
        "1 decision about" in page.parts["journal"]
        and "Relabelled as Red" in page.parts["journal"]
        and "Left out" not in page.parts["journal"]
    )


def test_the_mended_set_is_taken_away_as_a_zip(page, folder):
    page.press("exclude", photo=paths(page).index("test/green/copy.png"))
    with zipfile.ZipFile(check.export_photos(page.event("folder"))["value"]) as archive:
        names = archive.namelist()
        assert len(names) == 36 and "train/blue/wrong.png" in names and "test/green/copy.png" not in names
        assert archive.read("train/green/003.png") == (folder / "train" / "green" / "003.png").read_bytes()
    with zipfile.ZipFile(check.export_photos(page.event("parquet"))["value"]) as archive:
        assert len(archive.namelist()) == 3 and archive.testzip() is None
    # They do not fill the disk.
    files = [Path(check.export_photos(page.event("parquet"))["value"]) for _ in range(check.KEEP + 2)]
    assert [file.exists() for file in files] == [False] * 2 + [True] * check.KEEP


def test_stopping_leaves_the_button_to_start_again(folder):
    page = Page(folder, "embedded")  # takes long enough to be stopped in time
    page.press("start")
    assert "Looking at photo 0 of 37" in page.parts["head"]
    page.press("stop")
    until = time.monotonic() + 60
    while page.asked["reading"]:
        assert time.monotonic() < until
        page.press("news")
    assert "Check 37 photos" in page.parts["head"] and page.parts["one"] == ""


def test_what_a_page_should_never_send_is_refused_or_ignored(page, folder, refusal, monkeypatch):
    assert check.understood("{no json")["photos"] == [] and check.understood(
        '{"at": "x", "photos": [["a"], 3, ["b", "c"]]}'
    )["photos"] == [("b", "c")]
    for changes in ({"photos": [["train", "../../etc/passwd"]]}, {"photos": []}, {"photo": 7}, {"photo": -1}):
        with pytest.raises(UserError, match="not there any more"):
            page.press("exclude", **changes)
    assert "Choose one of" in refusal(page.press, "move", to="elsewhere")
    assert "Choose one of" in refusal(page.press, "relabel", to="train")
    assert journal_of(str(folder)).decisions() == []
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert "may not push" in refusal(check.export_photos, page.event("push", to="me/leaves"))
    # Where strangers use the page, nobody pushes in the name of who started it.
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "a token")
    monkeypatch.setenv("VIT_DEMO_REVIEW", "off")
    assert "may not push" in refusal(check.export_photos, page.event("push", to="me/leaves"))


def look(page: Page, source: str, **asked: object) -> dict:
    """What Browse answers."""
    given = {"key": opened.open_source(source).key, "fields": True, **asked}
    return browse.look(source, page.model, SimpleNamespace(value=json.dumps(given)))


def facts(page: Page, source: str, **asked: object) -> list[tuple[str, str]]:
    """What the page of the first photo says of checks and decisions."""
    rows = re.findall(
        "<tr><t[hd]>(.*?)</t[hd]><t[hd]>(.*?)</t[hd]></tr>",
        look(page, source, photo=0, **asked)["photo"]["about"],
    )
    return [(name, said) for name, said in rows if name in ("The check found", "Decided")]


def test_browse_finds_photos_by_what_is_wrong_with_them_and_tells_what_was_decided(page, folder):
    source = str(folder)
    opened._learned.clear(), opened._opened.clear()
    fresh = look(page, source)
    assert not any(field["name"] == "problem" for field in fresh["fields"]) and facts(page, source) == []
    page._take(check.show(source, page.model))  # as who goes to the Check view
    assert browse.news(source)["known"] != fresh["known"]
    shown = look(page, source, problem=FindingKind.LEAKAGE)
    (problem,) = [field["options"] for field in shown["fields"] if field["name"] == "problem"]
    assert (
        [FindingKind.LEAKAGE, "same photo in two splits"] in map(list, problem)
        and "broken" in dict(problem)
        and "unlike?" not in dict(problem)
    )
    (found,) = opened._learned.values()
    leaking = {
        photo
        for finding in found
        if finding.kind == FindingKind.LEAKAGE and finding.sure
        for photo in finding.photos
    }
    assert (
        f", {len(leaking)} photos" in shown["where"]
        and 2 <= len(leaking) < 37
        and "copy.png" in {Path(path).name for _, path in leaking}
    )
    assert [row["name"] for row in look(page, source, problem=FindingKind.LABEL)["rows"]] == ["wrong.png"]
    assert [row["name"] for row in look(page, source, problem=FindingKind.BROKEN)["rows"]] == ["000.png"]
    told = facts(page, source, problem=FindingKind.LABEL)
    assert ("The check found", "probably wrong labels, looks more like Red") in told
    assert ("The check found", "same photo in two splits: green/copy.png in test") in facts(
        page, source, text="train/green/003.png"
    )
    assert (
        facts(page, source, problem=FindingKind.LEAKAGE)[-1][1].startswith("and ")
        and len(facts(page, source, problem=FindingKind.LEAKAGE)) == browse.MOST_TOLD + 1
    )
    # Decided: it is no problem any more, and the photo's page says what was done.
    page.press("kind", to=FindingKind.LABEL)
    page.press("relabel", to="red")
    mended = look(page, source, problem=FindingKind.LABEL)
    assert mended["rows"] == [] and FindingKind.LABEL in [
        value for field in mended["fields"] if field["name"] == "problem" for value, _ in field["options"]
    ]
    assert ("Decided", "it is Red (probably wrong labels)") in facts(page, source, text="wrong.png")
    assert facts(page, f"mended:{source}", text="wrong.png") == [
        ("Decided", "it is Red (probably wrong labels)")
    ]
    page.press("kind", to=FindingKind.LEAKAGE)
    page.press("exclude", photo=paths(page).index("test/green/copy.png"))
    assert facts(page, source, problem="fine") == [
        ("The check found", "nothing"),
        ("Decided", "leave it out (same photo in two splits)"),
    ]


def test_a_photo_that_was_moved_has_its_decision_in_the_mended_set(page, folder):
    page.press("move", photo=paths(page).index("test/green/copy.png"), to="train")
    moved = facts(page, f"mended:{folder}", text="copy.png")
    assert (
        moved == [("Decided", "into split train (same photo in two splits)")]
        and look(page, f"mended:{folder}", split="train", text="copy.png")["rows"]
    )


def test_what_is_learned_of_the_numbers_costs_no_second_search(page, monkeypatch):
    searched = []
    monkeypatch.setattr(check, "find", lambda *given: searched.append(given))
    opened.learn(
        opened.open_source(page.asked["source"]),
        statistics.measure(opened.open_source(page.asked["source"]).catalogue),
    )
    page.press("kind", to=FindingKind.LABEL)
    assert page.title == "Called Blue, looks more like Red" and searched == []
    shown = look(page, page.asked["source"], problem=FindingKind.LABEL, sort="brightness")
    assert [row["name"] for row in shown["rows"]] == ["wrong.png"]


def test_a_mended_set_is_checked_by_its_source(page, folder):
    page.press("exclude", photo=0)
    assert check.checked(f"mended:{folder}") == str(folder) and check.checked("") == "beans"
    again = Page(f"mended:{folder}", page.model)
    assert again.parts == page.parts


def test_photos_that_cannot_be_checked_are_refused_in_the_place_of_the_findings(page, refusal):
    page._take(check.show("/no/such <folder>", page.model))
    assert (
        "answer-refused" in page.parts["head"]
        and "/no/such &lt;folder&gt;" in page.parts["head"]
        and page.parts["one"] == ""
    )
    # Decisions about both together could not be handed to a run.
    assert "open beans alone, then review" in refusal(check.checked, "beans + review")
    assert check.checked("review") == "review"


def test_every_kind_has_its_words_and_names_are_escaped():
    evil = "<img src=x onerror=alert(1)>"
    photo = Shown("train", evil, "healthy", "")
    for kind in CHECKS:
        shown = [photo, photo] if kind in (FindingKind.LEAKAGE, "duplicate") else [photo]
        html = check_html.finding_html(
            Finding(kind, (("train", evil),) * len(shown), 1.0, True, "bean_rust", evil), 0, 1, shown, CHOICES
        )
        assert evil not in html and html.count("<figure>") == len(shown)
    journal = check_html.journal_html([Decision(1, "relabel", "train", evil, evil, FindingKind.LABEL)], True)
    assert evil not in journal + check_html.undo_html([Decision(1, "exclude", "train", evil)])


def test_counts_and_rare_classes_are_said_in_words():
    found = [Finding(FindingKind.LABEL, (("train", str(number)),), 1.0, number < 3) for number in range(14)]
    assert "3, and 11 to look at" in check_html.kinds_html(
        found, FindingKind.LABEL, 20, 20
    ) and "drawn by chance" not in check_html.kinds_html(found, FindingKind.LABEL, 20, 20)
    assert "20 of 30 photos were looked at" in check_html.kinds_html(found[3:], FindingKind.LABEL, 20, 30)
    told = check_html.imbalance({"bean_rust": 40}, ("healthy", 400))
    assert "Bean rust 40, while Healthy has 400" in told and check_html.imbalance({}, ("healthy", 400)) == ""


def test_the_picture_of_a_finding_is_small_enough_to_send(page):
    source = re.search('src="data:image/jpeg;base64,([^"]+)"', page.parts["one"])[1]
    with Image.open(io.BytesIO(base64.b64decode(source))) as picture:
        assert picture.size == (20, 24)  # never enlarged, the page does that
