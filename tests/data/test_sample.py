"""The drawn sample: what is stored, how it is drawn, and where the signs of disease lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from vit_demo.data import sample
from vit_demo.data.drawing import stream
from vit_demo.data.sample import COUNTS, LABELS, SIZE, draw_leaf, draw_masks, jobs

FOLDER = Path(__file__).parents[2] / "assets" / "sample" / "data"
FILES = {split: str(FOLDER / f"{split}-00000-of-00001.parquet") for split in COUNTS}
BYTES = 4_000_000


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory):
    """The committed splits, read without the Hub."""
    import datasets

    cache = tmp_path_factory.mktemp("cache")
    return datasets.load_dataset("parquet", data_files=FILES, cache_dir=str(cache))


def _blobs(mask: np.ndarray, least: int) -> list[np.ndarray]:
    """Pixel coordinates (n, 2) of each blob of at least `least` pixels."""
    named, count = ndimage.label(mask)
    blobs = [np.argwhere(named == number) for number in range(1, count + 1)]
    return [blob for blob in blobs if len(blob) >= least]


def _roundness(blob: np.ndarray) -> float:
    """Area over that of the circle about the centroid that holds the blob; a disc has 1."""
    far = np.linalg.norm(blob - blob.mean(0), axis=1).max() + 0.5
    return len(blob) / (np.pi * far**2)


def test_columns_and_class_order_are_those_of_the_hub_data_set(stored) -> None:
    for split in stored.values():
        assert list(split.features) == ["image_file_path", "image", "labels"]
        assert split.features["image"].dtype == "PIL.Image.Image"
        assert split.features["labels"].names == ["angular_leaf_spot", "bean_rust", "healthy"]


def test_splits_are_balanced_and_small(stored) -> None:
    assert {name: len(split) for name, split in stored.items()} == dict(COUNTS)
    for split in stored.values():
        assert len(set(np.bincount(split["labels"], minlength=3))) == 1
    assert sum(Path(file).stat().st_size for file in FILES.values()) <= BYTES


def test_paths_say_drawn_and_are_unique(stored) -> None:
    paths = [(name, path) for name, split in stored.items() for path in split["image_file_path"]]
    assert all(path.startswith(f"drawn/{name}/") for name, path in paths)
    assert len(set(paths)) == sum(COUNTS.values())


def test_every_picture_is_square_rgb_and_none_is_stored_twice(stored) -> None:
    seen = set()
    for split in stored.values():
        for row in split:
            assert row["image"].size == (SIZE, SIZE) and row["image"].mode == "RGB"
            seen.add(row["image"].tobytes())
    assert len(seen) == sum(COUNTS.values())


@pytest.mark.parametrize(("split", "row"), [("train", 7), ("validation", 20), ("test", 47)])
def test_stored_pictures_are_what_the_generator_draws(stored, split: str, row: int) -> None:
    label, seed = jobs(split, COUNTS[split])[row]
    kept = np.asarray(stored[split][row]["image"], dtype=float)
    drawn = np.asarray(draw_leaf(label, seed), dtype=float)
    assert LABELS[stored[split][row]["labels"]] == label
    assert np.abs(kept - drawn).mean() < 8  # of 255: what JPEG loses; two scenes are 40 apart


def test_same_arguments_give_the_same_pixels_and_global_state_is_left_alone() -> None:
    before = np.random.get_state()[1].copy()
    first, again, other = (draw_leaf("bean_rust", seed, 96) for seed in (5, 5, 6))
    assert first.tobytes() == again.tobytes() != other.tobytes()
    assert first.size == (96, 96) and first.mode == "RGB"
    assert (np.random.get_state()[1] == before).all()


def test_a_leaf_keeps_its_shape_at_every_size_and_under_every_label() -> None:
    small, large = draw_masks("healthy", 3, 128), draw_masks("angular_leaf_spot", 3, 256)
    assert (small.leaf != large.leaf[::2, ::2]).mean() < 0.02


def test_seeds_of_splits_classes_and_samples_never_meet() -> None:
    every = [seed for number in (0, 1) for split in COUNTS for _, seed in jobs(split, 3000, number)]
    assert len(set(every)) == len(every)


def test_uneven_counts_and_unknown_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="do not divide"):
        jobs("train", 100)
    with pytest.raises(ValueError, match="unknown label"):
        draw_leaf("mosaic", 0, 64)


def test_streams_differ_by_key() -> None:
    assert stream(1, 2).random() == stream(1, 2).random() != stream(2, 1).random()


@pytest.mark.parametrize("seed", [61, 83])
def test_angular_spots_end_at_veins(seed: int) -> None:
    masks = draw_masks("angular_leaf_spot", seed, 512)
    inner = ndimage.binary_erosion(masks.leaf, iterations=4)
    border = masks.spot & ~ndimage.binary_erosion(masks.spot) & inner
    beside = ndimage.binary_dilation(masks.vein)
    assert border.sum() > 100
    assert beside[border].mean() > 0.97  # veins are two to three pixels wide here
    assert masks.vein[border].mean() > 1.6 * masks.vein[inner].mean()


def test_pustules_are_round_and_angular_spots_are_not() -> None:
    shape = {}
    for label in ("bean_rust", "angular_leaf_spot"):
        masks = [draw_masks(label, seed, 384).spot for seed in (61, 83)]
        shape[label] = np.median([_roundness(b) for mask in masks for b in _blobs(mask, 20)])
    assert shape["bean_rust"] > 0.65 > 0.55 > shape["angular_leaf_spot"]


@pytest.mark.parametrize("seed", [0, 1])
def test_signs_lie_on_the_leaf_and_healthy_leaves_have_none(seed: int) -> None:
    assert not draw_masks("healthy", seed, 128).spot.any()
    for label in ("bean_rust", "angular_leaf_spot"):
        masks = draw_masks(label, seed, 256)
        assert masks.spot.any()
        assert not (masks.spot & ~ndimage.binary_dilation(masks.leaf, iterations=2)).any()


def test_a_small_sample_can_be_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    monkeypatch.setattr(sample, "_encode", _tiny)
    monkeypatch.setattr(sample, "ProcessPoolExecutor", _Here)
    sample.build_sample(tmp_path, {"test": 3}, seed=4)
    table = pq.read_table(tmp_path / "test-00000-of-00001.parquet")
    assert table["labels"].to_pylist() == [0, 1, 2]
    assert table["image_file_path"][1].as_py() == "drawn/test/bean_rust/bean_rust_test.0.jpg"
    assert b"ClassLabel" in table.schema.metadata[b"huggingface"]


def _tiny(job: tuple[str, int]) -> bytes:
    """Stands for a picture, so that only the writing is tested."""
    return repr(job).encode()


class _Here:
    """An executor that works in this process, where the patch above holds."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def __enter__(self) -> _Here:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing to shut down."""

    def map(self, work, todo, chunksize: int):
        return map(work, todo)
