"""Photos whose classes stand in tables that lie among them: one for all, or one for each split."""

from __future__ import annotations

import functools
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from vit_demo.common.errors import UserError
from vit_demo.common.words import Sentence
from vit_demo.data.names import SPLITS, split_of
from vit_demo.data.plan.corrections import LEFT_OUT, UNLABELLED, Corrections
from vit_demo.data.plan.labels import spelling
from vit_demo.data.plan.listing import Listing, Parts
from vit_demo.data.plan.plan import Choice, LeftOut, Photo, Plan, merge_left_out
from vit_demo.data.plan.tables import Row, Table, read_table

# Of a table that cannot be read, what a person has said or can say otherwise; any other is left out.
_ASKED = (
    "error.data.plan.cells",
    "error.data.plan.several_columns",
    "error.data.plan.no_column",
    "error.data.plan.no_encoding",
    "error.data.plan.not_encoding",
    "error.data.table_split",
)
# What competitions add, with made-up answers for the photos that are to be predicted.
_EXAMPLES = ("submission", "sample_sub")


@dataclass
class PhotoNames:
    """Photos by their path, and by their name with and without its ending, all small: places in a list."""

    photos: list[Parts]
    paths: dict[Parts, int] = field(default_factory=dict)
    names: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        for number, parts in enumerate(self.photos):
            self.paths[parts] = number
            name = parts[-1].lower()
            for key in {name, os.path.splitext(name)[0]}:
                self.names[key].append(number)

    def find(self, folder: Parts, path: str, split: str) -> int | None:
        """The photo that a row of a table in this folder names: by its path from there, else by its name
        where only one below the folder, or below all, is called so.
        """
        plain = path.replace("\\", "/")
        parts = tuple(part for part in plain.split("/") if part not in ("", "."))
        if plain.startswith("/") or plain[1:2] == ":":  # of another computer: by its name alone
            parts = parts[-1:]
        if not parts:
            return None
        for exact in ((*folder, *parts), parts):
            if exact in self.paths:
                return self.paths[exact]
        named = [
            number
            for number in self.names.get(parts[-1].lower(), [])
            if len(parts) < 2 or self.photos[number][-len(parts) : -1] == parts[:-1]
        ]
        for below in (lambda parts: parts[: len(folder)] == folder, lambda parts: True):
            found = [number for number in named if below(self.photos[number])]
            of_split = [number for number in found if split and _folder_split(self.photos[number]) == split]
            if len(of_split or found) == 1:
                return (of_split or found)[0]
        return None


@dataclass
class _Answers:
    """What tables say: {place of a photo: its row and split}, and the rows whose photo is not there."""

    rows: dict[int, tuple[Row, str]] = field(default_factory=dict)
    missing: list[Row] = field(default_factory=list)
    conflicts: dict[int, str] = field(default_factory=dict)
    used: list[Parts] = field(default_factory=list)
    notes: list[Sentence] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    unread: list[UserError] = field(default_factory=list)


def label_by_tables(
    listing: Listing, name: str, corrections: Corrections, content_of: Callable[[Parts], bytes]
) -> Plan | None:
    """The plan by the tables among the photos; None where there are none that name most of what they list.

    Raises UserError for a table by the name of the photos' whose columns have to be asked for.
    """
    if not listing.tables or not listing.photos:
        return None
    names, answers = PhotoNames(listing.photos), _Answers()
    for parts in listing.tables:
        if not _is_example(parts):
            _read(parts, names, corrections, content_of, answers)
    if not _counts(answers, listing.photos):
        if answers.unread and not any(len(parts) > 1 for parts in listing.photos):
            raise answers.unread[0]  # no folder says it either
        return None
    plan = Plan("table", name, notes=answers.notes, choices=answers.choices)
    _place(listing.photos, answers, corrections, plan)
    merge_left_out(
        plan, [parts for parts in listing.tables if parts not in answers.used], "data.left_out.table"
    )
    return plan


def _is_example(parts: Parts) -> bool:
    return any(word in parts[-1].lower() for word in _EXAMPLES)


