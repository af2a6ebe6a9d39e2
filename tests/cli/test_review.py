"""The review command: what was corrected can be seen and taken out without a browser."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vit_demo.cli import main as cli
from vit_demo.data.corrections import review_set
from vit_demo.data.corrections.review_set import Correction, Said

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def kept() -> list[Correction]:
    """Two corrected photos, the newest first."""
    pictures = [
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (24, 32, 3), dtype=np.uint8))
        for number in range(2)
    ]
    first = review_set.store(
        pictures[0], "healthy", Said("bean_rust", 0.912, "diagnosis", "embedded"), "by the well"
    )
    return [
        review_set.store(
            pictures[1], "powdery mildew", Said("healthy", 0.4, "not_known", "owner/model", "abc")
        ),
        first,
    ]


def run(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Status, standard output, standard error."""
    status = cli.main(["review", *words])
    told = capsys.readouterr()
    return status, told.out, told.err


def test_an_empty_set_is_said_and_makes_no_folder(capsys):
    assert run("list", capsys=capsys) == (0, "The review set is empty.\n", "") and run(
        "list", "--json", capsys=capsys
    ) == (0, "[]\n", "")
    assert (
        run("path", capsys=capsys) == (0, f"{review_set.folder()}\n", "") and not review_set.folder().exists()
    )


def test_list_shows_what_was_said_of_each_photo(kept, capsys):
    head, *rows = run("list", capsys=capsys)[1].splitlines()
    assert (
        head.split() == ["ID", "LABEL", "MODEL", "SAID", "PROBABILITY", "MODEL", "STORED", "NOTE"]
        and len(rows) == 2
    )
    assert [row.split()[0] for row in rows] == [one.id[:12] for one in kept]
    assert (
        "powdery mildew  healthy (not_known)  0.400" in rows[0]
        and "owner/model" in rows[0]
        and rows[1].endswith("by the well")
    )
    # Under each other: the labels begin where their heading does.
    assert {row.index(one.label) for row, one in zip(rows, kept)} == {head.index("LABEL")}
    listed = json.loads(run("list", "--json", capsys=capsys)[1])
    assert [(one["id"], one["label"], one["said"]["probability"]) for one in listed] == [
        (one.id, one.label, one.said.probability) for one in kept
    ]
    assert all(Path(one["file"]).is_file() for one in listed)


def test_remove_takes_the_beginning_of_an_id(kept, capsys):
    newest, first = kept
    assert run("remove", first.id[:12], capsys=capsys) == (0, f"{first.id[:12]} (healthy) is removed.\n", "")
    assert review_set.corrections() == [newest] and not first.file.exists()
    status, out, error = run("remove", first.id[:12], capsys=capsys)
    assert (
        (status, out) == (2, "")
        and error
        == f"There is no photo {first.id[:12]} in the review set. See `review list` for the ids of all.\n"
    )
    assert run("remove", "", capsys=capsys)[0] == 2 and review_set.corrections() == [newest]


def test_a_beginning_that_several_ids_share_removes_none(kept, capsys, monkeypatch):
    twins = [Correction(digits * 16, "healthy", kept[0].said, 0.0) for digits in ("ab", "ac")]
    monkeypatch.setattr(review_set, "corrections", lambda: twins)
    status, _, error = run("remove", "a", capsys=capsys)
    assert status == 2 and error == "2 photos of the review set begin with a. Give more of the id.\n"


@pytest.mark.parametrize(
    ("typed", "status", "left"), [("y\n", 0, 0), ("YES\n", 0, 0), ("n\n", 1, 2), ("", 1, 2)]
)
def test_clear_asks_first(kept, capsys, monkeypatch, typed, status, left):
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    found, out, error = run("clear", capsys=capsys)
    assert (found, len(review_set.corrections())) == (status, left) and error.startswith(
        "Delete all 2 photos of the review set? [y/N] "
    )
    assert ("2 photos are deleted." in out) == (left == 0) and ("Nothing was deleted." in error) == (
        left == 2
    )


def test_clear_can_be_told_not_to_ask(kept, capsys):
    assert (
        run("clear", "--yes", capsys=capsys) == (0, "2 photos are deleted.\n", "")
        and review_set.corrections() == []
    )
    assert not any(one.file.exists() for one in kept)


def test_an_action_is_needed(capsys):
    with pytest.raises(SystemExit) as ended:
        run(capsys=capsys)
    assert ended.value.code == 2 and "ACTION" in capsys.readouterr().err
