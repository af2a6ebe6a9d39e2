"""What a model sees in each photo of a data set, read once for all that is looked for in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch

from vit_demo.model.classifier import LeafClassifier, autocast

if TYPE_CHECKING:
    from PIL import Image

# After these parts of the encoder's blocks the tokens are read: early ones know the picture, late ones what
# it shows.
DEPTHS = (1 / 3, 1 / 2, 2 / 3, 5 / 6, 1)
BATCH = 16
# Told how many photos are done.
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Features:
    """Of N photos, in their order.

    values: float16 (N, len(DEPTHS), 2, D): after each of DEPTHS the [CLS] token, and the mean over the
    patches. readable: bool (N,); the values of a photo that cannot be read are 0.
    """

    values: np.ndarray
    readable: np.ndarray

    @property
    def early(self) -> np.ndarray:
        """The first depth, float32 (N, 2 D): what the picture looks like, whatever it shows."""
        return self._rows(self.values[:, 0])

    @property
    def all(self) -> np.ndarray:
        """All depths, float32 (N, len(DEPTHS) * 2 D)."""
        return self._rows(self.values)

    def _rows(self, values: np.ndarray) -> np.ndarray:
        return values.reshape(len(values), math.prod(values.shape[1:])).astype(np.float32)


def layers_of(blocks: int) -> list[int]:
    """After which of an encoder's blocks the tokens are read, 1 to ``blocks``: 4, 6, 8, 10 and 12 of 12."""
    return [max(1, round(depth * blocks)) for depth in DEPTHS]


def read_features(
    classifier: LeafClassifier, photos: Iterable[Image.Image | None], progress: Progress = lambda done: None
) -> Features:
    """The features of photos as they come, a batch at a time; None stands for a photo that cannot be read."""
    rows: list[np.ndarray] = []
    readable: list[bool] = []
    empty = np.zeros((len(DEPTHS), 2, classifier.model.config.hidden_size), np.float16)
    coming = iter(photos)
    while batch := list(islice(coming, BATCH)):
        good = [photo for photo in batch if photo is not None]
        found = iter(_of_batch(classifier, good)) if good else iter(())
        rows += [empty if photo is None else next(found) for photo in batch]
        readable += [photo is not None for photo in batch]
        progress(len(rows))
    return Features(
        np.stack(rows) if rows else np.empty((0, *empty.shape), np.float16), np.array(readable, dtype=bool)
    )


@torch.inference_mode()
def _of_batch(classifier: LeafClassifier, photos: list[Image.Image]) -> np.ndarray:
    """float16 (B, len(DEPTHS), 2, D)."""
    pixel_values = classifier.preprocess(photos)
    with autocast(classifier.device):
        tokens = classifier.model.vit(
            pixel_values,
            output_hidden_states=True,
            interpolate_pos_encoding=classifier.needs_interpolation(pixel_values),
        ).hidden_states
    chosen = [tokens[layer] for layer in layers_of(classifier.blocks)]
    parts = [torch.stack([layer[:, 0].float(), layer[:, 1:].float().mean(dim=1)], dim=1) for layer in chosen]
    return torch.stack(parts, dim=1).clamp(-65504, 65504).half().cpu().numpy()
