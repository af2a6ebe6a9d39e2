"""What a check looks at, and what it gives: the photos as they are decided by now, and one finding a photo or
pair.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vit_demo.common.words import Sentence
from vit_demo.data.normalise import label_names

if TYPE_CHECKING:
    from datasets import DatasetDict

    from vit_demo.data.checks.reading import Reading

# Of pairs and of photos unlike the rest, so many candidates; most are right, and a person has to look at
# each.
CANDIDATES = 30


class FindingKind(enum.StrEnum):
    """What our own checks find, as files and journals name it; what is wrong with a picture is named as in
    quality.WARNINGS.
    """

    LEAKAGE = "leakage"
    LABEL = "label"
    DUPLICATE = "duplicate"
    UNLIKE = "unlike"
    BROKEN = "broken"


@dataclass(frozen=True)
class Finding:
    """kind: of the check that found it. photos: (split, path) of the photo, or of both. score: the higher the
    surer, comparable within a kind.

    sure: whether it is claimed; others are candidates. suggestion: the class that a wrong label should be,
    else "". note: numbers for a person.
    """

    kind: str
    photos: tuple[tuple[str, str], ...]
    score: float
    sure: bool
    suggestion: str = ""
    note: Sentence | str = ""


@dataclass(frozen=True)
class Photos:
    """N photos as they are decided by now. reading: what was seen of them. data: as it was opened.

    labels: (N,), of each its number in ``names``, -1 where it has none. splits: (N,), where it is by now.
    present: bool (N,), whether it was not left out.
    """

    reading: Reading
    data: DatasetDict
    labels: np.ndarray
    splits: np.ndarray
    present: np.ndarray

    @property
    def names(self) -> list[str]:
        """Of the classes."""
        return label_names(self.data)

    @property
    def readable(self) -> np.ndarray:
        """Which are present and can be opened, bool (N,)."""
        readable: np.ndarray = self.present & self.reading.features.readable
        return readable
