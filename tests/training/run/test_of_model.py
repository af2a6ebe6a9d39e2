"""Which run a model is of, and which photos it has learned from."""

from __future__ import annotations

from pathlib import Path

import pytest

from vit_demo.common.settings import EMBEDDED_MODEL
from vit_demo.training.run import runs
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.of_model import has_learned_from, run_of


@pytest.fixture
def run(home: Path, tmp_path: Path) -> runs.Run:
    (tmp_path / "leaves").mkdir()
    found = runs.create(
        TrainingConfig(data=str(tmp_path / "leaves"), extra_data="import:mine"), tmp_path / "my-run"
    )
    found.model_folder.mkdir()
    return found


def test_a_model_is_of_the_run_in_whose_folder_it_lies(run: runs.Run, tmp_path: Path) -> None:
    assert run_of(run.model_folder).folder == run.folder
    assert run_of(run.folder) is None and run_of(tmp_path) is None and run_of(EMBEDDED_MODEL) is None


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("{folder}/leaves", True),
        (" {folder}/leaves/../leaves/ ", True),
        ("import:mine", True),
        ("beans", False),
        ("{folder}", False),
        ("{folder}/my-run", False),
        ("nobody/leaves", False),
        ("\0", False),
    ],
)
def test_it_has_learned_from_its_own_photos(run: runs.Run, tmp_path: Path, source: str, seen: bool) -> None:
    assert has_learned_from(run.model_folder, source.format(folder=tmp_path)) is seen


def test_a_run_whose_settings_are_broken_does_not_say_so(run: runs.Run, tmp_path: Path) -> None:
    (run.folder / "config.json").write_text("{")
    assert not has_learned_from(run.model_folder, str(tmp_path / "leaves"))
