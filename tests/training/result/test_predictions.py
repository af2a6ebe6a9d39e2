"""The table of all predictions is read back as it was written, and never trips a reader."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from vit_demo.training.result.predictions import FILE, Prediction, mistakes, read, to_csv

TEST = [
    Prediction(0, "a/1.jpg", "rust", "rust", 0.9),
    Prediction(2, 'odd, "name"\nof two lines.jpg', "rust", "healthy", 0.6),
    Prediction(5, "a/ä 🌱.jpg", "healthy", "rust", 0.75),
    Prediction(7, "", "healthy", "rust", 0.6),
]
VALIDATION = [Prediction(0, "b/1.jpg", "rust", "rust", 0.99999876)]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(to_csv({"validation": VALIDATION, "test": TEST}), encoding="utf-8")
    assert (
        read(tmp_path, "test") == TEST
        and read(tmp_path, "validation") == VALIDATION
        and read(tmp_path, "train") == []
    )


def test_any_program_reads_it(tmp_path: Path) -> None:
    lines = list(csv.reader(to_csv({"test": TEST}).splitlines()[:2]))
    assert lines == [
        ["split", "row", "path", "true", "said", "probability"],
        ["test", "0", "a/1.jpg", "rust", "rust", "0.9"],
    ]


def test_mistakes_come_surest_first_then_by_row() -> None:
    assert [found.row for found in mistakes(TEST)] == [5, 2, 7]


HEAD = "split,row,path,true,said,probability\n"


@pytest.mark.parametrize("text", [None, "", "no,table\n1,2\n", f"{HEAD}test,x,a,b,c,0.5\n", f"{HEAD}test,1"])
def test_no_table_is_no_predictions(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / FILE).write_text(text)
    assert read(tmp_path, "test") == []


def test_reading_needs_no_torch() -> None:
    heavy = ("torch", "transformers", "scipy", "sklearn", "datasets", "numpy")
    code = (
        f"import sys, vit_demo.training.result.predictions; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )
