"""The maps of the view Why this answer: by which method and for which class, and where a map lies, in
words.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from vit_demo.common.words import percent, say
from vit_demo.explain.attribution.methods import METHODS
from vit_demo.explain.attribution.occlusion import occlusion
from vit_demo.explain.attribution.saliency import saliency
from vit_demo.explain.attribution.target import Target
from vit_demo.explain.internals.heads import patches_for_half
from vit_demo.model.classifier import LeafClassifier
from vit_demo.ui.tabs.inside.scene import Look

# Values of the lists of classes that are not a class: those begin with a number.
ANSWER, NONE = "answer", "none"
# Maps that are kept: of three pictures for two photos, and two more. Each keeps its model in memory.
KEEP = 8
_VERTICAL, _HORIZONTAL = ("upper", "middle", "lower"), ("left", "centre", "right")


@dataclass(frozen=True)
class _Request:
    """A map. changed: when the photo's file was, in nanoseconds. What is no part of a comparison follows from
    the rest.
    """

    classifier: LeafClassifier
    photo: str
    changed: int
    method: str
    target: Target
    pixel_values: Tensor = field(compare=False, repr=False)
    report: Callable[[int, int], object] | None = field(compare=False, repr=False)


def heat(
    found: Look, photo: str, method: str, target: Target, report: Callable[[int, int], object] | None = None
) -> np.ndarray:
    """A map of the photo, float32 (rows, columns); not to be changed. report: is called by occlusion with the
    squares done and their number.
    """
    request = _Request(
        found.classifier, photo, os.stat(photo).st_mtime_ns, method, target, pixels(found), report
    )
    return _occluded(request) if method == "occlusion" else _computed(request)


@functools.lru_cache(maxsize=KEEP)
def _computed(request: _Request) -> np.ndarray:
    return saliency(request.classifier, request.pixel_values, request.method, request.target)[0].numpy()


@functools.lru_cache(maxsize=KEEP)
def _occluded(request: _Request) -> np.ndarray:
    return occlusion(request.classifier, request.pixel_values, request.target, report=request.report).numpy()


def pixels(found: Look) -> Tensor:
    """What the model read, (1, 3, H, W), on its device."""
    return torch.from_numpy(found.trace.pixel_values)[None].to(found.classifier.device)


def method_titles() -> list[tuple[str, str]]:
    """(title, name) of each method."""
    return [(method.title, name) for name, method in METHODS.items()]


def class_values(labels: Sequence[str]) -> list[str]:
    """What stands for each class in a list of them: by number, since two may have one name, and by name,
    since another model has others.
    """
    return [f"{index} {label}" for index, label in enumerate(labels)]


def class_index(value: str | None, labels: Sequence[str]) -> int | None:
    """The class that a value stands for; None for no class, and for one that this model does not have."""
    values = class_values(labels)
    return values.index(value) if value in values else None


def place_words(values: np.ndarray) -> str:
    """Where a map of what is 0 or more lies: its strongest ninth of the photo, and in how few patches half of
    it. values: (rows, columns).
    """
    if values.sum() <= 0:
        return say("inside.heat.nothing")
    half = say("inside.heat.half", half=int(patches_for_half(values)), patches=values.size)
    if min(values.shape) < 3:
        return half
    row, column, share = _strongest_ninth(values)
    ninth = say(f"inside.heat.ninth.{_VERTICAL[row]}_{_HORIZONTAL[column]}")
    return say("inside.heat.strongest", ninth=ninth, percent=percent(share), half=half)


def _strongest_ninth(values: np.ndarray) -> tuple[int, int, float]:
    """Row and column of it, 0 to 2, and its share of the map. A patch counts to the ninth in which its centre
    lies.
    """
    rows, columns = (
        np.minimum((np.arange(count) + 0.5) * 3 // count, 2).astype(int) for count in values.shape
    )
    sums = np.zeros((3, 3))
    np.add.at(sums, (rows[:, None], columns[None, :]), values)
    row, column = np.unravel_index(sums.argmax(), sums.shape)
    return int(row), int(column), float(sums[row, column] / sums.sum())
