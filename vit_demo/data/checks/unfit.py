"""Photos that are bad by themselves: files that cannot be opened, and pictures with a fault."""

from __future__ import annotations

import numpy as np

from vit_demo.data.checks.finding import Finding, FindingKind, Photos


def broken(photos: Photos) -> list[Finding]:
    """Files that cannot be opened."""
    return _each(photos, FindingKind.BROKEN, ~photos.reading.features.readable)


def faulty(photos: Photos, problem: str) -> list[Finding]:
    """Pictures with this problem, one of quality.WARNINGS."""
    return _each(
        photos, problem, np.array([problem in those for those in photos.reading.problems], dtype=bool)
    )


def _each(photos: Photos, kind: str, wrong: np.ndarray) -> list[Finding]:
    rows = np.flatnonzero(photos.present & wrong)
    return [Finding(kind, (photos.reading.photos[row],), 1.0, True) for row in rows]
