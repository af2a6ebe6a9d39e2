"""A check that is added from outside is there wherever checks are: on the command line and in the tab."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.training.conftest import squares
from tests.ui.tabs.data.test_check import Page
from vit_demo.cli.main import main
from vit_demo.common.words import say, text_of
from vit_demo.data.checks import checkup
from vit_demo.data.checks.checks import CHECKS, Check, register
from vit_demo.data.checks.finding import Finding, FindingKind, Photos
from vit_demo.data.corrections.journal import journal_of
from vit_demo.photos.quality import WARNINGS
from vit_demo.ui.tabs.data import browse, check_html, opened


def numbered_seven(photos: Photos) -> Iterator[Finding]:
    """Photos whose number is 7; of those in train only that they may be."""
    for row in np.flatnonzero(photos.readable):
        split, path = photo = photos.reading.photos[row]
        if Path(path).stem == "007":
            yield Finding("seven", (photo,), float(row), split != "train", note="it is 7")


@pytest.fixture
def added(home: Path) -> Iterator[Check]:
    checkup.JOBS.clear()
    opened._opened.clear()
    yield register(
        Check("seven", numbered_seven, "It is a 7.", "Photos of number 7", "Give it <another> number.")
    )
    del CHECKS["seven"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return squares(tmp_path / "set", 8, 2, 2)


def test_all_are_named_and_described_by_key_in_the_order_of_showing() -> None:
    assert list(CHECKS) == [*FindingKind, *WARNINGS]
    for kind, check in CHECKS.items():
        hint = "quality" if kind in WARNINGS else kind
        assert (check.kind, check.title, check.within, check.advice) == (
            kind,
            say(f"data.kind.{kind}"),
            say(f"data.within.{kind}"),
            text_of(f"data.hint.{hint}"),
        )
        assert check.meaning not in (check.advice, "") and " " in check.meaning


def test_an_added_check_is_on_the_command_line(
    added: Check, folder: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data", "check", str(folder), "--model", str(tiny_model)]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("seven: 0 found, 3 to look at. It is a 7.")
    assert lines[at + 1].endswith("/007.png  (it is 7)  [look at it]")
    assert main([*words, "--json"]) == 0
    found = [one for one in json.loads(capsys.readouterr().out)["findings"] if one["kind"] == "seven"]
    assert len(found) == 3 and [one["score"] for one in found] == sorted(
        (one["score"] for one in found), reverse=True
    )


def test_it_is_in_the_tab_and_can_be_decided_and_browsed(
    added: Check, folder: Path, tiny_model: Path
) -> None:
    page = Page(folder, tiny_model)
    page.read()
    page.press("kind", to="seven")
    assert page.title == "Photos of number 7: it is 7" and "Photos of number 7" in page.parts["kinds"]
    assert "Give it &lt;another&gt; number." in page.parts["one"]
    one = opened.opened(str(folder), page.asked["opened"])
    assert ("seven?", "Photos of number 7, to look at") in browse._problems(one.catalogue.known, "")
    page.press("keep", photo=0)
    (decision,) = journal_of(str(folder)).decisions()
    assert decision.why == "seven" and "(Photos of number 7)" in check_html.sentence(decision)
    del CHECKS["seven"]  # A program without the check reads what was decided by it.
    assert check_html.sentence(decision).startswith("Kept: ")
    register(added)


def test_two_of_one_kind_are_refused(added: Check) -> None:
    with pytest.raises(ValueError, match="already"):
        register(added)
