"""Whatever is drawn from the parts of real sources: no photo is lost unnamed, no label changed, no split
mixed, both ways agree, and what is refused says what to do.

VIT_DEMO_DRAWS=20000 draws so many of each kind.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.data.both_ways import Read, digest, opened, taken_in
from tests.data.imported import put
from tests.data.plan.drawn import SPLITS, Source, files_of_rows, folders, tables
from tests.sentences import is_plain
from vit_demo.common.errors import UserError
from vit_demo.data.importing.imports import remove
from vit_demo.data.plan.corrections import Corrections
from vit_demo.data.plan.of_source import plan_folder

DRAWS = int(os.environ.get("VIT_DEMO_DRAWS", "0"))


@pytest.fixture(autouse=True, scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setenv("VIT_DEMO_HOME", str(tmp_path_factory.mktemp("home")))
    patch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


def drawn(count: int) -> settings:
    """Always the same draws, so that a fault stays one."""
    return settings(
        max_examples=DRAWS or count,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@drawn(200)
@given(folders())
def test_folders(source: Source) -> None:
    check(source)


@drawn(150)
@given(tables())
def test_tables(source: Source) -> None:
    check(source)


@drawn(150)
@given(files_of_rows())
def test_files_of_rows(source: Source) -> None:
    check(source)


def check(source: Source) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        lying = put(folder / "leaves", source.files)
        there, here = (answer(way, lying) for way in (opened, brought))
        if isinstance(there, str) or isinstance(here, str):
            assert isinstance(there, str) and isinstance(here, str), (there, here)
            return
        assert not source.asks, "two levels or columns make sense, and nobody was asked"
        assert (here.names, here.rows) == (there.names, there.rows)
        assert_true(there, source)
        assert_none_lost(there, source, lying)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def answer(way: object, source: Path) -> Read | str:
    try:
        return way(source)  # type: ignore[operator]
    except UserError as error:
        assert is_plain(str(error)), str(error)
        return str(error)


def brought(source: Path) -> Read:
    done, found = taken_in(source)
    assert sum(map(len, found.rows.values())) == done.photos
    remove(done.name)
    return found


def assert_true(found: Read, source: Source) -> None:
    """Classes and splits are as they are told; what is cut comes from train, or from the only split."""
    truth = {digest(photo.content): photo for photo in source.photos}
    given = {photo.split for photo in source.photos if photo.label}
    for split in SPLITS:
        for label, photo in found.rows[split]:
            told = truth[photo]
            assert told.label == label, told.name
            cut = split not in given and (told.split in ("", "train") or len(given) == 1)
            assert told.split == split or cut or (len(given) == 1 and not told.split), told.name


def assert_none_lost(found: Read, source: Source, folder: Path) -> None:
    """Each photo is there once, without a class, or named with the reason."""
    rows = [photo for part in found.rows.values() for _, photo in part]
    assert len(rows) == len(set(rows))
    plan = plan_folder(folder, Corrections())
    left = {entry.name for entry in plan.left_out}
    for photo in source.photos:
        seen = digest(photo.content) in (rows if photo.label else found.unlabelled)
        assert seen or photo.name in left, photo.name
    if left:
        assert "left out" in found.notes
    if found.unlabelled:
        assert "no class" in found.notes or "no label" in found.notes
