"""Sources of photos drawn at random from the parts that real ones are made of, with what is true of them."""

from __future__ import annotations

import csv
import io
import itertools
from dataclasses import dataclass, field
from typing import Any

import pyarrow
from datasets import ClassLabel, Features, Image, Value
from hypothesis import strategies as st
from pyarrow import parquet

from tests.data.both_ways import photo

SPLITS = ("train", "validation", "test")
CLASSES = ["rust", "healthy", "Bean Rust", "健康", "ржавчина", "café", "leaf-spot", "1", "20", "3"]
CALLED = {
    "train": ["train", "Training", "train_set", "TRAIN", "treino", "训练集"],
    "validation": ["val", "valid", "Validation", "dev", "val images"],
    "test": ["test", "Testing", "holdout", "test_images", "prueba"],
}
WRAPPERS = ["", "data/", "a/b/", "my photos/", "Фото/"]
GROUPS = [["day0", "day1"], ["2024-05-01", "2024-05-02"], ["plot 1", "plot 2"], ["batch_1", "batch_2"]]
CLUTTER = ["notes.txt", ".DS_Store", "Thumbs.db", "__MACOSX/._0.jpg", "readme.md"]


@dataclass
class Truth:
    """Of one photo. name: its file, or that of its rows. label, split: "" where there is none."""

    name: str
    number: int
    label: str
    split: str

    @property
    def content(self) -> bytes:
        return photo(self.number)


@dataclass(repr=False)
class Source:
    """files: {path: content}. photos: all that are in it. asks: whether it has to be asked or refused."""

    files: dict[str, bytes] = field(default_factory=dict, repr=False)
    photos: list[Truth] = field(default_factory=list)
    asks: bool = False

    def add(self, path: str, label: str, split: str) -> None:
        self.photos.append(Truth(path, len(self.photos), label, split))
        self.files[path] = self.photos[-1].content

    def __repr__(self) -> str:
        tables = [content for name, content in self.files.items() if name.endswith(".csv")]
        return "\n".join(map(str, [self.asks, *sorted(self.files), *tables, *self.photos]))


def _some(items: list[str], low: int, high: int) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(items), min_size=low, max_size=high, unique=True)


@st.composite
def _splits(draw: Any) -> dict[str, str]:
    """{split: what it is called}, {"": ""} for none."""
    there = draw(
        st.sampled_from(
            [(), SPLITS, SPLITS, ("train", "test"), ("train", "validation"), ("train",), ("test",)]
        )
    )
    return {split: draw(st.sampled_from(CALLED[split])) for split in there} or {"": ""}


def _each(splits: dict[str, str], split: str) -> int:
    """Photos of each class of a split: enough where others are cut from them."""
    return 2 if len(splits) == 3 or (split != "train" and len(splits) > 1) else 9


@st.composite
def folders(draw: Any) -> Source:
    """Splits, classes, groups inside or around the classes, and folders around all of it, in any depth."""
    source, splits = Source(), draw(_splits())
    classes = draw(_some([*CLASSES, *(["train"] if "" in splits else [])], 2, 3))
    wrapper, groups = draw(st.sampled_from(WRAPPERS)), draw(st.sampled_from([[], [], *GROUPS]))
    inside, half = draw(st.booleans()), draw(st.booleans())
    ending = draw(st.sampled_from([".jpg", ".JPG", ".jpeg", " 1.jpg", ".jfif"]))
    # Numbers inside plants are taken for groups of photos, and the plants for the classes.
    plants = draw(st.integers(0, 9)) == 0 and not any(map(str.isdecimal, classes))
    for (split, called), label in itertools.product(splits.items(), classes):
        for number in range(_each(splits, split)):
            group = groups[number % 2] if groups and not (half and inside and number > 1) else ""
            plant = ["bean", "maize"][number % 2] if plants else ""
            place = [called, plant, label, group] if inside else [called, plant, group, label]
            path = wrapper + "/".join(part for part in (*place, f"{number}{ending}") if part)
            source.add(path, label, split)
    if splits.get("train") and "test" not in splits and draw(st.booleans()):
        inner = draw(st.sampled_from(["", "test/", "images/", "unknown/"]))
        for number in range(2):
            source.add(f"{wrapper}{draw(st.just(CALLED['test'][0]))}/{inner}{number}.jpg", "", "")
    if draw(st.integers(0, 5)) == 0:
        source.add(f"{wrapper}lonely.jpg", "", "")
    for name in draw(_some(CLUTTER, 0, 2)):
        source.files[wrapper + name] = b"no photo"
    source.asks = plants
    return source


def _csv(rows: list[list[object]], delimiter: str, encoding: str) -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(rows)
    return out.getvalue().encode(encoding)


def _encodings(classes: list[str]) -> list[str]:
    found = ["utf-8", "utf-8-sig", "utf-16"]
    if len(classes) > 1 and all(name in ("健康", "角斑病", "锈病") for name in classes):
        found.append("gb18030")
    if all(name in ("ржавчина", "здоровый лист") for name in classes):
        found.append("cp1251")
    return found + (["cp1252"] if all(name in ("café", "rust", "healthy") for name in classes) else [])


