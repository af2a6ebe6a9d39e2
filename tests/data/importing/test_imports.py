"""Photos that are brought in become a data set, whole or not at all."""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.data.archive_corpus import HARMFUL, leaf, leaves, pack_tar, pack_zip, zip_of_zeros
from tests.data.imported import contents, put, stored, totals
from vit_demo.cli.main import main
from vit_demo.common.errors import UserError
from vit_demo.common.words import speaking, words
from vit_demo.data.copies.duplicates import NEAR_BITS, fingerprint_of
from vit_demo.data.importing import imports
from vit_demo.data.importing.gather import Cancelled, Files, left_out
from vit_demo.data.importing.imports import import_photos, list_imports, remove, start
from vit_demo.data.open.sources import open_dataset, open_to_try
from vit_demo.data.plan.corrections import Corrections

pytestmark = pytest.mark.usefixtures("place_for_imports")


# --- what comes in, and how it lies there


@pytest.mark.parametrize("wrap", ["", "my leaves/", "a/b/"])
@pytest.mark.parametrize("pack", ["a.zip", "a.tar.gz", "folder"])
def test_classes_are_cut_into_splits(home: Path, tmp_path: Path, pack: str, wrap: str) -> None:
    members = {wrap + name: content for name, content in leaves(30).items()}
    if wrap:
        members |= {"cover.jpg": leaf(9999), f"{wrap.split('/')[0]}/cover.jpg": leaf(9998)}
    source = (
        put(tmp_path / "photos", members)
        if pack == "folder"
        else (pack_zip if pack.endswith("zip") else pack_tar)(tmp_path / pack, members)
    )
    done = import_photos(source, "mine")
    assert totals(done) == {"train": 48, "validation": 6, "test": 6} and done.cut == ["validation", "test"]
    assert {entry["name"] for entry in done.skipped} == {name for name in members if "cover" in name}
    assert contents(done.folder) == sorted(
        content for name, content in members.items() if "cover" not in name
    ), "as they are, none lost"
    data = open_dataset("import:mine")
    assert {split: len(part) for split, part in data.items()} == totals(done)
    assert data["train"].features["labels"].names == ["healthy", "rust"]
    for part in data.values():
        assert all(
            Path(path).parent.name == ["healthy", "rust"][label]
            for path, label in zip(part["image_file_path"], part["labels"])
        )
    assert open_dataset(done.folder) is open_dataset("import:mine") and stored(home) == ["mine"]


def test_splits_that_are_there_stay(tmp_path: Path, refusal: Callable[..., str]) -> None:
    members = {
        f"{split}/{name}": content
        for start, split in enumerate(("train", "val", "test"))
        for name, content in leaves(4, start=100 * start).items()
    }
    source = pack_zip(
        tmp_path / "a.zip", {**members, "more/rust/x.jpg": leaf(9), "README.md": b"x", "lonely.jpg": leaf(8)}
    )
    assert "whether more is for training, validation or test" in refusal(import_photos, source, "mine")
    done = import_photos(source, "mine", corrections=Corrections(splits=(("more", "none"),)))
    assert totals(done) == {"train": 8, "validation": 8, "test": 8} and done.cut == []
    assert {entry["name"] for entry in done.skipped} == {"more/rust/x.jpg", "README.md", "lonely.jpg"}
    for split, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        own = sorted(content for path, content in members.items() if path.startswith(split))
        assert sorted(file.read_bytes() for file in (done.folder / name).glob("*/*")) == own


@pytest.mark.parametrize("there", ["validation", "test"])
def test_the_missing_split_is_cut_from_train(tmp_path: Path, there: str) -> None:
    members = {f"train/{name}": content for name, content in leaves(30).items()} | {
        f"{there}/{name}": leaf(5000 + n) for n, name in enumerate(leaves(3))
    }
    done = import_photos(pack_tar(tmp_path / "a.tar", members), "mine")
    assert totals(done) == {"train": 54, there: 6} | {({"validation", "test"} - {there}).pop(): 6}
    assert done.cut == [({"validation", "test"} - {there}).pop()]


