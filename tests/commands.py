"""What the tests of the command line share: files for the commands, and a way to run one here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vit_demo.cli import main as cli
from vit_demo.data.open.sources import open_dataset

LABELS = ("angular_leaf_spot", "bean_rust", "healthy")


def beans(folder: Path, labels: tuple[str, ...] = LABELS) -> Path:
    """A small image folder of noise: 4 train, 3 validation and 2 test photos a class."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("validation", 3), ("test", 2)):
        for label in labels:
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(
                    folder / split / label / f"{number}.png"
                )
    return folder


@dataclass(frozen=True)
class Place:
    """Files that the commands are given."""

    folder: Path
    model: str
    data: str
    photos: list[str]

    def arguments(self, line: str) -> list[str]:
        """Words of a command, with these names filled in."""
        names = {
            "model": self.model,
            "data": self.data,
            "photo": self.photos[0],
            "photos": " ".join(self.photos),
            "folder": str(self.folder),
        }
        return line.format(**names).split()


def make_place(folder: Path, model: Path) -> Place:
    """Photos, a data set, and folders that are none, in an empty folder."""
    leaves = open_dataset("beans")["test"]
    photos = [str(folder / f"leaf{number}.png") for number in range(3)]
    for number, photo in enumerate(photos):
        leaves[number * 43]["image"].save(photo)
    (folder / "text.jpg").write_text("no photo")
    (folder / "full").mkdir()
    (folder / "full" / "mine.txt").write_text("mine")
    beans(folder / "other", ("mildew", "healthy"))
    return Place(folder, str(model), str(beans(folder / "data")), photos)


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str


def caller(place: Place, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """A function that runs one command in this process, as its own process would."""

    def main(line: str, *more: str) -> Outcome:
        try:
            status = cli.main([*place.arguments(line), *more])
        except SystemExit as end:
            status = end.code
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return main


def assert_one_sentence(text: str) -> None:
    """A name of a file may come first, in lower case; else it begins as sentences do."""
    assert (
        text.count("\n") == 1
        and text.endswith(".\n")
        and (text[0].isupper() or text.startswith(("text.jpg ", "/")))
    )
    assert "Traceback" not in text and "usage:" not in text and "Error:" not in text
