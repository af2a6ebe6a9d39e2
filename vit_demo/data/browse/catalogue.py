"""Find photos in a data set of any size without decoding them: filter, search, sort, page.

What is known of the photos is held as columns, N long, in the order of the data set: split after split, row
after row. A number from 0 to N - 1 is called a place. All work on columns is numpy's or Arrow's, and the
answer to a query is kept, so that turning a page takes as long among a million photos as among a thousand.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vit_demo.common.errors import UserError
from vit_demo.data.normalise import label_names
from vit_demo.photos.safe_open import decode

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import DatasetDict
    from PIL import Image

    from vit_demo.data.checks.finding import Finding

# Numbers that may be known of a photo, to sort by: of what a model said (0 to 1), in pixels, 0 to 1, and as
# quality.sharpness has it.
NUMBERS = ("probability", "width", "height", "pixels", "brightness", "sharpness")
SORTS = ("", "path", "label", "said", *NUMBERS)
# To look for photos that were looked at and have no problem.
FINE = "fine"
# Of a catalogue so many answers are kept, with so many places in all, 4 bytes each; and so many orders of all
# places.
KEEP, KEEP_PLACES, KEEP_ORDERS = 256, 4_000_000, 6
# By so many bytes of the paths it is judged which are rare.
SAMPLED_BYTES = 100_000


@dataclass(frozen=True)
class Query:
    """What a person asked to see; None means all.

    split, label: exact names. text: part of the file path, any case. said: the class that a model named.
    right: whether that is the label. problem: one of ``PhotoNotes.problem_names`` or
    ``PhotoNotes.found_names``, or FINE. sort: one of SORTS, "" for the order of the data set.
    """

    split: str | None = None
    label: str | None = None
    text: str = ""
    said: str | None = None
    right: bool | None = None
    problem: str | None = None
    sort: str = ""
    descending: bool = False


@dataclass(frozen=True)
class PhotoNotes:
    """What a run or a look at the photos says of them; None where nobody looked.

    said: int32 (N,), a number in ``said_names``, -1 where no model said anything. numbers: by one of NUMBERS,
    float32 (N,), NaN where it is not known. problems: int16 (N,), bit i is set where ``problem_names[i]`` is
    so, -1 where nobody looked. found, found_names: the same of what a check found, int64 (N,). findings:
    those of the photo (split, path). turn: another number for each check.
    """

    said: np.ndarray | None = None
    said_names: tuple[str, ...] = ()
    problems: np.ndarray | None = None
    problem_names: tuple[str, ...] = ()
    numbers: Mapping[str, np.ndarray] | None = None
    found: np.ndarray | None = None
    found_names: tuple[str, ...] = ()
    findings: Mapping[tuple[str, str], tuple[Finding, ...]] = field(default_factory=dict)
    turn: int = 0


@dataclass(frozen=True)
class Photo:
    """One photo of a data set with what is known about it.

    label_id: the integer that the model is trained on. size: (width, height) in pixels.
    """

    split: str
    index: int
    path: str
    label: str
    label_id: int
    image: Image.Image

    @property
    def size(self) -> tuple[int, int]:
        return self.image.size


class Catalogue:
    """The labels and paths of all photos, held as columns; photos are decoded only when shown."""

    def __init__(self, data: DatasetDict):
        from datasets import Image as ImageFeature

        self.data = data
        self.labels = label_names(data)
        self.splits = list(data)
        self.known = PhotoNotes()
        self._stored = data.cast_column("image", ImageFeature(decode=False))
        tables = [
            part.select_columns(["labels", "image_file_path"]).with_format("arrow")[:]
            for part in data.values()
        ]
        sizes = [len(table) for table in tables]
        self._starts = np.cumsum([0, *sizes])
        self._splits = np.repeat(np.arange(len(sizes), dtype=np.int8), sizes)
        self._labels = np.concatenate([table["labels"].to_numpy() for table in tables]).astype(np.int32)
        self._paths = [table["image_file_path"].fill_null("") for table in tables]
        self._shared: dict[str, Any] = {}
        self._lock = threading.RLock()
        self._forget()

    def __len__(self) -> int:
        return len(self._labels)

    def _forget(self) -> None:
        self._orders: dict[tuple[str, bool], np.ndarray] = {}
        self._found: OrderedDict[Query, np.ndarray] = OrderedDict()

    def knowing(self, **changes: Any) -> Catalogue:
        """The same photos with other fields of ``known``; one person's run is not in another one's way."""
        other = object.__new__(Catalogue)
        other.__dict__.update(self.__dict__)  # columns and what was made of the paths are shared
        other.known = replace(self.known, **changes)
        other._forget()
        return other

    def counts(self) -> dict[str, dict[str, int]]:
        """{split: {label: number of photos}}."""
        parts = zip(self.splits, self._starts[:-1], self._starts[1:])
        return {
            split: dict(
                zip(self.labels, np.bincount(self._labels[start:end], minlength=len(self.labels)).tolist())
            )
            for split, start, end in parts
        }

    def find(self, query: Query) -> np.ndarray:
        """Places of the photos that fit, int32, sorted as asked: equal ones stay in the order of the data
        set, unknown ones come last.
        """
        query = replace(query, text=query.text.strip().lower())
        with self._lock:
            if query in self._found:
                self._found.move_to_end(query)
                return self._found[query]
            fits = self._fits(query)
            if query.sort:
                order = self._order(query.sort, query.descending)
                found: np.ndarray = order[fits[order]]
            else:
                found = np.flatnonzero(fits).astype(np.int32)
            self._found[query] = found
            while len(self._found) > 1 and (
                len(self._found) > KEEP or sum(map(len, self._found.values())) > KEEP_PLACES
            ):
                self._found.popitem(last=False)
            return found

    def _fits(self, query: Query) -> np.ndarray:
        """bool (N,)."""
        fits = np.ones(len(self), dtype=bool)
        known = self.known
        if query.split is not None:
            fits &= self._splits == _number(self.splits, query.split)
        if query.label is not None:
            fits &= self._labels == _number(self.labels, query.label)
        if query.text:
            fits &= self._matches(query.text)
        if query.said is not None:
            fits &= False if known.said is None else known.said == _number(known.said_names, query.said)
        if query.right is not None:
            fits &= (
                False
                if known.said is None
                else (known.said >= 0) & ((known.said == self._as_said()) == query.right)
            )
        if query.problem is not None:
            fits &= self._has(query.problem)
        return fits

    def _has(self, problem: str) -> np.ndarray:
        """bool (N,): which photos have this problem, or with FINE: which were looked at and have none."""
        looked, has = np.zeros(len(self), dtype=bool), np.zeros(len(self), dtype=bool)
        for column, names in (
            (self.known.problems, self.known.problem_names),
            (self.known.found, self.known.found_names),
        ):
            if column is not None:
                looked |= column >= 0
                bit = _number(names, problem)
                has |= (
                    column > 0
                    if problem == FINE
                    else (column > 0) & (column >> max(bit, 0) & 1 == 1) & (bit >= 0)
                )
        return looked & ~has if problem == FINE else has

    def _as_said(self) -> np.ndarray:
        """The label of each photo as a number in ``known.said_names``, -2 where no model could have said
        it.
        """
        numbers = {name: number for number, name in enumerate(self.known.said_names)}
        return np.array([numbers.get(name, -2) for name in self.labels], dtype=np.int32)[self._labels]

    def _matches(self, text: str) -> np.ndarray:
        """bool (N,): whether the path has this text in it, in lower case.

        Looks for the text's bytes in the bytes of all paths at once, the rarest first: Arrow's
        match_substring takes three times as long.
        """
        paths, bytes_, rarity = self._lowered()
        fits, wanted = np.zeros(len(paths), dtype=bool), np.frombuffer(text.encode(), np.uint8)
        if len(bytes_) < len(wanted):
            return fits
        order = np.argsort(rarity[wanted], kind="stable")
        last = len(bytes_) - len(wanted) + 1
        at = np.flatnonzero(bytes_[order[0] : order[0] + last] == wanted[order[0]])
        for letter in order[1:]:
            at = at[bytes_[at + letter] == wanted[letter]]
        ends = np.frombuffer(paths.buffers()[1], np.int64)[: len(paths) + 1]
        rows = np.searchsorted(ends, at, side="right") - 1
        fits[rows[at + len(wanted) <= ends[rows + 1]]] = True  # not half in one path and half in the next
        return fits

    def _lowered(self) -> tuple[pa.Array, np.ndarray, np.ndarray]:
        """The paths in lower case, their bytes in a row, and how often each byte is among some of them; made
        when first needed.

        Arrow's strings, as Python's would take ten times the memory.
        """
        import pyarrow as pa
        import pyarrow.compute as arrow

        if "lowered" not in self._shared:
            chunks = [
                chunk.cast(pa.large_string())
                for part in self._paths
                for chunk in arrow.utf8_lower(part).chunks
            ]
            # One array, which begins at the beginning of its buffers.
            paths = pa.concat_arrays([*chunks, pa.array([""], pa.large_string())]).slice(0, len(self))
            size = int(np.frombuffer(paths.buffers()[1], np.int64)[len(self)])
            bytes_ = np.frombuffer(paths.buffers()[2], np.uint8, size)
            self._shared["lowered"] = (
                paths,
                bytes_,
                np.bincount(bytes_[:: 1 + size // SAMPLED_BYTES], minlength=256),
            )
        lowered: tuple[pa.Array, np.ndarray, np.ndarray] = self._shared["lowered"]
        return lowered

    def _order(self, sort: str, descending: bool) -> np.ndarray:
        """All places, sorted, int32."""
        if (sort, descending) not in self._orders:
            values = self._values(sort)
            # Down by the negative, since a sorting that is read backwards turns equal ones round; numpy puts
            # NaN last either way.
            self._orders[sort, descending] = np.argsort(
                -values if descending else values, kind="stable"
            ).astype(np.int32)
            if len(self._orders) > KEEP_ORDERS:
                del self._orders[next(iter(self._orders))]
        return self._orders[sort, descending]

    def _values(self, sort: str) -> np.ndarray:
        """What is sorted by, as numbers (N,); NaN where it is not known."""
        found: np.ndarray | None
        if sort == "path":
            if "ranks" not in self._shared:
                import pyarrow.compute as arrow

                self._shared["ranks"] = (
                    arrow.rank(self._lowered()[0], tiebreaker="dense").to_numpy().astype(np.float64)
                )
            found = self._shared["ranks"]
        elif sort == "label":
            found = _alphabetical(self.labels)[self._labels]
        elif sort == "said" and self.known.said is not None:
            # Number -1 is the last of these.
            found = np.append(_alphabetical(self.known.said_names), np.nan)[self.known.said]
        else:
            found = (self.known.numbers or {}).get(sort)
        return np.full(len(self), np.nan) if found is None else found

    def lookup(self, splits: Sequence[str], paths: Sequence[str]) -> np.ndarray:
        """For each photo the number of the given (split, path) that it is, int32 (N,), -1 where it is none.

        A given photo that is not in its split, since someone moved it, is found by its path where only one
        photo has that.
        """
        import pyarrow as pa
        import pyarrow.compute as arrow

        wanted, given = np.array(splits, dtype=object), pa.array(list(paths), pa.large_string())
        found = np.full(len(self), -1, dtype=np.int32)

        def match(rows: np.ndarray, part: int) -> np.ndarray:
            own = self._paths[part].cast(pa.large_string())
            at = arrow.index_in(own, given.take(pa.array(rows))).fill_null(-1).to_numpy(zero_copy_only=False)
            return np.where(at >= 0, rows[at] if len(rows) else -1, -1)

        for part, split in enumerate(self.splits):
            found[self._starts[part] : self._starts[part + 1]] = match(np.flatnonzero(wanted == split), part)
        rest = np.setdiff1d(np.arange(len(paths)), found)
        if len(rest):
            elsewhere = np.concatenate([match(rest, part) for part in range(len(self.splits))])
            once = np.bincount(elsewhere[elsewhere >= 0], minlength=len(paths)) == 1
            found = np.where((found < 0) & (elsewhere >= 0) & once[elsewhere], elsewhere, found).astype(
                np.int32
            )
        return found

    def place(self, position: int) -> tuple[str, int]:
        """(split, index in it) of a place."""
        split = int(self._splits[position])
        return self.splits[split], int(position - self._starts[split])

    def label(self, position: int) -> str:
        return self.labels[int(self._labels[position])]

    def path(self, position: int) -> str:
        split, index = self.place(position)
        return str(self._paths[self.splits.index(split)][index].as_py())

    def said(self, position: int) -> str | None:
        """The class that a model named, None where it was not asked."""
        known = self.known
        return (
            None if known.said is None or known.said[position] < 0 else known.said_names[known.said[position]]
        )

    def problems(self, position: int) -> list[str] | None:
        """What is wrong with a photo, None where nobody looked."""
        bits = -1 if self.known.problems is None else int(self.known.problems[position])
        return (
            None
            if bits < 0
            else [name for bit, name in enumerate(self.known.problem_names) if bits >> bit & 1]
        )

    def findings(self, position: int) -> tuple[Finding, ...] | None:
        """What a check found of a photo, None where none looked at it."""
        if self.known.found is None or self.known.found[position] < 0:
            return None
        return self.known.findings.get((self.place(position)[0], self.path(position)), ())

    def numbers(self, position: int) -> dict[str, float]:
        """Of NUMBERS those that are known of a photo."""
        values = {name: float(column[position]) for name, column in (self.known.numbers or {}).items()}
        return {name: value for name, value in values.items() if not np.isnan(value)}

    def stored(self, positions: Iterable[int]) -> list[dict[str, Any]]:
        """The images of some places as the datasets library keeps them, {"bytes", "path"}, read split by
        split.
        """
        positions = [int(position) for position in positions]
        rows: dict[int, dict[str, Any]] = {}
        for number, split in enumerate(self.splits):
            own = [position for position in positions if self._splits[position] == number]
            if own:
                images = self._stored[split][[int(position - self._starts[number]) for position in own]][
                    "image"
                ]
                rows |= dict(zip(own, images))
        return [rows[position] for position in positions]

    def photo(self, split: str, index: int) -> Photo:
        """Decode one photo. Raises UserError where it is broken."""
        row = self._stored[split][index]
        image = decode(row["image"])
        if image is None:
            raise UserError("error.data.photo_broken", path=row["image_file_path"])
        label_id = int(row["labels"])
        return Photo(split, index, row["image_file_path"], self.labels[label_id], label_id, image)


def _number(names: Sequence[str], name: str) -> int:
    """Where a name stands, -9 where it does not: no photo has that."""
    return names.index(name) if name in names else -9


def _alphabetical(names: Sequence[str]) -> np.ndarray:
    """The rank of each name among all, float64, whatever their case."""
    ranks = {
        name: float(rank) for rank, name in enumerate(sorted(names, key=lambda name: (name.lower(), name)))
    }
    return np.array([ranks[name] for name in names], dtype=np.float64)
