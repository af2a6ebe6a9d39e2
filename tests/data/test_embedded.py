"""The photos that come with the program: whole, small enough, and what the script makes of the data set that
they are of.
"""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from datasets import Image as ImageFeature
from PIL import Image

from tests.data.open.test_sources import image_folder
from vit_demo.common import settings
from vit_demo.data import embedded
from vit_demo.data.embedded import SIDE, build, shrink
from vit_demo.data.names import names_former_sample
from vit_demo.data.normalise import label_names
from vit_demo.data.open.sources import open_dataset

FILES = sorted((settings.EMBEDDED_BEANS / "data").glob("*.parquet"))
LABELS = ["angular_leaf_spot", "bean_rust", "healthy"]


def rows(data: DatasetDict) -> list[tuple]:
    """(split, path, label, bytes) of every photo, in order."""
    stored = {split: part.cast_column("image", ImageFeature(decode=False)) for split, part in data.items()}
    return [
        (split, row["image_file_path"], row["labels"], row["image"]["bytes"])
        for split, part in stored.items()
        for row in part
    ]


def jpeg(side: tuple[int, int], seed: int = 0) -> bytes:
    small = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    small.resize(side, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def test_all_photos_are_there_in_their_splits_with_their_names_and_labels() -> None:
    data = open_dataset("beans")
    assert {split: len(part) for split, part in data.items()} == {
        "train": 1034,
        "validation": 133,
        "test": 128,
    }
    assert label_names(data) == LABELS and data["train"].column_names == [
        "image_file_path",
        "image",
        "labels",
    ]
    found = rows(data)
    assert len({path for _, path, _, _ in found}) == len({content for *_, content in found}) == 1295
    for split, path, label, content in found:
        assert path.split("/")[:2] == [split, LABELS[label]] and path.split("/")[2].startswith(
            f"{LABELS[label]}_{split[:3]}"
        )
        assert len(path.split("/")) == 3 and content.startswith(b"\xff\xd8")
    assert Counter((split, label) for split, _, label, _ in found)["test", 2] == 42
    assert all(max(photo.size) == SIDE and photo.mode == "RGB" for photo in data["test"]["image"])


def test_no_file_is_too_large_for_a_space_and_the_licence_lies_beside_them() -> None:
    sizes = [file.stat().st_size for file in FILES]
    assert max(sizes) < 8_000_000 and sum(sizes) < 28_000_000
    assert "MIT License" in (settings.EMBEDDED_BEANS / "LICENSE").read_text(encoding="utf-8")
    about = (settings.EMBEDDED_BEANS / "README.md").read_text(encoding="utf-8")
    assert all(
        word in about for word in ("Makerere", "NaCRRI", "MIT", f"{SIDE} px", "vit_demo.data.embedded")
    )


def test_made_from_themselves_they_stay_as_they_are(tmp_path: Path) -> None:
    build(str(settings.EMBEDDED_BEANS), tmp_path / "again")
    assert [file.name for file in sorted((tmp_path / "again" / "data").iterdir())] == [
        file.name for file in FILES
    ]
    assert rows(open_dataset(tmp_path / "again")) == rows(open_dataset("beans"))


def test_they_are_what_the_script_makes_of_the_larger_photos(shared: Path, tmp_path: Path) -> None:
    build(str(shared / "data" / "beans"), tmp_path / "made")
    made, here, differences = rows(open_dataset(tmp_path / "made")), rows(open_dataset("beans")), []
    assert [row[:3] for row in made] == [row[:3] for row in here]
    for number in range(0, len(here), 25):  # another version of the JPEG library may round otherwise
        pixels = [np.asarray(Image.open(io.BytesIO(found[number][3])), dtype=float) for found in (made, here)]
        differences.append(np.abs(pixels[0] - pixels[1]).max())
    assert max(differences) <= 3


def test_large_photos_are_scaled_down_and_small_ones_kept(tmp_path: Path) -> None:
    """As the Hub has them: with the folder of whoever unpacked them before each name."""
    features = Features(
        {
            "image_file_path": Value("string"),
            "image": ImageFeature(),
            "labels": ClassLabel(names=["rust", "healthy"]),
        }
    )
    sides = [(500, 500), (500, 300), (120, 90), (SIDE, SIDE)]
    for split in ("train", "validation", "test"):
        content = [
            {
                "image_file_path": (
                    f"/home/somebody/downloads/{split}/{('rust', 'healthy')[number % 2]}/{number}.jpg"
                ),
                "image": {"bytes": jpeg(side, number), "path": f"{number}.jpg"},
                "labels": number % 2,
            }
            for number, side in enumerate(sides)
        ]
        (tmp_path / "hub").mkdir(exist_ok=True)
        Dataset.from_list(content, features=features).to_parquet(
            tmp_path / "hub" / f"{split}-00000-of-00001.parquet"
        )
    build(str(tmp_path / "hub"), tmp_path / "out")
    train = open_dataset(tmp_path / "out")["train"]
    assert train["image_file_path"] == [
        "train/rust/0.jpg",
        "train/healthy/1.jpg",
        "train/rust/2.jpg",
        "train/healthy/3.jpg",
    ]
    assert [photo.size for photo in train["image"]] == [
        (SIDE, SIDE),
        (SIDE, round(SIDE * 0.6)),
        (120, 90),
        (SIDE, SIDE),
    ]
    stored = [row[3] for row in rows(open_dataset(tmp_path / "out"))]
    assert stored[2:4] == [jpeg(sides[2], 2), jpeg(sides[3], 3)]


def test_a_photo_that_cannot_be_read_and_a_folder_that_is_there_are_refused(
    tmp_path: Path, refusal, capsys: pytest.CaptureFixture, monkeypatch
) -> None:
    assert "train/a.jpg cannot be read" in refusal(
        shrink, {"bytes": b"\xff\xd8 nothing", "path": None}, "train/a.jpg"
    )
    (tmp_path / "there").mkdir()
    monkeypatch.setattr("sys.argv", ["embedded", str(settings.EMBEDDED_BEANS), str(tmp_path / "there")])
    assert embedded.main() == 2 and "is there already" in capsys.readouterr().err


@pytest.mark.parametrize("spec", ["sample", " sample ", "mended:sample", "sample + review"])
def test_the_former_sample_is_refused_with_what_to_type(spec: str, home: Path, refusal) -> None:
    assert "Type beans" in refusal(open_dataset, spec)
    assert names_former_sample(spec)


def test_a_folder_of_the_same_name_is_given_as_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("beans", "sample"):
        image_folder(tmp_path, **{f"{name}__rust": 30, f"{name}__healthy": 30})
    monkeypatch.chdir(tmp_path)
    assert label_names(open_dataset("beans")) == LABELS
    for spec in ("./beans", "./sample", str(tmp_path / "sample")):
        assert label_names(open_dataset(spec)) == ["healthy", "rust"]
        assert not names_former_sample(spec)
