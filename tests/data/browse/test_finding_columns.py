"""What a check found is put beside the photos of a catalogue, each at its place."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value

from vit_demo.data.browse.catalogue import FINE, Catalogue, Query
from vit_demo.data.browse.finding_columns import add_findings, decided, name_of, names
from vit_demo.data.checks.finding import Finding, FindingKind
from vit_demo.data.corrections.journal import Decision
from vit_demo.photos.quality import WARNINGS

SIZES = {"train": 40, "validation": 10, "test": 10}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    """Photos are called the same in each split."""
    features = Features(
        {
            "image_file_path": Value("string"),
            "image": Image(),
            "labels": ClassLabel(names=["rust", "healthy"]),
        }
    )
    return Catalogue(
        DatasetDict(
            {
                split: Dataset.from_dict(
                    {
                        "image_file_path": [f"{row}.jpg" for row in range(count)],
                        "image": [None] * count,
                        "labels": [row % 2 for row in range(count)],
                    },
                    features=features,
                )
                for split, count in SIZES.items()
            }
        )
    )


def photo(split: str, row: int) -> tuple[str, str]:
    return split, f"{row}.jpg"


FOUND = (
    Finding(FindingKind.LEAKAGE, (photo("train", 3), photo("test", 3)), 2.0, True),
    Finding(FindingKind.LEAKAGE, (photo("train", 3), photo("test", 4)), 1.0, False),
    Finding(FindingKind.LABEL, (photo("train", 3),), 1.0, True, "rust"),
    Finding(FindingKind.LABEL, (photo("validation", 5),), 0.1, False, "rust"),
    Finding(FindingKind.DUPLICATE, (photo("train", 7), photo("train", 8)), 1.0, True),
    Finding("dark", (photo("test", 9),), 1.0, True),
)
# Photo 39 of train was not drawn.
LOOKED = [photo(split, row) for split, count in SIZES.items() for row in range(count)]
LOOKED.remove(photo("train", 39))


def places(catalogue: Catalogue, problem: str) -> list[tuple[str, int]]:
    return [catalogue.place(at) for at in catalogue.find(Query(problem=problem))]


def test_each_photo_has_what_was_found_of_it_and_no_other(catalogue):
    known = add_findings(catalogue, FOUND, LOOKED)
    for name in names():
        wanted = {photo for finding in FOUND if name_of(finding) == name for photo in finding.photos}
        assert [photo(*place) for place in places(known, name)] == sorted(
            wanted, key=lambda one: (list(SIZES).index(one[0]), int(one[1][:-4]))
        )
    for at in range(len(known)):
        found = known.findings(at)
        if known.place(at) == ("train", 39):
            assert found is None
        else:
            assert found == tuple(finding for finding in FOUND if photo(*known.place(at)) in finding.photos)
    wrong = {one for finding in FOUND for one in finding.photos}
    assert [photo(*place) for place in places(known, FINE)] == [one for one in LOOKED if one not in wrong]
    assert (
        known.known.turn != add_findings(catalogue, FOUND, LOOKED).known.turn
        and catalogue.findings(0) is None
    )


def test_it_stands_beside_what_was_measured(catalogue):
    measured = np.full(len(catalogue), -1, dtype=np.int16)
    measured[[0, 39, 59]] = [1 << list(WARNINGS).index("dark"), 0, 0]
    known = add_findings(catalogue.knowing(problems=measured, problem_names=tuple(WARNINGS)), FOUND, LOOKED)
    assert places(known, "dark") == [("train", 0), ("test", 9)], "by either"
    fine = places(known, FINE)
    assert ("train", 39) in fine and ("train", 0) not in fine and ("test", 9) not in fine, "by both"
    # A measurement that ends after the check takes nothing of it away.
    later = add_findings(catalogue, FOUND, LOOKED).knowing(problems=measured, problem_names=tuple(WARNINGS))
    assert places(later, "dark") == places(known, "dark") and places(later, FindingKind.LABEL) == [
        ("train", 3)
    ]


def test_a_check_that_found_nothing(catalogue):
    assert len(places(add_findings(catalogue, (), LOOKED), FINE)) == len(LOOKED)
    assert places(add_findings(catalogue, (), []), FINE) == []


def test_decisions_of_a_photo_are_found_where_it_was_moved_to():
    moved, other, kept = (
        Decision(1, "move", "test", "a", "train"),
        Decision(2, "exclude", "train", "b"),
        Decision(3, "relabel", "test", "a", "rust"),
    )
    both = [moved, other, kept]
    assert decided(both, ("test", "a")) == decided(both, ("train", "a")) == [moved, kept]
    assert decided(both, ("train", "b")) == [other] and decided(both, ("validation", "a")) == []