def _read(
    parts: Parts,
    names: PhotoNames,
    corrections: Corrections,
    content_of: Callable[[Parts], bytes],
    answers: _Answers,
) -> None:
    """Find the photo of each row of a table, unless it is a table of something else."""
    shown = "/".join(parts)
    try:
        table = read_table(content_of(parts), shown, corrections, names.names)
    except UserError as error:
        if error.sentence.key in _ASKED:
            raise
        answers.unread.append(error)
        return
    found = [
        (row, names.find(parts[:-1], row.path, split_of_row(row, parts, corrections))) for row in table.rows
    ]
    if 2 * sum(number is not None for _, number in found) < len(found) or not found:
        return
    answers.used.append(parts)
    answers.notes += [note for note in table.notes if note not in answers.notes]
    answers.choices += _label_choices(table, answers.choices)
    for row, number in found:
        if number is None:
            answers.missing.append(row)
        else:
            split = split_of_row(row, parts, corrections) or _folder_split(names.photos[number], corrections)
            _answer(number, row, split, names.photos, answers)


def _answer(number: int, row: Row, split: str, photos: list[Parts], answers: _Answers) -> None:
    """Keep what a row says of a photo, or what contradicts an earlier one."""
    if number not in answers.rows:
        answers.rows[number] = row, split
        return
    before, there = answers.rows[number]
    if before.label and row.label and before.label != row.label:
        answers.conflicts[number] = "data.left_out.two_rows"
    elif there and split and there != split:
        answers.conflicts[number] = "data.left_out.two_splits"
    else:
        answers.rows[number] = row if row.label else before, split or there


def _label_choices(table: Table, there: list[Choice]) -> Iterator[Choice]:
    """The column of labels, where another one could be meant."""
    if table.others and not any(choice.option == "label-column" for choice in there):
        values = tuple((name, name) for name in (table.label, *table.others))
        sentence = Sentence("data.plan.label_column", {"column": table.label})
        yield Choice("label-column", table.label, values, sentence)


def _counts(answers: _Answers, photos: list[Parts]) -> bool:
    """Whether the tables, and not the folders, say what the photos show: they name at least half of them, or
    all of a split's, or the folders say nothing.
    """
    labelled = [number for number, (row, _) in answers.rows.items() if row.label]
    if not labelled:
        return False
    folders = {photos[number][:-1] for number in labelled}
    beside = sum(parts[:-1] in folders for parts in photos)
    return 2 * len(labelled) >= beside


def _place(photos: list[Parts], answers: _Answers, corrections: Corrections, plan: Plan) -> None:
    for number, (row, split) in answers.rows.items():
        if number in answers.conflicts:
            plan.left_out.append(LeftOut("/".join(photos[number]), answers.conflicts[number]))
        elif split == LEFT_OUT:
            plan.left_out.append(LeftOut("/".join(photos[number]), "data.left_out.said"))
        elif row.label and split != UNLABELLED:
            plan.photos.append(Photo(photos[number], row.label, split))
        else:
            plan.unlabelled.append(Photo(photos[number], "", split if split in SPLITS else ""))
    for number, parts in enumerate(photos):
        if number in answers.rows:
            continue
        if split := _folder_split(parts, corrections):
            plan.unlabelled.append(Photo(parts, "", split))
        else:
            plan.left_out.append(LeftOut("/".join(parts), "data.left_out.not_in_table"))
    plan.left_out += [LeftOut(row.path, "data.left_out.not_there") for row in answers.missing]
    plan.notes += _against_folders(photos, answers)


def _against_folders(photos: list[Parts], answers: _Answers) -> Iterator[Sentence]:
    """Where photos lie in the folder of another class than the table says: the table counts, which is
    told.
    """
    names = {spelling(row.label) for row, _ in answers.rows.values() if row.label}
    against = [
        photos[number]
        for number, (row, _) in answers.rows.items()
        if row.label
        and len(photos[number]) > 1
        and spelling(photos[number][-2]) in names - {spelling(row.label)}
    ]
    if against:
        yield Sentence("data.plan.against_folders", {"count": len(against), "name": "/".join(against[0])})


def split_of_row(row: Row, table: Parts, corrections: Corrections) -> str:
    """The split of a row of a table at this path, "" where neither the row nor the table says one."""
    return row.split or _split_of_table(table, corrections)


@functools.lru_cache(maxsize=64)
def _split_of_table(parts: Parts, corrections: Corrections) -> str:
    """train.csv, train_labels.csv or train/metadata.csv."""
    stem = PurePosixPath(parts[-1]).stem
    words = [
        word
        for word in stem.replace("-", "_").split("_")
        if word.lower() not in ("labels", "label", "metadata")
    ]
    said = corrections.split_for("_".join(words)) if words else None
    return said or _folder_split(parts, corrections)


def _folder_split(parts: Parts, corrections: Corrections | None = None) -> str:
    """By the nearest folder that is called like a split, "" where none is."""
    known: Callable[[str], str | None] = corrections.split_for if corrections else split_of
    return next((split for name in reversed(parts[:-1]) if (split := known(name))), "")