def test_stray_files_are_left_out_and_listed(home: Path, tmp_path: Path) -> None:
    zipped = pack_zip(tmp_path / "more.zip", {"a.jpg": leaf(1)}).read_bytes()
    stray = {
        ".DS_Store": b"x",
        "Thumbs.db": b"x",
        "__MACOSX/rust/._000.jpg": b"x",
        "rust/.ipynb_checkpoints/000.jpg": leaf(1),
        "rust/notes.txt": b"x",
        "rust/broken.jpg": leaf(1)[:700],
        "rust/empty.jpg": b"",
        "rust/text.jpg": b"hello",
        "rust/zip.jpg": zipped,
        "rust/film.mp4": b"x",
    }
    deeper = {"rust/deep/er.jpg": leaf(2)}
    done = import_photos(pack_zip(tmp_path / "leaves.zip", {**leaves(20), **stray, **deeper}), "mine")
    assert (
        {entry["name"] for entry in done.skipped} == set(stray)
        and done.skipped_count == len(stray)
        and done.photos == 41
    )
    why = {entry["name"]: entry["why"] for entry in done.skipped}
    assert why["rust/broken.jpg"].startswith("is damaged and") and "empty" in why["rust/empty.jpg"]
    assert why["rust/zip.jpg"] == why["rust/text.jpg"] == "is not a photo."
    kept = json.loads((done.folder / "import.json").read_text())
    assert (
        kept["skipped"] == done.skipped
        and kept["counts"] == done.counts
        and kept["source"] == "leaves.zip"
        and abs(kept["time"] - time.time()) < 60
    )
    assert list_imports() == [done]


def test_what_was_left_out_is_said_in_the_language_of_whoever_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        words("fr"), "data.left_out.ending", "Par sa terminaison, {name} n'est pas une photo."
    )
    monkeypatch.setitem(words("fr"), "error.photos.no_photo", "{name} n'est pas une photo.")
    with speaking("fr"):
        import_photos(
            pack_zip(tmp_path / "leaves.zip", {**leaves(20), "a.txt": b"x", "rust/b.jpg": b"x"}), "mine"
        )
        entries = list_imports()[0].skipped
        assert [(entry["name"], entry["why"]) for entry in entries] == [
            ("a.txt", "is not a photo, by its ending."),
            ("rust/b.jpg", "is not a photo."),
        ]
        assert [str(left_out(entry)) for entry in entries] == [
            "Par sa terminaison, a.txt n'est pas une photo.",
            "rust/b.jpg n'est pas une photo.",
        ]
    assert [str(left_out(entry)) for entry in entries] == [
        "a.txt is not a photo, by its ending.",
        "rust/b.jpg is not a photo.",
    ]
    # Of an earlier version of the program, and of a later one.
    for said in ({}, {"said": {"key": "data.left_out.another", "values": {}}}):
        assert (
            left_out({"name": "a.txt", "why": "is not a photo, by its ending.", **said})
            == "a.txt is not a photo, by its ending."
        )


# --- copies


def saved_anew(content: bytes, number: int) -> bytes:
    """As phones and messengers do: smaller, and more tightly packed."""
    photo, out = Image.open(io.BytesIO(content)), io.BytesIO()
    photo.resize((90 - number % 3, 68)).save(out, "JPEG", quality=90 - 5 * (number % 3))
    return out.getvalue()


