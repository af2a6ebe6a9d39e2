"""What a model said of each photo: kept as a table beside its scores, read without torch."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

FILE = "predictions.csv"
COLUMNS = ("split", "row", "path", "true", "said", "probability")


class Prediction(NamedTuple):
    """One photo. row: its number in the split, from 0. path: where it came from. true, said: class names.
    probability: of the said class, 0 to 1."""

    row: int
    path: str
    true: str
    said: str
    probability: float


def mistakes(predictions: Iterable[Prediction]) -> list[Prediction]:
    """Those that are wrong, the ones the model was surest of first."""
    return sorted(
        (found for found in predictions if found.true != found.said),
        key=lambda found: (-found.probability, found.row),
    )


def to_csv(splits: dict[str, list[Prediction]]) -> str:
    """A line for each photo of each split, under a line of column names."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for split, predictions in splits.items():
        writer.writerows((split, *found[:-1], f"{found.probability:.9g}") for found in predictions)
    return text.getvalue()


def read(model_folder: Path, split: str) -> list[Prediction]:
    """The predictions of a split, [] where there are none that can be read."""
    try:
        with open(model_folder / FILE, encoding="utf-8", newline="") as file:
            return [
                Prediction(
                    int(line["row"]), line["path"], line["true"], line["said"], float(line["probability"])
                )
                for line in csv.DictReader(file)
                if line["split"] == split
            ]
    except (OSError, ValueError, TypeError, KeyError, csv.Error):  # of another program, or cut
        return []
