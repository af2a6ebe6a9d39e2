"""The data command: what is wrong with photos, what was decided about them, and the mended set as files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.hub_stub import HubStub
from vit_demo.cli import main as cli
from vit_demo.data.checks.checks import CHECKS
from vit_demo.data.corrections.decided import fingerprint
from vit_demo.data.corrections.journal import journal_of
from vit_demo.data.names import MENDED
from vit_demo.data.open.sources import open_dataset

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """14 photos of two classes in three splits: one is in train and test, one is black, one is no photo."""
    rng, folder = np.random.default_rng(0), tmp_path / "leaves"
    for split, count in (("train", 4), ("validation", 1), ("test", 2)):
        for label in ("healthy", "rust"):
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 256, (130, 140, 3), dtype=np.uint8)).save(
                    folder / split / label / f"{number}.png"
                )
    (folder / "test/rust/1.png").write_bytes((folder / "train/rust/0.png").read_bytes())
    Image.new("RGB", (130, 130), (3, 3, 3)).save(folder / "train/healthy/1.png")
    (folder / "train/healthy/2.png").write_bytes(b"no photo")
    return folder


def run(*words: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Status, standard output, standard error."""
    status = cli.main(["data", *map(str, words)])
    told = capsys.readouterr()
    return status, told.out, told.err


def path_of(photos: Path, ending: str) -> tuple[str, str]:
    """(split, path) of a photo as the data set names it."""
    return next(
        (split, path)
        for split, part in open_dataset(photos).items()
        for path in part["image_file_path"]
        if path.endswith(ending)
    )


def test_check_prints_what_is_wrong_and_stops_when_it_was_decided(photos, capsys):
    status, out, error = run("check", photos, capsys=capsys)
    lines = out.splitlines()
    leak = next(number for number, line in enumerate(lines) if line.startswith("leakage: 1 found"))
    assert status == 0 and error == "" and lines[leak].endswith(CHECKS["leakage"].meaning)
    assert path_of(photos, "test/rust/1.png")[1] in lines[leak + 1] and lines[leak + 1].endswith(
        "(the same pixels)"
    )
    assert lines[
        lines.index("dark: 1 found. The photo is too dark. Take it again in more light.") + 1
    ].endswith("train/healthy/1.png")
    assert lines[lines.index(f"broken: 1 found. {CHECKS['broken'].meaning}") + 1].endswith(
        "train/healthy/2.png"
    )
    for ending in ("test/rust/1.png", "train/healthy/1.png", "train/healthy/2.png"):
        journal_of(str(photos)).decide("exclude", path_of(photos, ending))
    # Decisions are about the source, however it is named.
    told = json.loads(run("check", f"{MENDED}{photos}", "--json", capsys=capsys)[1])
    assert (told["photos"], told["total"], told["rare_classes"]) == (14, 14, {})
    gone = {
        tuple(path_of(photos, ending))
        for ending in ("test/rust/1.png", "train/healthy/1.png", "train/healthy/2.png")
    }
    assert not gone & {tuple(photo) for finding in told["findings"] for photo in finding["photos"]}
    assert not {"dark", "broken"} & {finding["kind"] for finding in told["findings"]}


def test_check_names_rare_classes(photos, capsys):
    for number in range(4, 20):
        Image.new("RGB", (130, 130), (90, 120 + number, 60)).save(photos / "train/rust" / f"{number}.png")
    assert "Class imbalance: healthy has only 4 train photos.\n" in run("check", photos, capsys=capsys)[1]


def test_check_says_what_is_no_data_set(tmp_path, capsys):
    status, out, error = run("check", tmp_path / "none", capsys=capsys)
    assert status == 2 and out == "" and error.startswith("There is no folder ")


