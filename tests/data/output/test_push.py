"""A mended data set is pushed to the Hub as it is, or there is one sentence that says what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet
import pytest
from PIL import Image

from tests.hub_stub import HubStub
from tests.sentences import is_plain
from vit_demo.data.corrections.journal import journal_of
from vit_demo.data.normalise import label_names
from vit_demo.data.open.sources import open_dataset
from vit_demo.data.output.push import push

CLASSES = ("healthy", "rust | black")
PUSH = """
def run(spec, names):
    import tempfile
    from pathlib import Path
    from vit_demo.data.corrections.decided import fingerprint
    from vit_demo.data.output.push import push
    from vit_demo.data.open.sources import open_dataset
    from vit_demo.common.errors import UserError
    data, told, counted = open_dataset(spec), [], []
    for name in names:
        try:
            told.append(push(data, name, counted.append))
        except UserError as error:
            told.append(str(error))
    left = [path.name for path in Path(tempfile.gettempdir()).glob("vit_demo-push-*")]
    return {"told": told, "mark": fingerprint(data), "counted": counted, "left": left}
"""
OPEN = """
def run(name):
    from vit_demo.data.normalise import label_names
    from vit_demo.data.open.sources import open_dataset
    data = open_dataset(name)
    return [label_names(data), {split: len(part) for split, part in data.items()}]
"""


@pytest.fixture
def photos(home: Path, tmp_path: Path) -> Path:
    """29 photos of two classes; one more is left out by a decision, and one relabelled."""
    folder = tmp_path / "at home" / "leaves"
    for split, count in (("train", 10), ("validation", 2), ("test", 3)):
        for label, name in enumerate(CLASSES):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (20, 16), (20 * number, 100 * label, len(split))).save(
                    folder / split / name / f"{number}.png"
                )
    paths = open_dataset(folder)["train"]["image_file_path"]
    journal_of(str(folder)).decide("exclude", ("train", paths[0]))
    journal_of(str(folder)).decide("relabel", ("train", paths[1]), CLASSES[1])
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStub]:
    """Logged in as "me"."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with HubStub() as hub:
        hub.pushed = tmp_path / "pushed"
        hub.pushed.mkdir()
        hub.token, hub.writers = "hf_good", {"hf_good": "me"}
        yield hub


def told(hub: HubStub, photos: Path, tmp_path: Path, *names: str) -> list[str]:
    answer = hub.run(tmp_path / "hf", PUSH, spec=f"mended:{photos}", names=names)["result"]
    assert answer["left"] == [], "nothing stays on the disk"
    return answer["told"]


def test_what_arrives_are_the_photos_as_they_are_mended(hub: HubStub, photos: Path, tmp_path: Path) -> None:
    answer = hub.run(tmp_path / "hf", PUSH, spec=f"mended:{photos}", names=["me/my-leaves", "me/my-leaves"])[
        "result"
    ]
    assert (
        answer["told"] == [f"{hub.url}/datasets/me/my-leaves"] * 2
        and answer["counted"][-1] == 29
        and answer["left"] == []
    )
    repo = hub.repos["dataset", "me/my-leaves"]
    arrived = repo.folders[repo.commits["main"]]
    names = [file.relative_to(arrived).as_posix() for file in sorted(arrived.rglob("*")) if file.is_file()]
    assert repo.private and names == [
        "README.md",
        *(f"data/{split}-00000-of-00001.parquet" for split in ("test", "train", "validation")),
    ]
    mended = open_dataset(f"mended:{photos}")
    for split, part in mended.items():
        rows = pyarrow.parquet.read_table(arrived / f"data/{split}-00000-of-00001.parquet").to_pylist()
        assert [row["labels"] for row in rows] == part["labels"][:]
        for row, path in zip(rows, part["image_file_path"]):
            assert (
                row["image"]["bytes"] == Path(path).read_bytes()
                and row["image_file_path"] == Path(path).relative_to(photos).as_posix()
            )
    everything = b"".join(file.read_bytes() for file in arrived.rglob("*") if file.is_file())
    assert str(tmp_path).encode() not in everything and b"at home" not in everything, (
        "where they lay is nobody's business"
    )
    card = (arrived / "README.md").read_text(encoding="utf-8")
    assert answer["mark"] in card and "29 photos of 2 classes" in card
    assert (
        re.search(r"^\| healthy \| 8 \| 2 \| 3 \|$", card, re.M) and "| rust / black | 11 | 2 | 3 |" in card
    )
    # And back.
    labels, counts = hub.run(tmp_path / "hf", OPEN, name="me/my-leaves")["result"]
    assert labels == label_names(mended) == list(CLASSES) and counts == {
        "train": 19,
        "validation": 4,
        "test": 6,
    }


def test_files_of_an_earlier_push_are_replaced(hub: HubStub, photos: Path, tmp_path: Path) -> None:
    assert told(hub, photos, tmp_path, "me/leaves")[0].startswith("http")
    repo = hub.repos["dataset", "me/leaves"]
    (repo.folders[repo.commits["main"]] / "data" / "train-00001-of-00002.parquet").write_bytes(
        b"of another day"
    )
    (repo.folders[repo.commits["main"]] / "notes.txt").write_text("mine")
    journal_of(str(photos)).undo()
    assert told(hub, photos, tmp_path, "me/leaves")[0].startswith("http")
    arrived = repo.folders[repo.commits["main"]]
    assert sorted(file.name for file in (arrived / "data").iterdir()) == [
        f"{split}-00000-of-00001.parquet" for split in ("test", "train", "validation")
    ]
    assert (arrived / "notes.txt").read_text() == "mine"


def test_each_failure_is_a_sentence(hub: HubStub, photos: Path, tmp_path: Path) -> None:
    public = tmp_path / "public"
    public.mkdir()
    hub.add("me/shown", public, kind="dataset")
    hub.refuses = {"me/denied/commit/main": 403, "me/full.git/info/lfs/objects/batch": 507}
    answers = told(
        hub, photos, tmp_path, "no name at all!", "somebody/leaves", "me/shown", "me/denied", "me/full"
    )
    for answer, words in zip(
        answers,
        (
            "such as your-name/my-leaves",
            "may not write to somebody",
            "anyone could see",
            "may not write",
            "error 507",
        ),
    ):
        assert words in answer
    empty = hub.repos["dataset", "me/full"]
    assert list(public.iterdir()) == [] and list(empty.folders[empty.commits["main"]].iterdir()) == []
    hub.refuses = {"create": 400}
    answers += told(hub, photos, tmp_path, "me/new")
    hub.refuses, hub.token = {}, "hf_old"
    answers += told(hub, photos, tmp_path, "me/new")
    hub.token = "hf_good"
    hub.stop()
    answers += told(hub, photos, tmp_path, "me/new")
    for answer, words in zip(
        answers[-3:], ("Choose another name", "does not know your token", "could not be reached")
    ):
        assert words in answer
    assert all(map(is_plain, answers))


def test_who_is_not_logged_in_is_told_how(
    photos: Path, refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert "hf auth login" in refusal(push, open_dataset(photos), "me/leaves")
