"""Every way that photos and labels come in ends in the same columns and splits, or in a sentence."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from datasets import Image as ImageFeature
from PIL import Image

from tests.hub_stub import HubStub
from tests.sentences import is_plain
from vit_demo.data.normalise import label_names, merge_train, notes_of
from vit_demo.data.open.sources import open_dataset

BEANS = ["angular_leaf_spot", "bean_rust", "healthy"]
TWO = Features({"image": ImageFeature(), "labels": ClassLabel(names=["rust", "healthy"])})
OPEN = """
def run(calls):
    from vit_demo.data.normalise import label_names
    from vit_demo.data.open.sources import open_dataset
    from vit_demo.common.errors import UserError
    answers = []
    for options in calls:
        try:
            data = open_dataset(**options)
            answers.append([label_names(data), *(len(part) for part in data.values())])
        except UserError as error:
            answers.append(str(error))
    return answers
"""


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterable[None]:
    """The datasets library keeps a copy of all it opens: here, not in the person's home."""
    patch = pytest.MonkeyPatch()
    patch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


def picture(number: int, ending: str = "JPEG") -> bytes:
    """A small photo file that no other number gives."""
    pixels = np.random.default_rng(number).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, ending)
    return file.getvalue()


def rows(
    count: int,
    label: Callable[[int], object] = lambda index: index % 2,
    image: str = "image",
    labels: str = "labels",
    start: int = 0,
) -> list[dict]:
    return [
        {image: {"bytes": picture(index), "path": f"{index}.jpg"}, labels: label(index)}
        for index in range(start, start + count)
    ]