@pytest.mark.parametrize("way", ["import", "open"])
def test_copies_never_fall_on_both_sides(home: Path, tmp_path: Path, way: str) -> None:
    """Planted: each third photo is there again, saved anew or as it is, some under the other class."""
    members, photos = leaves(60), list(leaves(60).items())
    for number, (name, content) in enumerate(photos[::3]):
        where = name.split("/")[0] if number % 10 else "rust"
        members[f"{where}/copy-{number}.jpg"] = content if number % 4 == 0 else saved_anew(content, number)
    if way == "import":
        done = import_photos(pack_zip(tmp_path / "a.zip", members), "mine")
        data = open_dataset("import:mine")
        again = import_photos(pack_zip(tmp_path / "a.zip", members), "again")
        listing = [
            sorted(str(file.relative_to(one.folder)) for file in one.folder.glob("*/*/*"))
            for one in (done, again)
        ]
        assert listing[0] == listing[1], "the same photos give the same cut"
        assert done.copies == 40
    else:
        data = open_dataset(put(tmp_path / "photos", members))
    sides = {
        split: [fingerprint_of(photo.convert("RGB"))[1] for photo in part["image"]]
        for split, part in data.items()
    }
    assert sum(map(len, sides.values())) == 160
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        nearest = min(int((left ^ right).sum()) for left in sides[one] for right in sides[other])
        assert nearest > NEAR_BITS
    counted = np.stack([np.bincount(part["labels"], minlength=2) for part in data.values()])
    left = counted.sum(axis=0)
    for part in counted[1:]:
        assert (np.abs(part - 0.1 * left) <= 1).all(), "within one photo of its share"
        left = left - part


# --- what is refused


@pytest.mark.parametrize("name", HARMFUL)
def test_harmful_archives_leave_nothing(
    home: Path, tmp_path: Path, name: str, refusal: Callable[..., str]
) -> None:
    make, sentence = HARMFUL[name]
    (tmp_path / "in").mkdir()
    start_time = time.monotonic()
    assert sentence in refusal(import_photos, make(tmp_path / "in"), "mine")
    assert time.monotonic() - start_time < 8
    assert stored(home) == [] and sorted(path.name for path in tmp_path.iterdir()) == ["home", "in"]
    assert not Path("/tmp/evil.jpg").exists()


def test_zeros_behind_a_lying_size_and_empty_files(
    home: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    assert "No photo of a.zip can be used" in refusal(
        import_photos, zip_of_zeros(tmp_path / "a.zip", 100_000), "mine"
    )
    empty = pack_zip(
        tmp_path / "b.zip", {f"{'ab'[number % 2]}/{number}.jpg": b"" for number in range(100_000)}
    )
    start_time = time.monotonic()
    assert "No photo of b.zip can be used: a/0.jpg is empty (0 bytes)." in refusal(
        import_photos, empty, "mine"
    )
    assert time.monotonic() - start_time < 60 and stored(home) == []


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({}, "No photo of a.zip lies in"),
        ({"a.jpg": leaf(1), "b.jpg": leaf(2)}, "class/photo.jpg"),
        ({**leaves(20), **leaves(20, ("Rust",), start=500)}, "The classes Rust and rust look like one"),
        ({**leaves(40), "rare/1.jpg": leaf(77)}, "too few photos of rare"),
        ({"readme.txt": b"x"}, "readme.txt is not a photo, by its ending."),
        (
            {f"{split}/{name}": content for split in ("val", "test") for name, content in leaves(4).items()},
            "no split to train on",
        ),
    ],
    ids=["empty", "no classes", "case", "rare", "text", "no train"],
)
def test_what_is_no_data_set(
    home: Path, tmp_path: Path, refusal: Callable[..., str], members: dict[str, bytes], words: str
) -> None:
    assert words in refusal(import_photos, pack_zip(tmp_path / "a.zip", members), "mine")
    assert stored(home) == []


@pytest.mark.parametrize(
    "members",
    [leaves(20, ("rust",)), leaves(3), {f"test/{name}": content for name, content in leaves(2).items()}],
    ids=["one class", "few", "test alone"],
)
def test_what_is_too_little_to_learn_from_is_kept_to_try_a_model_on(
    tmp_path: Path, refusal: Callable[..., str], members: dict[str, bytes]
) -> None:
    done = import_photos(pack_zip(tmp_path / "a.zip", members), "mine")
    assert totals(done) == {"test": len(members)} and done.cut == []
    tried, _ = open_to_try("import:mine", "test")
    assert len(tried) == len(members)
    assert "few photos" in (why := refusal(open_dataset, "import:mine")) or "only one class" in why


