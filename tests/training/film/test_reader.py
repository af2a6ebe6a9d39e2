"""A film is read as it was made, and no longer than a page can take."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.training.conftest import PLAIN
from vit_demo.training.film import reader
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.runs import Run, create


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that has not begun."""
    return create(TrainingConfig(**PLAIN), tmp_path / "run")


def test_thinning_keeps_the_ends_and_is_even_in_steps() -> None:
    assert reader.thinned([0, 4, 9], 3) == [0, 4, 9]
    assert reader.thinned(list(range(0, 1000)), 4) == [0, 333, 666, 999]
    # Crowded at the end: what is left is not.
    assert reader.thinned([0, 100, 200, *range(290, 301)], 4) == [0, 100, 200, 300]


def test_many_photos_on_a_fine_grid_are_fewer_frames(run: Run) -> None:
    folder = run.folder / "film"
    folder.mkdir()
    photos = [{"name": "leaf.jpg", "label": 0}] * 12
    (folder / "film.json").write_text(
        json.dumps({"labels": ["a", "b"], "rows": 24, "columns": 24, "photos": photos}), encoding="utf-8"
    )
    for number in range(1, 13):
        reader.photo_file(folder, number).write_bytes(b"a picture")
    rng = np.random.default_rng(0)
    lines = [reader.encode(step, rng.random((12, 24, 24)), np.full((12, 2), 0.5)) for step in range(100)]
    (folder / "frames.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert len(reader.read(run).frames) == reader.FEWEST_FRAMES


def test_what_is_kept_comes_back() -> None:
    rng = np.random.default_rng(0)
    maps, probabilities = (
        rng.random((2, 3, 5)).astype(np.float32),
        rng.dirichlet(np.ones(4), 2).astype(np.float32),
    )
    maps[1] = 0.25  # the same everywhere
    frame = reader.decode(reader.encode(7, maps, probabilities), (2, 3, 5))
    assert frame.step == 7 and frame.maps.min() == 0 and frame.maps[0].max() == 255
    np.testing.assert_allclose(frame.values, maps, atol=0.51 / 255)
    np.testing.assert_allclose(frame.probabilities, probabilities, atol=1e-5)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "7",
        "{}",
        '{"step": 1, "maps": ["AAAA"], "low": [0], "high": [1], "probabilities": [[1]]}',
        '{"step": 1, "maps": 3}',
    ],
)
def test_a_line_of_something_else_is_no_frame(line: str) -> None:
    assert reader.decode(line, (1, 4, 4)) is None
