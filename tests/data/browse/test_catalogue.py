"""Finding photos by all that is known of them, in any order, and looking at one."""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value
from PIL import Image as PillowImage

from vit_demo.data.browse.catalogue import FINE, KEEP_ORDERS, NUMBERS, SORTS, Catalogue, Query

LABELS = ["rust", "healthy", "spot"]
FEATURES = Features(
    {"image_file_path": Value("string"), "image": Image(), "labels": ClassLabel(names=LABELS)}
)
# (path, label) of every photo; no photo is a spot in validation.
ROWS = {
    "train": [("field/IMG_1.jpg", 0), ("field/IMG_2.jpg", 1), ("Garden/img_1.jpg", 0), ("garden/ä.jpg", 2)],
    "validation": [("field/IMG_3.jpg", 1), ("field/rust.jpg", 1)],
    "test": [("garden/50%.jpg", 0)],
}


def colour(number: int) -> tuple[int, int, int]:
    return (10 * number, 200, 255 - 10 * number)


def encoded(number: int, orientation: int = 1, mode: str = "RGB") -> bytes:
    """A photo of one colour, 20 x 10 pixels."""
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    PillowImage.new("RGB", (20, 10), colour(number)).convert(mode).save(file, "PNG", exif=exif)
    return file.getvalue()


def build(rows: dict[str, list[tuple[str, int]]], photo: Callable[[int], bytes] = encoded) -> Catalogue:
    return Catalogue(
        DatasetDict(
            {
                split: Dataset.from_dict(
                    {
                        "image_file_path": [path for path, _ in content],
                        "image": [{"bytes": photo(index), "path": None} for index in range(len(content))],
                        "labels": [label for _, label in content],
                    },
                    features=FEATURES,
                )
                for split, content in rows.items()
            }
        )
    )


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return build(ROWS)


def test_counts_name_every_class(catalogue: Catalogue) -> None:
    assert catalogue.counts() == {
        "train": {"rust": 2, "healthy": 1, "spot": 1},
        "validation": {"rust": 0, "healthy": 2, "spot": 0},
        "test": {"rust": 1, "healthy": 0, "spot": 0},
    }
    assert list(catalogue.counts()["train"]) == LABELS, "in the order of the logits"


def places(catalogue: Catalogue, query: Query) -> list[tuple[str, int]]:
    return [catalogue.place(position) for position in catalogue.find(query)]


ALL = [(split, index) for split, content in ROWS.items() for index in range(len(content))]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (Query(), ALL),
        (Query(split="validation"), [("validation", 0), ("validation", 1)]),
        (Query(label="rust"), [("train", 0), ("train", 2), ("test", 0)]),
        (Query(split="train", label="healthy"), [("train", 1)]),
        (Query(split="test", label="spot"), []),
        (Query(text="IMG_1"), [("train", 0), ("train", 2)]),
        (Query(text="  gArDeN/ "), [("train", 2), ("train", 3), ("test", 0)]),
        (Query(text="rust"), [("validation", 1)]),
        (Query(text="Ä"), [("train", 3)]),
        (Query(text="50%"), [("test", 0)]),
        (Query(text="img_.*"), []),
        (Query(text="   "), ALL),
        (Query(split="train", label="rust", text="field"), [("train", 0)]),
        (Query(label="no such class"), []),
        (Query(split="no such split"), []),
    ],
    ids=str,
)
def test_find(catalogue: Catalogue, query: Query, found: list[tuple[str, int]]) -> None:
    assert places(catalogue, query) == found


def test_found_places_are_those_of_the_photos(catalogue: Catalogue) -> None:
    for position in catalogue.find(Query(text="field")):
        photo = catalogue.photo(*catalogue.place(position))
        assert "field" in photo.path and (photo.path, photo.label) == (
            catalogue.path(position),
            catalogue.label(position),
        )


def test_photo(catalogue: Catalogue) -> None:
    photo = catalogue.photo("train", 3)
    assert (photo.split, photo.index, photo.path, photo.label, photo.label_id, photo.size) == (
        "train",
        3,
        "garden/ä.jpg",
        "spot",
        2,
        (20, 10),
    )
    assert photo.image.mode == "RGB" and photo.image.getpixel((5, 5)) == colour(3)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_photo_of_any_mode_is_rgb(mode: str) -> None:
    assert (
        build({"train": [("a", 0)]}, lambda number: encoded(number, mode=mode)).photo("train", 0).image.mode
        == "RGB"
    )


