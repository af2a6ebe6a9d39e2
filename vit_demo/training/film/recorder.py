"""Where the model looks while it learns: a frame of the film at each evaluation on validation.

A frame holds the attention rollout of [CLS] (Abnar and Zuidema 2020) over the patches of a few validation
photos, which stay the same throughout, and what the model takes them for. How it is kept and read
stands in reader.py. Nothing here draws a random number, so a run is the same with and without.
"""

from __future__ import annotations

import io
import json

import numpy as np
import torch
from PIL import Image

from vit_demo.common.atomic import read_object, write_atomically
from vit_demo.common.words import Sentence
from vit_demo.explain.attribution.rollout import attention_rollout
from vit_demo.explain.internals.attention import capture_attention
from vit_demo.explain.patches import PatchGrid
from vit_demo.training.film import reader
from vit_demo.training.job import TrainingJob
from vit_demo.training.run.notes import kept

# So many frames are kept on the disk: more than a page shows, however long the run.
KEPT_FRAMES = 4 * reader.MOST_FRAMES
# Sides of a kept photo in pixels: of a few, and of many, which a page shows smaller.
PHOTO_SIDE, SMALL_PHOTO_SIDE = 224, 144
MANY_PHOTOS = 4


def choose_photos(labels: np.ndarray, count: int) -> list[int]:
    """Rows of so many photos, class by class in turn and in each class in their order; of fewer photos than
    classes one each, spread over them.
    """
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    if count < len(classes):
        classes = [classes[number * len(classes) // count] for number in range(count)]
    turns = (int(rows[turn]) for turn in range(len(labels)) for rows in classes if turn < len(rows))
    return [row for _, row in zip(range(count), turns)]


class Film:
    """The film of one run, written as it goes."""

    def __init__(self, work: TrainingJob):
        self._work = work
        rows = choose_photos(work.validation.labels, work.config.film)
        self._pixels = np.stack([work.validation.pixels[row] for row in rows])
        height, width = self._pixels.shape[2:]
        self._grid = PatchGrid(height, width, work.classifier.patch_size)
        self._folder = work.run.folder / reader.FOLDER
        photos = [
            {"name": _file_name(work.validation.paths[row]), "label": int(work.validation.labels[row])}
            for row in rows
        ]
        self._about = {
            "labels": work.classifier.labels,
            "rows": self._grid.rows,
            "columns": self._grid.columns,
            "photos": photos,
        }
        self._steps: list[int] | None = None  # of the frames on the disk, once the photos are there too
        self._warned = False

    def record(self, step: int) -> None:
        """Add the frame of a step, of which there is none yet; the model is in eval mode, with the weights to
        look at.

        A disk that cannot take it ends no run: the frame is left out, and the first time a warning is logged.
        """
        try:
            if self._steps is None:
                self._steps = self._begin()
            if not self._steps or step > self._steps[-1]:
                self._add(step, self._steps)
        except OSError as error:
            if not self._warned:
                self._work.log.add(
                    "warning",
                    **kept(Sentence("train.record.no_film", {"reason": error.strerror or str(error)})),
                )
            self._warned = True

    def _begin(self) -> list[int]:
        """Put down the photos, where an earlier sitting has not; the steps of the frames that it left."""
        if read_object(self._folder / reader.ABOUT) != self._about:
            self._folder.mkdir(exist_ok=True)
            (self._folder / reader.FRAMES).unlink(missing_ok=True)
            side = SMALL_PHOTO_SIDE if len(self._pixels) > MANY_PHOTOS else PHOTO_SIDE
            for number, pixels in enumerate(self._pixels, start=1):
                reader.photo_file(self._folder, number).write_bytes(_jpeg(pixels, side))
            write_atomically(self._folder / reader.ABOUT, json.dumps(self._about))
        return list(reader.frame_lines(self._folder))

    def _add(self, step: int, steps: list[int]) -> None:
        maps, probabilities = self._look()
        if not (np.isfinite(maps).all() and np.isfinite(probabilities).all()):
            return  # the loss then says what is wrong
        with open(self._folder / reader.FRAMES, "ab+") as file:
            torn = file.seek(0, io.SEEK_END) and file.seek(-1, io.SEEK_END) >= 0 and file.read(1) != b"\n"
            file.write(("\n" * torn + reader.encode(step, maps, probabilities) + "\n").encode())
        steps.append(step)
        if len(steps) > KEPT_FRAMES:
            self._thin()

    def _thin(self) -> None:
        lines = reader.frame_lines(self._folder)
        steps = reader.thinned(list(lines), KEPT_FRAMES // 2)
        write_atomically(self._folder / reader.FRAMES, "".join(f"{lines[step]}\n" for step in steps))
        self._steps = steps

    @torch.inference_mode()
    def _look(self) -> tuple[np.ndarray, np.ndarray]:
        """The maps (P, rows, columns) and the probabilities (P, classes) now, in float32."""
        classifier = self._work.classifier
        maps, probabilities = [], []
        # One photo at a time: the attention of all layers is large.
        for pixels in self._pixels:
            with capture_attention(classifier.model) as recorder:
                logits = classifier.forward(classifier.normalise(torch.from_numpy(pixels[None])))
            from_patches = attention_rollout(recorder.attentions)[0, 0, 1:]
            maps.append(from_patches.reshape(self._grid.rows, self._grid.columns).cpu().numpy())
            probabilities.append(logits[0].float().softmax(dim=-1).cpu().numpy())
        return np.stack(maps), np.stack(probabilities)


def _file_name(path: str) -> str:
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def _jpeg(pixels: np.ndarray, side: int) -> bytes:
    """A photo, uint8 (3, H, W), as a JPEG of at most so many pixels a side."""
    photo = Image.fromarray(pixels.transpose(1, 2, 0))
    photo.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=75)
    return buffer.getvalue()