def test_other_files_are_refused(tmp_path: Path, refusal: Callable[..., str]) -> None:
    (tmp_path / "a.7z").write_bytes(b"x")
    assert "cannot be imported" in refusal(import_photos, tmp_path / "a.7z", "mine")
    assert "There is no file or folder" in refusal(import_photos, tmp_path / "gone", "mine")


@pytest.mark.parametrize(
    "name",
    ["", "  ", ".hidden", "../up", "a/b", "a\\b", "con", "x" * 61, "a\nb\0", "-x", "new.", "a:b", "a+b"],
)
def test_bad_names(home: Path, tmp_path: Path, refusal: Callable[..., str], name: str) -> None:
    assert "Give the import a name" in refusal(import_photos, pack_zip(tmp_path / "a.zip", leaves(20)), name)
    assert "Give the import a name" in refusal(start, tmp_path / "a.zip", name)
    assert stored(home) == []


def test_a_name_is_given_once(home: Path, tmp_path: Path, refusal: Callable[..., str]) -> None:
    source = pack_zip(tmp_path / "a.zip", leaves(20))
    done = import_photos(source, "Mes feuilles 叶")
    for name in (done.name, "mes FEUILLES 叶", " Mes  feuilles 叶 "):
        assert "already" in refusal(import_photos, source, name)
    assert "no import called" in refusal(remove, "other")
    remove(done.name)
    assert stored(home) == [] and list_imports() == []
    assert "There is no import called Mes feuilles 叶" in refusal(open_dataset, done.spec)


@pytest.mark.parametrize("name", ["", "..", "../runs", "a/b", ".new-x", "gone", "/tmp", "a\\b"])
def test_only_imports_are_opened_as_such(
    home: Path, tmp_path: Path, refusal: Callable[..., str], name: str
) -> None:
    put(home / "imports" / ".new-x", leaves(20))
    put(home / "runs", leaves(20))
    assert "There is no import called" in refusal(open_dataset, f"import:{name}")


# --- stopped, killed, no room


@pytest.mark.parametrize("after", [0, 1, 30, 84, 120])
def test_stopped_at_any_moment_leaves_nothing(home: Path, tmp_path: Path, after: int) -> None:
    asked = iter(range(10_000))
    with pytest.raises(Cancelled, match="Nothing was kept"):
        import_photos(
            pack_zip(tmp_path / "a.zip", leaves(20)), "mine", cancelled=lambda: next(asked) >= after
        )
    assert stored(home) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from vit_demo.data.importing import imports
def tell(progress):
    if progress.done == 15:
        os.kill(os.getpid(), signal.SIGKILL)
