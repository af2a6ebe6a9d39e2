"""What the photos of a data set are like in numbers: how many, how large, how bright, how sharp, of what
colour.

How many there are of each class is read from the labels and costs nothing. All else needs each photo decoded
once: that is done beside the page in a thread, and kept in the home folder. Of a large data set so many
photos are drawn, each as likely.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from vit_demo.common.arrays import ArrayCache, key_of, stamp
from vit_demo.common.compat import dataset_stamp
from vit_demo.common.jobs import Job, Jobs, JobState
from vit_demo.data.browse.catalogue import Catalogue
from vit_demo.photos.quality import WARNINGS, assess
from vit_demo.photos.safe_open import decode

MOST_PHOTOS = 2000
SEED = 0
# Luma of ITU-R BT.601 of red, green and blue.
LUMA = (0.299, 0.587, 0.114)
CHUNK = 32
THREADS = 2
# Goes into the name of the file. Of so many data sets the files are kept.
VERSION = 1
KEEP = 24


@dataclass(frozen=True)
class Statistics:
    """Of M photos that were looked at, in the order of the data set.

    places: int32 (M,), as ``Catalogue`` has them. width, height: int32 (M,) in pixels, upright, 0 where a
    photo is broken. colour: float32 (M, 3), mean red, green and blue, 0 to 1. sharpness: float32 (M,), as
    ``quality.sharpness``; NaN where nothing can be said. problems: int16 (M,), bit i is set where the i-th of
    ``quality.WARNINGS`` is so; -1 where a photo is broken.
    """

    places: np.ndarray
    width: np.ndarray
    height: np.ndarray
    colour: np.ndarray
    sharpness: np.ndarray
    problems: np.ndarray

    def __len__(self) -> int:
        return len(self.places)

    @property
    def fine(self) -> np.ndarray:
        """Which can be decoded, bool (M,)."""
        return self.width > 0

    @property
    def brightness(self) -> np.ndarray:
        """Mean luma, float32 (M,), 0 (black) to 1 (white)."""
        return (self.colour @ np.array(LUMA, dtype=np.float32)).astype(np.float32)

    @property
    def pixels(self) -> np.ndarray:
        pixels: np.ndarray = self.width * self.height
        return pixels

    def add_to(self, catalogue: Catalogue) -> Catalogue:
        """The same catalogue, which can now be sorted and filtered by these numbers."""

        def column(values: np.ndarray) -> np.ndarray:
            whole = np.full(len(catalogue), np.nan, dtype=np.float32)
            whole[self.places] = np.where(self.fine, values, np.nan)
            return whole

        problems = np.full(len(catalogue), -1, dtype=np.int16)
        problems[self.places] = self.problems
        numbers = {
            name: column(getattr(self, name))
            for name in ("width", "height", "pixels", "brightness", "sharpness")
        }
        return catalogue.knowing(
            problems=problems,
            problem_names=tuple(WARNINGS),
            numbers={**(catalogue.known.numbers or {}), **numbers},
        )


def measure(catalogue: Catalogue, progress: Callable[[int], None] = lambda done: None) -> Statistics:
    """Look at all photos, or at MOST_PHOTOS that are drawn. progress: told how many are done; what it raises
    ends it.
    """
    places = drawn(len(catalogue))
    rows: list[tuple[float, ...]] = []
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(places), CHUNK):
            rows += pool.map(_look, catalogue.stored(places[start : start + CHUNK]))
            progress(len(rows))
    values = np.array(rows, dtype=np.float32).reshape(-1, 7)
    width, height, problems = (
        values[:, 0].astype(np.int32),
        values[:, 1].astype(np.int32),
        values[:, 6].astype(np.int16),
    )
    return Statistics(places, width, height, values[:, 2:5], values[:, 5], problems)


def drawn(count: int) -> np.ndarray:
    """The places that are looked at, int32, ascending."""
    if count <= MOST_PHOTOS:
        return np.arange(count, dtype=np.int32)
    return np.sort(np.random.default_rng(SEED).choice(count, MOST_PHOTOS, replace=False)).astype(np.int32)


def _look(stored: dict[str, Any]) -> tuple[float, ...]:
    """Width, height, red, green, blue, sharpness, problems of one photo."""
    photo = decode(stored)
    if photo is None:
        return (0, 0, 0, 0, 0, np.nan, -1)
    quality = assess(photo)
    bits = sum(1 << bit for bit, name in enumerate(WARNINGS) if name in quality.problems)
    sharpness = quality.sharpness if np.isfinite(quality.sharpness) else np.nan
    return (*photo.size, *(np.asarray(photo).mean(axis=(0, 1), dtype=np.float64) / 255), sharpness, bits)


_CACHE = ArrayCache("cache/numbers", KEEP)
JOBS: Jobs[Statistics] = Jobs("numbers", KEEP, "error.data.numbers_failed", one_at_a_time=True)


def kept(catalogue: Catalogue) -> Statistics | None:
    """The numbers where they were found before, by this server or an earlier one."""
    key = cache_key(catalogue)
    job = JOBS.find(key)
    return _read(key, len(catalogue)) if job is None else job.result


def start(catalogue: Catalogue) -> Job[Statistics]:
    """Begin to find them, or join whoever did."""
    key, count = cache_key(catalogue), min(len(catalogue), MOST_PHOTOS)
    if JOBS.find(key) is None and (numbers := _read(key, len(catalogue))) is not None:
        return JOBS.add(Job(key, count, done=count, result=numbers).end(JobState.DONE))

    def work(job: Job[Statistics]) -> Statistics:
        numbers = measure(catalogue, job.tell)
        _CACHE.write(key, {field.name: getattr(numbers, field.name) for field in fields(Statistics)})
        return numbers

    return JOBS.start(Job(key, count), work)


def cache_key(catalogue: Catalogue) -> str:
    """Changes with the data set and, where photos are files of their own, with each file that is looked
    at.
    """
    places = drawn(len(catalogue))
    stamps = [stamp(path) for path in map(catalogue.path, places) if os.path.isabs(path)]
    return key_of(
        VERSION,
        MOST_PHOTOS,
        SEED,
        [(split, dataset_stamp(part), len(part)) for split, part in catalogue.data.items()],
        stamps,
    )


def _read(key: str, count: int) -> Statistics | None:
    """The numbers that were kept, None where there are none that fit ``count`` photos."""
    found = _CACHE.read(key)
    try:
        numbers = (
            Statistics(**{field.name: found[field.name] for field in fields(Statistics)}) if found else None
        )
    except KeyError:
        return None
    return numbers if numbers is not None and np.array_equal(numbers.places, drawn(count)) else None
