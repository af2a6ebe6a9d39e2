"""How an upload is understood: shown before anything is taken in, corrected, and then taken in so."""

from __future__ import annotations

import json
import re
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.ui.tabs.data.test_bring import ended, photo, waited
from tests.ui.tabs.data.test_language import unmarked
from vit_demo.common import words
from vit_demo.common.words import LANGUAGES, speaking
from vit_demo.data.importing import imports
from vit_demo.data.plan.listing import Listing
from vit_demo.ui.tabs.data import bring, bring_jobs, plan_html
from vit_demo.ui.tabs.data.bring_jobs import Understood

LONGEST = 30.0
SPLITS = {"train": 8, "valid": 3, "extra": 4}


@pytest.fixture(autouse=True)
def fresh(home: Path) -> None:
    """A server that has just started, on an empty home folder."""
    imports.JOBS.clear()
    bring_jobs.JOBS.clear()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """As Kaggle packs it: test photos have no class, and nobody knows what the folder "extra" is for."""
    file, number = tmp_path / "plants.zip", 0
    with zipfile.ZipFile(file, "w") as out:
        for split, count in SPLITS.items():
            for label in ("rust", "he<i>althy") * count:
                number += 1
                out.writestr(f"plants/{split}/{label}/{number}.png", photo(number))
        for more in range(5):
            out.writestr(f"plants/test/test/{more}.png", photo(1000 + more))
        out.writestr("plants/<b>readme.md", b"about")
    return file


def zipped(file: Path, names: list[str]) -> str:
    with zipfile.ZipFile(file, "w") as out:
        for number, name in enumerate(names):
            out.writestr(name, photo(number))
    return str(file)


def sent(**asked: object) -> SimpleNamespace:
    return SimpleNamespace(value=json.dumps(asked))


def look(file: object, *told: tuple[str, str]) -> dict:
    """The answer when it is known how the files are understood."""
    files = [str(one) for one in (file if isinstance(file, list) else [file])]
    for _ in range(100):
        answer = bring.look(files, sent(do="look", told=told))
        if not answer["plan"]["going"]:
            return answer
        assert "being looked through" in answer["parts"]["looking"] and "plan" not in answer["parts"]
    raise AssertionError("still not known")


def shown(answer: dict) -> str:
    return answer["parts"]["plan"]


def selects(html: str) -> dict[str, str]:
    """{option: its value, "" where it has to be answered}."""
    found = re.findall(r'<select data-option="([^"]*)"[^>]*>(.*?)</select>', html, re.DOTALL)
    return {option: (re.findall(r'value="([^"]*)" selected', inside) or [""])[0] for option, inside in found}


def summaries(html: str) -> list[str]:
    return re.findall("<summary>(.*?)</summary>", html)


def test_an_upload_is_understood_before_it_is_taken_in(archive):
    answer = bring.propose([str(archive)])
    assert answer["proposed"] == {"name": "plants", "photos": False} and answer["plan"]["told"] == []
    html = shown(look(archive))
    assert summaries(html) == [
        "Training: 16 photos of 2 classes",
        "Validation: 6 photos of 2 classes",
        "Without a class: 5 photos",
        "9 files left out",
    ]
    assert "<span>he&lt;i&gt;althy</span> <span>8</span>" in html and "plants/test/test" in html
    assert "<b>plants/&lt;b&gt;readme.md</b> is not a photo" in html and "<i>" not in html
    assert "Some of each class will be set apart for test." in html
    assert selects(html) == {
        "split:extra": "",
        "split:test": "test",
        "split:train": "train",
        "split:valid": "validation",
        "class-level": "3",
    }
    assert html.index("split:extra") < html.index("Training: 16") < html.index("split:train")
    assert html.count("needs an answer") == html.count(" required>") == 1
    assert imports.list_imports() == [] and imports.JOBS.all() == []


def test_an_open_question_has_to_be_answered_first(archive):
    open_one = look(archive)["plan"]
    assert open_one["asked"] and not open_one["ready"]
    answered = look(archive, ("split:extra", "train"))
    assert answered["plan"]["ready"] and not answered["plan"]["asked"]
    assert answered["plan"]["told"] == [("split:extra", "train")]
    assert answered["plan"]["of"] == open_one["of"] and answered["plan"]["turn"] > open_one["turn"]
    assert summaries(shown(answered))[0] == "Training: 24 photos of 2 classes"
    # Who begins all the same is told what has to be said.
    begun = bring.begin([str(archive)], sent(do="begin", name="plants"))
    failed = ended(begun)
    assert failed["job"]["stage"] == "failed" and "not clear whether extra is for" in failed["parts"]["head"]
    assert archive.exists()