@st.composite
def tables(draw: Any) -> Source:
    """One table for all or one a split, in any form that tables come in."""
    source, splits = Source(), draw(_splits())
    pools = [
        CLASSES,
        CLASSES,
        ["健康", "角斑病", "锈病"],
        ["ржавчина", "здоровый лист"],
        ["café", "rust", "healthy"],
    ]
    classes = draw(st.sampled_from(pools).flatmap(lambda pool: _some(pool, 2, 3)))
    encoding, delimiter = draw(st.sampled_from(_encodings(classes))), draw(st.sampled_from(",;\t|"))
    place = draw(
        st.sampled_from(["", "photos/", "train_images/", "a/b c/"] if "" in splits else ["", "all/"])
    )
    column = draw(
        st.sampled_from(
            ["image", "File Name", "image_id", "path", "id", "файл" if encoding[:2] != "cp" else "img"]
        )
    )
    label_name = draw(st.sampled_from(["label", "Class", "disease", "labels"]))
    kind = draw(st.sampled_from(["text", "text", "hot", "bare", "numbers"])) if "" in splits else "text"
    whole, stem = draw(st.booleans()), draw(st.booleans()) and kind != "bare"
    hidden = draw(st.booleans()) if kind == "numbers" else False
    rows: dict[str, list[list[object]]] = {}
    count = itertools.count(1)
    for (split, called), label in itertools.product(splits.items(), classes):
        for _ in range(_each(splits, split)):
            number = next(count)
            label_text = str(classes.index(label) + 7) if kind == "numbers" else label
            silent = hidden and number % 9 == 0
            path = f"{place}{called + '/' if called else ''}{number:03}.jpg"
            source.add(path, "" if silent else label_text, split)
            name = path if whole else path.rpartition("/")[2]
            ones = [int(one == label) for one in classes]
            values = ones if kind == "hot" else ["-1" if silent else label_text]
            rows.setdefault(called, []).append([name.removesuffix(".jpg") if stem else name, *values])
    header = [column, *(classes if kind == "hot" else [label_name])]
    by_split = "" not in splits and draw(st.booleans())
    if by_split:
        for called, found in rows.items():
            content = [header, *([str(row[0]).rpartition("/")[2], *row[1:]] for row in found)]
            source.files[f"{place}{called}/metadata.csv"] = _csv(content, delimiter, encoding)
    else:
        some = "" not in splits and draw(st.booleans())
        lines = [[*row, *([called] if some else [])] for called, found in rows.items() for row in found]
        content = [*([] if kind == "bare" else [[*header, *(["split"] if some else [])]]), *lines]
        source.files["labels.csv"] = _csv(content, delimiter, encoding)
    if draw(st.integers(0, 4)) == 0:
        source.add(f"{place}unnamed.jpg", "", "")
    return source


@st.composite
def files_of_rows(draw: Any) -> Source:
    """Parquet: photos stored and classes told in all the ways that people and libraries do."""
    source, splits = Source(), draw(_splits())
    classes = draw(_some(CLASSES, 2, 3))
    layout = draw(
        st.sampled_from(["{}.parquet", "data/{}-00000-of-00001.parquet", "default/{}/0000.parquet"])
    )
    stored = draw(st.sampled_from(["image", "bytes", "struct"]))
    kind = draw(st.sampled_from(["class", "class", "text", "number"]))
    label = draw(st.sampled_from(["label", "labels", "disease", "Class"]))
    other = draw(st.integers(0, 2)) == 0
    source.asks = other and label not in ("label", "labels")
    turned, hidden = draw(st.booleans()), draw(st.booleans())
    count = itertools.count()
    for split, called in splits.items():
        names = sorted(classes, reverse=turned and split == "test")
        name = layout.format(called or "leaves")
        columns: dict[str, list[Any]] = {"image": [], **({"season": []} if other else {}), label: []}
        for place, number in itertools.product(range(len(names)), range(_each(splits, split))):
            silent = hidden and split == "test" and len(splits) == 3
            drawn = next(count)
            content = photo(drawn)
            told = {"class": names[place], "text": names[place], "number": str(place + 3)}[kind]
            source.photos.append(Truth(name, drawn, "" if silent else told, split))
            value = {"class": place, "text": names[place], "number": place + 3}[kind]
            columns["image"].append(
                content if stored == "bytes" else {"bytes": content, "path": f"{number}.jpg"}
            )
            columns[label].append((None if kind == "text" else -1) if silent else value)
            if other:
                columns["season"].append(number % 2)
        source.files[name] = _parquet(
            columns,
            stored,
            {"class": ClassLabel(names=names), "text": Value("string"), "number": Value("int64")}[kind],
            label,
        )
    return source


def _parquet(columns: dict[str, list[Any]], stored: str, kind: Any, label: str) -> bytes:
    features = {"image": Image(), "season": ClassLabel(names=["dry", "wet"]), label: kind}
    known = Features({name: features[name] for name in columns if name != "image" or stored == "image"})
    schema = known.arrow_schema
    if stored != "image":
        binary = pyarrow.binary()
        image = binary if stored == "bytes" else pyarrow.struct({"bytes": binary, "path": pyarrow.string()})
        # As pandas writes it: with nothing that says what the columns are, unless they are classes.
        schema = schema.insert(0, pyarrow.field("image", image)).with_metadata(None)
        if "class" in str(type(kind)).lower() or "season" in columns:
            info = Features(
                {**({"image": Image()} if stored == "struct" else {"image": Value("binary")}), **known}
            )
            schema = schema.with_metadata(info.arrow_schema.metadata)
    out = io.BytesIO()
    parquet.write_table(pyarrow.table({name: columns[name] for name in schema.names}, schema=schema), out)
    return out.getvalue()
