"""Photos that are far from all others of their data set."""

from __future__ import annotations

import numpy as np

from vit_demo.common.words import Sentence
from vit_demo.data.checks.finding import CANDIDATES, Finding, FindingKind, Photos
from vit_demo.data.copies.duplicates import standardised

# A photo is unlike the rest when its neighbours are farther than this many interquartile ranges above the
# third quartile (Tukey 1977).
FENCE = 3.0
NEIGHBOURS = 5


def unlike(photos: Photos) -> list[Finding]:
    """Photos whose nearest others are far away, by the mean distance to NEIGHBOURS of them."""
    from sklearn.neighbors import NearestNeighbors

    rows = np.flatnonzero(photos.readable)
    if len(rows) < 4 * NEIGHBOURS:
        return []
    late = photos.reading.features.values[rows, -1].reshape(len(rows), -1).astype(np.float32)
    distances = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(standardised(late)).kneighbors()[0].mean(axis=1)
    low, middle, high = np.percentile(distances, [25, 50, 75])
    far = [at for at in np.argsort(-distances)[:CANDIDATES] if distances[at] > high + FENCE * (high - low)]
    return [_found(photos.reading.photos[rows[at]], float(distances[at] / middle)) for at in far]


def _found(photo: tuple[str, str], ratio: float) -> Finding:
    return Finding(
        FindingKind.UNLIKE, (photo,), ratio, True, note=Sentence("data.note.unlike", {"ratio": ratio})
    )