def test_it_is_taken_in_as_it_was_corrected_and_what_was_understood_is_kept(archive):
    told = [("split:extra", "none"), ("class:he<i>althy", "good")]
    head = ended(bring.begin([str(archive)], sent(do="begin", name="plants", told=told)))["parts"]["head"]
    assert (
        "22 photos of 2 classes are in." in head
        and "Some of each class were set apart here for test." in head
    )
    assert "What to know about these photos" in head
    assert "<li>5 photos have no class (in plants/test/test). They can be diagnosed" in head
    found = imports.list_imports()[0]
    assert set(found.counts["train"]) == {"good", "rust"}
    assert "5 photos have no class" in bring.act(sent(do="tell", name="plants"))["parts"]["head"]
    assert waited(archive)


def test_what_was_said_and_no_choice_shows_can_be_taken_back(tmp_path):
    file = zipped(
        tmp_path / "a.zip", [f"{label}/{n}.png" for label in ("rust", "Rust", "bean_rust") for n in (1, 2)]
    )
    html = shown(look(file))
    assert selects(html)["class:rust"] == "" and "are they one class or two?" in html
    assert '<button type="button" data-option="class:bean_rust" data-to="Rust">They are one class' in html
    html = shown(look(file, ("class:rust", "Rust"), ("class:bean_rust", "bean_rust")))
    assert "rust belongs to Rust" in html and "bean_rust is a class of its own" in html
    assert '<button type="button" data-option="class:rust" data-to="">Take back' in html


def test_columns_can_be_named_where_they_matter(tmp_path):
    photos = [tmp_path / f"{number}.png" for number in range(6)]
    for number, file in enumerate(photos):
        file.write_bytes(photo(number))
    table = tmp_path / "field.csv"
    rows = [
        f"{file.name},{'ab'[number % 2]},{('dry', 'wet')[number // 3]}" for number, file in enumerate(photos)
    ]
    table.write_text("\n".join(["path,disease,species", *rows]))
    refused = look([table, *photos])
    assert "Several columns of field.csv could be the labels: disease, species." in shown(refused)
    assert 'data-fold="columns" open' in shown(refused) and not refused["plan"]["ready"]
    named = look([table, *photos], ("label-column", "species"))
    assert named["plan"]["ready"] and "<span>dry</span> <span>3</span>" in shown(named)
    assert 'data-option="label-column" value="species"' in shown(named)
    # A folder of classes has no columns.
    file = zipped(tmp_path / "b.zip", [f"{label}/{n}.png" for label in "ab" for n in (1, 2)])
    assert 'data-option="encoding"' not in shown(look(file))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "No photo with a class was found in these files."),
        (["1.png", "2.png"], "The photos of a.zip have no classes, so nothing can be learned"),
    ],
)
def test_where_nothing_can_be_taken_in_it_says_so(tmp_path, names, said):
    answer = look(zipped(tmp_path / "a.zip", names))
    assert said in shown(answer) and 'role="alert"' in shown(answer) and not answer["plan"]["ready"]


def test_what_cannot_be_understood_is_said_and_so_is_what_cannot_be_said(archive, tmp_path):
    bad = tmp_path / "bad.zip"
    bad.write_bytes(b"no zip")
    assert "bad.zip" in shown(look(bad)) and not look(bad)["plan"]["ready"]
    assert "Bring one zip or tar at a time" in shown(look([archive, bad]))
    wrong = look(archive, ("split:extra", "nonsense"))
    assert "&#34;nonsense&#34; is no split." in shown(wrong) and not wrong["plan"]["ready"]
    assert "Take back" in shown(wrong)
    begun = bring.begin([str(archive)], sent(do="begin", name="x", told=[["split:extra", "nonsense"]]))
    assert begun["job"] is None and "is no split" in begun["parts"]["head"]


def test_bare_photos_and_no_files_have_no_plan(tmp_path):
    for files in (None, [], [str(tmp_path / "a.jpg")]):
        nothing = {"plan": None, "parts": {"looking": "", "plan": ""}}
        assert bring.look(files, sent(do="look")) == nothing
        assert {name: bring.propose(files)[name] for name in nothing} == nothing