def test_decisions_are_listed_and_taken_back(photos, capsys):
    assert run("decisions", photos, capsys=capsys) == (0, "Nothing was decided about these photos.\n", "")
    assert run("decisions", photos, "--json", capsys=capsys) == (0, "[]\n", "")
    journal = journal_of(str(photos))
    journal.decide("exclude", ("test", "a/1.png"), why="leakage")
    journal.decide("relabel", ("train", "a/2.png"), "rust", "label")
    journal.decide("keep", ("train", "a/3.png"), "test/a/4.png", "leakage")
    lines = run("decisions", f"{MENDED}{photos}", capsys=capsys)[1].splitlines()
    assert [line[24:] for line in lines] == [
        "exclude test: a/1.png  (leakage)",
        "relabel train: a/2.png to rust  (label)",
        "keep train: a/3.png and test/a/4.png  (leakage)",
    ]
    assert [line.split()[0] for line in lines] == ["1", "2", "3"]
    status, out, _ = run("undo", photos, 2, capsys=capsys)
    assert status == 0 and out.startswith("Taken back: 2  ") and "relabel train: a/2.png to rust" in out
    assert run("undo", f"{MENDED}{photos}", capsys=capsys)[1].startswith("Taken back: 3  ")
    assert [one["number"] for one in json.loads(run("decisions", photos, "--json", capsys=capsys)[1])] == [1]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("7", "There is no such decision to take back."),
        ("0", "Decisions are numbered from 1. See `data decisions` for the numbers of all."),
    ],
)
def test_only_a_decision_in_force_is_taken_back(photos, capsys, number, said):
    journal_of(str(photos)).decide("exclude", ("test", "a/1.png"))
    assert run("undo", photos, number, capsys=capsys) == (2, "", f"{said}\n")
    assert len(journal_of(str(photos)).decisions()) == 1


@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_the_mended_set_is_exported(photos, tmp_path, capsys, kind):
    journal = journal_of(str(photos))
    journal.decide("exclude", path_of(photos, "test/rust/1.png"))
    journal.decide("relabel", path_of(photos, "train/healthy/0.png"), "rust")
    out = tmp_path / "out"
    status, said, _ = run("export", f"{MENDED}{photos}", out, "--format", kind, capsys=capsys)
    mended = open_dataset(f"{MENDED}{photos}")
    assert (
        status == 0
        and said
        == f"13 photos are in {out} (train 8, validation 2, test 3).\nFingerprint: {fingerprint(mended)}\n"
    )
    written = open_dataset(out)
    for split, part in mended.items():
        assert sorted(written[split]["labels"]) == sorted(part["labels"])
    assert any(out.rglob("*.parquet")) == (kind == "parquet")
    status, _, error = run("export", f"{MENDED}{photos}", out, capsys=capsys)
    assert status == 2 and error == f"{out} is there already. Give a folder that is not.\n"


def test_the_source_itself_is_exported_without_the_decisions(photos, tmp_path, capsys):
    journal_of(str(photos)).decide("exclude", path_of(photos, "test/rust/1.png"))
    assert run("export", photos, tmp_path / "out", capsys=capsys)[1].startswith("14 photos are in ")
    assert (tmp_path / "out/train/rust/0.png").read_bytes() == (photos / "train/rust/0.png").read_bytes()


def test_a_set_is_pushed_where_one_is_logged_in(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    status, out, error = run("push", f"{MENDED}{photos}", "me/leaves", capsys=capsys)
    assert (status, out) == (2, "") and error.startswith("You are not logged in to the Hugging Face Hub.")
    status, _, error = run("push", photos, "leaves", capsys=capsys)
    assert status == 2 and "your-name/my-leaves" in error
    code = "def run(words):\n    from vit_demo.cli import main as cli\n    return cli.main(words)"
    with HubStub() as hub:
        hub.pushed, hub.token, hub.writers = tmp_path, "hf_good", {"hf_good": "me"}
        assert hub.run(tmp_path / "hf", code, words=["data", "push", f"{MENDED}{photos}", "me/leaves"]) == {
            "result": 0
        }
        repo = hub.repos["dataset", "me/leaves"]
        assert (
            fingerprint(open_dataset(photos))
            in (repo.folders[repo.commits["main"]] / "README.md").read_text()
        )