def test_photo_is_upright() -> None:
    assert build({"train": [("a", 0)]}, lambda number: encoded(number, orientation=6)).photo(
        "train", 0
    ).size == (10, 20)


def test_broken_photo_is_refused_by_name_and_does_not_hide_the_others(refusal: Callable[..., str]) -> None:
    broken = build(
        {"train": [("fine.png", 0), ("torn.png", 1)]},
        lambda number: encoded(number) if number == 0 else encoded(number)[:50],
    )
    assert "torn.png" in refusal(broken.photo, "train", 1)
    assert broken.counts()["train"] == {"rust": 1, "healthy": 1, "spot": 0} and len(broken.find(Query())) == 2
    assert broken.photo("train", 0).path == "fine.png"


def test_nothing_is_decoded_to_search() -> None:
    torn = build(ROWS, lambda number: b"no photo at all")
    assert places(torn, Query()) == ALL and torn.counts()["train"]["rust"] == 2


NAMES = ("healthy", "rust", "mildew")
PROBLEMS = ("dark", "blurred")


@pytest.fixture(scope="module")
def many() -> Catalogue:
    """500 photos of which much is known, of some of them only; numbers and paths are often the same."""
    rng = np.random.default_rng(0)
    rows = {
        split: [
            (f"{'Ab'[index % 2]}/{int(rng.integers(100))}.jpg", int(rng.integers(3)))
            for index in range(count)
        ]
        for split, count in (("train", 300), ("validation", 120), ("test", 80))
    }
    catalogue = build(rows, lambda number: b"")
    numbers = {name: rng.integers(0, 20, 500).astype(np.float32) / 4 for name in NUMBERS}
    for column in numbers.values():
        column[rng.random(500) < 0.3] = np.nan
    said, problems = rng.integers(-1, 3, 500).astype(np.int32), rng.integers(-1, 4, 500).astype(np.int16)
    return catalogue.knowing(
        said=said, said_names=NAMES, problems=problems, problem_names=PROBLEMS, numbers=numbers
    )


def slowly(catalogue: Catalogue, query: Query) -> list[int]:
    """The answer, one photo after another."""

    def fits(at: int) -> bool:
        split, _ = catalogue.place(at)
        said, problems = catalogue.said(at), catalogue.problems(at)
        return all(
            (
                query.split in (None, split),
                query.label in (None, catalogue.label(at)),
                query.text.lower() in catalogue.path(at).lower(),
                query.said in (None, said),
                query.right is None or said is not None and (said == catalogue.label(at)) == query.right,
                query.problem is None
                or problems is not None
                and (problems == [] if query.problem == FINE else query.problem in problems),
            )
        )

    def value(at: int) -> float | str | None:
        words = {"path": catalogue.path(at).lower(), "label": catalogue.label(at), "said": catalogue.said(at)}
        return words[query.sort] if query.sort in words else catalogue.numbers(at).get(query.sort)

    found = [at for at in range(len(catalogue)) if fits(at)]
    if not query.sort:
        return found
    known = [at for at in found if value(at) is not None]
    # Python's sort keeps the order of equal ones in both directions.
    return sorted(known, key=value, reverse=query.descending) + [at for at in found if value(at) is None]


FILTERS = [
    Query(),
    Query(split="test"),
    Query(label="rust", text="B/1"),
    Query(said="rust"),
    Query(said="mildew", right=False),
    Query(right=True),
    Query(right=False, split="train"),
    Query(problem="dark"),
    Query(problem="blurred", label="spot"),
    Query(problem=FINE),
    Query(said="nobody said this"),
    Query(problem="no such problem"),
]


@pytest.mark.parametrize("sort", ["", "path", "label", "said", *NUMBERS])
@pytest.mark.parametrize("descending", [False, True])
def test_filters_and_sorting_are_as_one_by_one(many: Catalogue, sort: str, descending: bool) -> None:
    for query in FILTERS:
        query = Query(**{**vars(query), "sort": sort, "descending": descending})
        assert many.find(query).tolist() == slowly(many, query), query


def test_the_queries_of_these_tests_find_something_and_not_everything(many: Catalogue) -> None:
    sizes = [len(many.find(query)) for query in FILTERS]
    assert all(0 < size < 500 for size in sizes[1:-2]) and sizes[0] == 500 and sizes[-2:] == [0, 0]


