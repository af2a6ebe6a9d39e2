"""Parquet files are read a few rows at a time, however they are grouped, and nothing of them changes on the
way.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from datasets import ClassLabel, Features, Image, Value, load_dataset

from vit_demo.data import uniform
from vit_demo.data.checks import checkup
from vit_demo.data.open import parquet

FEATURES = Features(
    {"image_file_path": Value("string"), "image": Image(), "labels": ClassLabel(names=["rust", "healthy"])}
)
ROWS, PHOTO = 2000, 20_000


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 MB of photos in one group of rows, none of them twice, in pages of 1 MB."""
    random = np.random.default_rng(0)
    columns = {
        "image_file_path": [f"{row}.jpg" for row in range(ROWS)],
        "image": [{"bytes": random.bytes(PHOTO), "path": f"{row}.jpg"} for row in range(ROWS)],
        "labels": [row % 2 for row in range(ROWS)],
    }
    file = tmp_path_factory.mktemp("set") / "train-00000-of-00001.parquet"
    pyarrow.parquet.write_table(
        pa.table(columns, schema=FEATURES.arrow_schema), file, row_group_size=ROWS, write_batch_size=32
    )
    return file


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def pool() -> pa.MemoryPool:
    """What Arrow takes from now on."""
    usual = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(pool)
    yield pool
    pa.set_memory_pool(usual)


def test_a_huge_group_of_rows_is_never_in_memory_as_a_whole(
    file: Path, pool: pa.MemoryPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "MOST_BYTES", 2**20)
    assert len(parquet.read("train", [str(file)])) == ROWS
    assert pool.max_memory() < 10e6 < ROWS * PHOTO / 3


def test_the_rows_are_those_of_the_library(file: Path) -> None:
    ours, theirs = (
        parquet.read("train", [str(file), str(file)]),
        load_dataset("parquet", data_files=[str(file)] * 2, split="train"),
    )
    assert ours.features == theirs.features == FEATURES and len(ours) == 2 * ROWS
    ours, theirs = (data.cast_column("image", Image(decode=False)) for data in (ours, theirs))
    for row in (0, 1, ROWS - 1, ROWS, 2 * ROWS - 1):
        assert ours[row] == theirs[row]
    assert (
        ours["image_file_path"][:] == theirs["image_file_path"][:]
        and ours["labels"][:] == theirs["labels"][:]
    )


def test_of_large_photos_fewer_rows_are_read_at_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = pyarrow.parquet.read_metadata(file)
    assert parquet._rows_at_once(metadata) == parquet.MOST_ROWS == 100
    monkeypatch.setattr(parquet, "MOST_BYTES", 50 * PHOTO)
    assert 45 < parquet._rows_at_once(metadata) <= 50
    monkeypatch.setattr(parquet, "MOST_BYTES", PHOTO // 2)
    assert parquet._rows_at_once(metadata) == 1


def test_to_see_whether_photos_changed_they_are_not_read(
    file: Path, pool: pa.MemoryPool, tiny_model: Path
) -> None:
    data = {"train": parquet.read("train", [str(file)])}
    before = pool.total_bytes_allocated()
    assert len(checkup.key_of(data, tiny_model)) == 32
    assert pool.total_bytes_allocated() - before < ROWS * PHOTO / 10


def test_to_name_photos_they_are_not_read(file: Path, pool: pa.MemoryPool) -> None:
    data = parquet.read("train", [str(file)]).remove_columns("image_file_path")
    before = pool.total_bytes_allocated()
    assert uniform._paths(data) == [f"{row}.jpg" for row in range(ROWS)]
    assert pool.total_bytes_allocated() - before < ROWS * PHOTO / 10
