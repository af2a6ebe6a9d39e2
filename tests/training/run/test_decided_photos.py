"""A run on a mended data set: it learns what was decided, says which photos those were, and goes on with no
others.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.training.conftest import Done, Train
from vit_demo.common.errors import UserError
from vit_demo.data.corrections.decided import fingerprint
from vit_demo.data.corrections.journal import journal_of
from vit_demo.data.open.sources import open_dataset
from vit_demo.training.result import predictions
from vit_demo.training.run.runs import Run


@pytest.fixture
def mended(home: Path, colours: Path) -> str:
    """The coloured squares without three of their train photos, and with one test photo moved to train."""
    data, journal = open_dataset(colours), journal_of(colours)
    for path in data["train"]["image_file_path"][:3]:
        journal.decide("exclude", ("train", path))
    journal.decide("move", ("test", data["test"]["image_file_path"][0]), "train")
    return f"mended:{colours}"


def test_the_fingerprint_of_what_was_learned_stands_in_run_scores_and_card(
    train: Train, learned: Done, mended: str, colours: Path
) -> None:
    run = train(data=mended, epochs=1).run
    own = fingerprint(open_dataset(mended))
    card = (run.model_folder / "README.md").read_text(encoding="utf-8")
    assert (
        run.state()["data_fingerprint"]
        == run.state()["result"]["data_fingerprint"]
        == run.scores()["data_fingerprint"]
        == own
    )
    assert f"`{own}`" in card and mended in card
    assert learned.run.scores()["data_fingerprint"] == fingerprint(open_dataset(colours)) != own
    assert len(predictions.read(run.model_folder, "test")) == 17


def test_a_run_does_not_go_on_with_other_photos(train: Train, mended: str, colours: Path) -> None:
    run = train(before=Run.request_stop, data=mended, epochs=3).run
    assert run.can_resume()
    (run.folder / "stop").unlink()
    decision = journal_of(colours).decide(
        "exclude", ("train", open_dataset(colours)["train"]["image_file_path"][5])
    )
    with pytest.raises(UserError, match="have changed since this run began"):
        train(run=run)
    journal_of(colours).undo(decision.number)
    before = json.loads((run.folder / "state.json").read_text())["data_fingerprint"]
    assert train(run=run).result["data_fingerprint"] == before
