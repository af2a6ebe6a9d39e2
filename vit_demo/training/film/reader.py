"""The film of a run as its folder holds it: where the model looked in a few fixed validation photos, each
time they were scored.

film/film.json       the classes, the grid of patches, and name and class of each photo; written when the
photos are there
     photo-1.jpg     the photos as the model sees them, in the order of film.json
     frames.jsonl    one frame a line: the step, a map of each photo, the probabilities

A run that goes on from a checkpoint does some steps again. As in the curves, the first frame of a step
counts. This module is light: it imports neither torch nor transformers. The film is made in recorder.py.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vit_demo.common.atomic import read_object
from vit_demo.training.run.runs import Run

FOLDER, ABOUT, FRAMES = "film", "film.json", "frames.jsonl"
# More frames than this are not shown, and fewer where they are large: about so many bytes go to a page.
MOST_FRAMES, FEWEST_FRAMES = 60, 12
FRAME_BYTES = 78_000
# Of a frame's photo beside its map: what is said about it.
WORDS_BYTES = 170


@dataclass(frozen=True)
class FilmPhoto:
    """name: of its file. label: index of its class. jpeg: what the model sees, at most 224 pixels a side."""

    name: str
    label: int
    jpeg: bytes


@dataclass(frozen=True)
class Frame:
    """One moment, for P photos and C classes.

    step: how many steps were done. maps: uint8 (P, rows, columns), each stretched from its smallest value
    to its largest. low, high: these two, (P,). probabilities: (P, C).
    """

    step: int
    maps: np.ndarray
    low: np.ndarray
    high: np.ndarray
    probabilities: np.ndarray

    @property
    def values(self) -> np.ndarray:
        """The maps as they were, (P, rows, columns) float: the share of [CLS] that comes from each patch, to
        1/255 of their range.
        """
        low, high = self.low[:, None, None], self.high[:, None, None]
        values: np.ndarray = low + (high - low) * (self.maps / 255)
        return values


@dataclass(frozen=True)
class FilmReel:
    """A film to be shown. labels: the classes. frames: by step, at most MOST_FRAMES, evenly thinned."""

    labels: tuple[str, ...]
    photos: tuple[FilmPhoto, ...]
    frames: tuple[Frame, ...]


def read(run: Run) -> FilmReel | None:
    """The film of a run as far as it goes, or None where there is not one frame of it."""
    folder = run.folder / FOLDER
    about = read_object(folder / ABOUT)
    try:
        photos = tuple(
            FilmPhoto(str(photo["name"]), int(photo["label"]), photo_file(folder, number).read_bytes())
            for number, photo in enumerate(about["photos"], start=1)
        )
        shape = (len(photos), int(about["rows"]), int(about["columns"]))
        labels = tuple(map(str, about["labels"]))
        if not all(0 <= photo.label < len(labels) for photo in photos):
            return None
    except (OSError, KeyError, TypeError, ValueError):
        return None
    frames = [decode(line, shape) for line in frame_lines(folder).values()]
    whole = [
        frame
        for frame in frames
        if frame is not None and frame.probabilities.shape == (len(photos), len(labels))
    ]
    bytes_a_frame = len(photos) * (4 / 3 * shape[1] * shape[2] + WORDS_BYTES)
    most = int(np.clip(FRAME_BYTES / max(1, bytes_a_frame), FEWEST_FRAMES, MOST_FRAMES))
    kept = set(thinned([frame.step for frame in whole], most))
    return FilmReel(labels, photos, tuple(frame for frame in whole if frame.step in kept)) if whole else None


def photo_file(folder: Path, number: int) -> Path:
    """Where the photo of this number, counted from 1, is kept."""
    return folder / f"photo-{number}.jpg"


def frame_lines(folder: Path) -> dict[int, str]:
    """The lines of the frames by their step, rising; of a step that comes twice the first, and none that is
    torn.
    """
    try:
        text = (folder / FRAMES).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    found: dict[int, str] = {}
    for line in text.splitlines():
        try:
            step = json.loads(line)["step"]
        except (ValueError, KeyError, TypeError):  # torn by a crash
            continue
        if isinstance(step, int):
            found.setdefault(step, line)
    return dict(sorted(found.items()))


def encode(step: int, maps: np.ndarray, probabilities: np.ndarray) -> str:
    """A frame as one line of JSON without its end. maps: float (P, rows, columns). probabilities: (P, C)."""
    low, high = maps.min(axis=(1, 2)), maps.max(axis=(1, 2))
    span = np.where(high > low, high - low, 1)[:, None, None]
    stretched = np.round((maps - low[:, None, None]) / span * 255).astype(np.uint8)
    return json.dumps(
        {
            "step": step,
            "maps": [base64.b64encode(one.tobytes()).decode() for one in stretched],
            "low": low.astype(float).tolist(),
            "high": high.astype(float).tolist(),
            "probabilities": probabilities.astype(float).round(5).tolist(),
        }
    )


def decode(line: str, shape: tuple[int, int, int]) -> Frame | None:
    """The inverse of :func:`encode`, None where the line is of something else. shape: (P, rows, columns)."""
    try:
        values = json.loads(line)
        maps = np.frombuffer(b"".join(map(base64.b64decode, values["maps"])), dtype=np.uint8).reshape(shape)
        low, high = (np.array(values[name], dtype=float).reshape(shape[0]) for name in ("low", "high"))
        return Frame(int(values["step"]), maps, low, high, np.array(values["probabilities"], dtype=float))
    except (ValueError, KeyError, TypeError):
        return None


def thinned(steps: list[int], most: int) -> list[int]:
    """At most so many of rising steps, with the first and the last, as evenly spread as they come."""
    if len(steps) <= most:
        return steps
    every = np.array(steps)
    wanted = np.linspace(every[0], every[-1], most)
    after = np.searchsorted(every, wanted).clip(1, len(every) - 1)
    nearest = np.where(wanted - every[after - 1] <= every[after] - wanted, after - 1, after)
    kept: list[int] = every[np.unique(nearest)].tolist()
    return kept
