"""What copies are recognised by: read once, kept beside the runs, never in the way."""

from __future__ import annotations

import io
import os
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image

from tests.data.archive_corpus import leaf
from vit_demo.data.copies import fingerprints
from vit_demo.data.copies.fingerprints import groups_of


def saved_anew(content: bytes) -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(content)).save(out, "JPEG", quality=60)
    return out.getvalue()


CONTENTS = [leaf(0), leaf(1), saved_anew(leaf(0)), leaf(2), leaf(1), b"broken", b"broken"]
GROUPS = [0, 1, 0, 2, 1, 3, 4]


def embedded(contents: list[bytes] = CONTENTS) -> Dataset:
    return Dataset.from_list(
        [{"image": {"bytes": content, "path": None}} for content in contents],
        features=Features({"image": ImageFeature()}),
    )


def files(folder: Path) -> Dataset:
    paths = []
    for number, content in enumerate(CONTENTS):
        paths.append(str(folder / f"{number}.jpg"))
        Path(paths[-1]).write_bytes(content)
    return Dataset.from_dict({"image": paths}, features=Features({"image": ImageFeature()}))


@pytest.mark.parametrize("kind", ["embedded", "files"])
def test_copies_are_found_and_remembered(
    home: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()
    data = embedded() if kind == "embedded" else files(tmp_path)
    assert groups_of(data).tolist() == GROUPS
    monkeypatch.setattr(
        fingerprints, "fingerprint_of", None
    )  # whoever reads a photo again, fails and calls it unreadable
    assert groups_of(data).tolist() == GROUPS
    monkeypatch.undo()
    monkeypatch.setenv("VIT_DEMO_HOME", str(home))
    if kind == "files":  # another photo of the same name is read again
        (tmp_path / "3.jpg").write_bytes(leaf(1) + b"\0")
        os.utime(tmp_path / "3.jpg", ns=(1, 1))
        assert groups_of(data).tolist() == [0, 1, 0, 1, 1, 2, 3]
        (tmp_path / "0.jpg").unlink()
        assert groups_of(data).tolist() == [0, 1, 2, 1, 1, 3, 4]


def test_without_a_home_nothing_is_kept(home: Path) -> None:
    assert groups_of(embedded()).tolist() == GROUPS and not home.exists()


def test_what_is_kept_may_be_damaged(home: Path) -> None:
    home.mkdir()
    assert groups_of(embedded()).tolist() == GROUPS
    file = next((home / "cache").glob("prints-*.sqlite"))
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE prints SET bits = x'00'")
    connection.close()
    assert groups_of(embedded()).tolist() == GROUPS
    file.write_bytes(b"junk" * 1000)
    assert groups_of(embedded()).tolist() == GROUPS
    file.unlink()
    file.mkdir()
    assert groups_of(embedded()).tolist() == GROUPS


@pytest.mark.parametrize(("limit", "value"), [("MOST_PHOTOS", 6), ("MOST_BYTES", 1000)])
def test_too_many_photos_are_each_alone(limit: str, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, limit, value)
    assert groups_of(embedded()).tolist() == list(range(7))


def test_the_real_beans_hold_no_copies() -> None:
    """And a thousand are read in the time that a person waits."""
    from vit_demo.data.open.sources import open_dataset

    test = open_dataset("beans")["test"]
    start = time.monotonic()
    assert len(np.unique(groups_of(test))) == len(test) == 128
    assert time.monotonic() - start < 10