def parquet(folder: Path, features: Features = TWO, **splits: list[dict]) -> Path:
    """Write train-00000-of-00001.parquet and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, content in splits.items():
        Dataset.from_list(content, features=features).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


def image_folder(folder: Path, **counts: int) -> Path:
    """Write photos; the keys are folders with "__" for "/", e.g. train__rust=3."""
    for place, count in counts.items():
        target = folder / place.replace("__", "/")
        target.mkdir(parents=True, exist_ok=True)
        for index in range(count):
            (target / f"{index:03}.jpg").write_bytes(picture(index + 1000 * len(place)))
    return folder


def counts(data: DatasetDict) -> dict[str, int]:
    return {split: len(part) for split, part in data.items()}


def per_class(data: Dataset) -> dict[str, int]:
    names = data.features["labels"].names
    return dict(Counter(names[label] for label in data["labels"]))


def photos(data: Dataset) -> list[bytes]:
    """The pixels of all photos, to tell them apart."""
    return [image.convert("RGB").tobytes() for image in data["image"]]


def assert_shape(data: DatasetDict) -> None:
    """What the module promises of every data set."""
    assert list(data) == ["train", "validation", "test"]
    names = label_names(data)
    for part in data.values():
        assert set(part.column_names) == {"image", "labels", "image_file_path"}
        assert isinstance(part.features["image"], ImageFeature) and part.features["image"].decode
        assert part.features["labels"] == ClassLabel(names=names)
        assert part.features["image_file_path"] == Value("string")


# --- what comes with the project, and the real one


@pytest.mark.parametrize("spec", [None, "beans", "", "  "])
def test_beans_is_the_default(spec: str | None) -> None:
    data = open_dataset(spec)
    assert_shape(data)
    assert (counts(data), label_names(data)) == ({"train": 1034, "validation": 133, "test": 128}, BEANS)
    assert per_class(data["test"]) == {"angular_leaf_spot": 43, "bean_rust": 43, "healthy": 42}
    # The path tells the class, so a shifted label would show.
    for part in data.values():
        names = [BEANS[label] for label in part["labels"]]
        assert all(name in path for name, path in zip(names, part["image_file_path"]))


# --- parquet


@pytest.mark.parametrize("place", ["", "data"])
def test_parquet_with_and_without_data_folder(tmp_path: Path, place: str) -> None:
    parquet(tmp_path / place, train=rows(20), validation=rows(6, start=20), test=rows(4, start=26))
    data = open_dataset(str(tmp_path))
    assert_shape(data)
    assert (counts(data), label_names(data)) == (
        {"train": 20, "validation": 6, "test": 4},
        ["rust", "healthy"],
    )
    assert list(data["validation"]["labels"]) == [0, 1, 0, 1, 0, 1]
    assert list(data["test"]["image_file_path"]) == ["26.jpg", "27.jpg", "28.jpg", "29.jpg"]


@pytest.mark.parametrize(
    ("validation", "test"), [("val", "test"), ("valid", "testing"), ("dev", "eval"), ("Validation", "TEST")]
)
def test_parquet_names_of_splits(tmp_path: Path, validation: str, test: str) -> None:
    parquet(tmp_path, train=rows(20), **{validation: rows(6), test: rows(4)})
    assert counts(open_dataset(tmp_path)) == {"train": 20, "validation": 6, "test": 4}


def test_parquet_shards_of_a_split_are_joined_in_order(tmp_path: Path) -> None:
    parquet(tmp_path, train=rows(20), test=rows(4), validation=rows(4))
    Dataset.from_list(rows(5, start=20), features=TWO).to_parquet(tmp_path / "train-00001-of-00002.parquet")
    assert list(open_dataset(tmp_path)["train"]["image_file_path"]) == [f"{index}.jpg" for index in range(25)]


def test_parquet_folder_with_signs_that_mean_patterns(tmp_path: Path) -> None:
    assert (
        counts(
            open_dataset(
                parquet(tmp_path / "leaves [2026] *?", train=rows(20), validation=rows(4), test=rows(4))
            )
        )["train"]
        == 20
    )


@pytest.mark.parametrize(
    ("kind", "label", "names"),
    [
        (Value("string"), lambda index: ["rust", "healthy"][index % 2], ["healthy", "rust"]),
        (Value("int64"), lambda index: index % 2, ["0", "1"]),
        (Value("int64"), lambda index: 3 + index % 2, ["3", "4"]),
    ],
    ids=["text", "numbers", "numbers from 3"],
)
def test_parquet_labels_without_names(
    tmp_path: Path, kind: Value, label: Callable[[int], object], names: list[str]
) -> None:
    features = Features({"img": ImageFeature(), "label": kind})
    parquet(tmp_path, features, train=rows(40, label, "img", "label"), test=rows(4, label, "img", "label"))
    data = open_dataset(tmp_path)
    assert_shape(data)
    assert label_names(data) == names
    assert [names[label_id] for label_id in data["test"]["labels"]] == [
        str(label(index)) for index in range(4)
    ]


def test_parquet_other_columns_are_left_out(tmp_path: Path) -> None:
    features = Features(
        {"id": Value("int64"), "pixels": ImageFeature(), "sick": ClassLabel(names=["no", "yes"])}
    )
    content = [{"id": index, **row} for index, row in enumerate(rows(40, image="pixels", labels="sick"))]
    assert_shape(data := open_dataset(parquet(tmp_path, features, train=content)))
    assert label_names(data) == ["no", "yes"]


def test_parquet_photos_without_a_path_are_numbered(tmp_path: Path) -> None:
    content = [{**row, "image": {**row["image"], "path": None}} for row in rows(4)]
    data = open_dataset(parquet(tmp_path, train=rows(20), validation=content, test=content))
    assert list(data["test"]["image_file_path"]) == ["row 0", "row 1", "row 2", "row 3"]


@pytest.mark.parametrize("answer", [-1, None])
def test_parquet_rows_without_answer_or_photo_are_left_out(tmp_path: Path, answer: int | None) -> None:
    train = rows(60, lambda index: index % 2 if index else answer)
    train[1]["image"] = None
    data = open_dataset(
        parquet(tmp_path, train=train, validation=rows(4), test=rows(4, lambda index: answer))
    )
    assert_shape(data)
    # The test split on the Hub often keeps its answers secret: then there is none, and one is cut.
    assert counts(data) == {"train": 52, "validation": 4, "test": 6}
    assert {label for part in data.values() for label in part["labels"]} == {0, 1}


@pytest.mark.parametrize(
    ("features", "content", "sentence"),
    [
        (
            Features({"text": Value("string"), "labels": ClassLabel(names=["a", "b"])}),
            [{"text": "x", "labels": 0}] * 40,
            "no column of images",
        ),
        (
            Features({"image": ImageFeature()}),
            [{"image": {"bytes": picture(0), "path": None}}] * 40,
            "have no classes",
        ),
    ],
    ids=["images", "labels"],
)
def test_parquet_without_a_column(
    tmp_path: Path, refusal: Callable[..., str], features: Features, content: list[dict], sentence: str
) -> None:
    assert sentence in refusal(open_dataset, parquet(tmp_path, features, train=content))


def test_parquet_splits_with_their_classes_in_another_order(tmp_path: Path) -> None:
    parquet(tmp_path, train=rows(20), test=rows(4))
    parquet(tmp_path, Features({**TWO, "labels": ClassLabel(names=["healthy", "rust"])}), validation=rows(3))
    data = open_dataset(tmp_path)
    assert label_names(data) == ["rust", "healthy"]
    assert per_class(data["validation"]) == {"healthy": 2, "rust": 1}, "0 was healthy there"
    assert data["train"]["labels"][:] == [index % 2 for index in range(20)]
    assert any("matched by name" in str(note) for note in notes_of(data))


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-100],
        lambda content: b"",
        lambda content: content[:-60] + b"\xff" * 52 + content[-8:],
    ],
)
def test_corrupt_parquet(
    tmp_path: Path, refusal: Callable[..., str], damage: Callable[[bytes], bytes]
) -> None:
    file = next(parquet(tmp_path, train=rows(40)).iterdir())
    file.write_bytes(damage(file.read_bytes()))
    text = refusal(open_dataset, tmp_path)
    assert "complete" in text and "Hub" not in text, "a local folder has nothing to do with the Hub"


def test_what_else_lies_beside_the_parquet_files(tmp_path: Path) -> None:
    parquet(tmp_path, train=rows(20), validation=rows(4), test=rows(4))
    (tmp_path / ".train-1.parquet").write_bytes(b"junk")
    (tmp_path / "._train-00000-of-00001.parquet").write_bytes(b"junk")
    (tmp_path / "notes.parquet").write_bytes(b"junk")
    (tmp_path / "train-9.parquet").symlink_to(tmp_path / "gone.parquet")
    (tmp_path / "train-8.parquet").mkdir()
    assert counts(open_dataset(tmp_path)) == {"train": 20, "validation": 4, "test": 4}


def test_edited_folder_is_read_again(tmp_path: Path) -> None:
    parquet(tmp_path / "data", train=rows(20), validation=rows(4), test=rows(4))
    first = open_dataset(tmp_path)
    assert open_dataset(tmp_path) is first, "an untouched folder is read once"
    parquet(tmp_path / "data", train=rows(30))
    os.utime(tmp_path / "data" / "train-00000-of-00001.parquet", ns=(10**18 * 4, 10**18 * 4))
    assert counts(open_dataset(tmp_path))["train"] == 30
    image_folder(tmp_path / "photos", train__rust=20, train__healthy=20)
    assert counts(open_dataset(tmp_path / "photos"))["train"] == 32
    image_folder(tmp_path / "photos", train__rust=40)
    os.utime(tmp_path / "photos" / "train" / "rust", ns=(10**18 * 4, 10**18 * 4))
    assert sum(counts(open_dataset(tmp_path / "photos")).values()) == 60


# --- folders of photos


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [("train", "validation", "test"), ("Training", "val", "testing"), ("train", "dev", "eval")],
)
def test_image_folder_with_splits(tmp_path: Path, train: str, validation: str, test: str) -> None:
    sizes = {
        f"{train}__rust": 5,
        f"{train}__healthy": 4,
        f"{validation}__rust": 3,
        f"{validation}__healthy": 2,
        f"{test}__rust": 1,
        f"{test}__healthy": 1,
    }
    data = open_dataset(image_folder(tmp_path, **sizes))
    assert_shape(data)
    assert label_names(data) == ["healthy", "rust"]
    assert [per_class(part) for part in data.values()] == [
        {"healthy": 4, "rust": 5},
        {"healthy": 2, "rust": 3},
        {"healthy": 1, "rust": 1},
    ]
    for part in data.values():
        assert [Path(path).parent.name for path in part["image_file_path"]] == [
            ["healthy", "rust"][label] for label in part["labels"]
        ]
        assert all(Path(path).is_file() for path in part["image_file_path"])


def test_image_folder_with_two_names_for_a_split(tmp_path: Path) -> None:
    image_folder(
        tmp_path, train__a=5, train__b=5, val__a=3, val__b=2, valid__a=1, valid__b=1, test__a=1, test__b=1
    )
    assert counts(open_dataset(tmp_path)) == {"train": 10, "validation": 7, "test": 2}


def test_image_folder_of_classes_alone(tmp_path: Path) -> None:
    data = open_dataset(image_folder(tmp_path, rust=30, healthy=30))
    assert_shape(data)
    assert counts(data) == {"train": 48, "validation": 6, "test": 6}


@pytest.mark.parametrize("ending", ["jpg", "JPEG", "png", "webp", "bmp", "tiff", "gif"])
def test_image_folder_formats(tmp_path: Path, ending: str) -> None:
    image_folder(tmp_path, train__a=2, train__b=2, val__a=1, val__b=1, test__a=1, test__b=1)
    (tmp_path / "train" / "a" / f"more.{ending}").write_bytes(
        picture(1, {"jpg": "JPEG"}.get(ending, ending.upper()))
    )
    data = open_dataset(tmp_path)
    assert counts(data)["train"] == 5
    assert {image.size for image in data["train"]["image"]} == {(12, 8)}


def test_image_folder_ignores_what_is_no_photo(tmp_path: Path) -> None:
    image_folder(tmp_path, rust=30, healthy=30, _thumbs=3)
    (tmp_path / "_thumbs").rename(tmp_path / ".thumbs")
    for name in (
        "notes.txt",
        "rust/notes.txt",
        "rust/.hidden.jpg",
        "rust/._000.jpg",
        "Thumbs.db",
        "healthy/Thumbs.db",
        ".DS_Store",
        "lonely.jpg",
    ):
        (tmp_path / name).write_bytes(b"no photo")
    (tmp_path / "rust" / "folder.jpg").mkdir()
    (tmp_path / "empty").mkdir()
    data = open_dataset(tmp_path)
    assert label_names(data) == ["healthy", "rust"] and sum(counts(data).values()) == 60


# --- cutting off validation and test


@pytest.mark.parametrize("there", [(), ("validation",), ("test",)], ids=str)
def test_missing_splits_are_cut_from_train(tmp_path: Path, there: tuple[str, ...]) -> None:
    # One photo in four is of class 1, and the cut keeps that share.
    train = rows(200, lambda index: int(index % 4 == 0))
    parquet(tmp_path, train=train, **{split: rows(10, start=1000) for split in there})
    data = open_dataset(tmp_path)
    assert_shape(data)
    cut = [split for split in ("validation", "test") if split not in there]
    assert all(counts(data)[split] == 10 for split in there)
    assert sum(counts(data)[split] for split in ("train", *cut)) == 200
    for split in cut:
        assert 18 <= counts(data)[split] <= 20
        assert per_class(data[split])["healthy"] / counts(data)[split] == pytest.approx(0.25, abs=0.03)
    seen = [photo for split in ("train", *cut) for photo in photos(data[split])]
    assert len(seen) == len(set(seen)) == 200, "no photo is lost, and none is in two splits"


def test_cut_is_always_the_same(tmp_path: Path) -> None:
    np.random.seed(1)
    first = open_dataset(parquet(tmp_path / "one", train=rows(60)))
    np.random.seed(2)
    second = open_dataset(parquet(tmp_path / "two", train=rows(60)))
    for split in first:
        assert list(first[split]["image_file_path"]) == list(second[split]["image_file_path"])
    assert list(first["train"]["image_file_path"]) != sorted(first["train"]["image_file_path"]), (
        "cut at random, not from the end"
    )


def test_only_split_is_taken_for_train(tmp_path: Path) -> None:
    assert counts(open_dataset(parquet(tmp_path, test=rows(60)))) == {"train": 48, "validation": 6, "test": 6}


@pytest.mark.parametrize(
    "content", [rows(6), rows(60, lambda index: int(index == 0))], ids=["few", "one of a class"]
)
def test_too_few_photos(tmp_path: Path, refusal: Callable[..., str], content: list[dict]) -> None:
    assert "too few photos" in refusal(open_dataset, parquet(tmp_path, train=content))


def test_one_class_only(tmp_path: Path, refusal: Callable[..., str]) -> None:
    assert "only one class (rust)" in refusal(open_dataset, image_folder(tmp_path / "folder", rust=40))
    # The names alone make no class: these files know of two, and hold photos of one.
    assert "only one class (healthy)" in refusal(
        open_dataset, parquet(tmp_path / "files", train=rows(40, lambda index: 1))
    )


# --- what is no data set


def test_empty_folder(tmp_path: Path, refusal: Callable[..., str]) -> None:
    assert "class/photo.jpg" in refusal(open_dataset, tmp_path)
    image_folder(tmp_path, val__rust=3, val__healthy=3)
    assert "too few photos" in refusal(open_dataset, tmp_path)


def test_single_file(tmp_path: Path, refusal: Callable[..., str]) -> None:
    parquet(tmp_path, train=rows(40), test=rows(20))
    assert sum(counts(open_dataset(tmp_path / "train-00000-of-00001.parquet")).values()) == 40
    (tmp_path / "photos.zip").write_bytes(b"PK")
    assert "data import" in refusal(open_dataset, tmp_path / "photos.zip")


@pytest.mark.parametrize(
    "spec",
    [
        "/no/such/folder",
        "./here",
        "../x",
        "~nobody-of-this-name/x",
        "a/b/c",
        "C:\\photos",
        "x" * 5000,
        "a\0b",
        "hello world",
        "https://example.org/photos",
        # Names of builders in the datasets library, which would read whatever lies in the working folder.
        "csv",
        "json",
        "text",
        "parquet",
        "imagefolder",
    ],
)
def test_nonsense_names(spec: str, refusal: Callable[..., str]) -> None:
    assert "There is no folder" in refusal(open_dataset, spec)


def test_hub_out_of_reach(refusal: Callable[..., str]) -> None:
    assert "cannot be reached" in refusal(open_dataset, "me/never-seen")


def test_hub(tmp_path: Path) -> None:
    main = parquet(tmp_path / "main" / "data", train=rows(20), validation=rows(4), test=rows(4)).parent
    old = parquet(tmp_path / "old" / "data", train=rows(30), validation=rows(2), test=rows(2)).parent
    with HubStub() as hub:
        hub.add("me/leaves", main, kind="dataset")
        hub.add("me/leaves", old, kind="dataset", revision="v1")
        hub.add("me/text", tmp_path / "text", kind="dataset")
        (tmp_path / "text").mkdir()
        (tmp_path / "text" / "train.csv").write_text("words,labels\nyes,1\nno,0\n")

        def ask(*calls: dict[str, str]) -> list:
            answers = hub.run(tmp_path / "hf", OPEN, calls=calls)["result"]
            assert all(is_plain(answer) for answer in answers if isinstance(answer, str)), answers
            return answers

        main, by_name, by_argument, no_revision, no_data_set, no_images = ask(
            {"spec": "me/leaves"},
            {"spec": "me/leaves@v1"},
            {"spec": "me/leaves", "revision": "v1"},
            {"spec": "me/leaves@v2"},
            {"spec": "me/nothing"},
            {"spec": "me/text"},
        )
        assert main == [["rust", "healthy"], 20, 4, 4]
        assert by_name == by_argument == [["rust", "healthy"], 30, 2, 2]
        assert "has no revision v2" in no_revision and "There is no data set me/nothing" in no_data_set
        assert "no column of images" in no_images
        hub.stop()
        cached, *others = ask(
            {"spec": "me/leaves"}, {"spec": "me/leaves@v1"}, {"spec": "me/leaves@v2"}, {"spec": "me/other"}
        )
        assert cached[0] == ["rust", "healthy"], "what was opened before opens offline"
        assert all("cannot be reached" in text for text in others)


# --- adding photos


def test_merge_train(tmp_path: Path, refusal: Callable[..., str]) -> None:
    data = open_dataset(
        parquet(tmp_path / "one", train=rows(20), validation=rows(4, start=20), test=rows(4, start=24))
    )
    extra = open_dataset(image_folder(tmp_path / "two", rust=20, healthy=20))
    other_order = refusal(merge_train, data, extra)
    assert "healthy, rust" in other_order and "rust, healthy" in other_order
    extra = open_dataset(
        parquet(tmp_path / "three", train=rows(10, start=100), validation=rows(4), test=rows(4))
    )
    merged = merge_train(data, extra)
    assert_shape(merged)
    assert counts(merged) == {"train": 30, "validation": 4, "test": 4}
    assert photos(merged["train"]) == photos(data["train"]) + photos(extra["train"])
    assert photos(merged["validation"]) == photos(data["validation"]) and photos(merged["test"]) == photos(
        data["test"]
    )
    assert list(merged["train"]["labels"]) == [*data["train"]["labels"], *extra["train"]["labels"]]
    assert counts(data)["train"] == 20, "the data set itself stays as it was"
