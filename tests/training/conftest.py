"""Small coloured photos, and runs on them that take a second."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.runs import Run, create

COLOURS = {"blue": (40, 60, 200), "green": (50, 180, 60), "red": (200, 50, 40)}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """So small a model only waits for its threads; where a module is light, torch stays out."""
    if "torch" not in sys.modules:
        yield
        return
    with threads(1):
        yield


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def squares(
    folder: Path, train: int = 12, validation: int = 6, test: int = 6, seed: int = 0, colours: dict = COLOURS
) -> Path:
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


@pytest.fixture(scope="session")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes that look alike: what is learned by heart makes validation worse and worse. 24 train
    photos, 24 for validation.
    """
    folder, rng = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    for split, count in (("train", 12), ("validation", 12), ("test", 2)):
        for label in ("a", "b"):
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(
                    folder / split / label / f"{number}.png"
                )
    return folder


@contextlib.contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file that this process writes may grow beyond so many bytes."""
    resource = pytest.importorskip("resource", reason="this system cannot limit the size of files")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def wait(condition: Callable[[], object], seconds: float = 90) -> None:
    """Until the condition holds; fails the test when it never does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def wait_for() -> Callable[..., None]:
    return wait


# Runs of the tiny model inside the process of the test


# Said here in full, since the defaults are a recipe's and change with it.
PLAIN = {
    "device": "cpu",
    "epochs": 1,
    "batch_size": 8,
    "learning_rate": 2e-2,
    "warmup": 0.0,
    "weight_decay": 0.0,
    "layer_decay": 1.0,
    "label_smoothing": 0.0,
    "average": 0.0,
    "overshoot": 0.0,
    "resolutions": (),
    "small_first": False,
    "patch_dropout": 0.0,
    "augment": "flips",
    "evaluate_every": 0,
    "film": 0,
}

# All that is random in a step or kept from one to the next; 36 photos in batches of 7, of which the last is
# not whole.
EVERYTHING = {
    "epochs": 2,
    "batch_size": 7,
    "learning_rate": 5e-3,
    "warmup": 0.1,
    "weight_decay": 0.01,
    "layer_decay": 0.7,
    "label_smoothing": 0.1,
    "average": 0.9,
    "overshoot": 0.1,
    "patch_dropout": 0.25,
    "augment": "strong",
    "resolutions": (24, 32),
    "evaluate_every": 5,
    "precision": "fp32",
}


@dataclasses.dataclass
class Done:
    """A run that has ended, and what it said meanwhile."""

    run: Run
    result: dict
    progress: list

    def events(self, kind: str) -> list[dict]:
        return events_of(self.run, kind)

    def weights(self) -> dict:
        return weights_of(self.run)


Train = Callable[..., Done]
Listener = Callable[[Run, object], None]


def events_of(run: Run, kind: str) -> list[dict]:
    return [event for event in run.read_events()[0] if event["kind"] == kind]


def weights_of(run: Run) -> dict:
    """Tensors of the saved model, by name."""
    from safetensors.torch import load_file

    return {
        name: tensor
        for file in sorted(run.model_folder.glob("model*.safetensors"))
        for name, tensor in load_file(file).items()
    }


@contextlib.contextmanager
def no_bf16() -> Iterator[None]:
    from vit_demo.model import classifier
    from vit_demo.training.loop import forward, trainer
    from vit_demo.training.result import abstain

    with pytest.MonkeyPatch.context() as patch:
        for module in (classifier, abstain, forward, trainer):
            patch.setattr(module, "bf16_is_faster", lambda device_type: False)
        yield


@pytest.fixture(scope="module")
def fp32() -> Iterator[None]:
    """bfloat16, which some CPUs would take here, is too coarse to compare two ways to the same number."""
    with no_bf16():
        yield


@pytest.fixture(scope="session")
def train(tiny_model: Path, colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Fine-tune the tiny model on the coloured squares, in fp32 and by none of a recipe's arts; settings as
    named. run: one to go on with.
    """

    def work(
        listener: Listener = lambda run, progress: None,
        before: Callable[[Run], None] = lambda run: None,
        run: Run | None = None,
        **settings,
    ) -> Done:
        from vit_demo.training.loop.finetune import fine_tune

        if run is None:
            run = create(
                TrainingConfig(**{**PLAIN, "data": str(colours), "model": str(tiny_model), **settings}),
                tmp_path_factory.mktemp("run"),
            )
        run.claim()
        before(run)
        progress: list = []
        with no_bf16(), threads(1):  # the runs of a session come to the same bits
            return Done(
                run, fine_tune(run, lambda step: (progress.append(step), listener(run, step))), progress
            )

    return work


@pytest.fixture(scope="session")
def learned(train: Train) -> Done:
    """36 photos, 5 steps an epoch, 6 epochs."""
    return train(epochs=6, evaluate_every=4)
