"""Small coloured photos, and runs on them that take a second."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COLOURS = {"blue": (40, 60, 200), "green": (50, 180, 60), "red": (200, 50, 40)}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """So small a model only waits for its threads; where a module is light, torch stays out."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def squares(folder: Path, train: int = 12, validation: int = 6, test: int = 6, seed: int = 0, colours: dict = COLOURS) -> Path:
    """An image folder split/colour/number.png of noisy squares, the given number a class."""
    rng = np.random.default_rng(seed)
    for split, count in (("train", train), ("validation", validation), ("test", test)):
        for label, colour in colours.items():
            place = folder / split / label
            place.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = np.clip(rng.normal(colour, 40, (24, 20, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="session")
def make_squares() -> Callable[..., Path]:
    return squares


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three easy classes: 36 train photos, 18 for validation, 18 for test."""
    return squares(tmp_path_factory.mktemp("colours"))


def wait(condition: Callable[[], object], seconds: float = 90) -> None:
    """Until the condition holds; fails the test when it never does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def wait_for() -> Callable[..., None]:
    return wait