def test_a_large_archive_is_looked_through_beside_the_page(archive, monkeypatch):
    looking, go_on, add = threading.Event(), threading.Event(), Listing.add

    def slow(listing: Listing, parts: tuple[str, ...]) -> None:
        looking.set()
        go_on.wait(LONGEST)
        add(listing, parts)

    monkeypatch.setattr(Listing, "add", slow)
    monkeypatch.setattr(bring, "QUICK", 0.01)
    first = bring.look([str(archive)], sent(do="look"))
    assert looking.wait(LONGEST) and first["plan"]["going"]
    again = bring.look([str(archive)], sent(do="look"))
    assert again["plan"]["turn"] != first["plan"]["turn"] and len(bring_jobs.JOBS.all()) == 1
    assert "1 file was seen so far." in again["parts"]["looking"]
    # Other people's uploads do not wait for it.
    assert bring.look([str(archive)], sent(do="look", told=[["class-level", "0"]]))["plan"]["going"] is False
    go_on.set()
    assert look(archive)["plan"]["asked"]


def test_another_file_of_the_same_name_is_looked_at_anew(tmp_path):
    file = tmp_path / "a.zip"
    zipped(file, [f"{label}/{n}.png" for label in "ab" for n in (1, 2)])
    before = look(file)
    zipped(file, [f"{label}/{n}.png" for label in "abc" for n in (1, 2)])
    after = look(file)
    assert before["plan"]["of"] != after["plan"]["of"] and "6 photos of 3 classes" in shown(after)


def test_many_classes_are_folded_and_the_rest_is_counted():
    photos = {"train": {f"class {number:03}": 1 for number in range(250)}}
    html = plan_html.plan_html(Understood(photos=photos), [])
    assert html.count("<li><span>") == 200 and "and 50 more." in html and " open" not in html


@pytest.mark.parametrize(
    ("given", "cut"),
    [
        ([""], ["validation", "test"]),
        (["train"], ["validation", "test"]),
        (["train", "test"], ["validation"]),
        (["", "validation"], ["test"]),
        (["train", "validation", "test"], []),
        (["validation", "test"], []),
    ],
)
def test_which_splits_will_be_cut(given, cut):
    assert Understood(photos={split: {"rust": 3} for split in given}).to_cut == cut


def test_files_of_many_photos_are_shown_with_their_splits():
    files = (("data/train-0.parquet", "train"), ("data/test-0.parquet", "test"))
    html = plan_html.plan_html(Understood("parquet", files=files), [])
    assert (
        "Files that hold many photos each: 2" in html
        and "<span>data/test-0.parquet</span> <span>Test</span>" in html
    )
    assert 'data-option="label-column"' in html


@pytest.mark.parametrize("given", ["x", 3, [["a"]], [["a", "b", "c"]], [3], {"a": "b"}])
def test_what_a_page_sends_as_said_is_not_trusted(given):
    assert bring.understood(json.dumps({"told": given}))["told"] == []


def test_too_much_said_is_cut():
    told = bring.understood(json.dumps({"told": [["a" * 9999, 3]] * 9999}))["told"]
    assert len(told) == bring.MOST_TOLD and told[0] == ("a" * bring.MOST_LETTERS, "3")


def test_the_plan_is_told_in_each_language(archive):
    told = {}
    for language in LANGUAGES:
        with speaking(language):
            told[language] = shown(look(archive))
    assert len(set(told.values())) == len(LANGUAGES) and len(bring_jobs.JOBS.all()) == 1


def test_no_word_of_the_plan_stays_behind(tmp_path, monkeypatch):
    english = words.words()
    french = {key: f"⟦{text}⟧" for key, text in english.items()}
    monkeypatch.setattr(words, "words", lambda language="en": french if language == "fr" else english)
    names = [
        f"{split}/{label}/1.png"
        for split in ("train", "valid", "red")
        for label in ("rust", "healthy", "other")
    ]
    file = zipped(tmp_path / "leaves.zip", [*names, "test/1.png"])
    with zipfile.ZipFile(file, "a") as out:
        out.writestr("train/data.txt", b"x")
    with speaking("fr"):
        html = shown(look(file, ("class:other", "rust")))
    told = re.sub("<option value=[^>]*>", "", html)
    assert "⟦Without a class: ⟦1 photo⟧⟧" in told and unmarked(told) == []
