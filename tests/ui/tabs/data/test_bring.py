"""The view that brings photos: what is uploaded becomes an import, and what became of it is said."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from vit_demo.common.errors import UserError
from vit_demo.data.importing import imports
from vit_demo.data.importing.gather import Files, Progress
from vit_demo.data.importing.imports import Imported, Job
from vit_demo.data.names import BEANS
from vit_demo.ui.tabs.data import bring, bring_html, brought, opened

LONGEST = 30.0


@pytest.fixture(autouse=True)
def fresh(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that has just started, on an empty home folder."""
    imports.JOBS.clear()
    opened._opened.clear()


def photo(number: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(
        out, "PNG"
    )
    return out.getvalue()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """20 photos of two classes, one file that is none, and what a Mac leaves."""
    file = tmp_path / "my field 2026.zip"
    with zipfile.ZipFile(file, "w") as out:
        for number in range(20):
            out.writestr(f"{('rust', 'he<b>althy')[number % 2]}/{number}.png", photo(number))
        out.writestr("rust/<i>broken.png", b"no photo")
        out.writestr("rust/.DS_Store", b"what a Mac leaves")
    return file


def event(**asked: str) -> SimpleNamespace:
    return SimpleNamespace(value=json.dumps(asked))


def ended(answer: dict) -> dict:
    """What is shown of an import when it has ended."""
    assert answer["begun"], answer
    imports.JOBS.find(answer["job"]["name"]).wait(LONGEST)
    return bring.act(event(do="news", name=answer["job"]["name"]))


def waited(gone: Path) -> bool:
    """Whether it goes soon."""
    pause = threading.Event()
    return any(not gone.exists() or pause.wait(0.05) for _ in range(100)) and not gone.exists()


def test_an_archive_becomes_a_data_set_that_is_opened(archive):
    assert bring.show()["parts"] == {"head": "", "list": bring_html.list_html([])} and brought() == []
    answer = ended(bring.begin([str(archive)], event(do="begin", name="leaves")))
    head = answer["parts"]["head"]
    assert answer["job"] == {"name": "leaves", "stage": "done"} and answer["known"] == ["leaves"]
    assert (
        "<b>20 photos of 2 classes are in.</b> Some of each class were set apart here for validation and"
        " test." in head
    )
    assert (
        "2 files left out" in head
        and "<b>rust/&lt;i&gt;broken.png</b> is not a photo." in head
        and ".DS_Store" in head
        and "<i>" not in head
    )
    assert (
        "20 photos, 2 classes, " in answer["parts"]["list"]
        and 'data-do="remove" data-name="leaves"' in answer["parts"]["list"]
    )
    views, source, files = bring.choose(event(do="done", name="leaves"))
    assert (
        source["value"] == "import:leaves"
        and ("leaves, 20 photos brought in", "import:leaves") in source["choices"]
        and files is None
    )
    assert views == gr.skip() and isinstance(bring.choose(event(do="open", name="leaves"))[0], gr.Tabs)
    # Found again by a page that was loaded anew; and no upload stays on the disk beside what was taken of it.
    assert bring.show() == answer and waited(archive)


def test_an_import_is_removed(archive):
    ended(bring.begin([str(archive)], event(do="begin", name="leaves")))
    answer, source = bring.remove("import:leaves", event(do="remove", name="leaves"))
    assert source["value"] == BEANS and brought() == [] and imports.list_imports() == []
    assert "leaves is removed." in answer["parts"]["head"] and answer["known"] == []
    # What was said of it is not said again.
    assert (
        bring.show()["parts"]["head"] == ""
        and "is no import called leaves any more."
        in bring.act(event(do="tell", name="leaves"))["parts"]["head"]
    )
    with pytest.raises(UserError, match="There is no import called leaves"):
        bring.remove(BEANS, event(do="remove", name="leaves"))


def test_other_photos_stay_open_when_an_import_is_removed(archive):
    ended(bring.begin([str(archive)], event(do="begin", name="leaves")))
    assert "value" not in bring.remove(BEANS, event(do="remove", name="leaves"))[1]


def test_photos_come_class_by_class(tmp_path):
    told = []
    for label, numbers in (("rust", range(10)), ("healthy", range(10, 20))):
        files = [tmp_path / f"{number}.png" for number in numbers]
        for number, file in zip(numbers, files):
            file.write_bytes(photo(number))
        told.append(
            ended(bring.begin([str(file) for file in files], event(do="begin", name="mine", label=label)))[
                "parts"
            ]["head"]
        )
        if label == "rust":  # nothing can be learned from one class: the photos that are open stay so
            assert "value" not in bring.choose(event(do="done", name="mine"))[1]
    assert (
        "10 photos of 1 class are in.</b> Now bring photos of a second class under the same name." in told[0]
        and "See the photos" not in told[0]
    )
    assert "20 photos of 2 classes are in." in told[1] and "See the photos" in told[1]


def test_a_table_comes_with_its_photos(tmp_path):
    rows, files = ["path,label"], [tmp_path / "labels.csv"]
    for number in range(12):
        files.append(tmp_path / f"IMG_{number}.png")
        files[-1].write_bytes(photo(number))
        rows.append(f"IMG_{number}.png,{('rust', 'healthy')[number % 2]}")
    files[0].write_text("\n".join(rows))
    with pytest.raises(UserError, match="A table alone holds no photos"):
        bring.source_of(files[:1], "")
    before = set(Path(bring.tempfile.gettempdir()).glob("vit_demo-brought-*"))
    head = ended(bring.begin([str(file) for file in files], event(do="begin", name="told")))["parts"]["head"]
    assert "12 photos of 2 classes are in." in head
    assert all(
        waited(folder)
        for folder in set(Path(bring.tempfile.gettempdir()).glob("vit_demo-brought-*")) - before
    )


@pytest.mark.parametrize(
    ("files", "asked", "said"),
    [
        ([], {"name": "a"}, "Choose a zip or tar file, or photos first."),
        (["a.zip"], {"name": "../x"}, "Give the import a name of letters and digits"),
        (["a.zip"], {}, "Give the import a name of letters and digits"),
        (["a.zip", "b.tar"], {"name": "a"}, "Bring one zip or tar at a time"),
        (["a.zip", "b.jpg"], {"name": "a"}, "Bring one zip or tar at a time"),
        (["b.jpg"], {"name": "a"}, "Say what the photo shows"),
        (["gone.zip"], {"name": "a"}, "What was uploaded is not there any more."),
        (["a.csv", "b.jpg"], {"name": "../x"}, "Give the import a name of letters and digits"),
    ],
)
def test_what_cannot_be_begun_is_said_in_place(tmp_path, files, asked, said):
    for name in files:
        if name != "gone.zip":
            (tmp_path / name).write_bytes(b"anything")
    before = set(Path(bring.tempfile.gettempdir()).glob("vit_demo-brought-*"))
    answer = bring.begin([str(tmp_path / name) for name in files], event(do="begin", **asked))
    assert (
        answer["job"] is None
        and f'role="alert"><b>{said}' in answer["parts"]["head"]
        and str(tmp_path) not in answer["parts"]["head"]
    )
    assert (
        imports.JOBS.all() == []
        and set(Path(bring.tempfile.gettempdir()).glob("vit_demo-brought-*")) == before
    )


def test_an_import_that_fails_says_why_and_its_upload_stays(tmp_path):
    file = tmp_path / "bad.zip"
    file.write_bytes(b"no zip")
    answer = ended(bring.begin([str(file)], event(do="begin", name="bad")))
    assert (
        answer["job"]["stage"] == "failed"
        and 'role="alert"' in answer["parts"]["head"]
        and "bad.zip" in answer["parts"]["head"]
    )
    assert file.exists() and imports.list_imports() == [] and bring.show()["job"]["stage"] == "failed"


def test_an_import_is_cancelled_and_nothing_stays(archive, monkeypatch):
    looking, go_on = threading.Event(), threading.Event()
    real = imports.gather

    def slow(source, stage, corrections) -> None:
        looking.set()
        go_on.wait(LONGEST)
        real(source, stage, corrections)

    monkeypatch.setattr(imports, "gather", slow)
    begun = bring.begin([str(archive)], event(do="begin", name="leaves"))
    assert (
        looking.wait(LONGEST)
        and begun["job"]["stage"] == "running"
        and "The files are being opened." in begun["parts"]["head"]
    )
    again = bring.show()  # as a page that was loaded anew finds it
    assert (
        again["job"] == begun["job"]
        and again["parts"] == {**begun["parts"], "list": bring_html.list_html([])}
        and "list" not in begun["parts"]
    )
    assert "is under way" in bring.begin([str(archive)], event(do="begin", name="leaves"))["parts"]["head"]
    bring.act(event(do="stop", name="leaves"))
    go_on.set()
    answer = ended(begun)
    assert (
        answer["job"]["stage"] == "stopped"
        and "cancelled. Nothing of it was kept." in answer["parts"]["head"]
    )
    assert archive.exists() and imports.list_imports() == []


def test_progress_in_words():
    job = Job("a<b", progress=Progress(1180, 1203, 2000, 120_000_000, 310_000_000))
    html = bring_html.progress_html(job)
    assert (
        "File 1,203 of 2,000 was looked at, 1,180 photos taken. 120 of 310 MB are read. You can close the"
        " page meanwhile." in html
    )
    assert "width:60.2%" in html and "a&lt;b" in html and 'data-do="stop"' in html
    job.progress = Progress(1, 5, 5)
    assert "All files were looked at. 1 photo is being put into splits." in bring_html.progress_html(job)


def test_a_result_names_copies_and_what_is_too_much_to_name():
    skipped = [{"name": f"{number}.txt", "why": "is not a photo, by its ending."} for number in range(1000)]
    counts = {"train": {"rust": 900, "healthy": 80}, "test": {"healthy": 20}}
    html = bring_html.result_html(
        Imported("many", counts=counts, skipped=skipped, skipped_count=5000, cut=["validation"], copies=1)
    )
    assert (
        "<b>1,000 photos of 2 classes are in.</b> Some of each class were set apart here for validation. 1"
        " looks like another one; copies" in html
    )
    assert "5,000 files left out" in html and html.count("<li>") == 201 and "and 4,800 more." in html
    assert "<th>Healthy</th><td>80</td><td>20</td>" in html and "<th>Rust</th><td>900</td><td>0</td>" in html


def test_a_name_is_proposed_after_the_file(archive, tmp_path):
    def proposed(*names: str) -> str:
        return bring.proposed_name([tmp_path / name for name in names])

    assert (
        proposed() == ""
        and proposed("a.jpg", "b.jpg") == bring.PHOTOS_NAME
        and proposed("b.jpg", "table 1.csv") == "table-1"
    )
    assert (
        proposed("my beans.tar.gz") == "my-beans"
        and proposed("été.zip") == "été"
        and proposed(".zip") == "my-data"
        and proposed("(2).zip") == "2"
    )
    assert all(
        imports.check_name(proposed(name), archive)
        for name in (f"{'x' * 49} y.zip", "...zip", "_a.zip", "a" * 80 + ".tgz")
    )
    ended(bring.begin([str(archive)], event(do="begin", name="Field")))
    assert proposed("field.zip") == "field-2"
    assert bring.propose([str(archive)])["proposed"] == {"name": "my-field-2026", "photos": False}
    assert bring.propose(["a.jpg"])["proposed"]["photos"] is True and bring.propose(None)["proposed"] == {
        "name": "",
        "photos": False,
    }


@pytest.mark.parametrize("given", [None, "no json", "[]", '{"do": 3, "name": null, "other": "x"}'])
def test_what_a_page_sends_is_not_trusted(given):
    assert bring.understood(given) == bring.NOTHING


def test_photos_alone_need_what_they_show(tmp_path):
    (tmp_path / "a.heic").write_bytes(b"x")
    assert bring.source_of([tmp_path / "a.heic"], "  bean  rust ") == Files(
        (tmp_path / "a.heic",), "bean rust"
    )


def test_strangers_are_not_offered_what_others_brought(archive, monkeypatch):
    ended(bring.begin([str(archive)], event(do="begin", name="leaves")))
    assert ("leaves, 20 photos brought in", "import:leaves") in opened.sources()
    monkeypatch.setenv("VIT_DEMO_REVIEW", "off")
    assert opened.sources() == opened.usual_sources()