imports.import_photos(Path(sys.argv[1]), "mine", tell)
"""


def test_killed_leaves_nothing_that_opens_and_is_swept(
    home: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    source = pack_zip(tmp_path / "a.zip", leaves(20))
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(source)], cwd=ROOT, env={**os.environ, "VIT_DEMO_HOME": str(home)}
    )
    assert ended.returncode == -signal.SIGKILL
    left = [name for name in stored(home) if name.startswith(".new-") and not name.endswith(".lock")]
    assert len(left) == 1 and list((home / "imports" / left[0]).rglob("*"))
    refusal(open_dataset, "import:mine")
    # Killed between two renames, where photos were added: the old ones come back.
    put(
        home / "imports" / ".old-other",
        {f"train/{name}": content for name, content in leaves(3).items()}
        | {"import.json": b'{"source": "x"}'},
    )
    assert [one.name for one in list_imports()] == ["other"]
    assert not [name for name in stored(home) if name.startswith(".new-")]
    assert totals(import_photos(source, "mine")) == {"train": 32, "validation": 4, "test": 4}


def test_what_another_import_is_making_is_not_swept(home: Path, tmp_path: Path) -> None:
    source, seen = pack_zip(tmp_path / "a.zip", leaves(20)), []

    def between(progress) -> None:
        if progress.done == 10:
            imports.sweep()
            seen.append(import_photos(source, "other").photos)

    assert import_photos(source, "mine", between).photos == 40 and seen == [40]


def test_no_room(home: Path, tmp_path: Path, refusal: Callable[..., str]) -> None:
    """As a full disk: a file cannot grow beyond some size, first that of a photo, then that of the record."""
    members = {
        **leaves(20),
        "rust/large.png": leaf(5, "PNG", (600, 400)),
        **{f"rust/{number}{'x' * 150}.txt": b"x" for number in range(900)},
    }
    source = pack_zip(tmp_path / "a.zip", members)
    limits, kept = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for most in (1000, 100_000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
            assert "no room" in refusal(import_photos, source, "mine")
            assert stored(home) == []
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, kept)
    assert import_photos(source, "mine").photos == 41


# --- beside the page


def test_a_job_is_found_again_and_ends(home: Path, tmp_path: Path, refusal: Callable[..., str]) -> None:
    source = pack_zip(tmp_path / "a.zip", leaves(40))
    job = start(source, "mine")
    assert imports.JOBS.find("mine") is job and imports.JOBS.all() == [job]
    job.wait(30)
    assert (job.state, job.error) == ("done", "") and job.result == list_imports()[0]
    assert (
        job.progress.done == job.progress.total == 80
        and job.progress.share == 1.0
        and 0 < job.progress.bytes <= job.progress.of_bytes
    )
    assert "already" in refusal(start, source, "mine")
    broken = start(Path(__file__), "broken")
    broken.wait(30)
    assert (
        broken.state == "failed"
        and "cannot be imported" in broken.error
        and imports.JOBS.all() == [broken, job]
    )


def test_a_job_is_stopped_and_begun_once(home: Path, tmp_path: Path, refusal: Callable[..., str]) -> None:
    """A pipe in place of a photo file holds the import up as long as the test needs."""
    pipe = tmp_path / "slow.jpg"
    os.mkfifo(pipe)
    job = start(Files((pipe,), "rust"), "mine")
    assert "under way" in refusal(start, Files((pipe,), "rust"), "mine")
    assert job.state == "running" and list_imports() == []
    job.stop()
    threading.Thread(target=lambda: pipe.write_bytes(leaf(1)), daemon=True).start()
    job.wait(30)
    assert job.state == "stopped" and job.result is None and stored(home) == []


def test_the_command_line(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = pack_zip(tmp_path / "a.zip", {**leaves(20), "notes.txt": b"x"})
    assert main(["data", "list"]) == 0 and "no imports" in capsys.readouterr().out
    assert main(["data", "import", str(source), "--name", "mine"]) == 0
    out = capsys.readouterr().out
    assert (
        "40 photos are in import:mine (train 32, validation 4, test 4)." in out
        and "notes.txt is not a photo" in out
    )
    photos = [
        str(path)
        for path in sorted(put(tmp_path / "in", {f"{n}.jpg": leaf(800 + n) for n in range(3)}).iterdir())
    ]
    assert main(["data", "import", *photos, "--name", "mine"]) == 2 and "--label" in capsys.readouterr().err
    assert main(["data", "import", *photos, "--name", "mine", "--label", "rust", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["photos"] == 43
    (tmp_path / "in" / "t.csv").write_text(f"path,label\n{tmp_path / 'in' / '0.jpg'},rust\n../a.zip,rust\n")
    assert (
        main(["data", "import", str(tmp_path / "in" / "t.csv"), "--name", "t"]) == 2
        and "names no photo that lies in its folder" in capsys.readouterr().err
    )
    assert (
        main(["data", "import", str(tmp_path / "in" / "t.csv"), "--name", "t", "--anywhere"]) == 0
        and "kept as a test photo" in capsys.readouterr().out
    )
    assert main(["data", "remove", "t", "--yes"]) == 0
    assert main(["data", "list"]) == 0 and "import:mine" in capsys.readouterr().out
    assert (
        main(["data", "list", "--json"]) == 0
        and json.loads(capsys.readouterr().out)[0]["spec"] == "import:mine"
    )
    assert main(["data", "remove", "mine", "--yes"]) == 0 and stored(home) == []
    with pytest.raises(UserError):
        open_dataset("import:mine")