def test_without_knowledge_nothing_is_known(catalogue: Catalogue) -> None:
    for query in (
        Query(said="rust"),
        Query(right=True),
        Query(right=False),
        Query(problem="dark"),
        Query(problem=FINE),
    ):
        assert len(catalogue.find(query)) == 0
    assert places(catalogue, Query(sort="brightness", descending=True)) == ALL, "all unknown: as they are"
    assert catalogue.said(0) is None and catalogue.problems(0) is None and catalogue.numbers(0) == {}


def test_what_one_knows_another_does_not(catalogue: Catalogue) -> None:
    mine = catalogue.knowing(said=np.full(7, 0, dtype=np.int32), said_names=("rust",))
    assert len(catalogue.find(Query(right=True))) == 0 and places(mine, Query(right=True)) == [
        ("train", 0),
        ("train", 2),
        ("test", 0),
    ]
    theirs = mine.knowing(said=np.full(7, -1, dtype=np.int32))
    assert len(theirs.find(Query(right=True))) == 0 and len(mine.find(Query(right=True))) == 3


def test_lookup_finds_by_split_and_path_and_what_was_moved(catalogue: Catalogue) -> None:
    given = [
        ("train", "field/IMG_2.jpg"),
        ("train", "no such photo"),
        ("test", "garden/50%.jpg"),
        ("train", "field/IMG_3.jpg"),
        ("test", "field/img_1.jpg"),
    ]
    found = catalogue.lookup(*zip(*given))
    by_path = {catalogue.path(at): number for at, number in enumerate(found.tolist()) if number >= 0}
    assert by_path == {"field/IMG_2.jpg": 0, "garden/50%.jpg": 2, "field/IMG_3.jpg": 3}, (
        "moved ones by their path; case counts"
    )
    assert catalogue.lookup([], []).tolist() == [-1] * 7


def test_lookup_does_not_guess() -> None:
    twice = build(
        {
            "train": [("row 0", 0), ("row 1", 0)],
            "validation": [("row 0", 1)],
            "test": [("row 2", 1), ("row 2", 0)],
        },
        lambda number: b"",
    )
    assert twice.lookup(["test", "train"], ["row 0", "row 1"]).tolist() == [-1, 1, -1, -1, -1], (
        "row 0 may be either"
    )
    assert twice.lookup(["validation"], ["row 0"]).tolist() == [-1, -1, 0, -1, -1]
    assert twice.lookup(["test"], ["row 2"]).tolist() == [-1, -1, -1, 0, 0], "both are that photo"


def test_stored_photos_come_in_the_order_asked_for(catalogue: Catalogue) -> None:
    assert [row["bytes"] for row in catalogue.stored([6, 0, 3, 5])] == [
        encoded(0),
        encoded(0),
        encoded(3),
        encoded(1),
    ]
    assert catalogue.stored([]) == []


def test_an_answer_is_kept_and_memory_stays_bounded(many: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vit_demo.data.browse.catalogue.KEEP_PLACES", 1200)
    fresh = many.knowing()
    monkeypatch.setattr("vit_demo.data.browse.catalogue.KEEP", 12)
    first = fresh.find(Query(sort="path"))
    assert fresh.find(Query(sort="path")) is first and fresh.find(Query(sort="path", text=" ")) is first
    for number in range(20):
        fresh.find(Query(sort="path", descending=True, text=f"{number}"))
        fresh.find(Query())
    for number in range(20):
        assert len(fresh.find(Query(text=f"nowhere {number}"))) == 0
        fresh.find(Query())
    for sort in SORTS[1:]:
        fresh.find(Query(sort=sort, descending=True))
    fresh.find(Query())
    assert len(fresh._found) <= 12 and len(fresh._orders) <= KEEP_ORDERS
    assert sum(map(len, fresh._found.values())) <= 1200 and Query() in fresh._found
    assert first.dtype == np.int32 and math.isclose(first.nbytes, 4 * 500)


def test_rows_that_were_picked_out_are_those_that_are_shown() -> None:
    """A cut or mended data set is a view of other rows."""
    rows = [(f"{index}.jpg", index % 3) for index in range(9)]
    data = build({"train": rows}).data
    picked = Catalogue(DatasetDict({"train": data["train"].select([7, 2, 5])}))
    assert [picked.path(at) for at in range(3)] == ["7.jpg", "2.jpg", "5.jpg"] and [
        picked.label(at) for at in range(3)
    ] == ["healthy", "spot", "spot"]
    assert [row["bytes"] for row in picked.stored([1, 0])] == [encoded(2), encoded(7)]
