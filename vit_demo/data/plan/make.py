"""Make the plan of a source from its names, its tables and the headers of its parquet files."""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath

from vit_demo.common.errors import UserError
from vit_demo.common.words import Sentence
from vit_demo.data.names import SPLITS
from vit_demo.data.plan import labels
from vit_demo.data.plan.by_table import label_by_tables
from vit_demo.data.plan.corrections import LEFT_OUT, UNLABELLED, Corrections
from vit_demo.data.plan.layout import Folders, Layout, layout_of, with_common_words
from vit_demo.data.plan.listing import Listing, Parts
from vit_demo.data.plan.plan import Choice, Photo, PhotoFile, Plan, merge_left_out

# Lists the classes, one a line, in the order of their numbers.
CLASSES_FILE = "classes.txt"
_SAVED = ("dataset_dict.json", "state.json")
# Beside the photos of an import, about them.
_OWN = (CLASSES_FILE, "import.json")
# A folder beside those of the classes that says that its photos have none.
_UNLABELLED = re.compile(r"(un|not[ _-]?)(label+ed|sorted)[ _-]?(images|photos|data)?")
# Of the classes whose names are much alike so many pairs are named.
MOST_NEAR = 5


def make_plan(
    listing: Listing, name: str, corrections: Corrections, content_of: Callable[[Parts], bytes]
) -> Plan:
    """listing: all files. name: what the source is called. content_of: the bytes of a table.

    What has to be asked stands in the plan and raises nothing; UserError where a table is broken, or what was
    said of it cannot be.
    """
    if listing.arrow and any(parts[-1] in _SAVED for parts in listing.others):
        plan = _of_files("saved", listing.arrow, name, corrections)
    elif listing.parquet:
        plan = _of_files("parquet", listing.parquet, name, corrections)
    else:
        plan = _of_photos(listing, name, corrections, content_of)
    _check_fits(listing, plan, corrections)
    merge_left_out(plan, listing.links, "data.left_out.link")
    merge_left_out(plan, listing.hidden, "data.left_out.hidden")
    others = [parts for parts in listing.others if parts[-1] not in _OWN and plan.kind != "saved"]
    merge_left_out(plan, others, "data.left_out.ending")
    if plan.files:
        merge_left_out(plan, listing.photos, "data.left_out.beside_parquet")
    return plan


def _check_fits(listing: Listing, plan: Plan, corrections: Corrections) -> None:
    """Raise UserError where something was said of a folder or class that is not there: a name with a slip in
    it must not look as if it had worked.
    """
    paths = [*listing.photos, *listing.tables, *listing.parquet, *listing.arrow]
    names = {folder for parts in paths for folder in parts[:-1]} | {_stem(parts) for parts in paths[-10_000:]}
    told = [f"split {name}" for name, _ in corrections.splits if name not in names and not listing.tables]
    if plan.kind in ("folders", "table"):
        there = {labels.tidy(name) for name in (*plan.spelled, *plan.classes)}
        told += [f"class {name}" for name, _ in corrections.classes if labels.tidy(name) not in there]
    if plan.kind == "folders" and corrections.label_column:
        told.append(f"label-column {corrections.label_column}")
    if told:
        raise UserError("error.data.plan.fits_nothing", source=plan.name, told=told[0])


def _of_files(kind: str, files: Sequence[Parts], name: str, corrections: Corrections) -> Plan:
    """Files of many photos each, which are split by their names or the folders they lie in."""
    plan = Plan(kind, name)
    splits = {parts: _split_of_file(parts, corrections) for parts in files}
    some = any(splits.values())
    _check_one_set(splits, name, corrections)
    for parts, split in splits.items():
        if split == LEFT_OUT:
            merge_left_out(plan, [parts], "data.left_out.said")
        elif split is None and some:
            merge_left_out(plan, [parts], "data.left_out.no_split")
        else:
            plan.files.append(PhotoFile(parts, split or ""))
    return plan


def _check_one_set(splits: Mapping[Parts, str | None], name: str, corrections: Corrections) -> None:
    """Raise UserError where several data sets lie side by side, as the configurations of one on the Hub."""
    sets: dict[str, set[str]] = defaultdict(set)
    for parts, split in splits.items():
        folders = [folder for folder in parts[:-1] if not corrections.split_for(folder) and folder != "data"]
        if split != LEFT_OUT:
            sets[split or ""].add("/".join(folders))
    several = sorted(set().union(*(one for one in sets.values() if len(one) > 1)))
    if len(several) > 1:
        raise UserError("error.data.plan.several_sets", source=name, sets=_listed(several))


def _split_of_file(parts: Parts, corrections: Corrections) -> str | None:
    """By the file's name, else by the nearest folder that says it."""
    for name in (_stem(parts), *reversed(parts[:-1])):
        if split := corrections.split_for(name):
            return split
    return None


def _stem(parts: Parts) -> str:
    """A file's name without its ending and its number (train-00000-of-00001)."""
    return re.sub(r"([-_.]\d+(-of-\d+)?)+$", "", PurePosixPath(parts[-1]).stem)


def _of_photos(
    listing: Listing, name: str, corrections: Corrections, content_of: Callable[[Parts], bytes]
) -> Plan:
    plan = label_by_tables(listing, name, corrections, content_of)
    if plan is None:
        plan = _by_folders(listing, name, corrections)
        merge_left_out(plan, listing.tables, "data.left_out.table")
    listed = _listed_classes(content_of((CLASSES_FILE,))) if (CLASSES_FILE,) in listing.others else []
    _tidy(plan, listed, corrections)
    plan.order = listed if set(plan.classes) <= set(listed) else []
    return plan


def _listed_classes(content: bytes) -> list[str]:
    """The classes in the order of a file that lists them, one a line; [] where it names one twice."""
    names = [labels.tidy(line) for line in content.decode(errors="replace").splitlines() if line.strip()]
    return names if len(set(names)) == len(names) else []


def _by_folders(listing: Listing, name: str, corrections: Corrections) -> Plan:
    plan = Plan("folders", name)
    folders = Counter(parts[:-1] for parts in listing.photos)
    corrections = with_common_words(folders, corrections)
    layout = layout_of(folders, corrections)
    for parts in listing.photos:
        _place(parts, layout, corrections, plan)
    if corrections.class_level and not plan.photos:
        raise UserError("error.data.plan.level_not_there", source=name, level=corrections.class_level)
    plan.notes += [Sentence("data.plan.wrapper", {"name": "/".join(path)}) for path in layout.wrappers]
    plan.choices += _choices(folders, layout, corrections)
    return plan


def _place(parts: Parts, layout: Layout, corrections: Corrections, plan: Plan) -> None:
    """One photo by its folders: into a class, to be predicted, or left out with the reason."""
    level, split = layout.split_level, ""
    if level is not None:
        if len(parts) - 1 <= level:
            if silent := next((found for name in parts[:-1] if (found := corrections.split_for(name))), None):
                return plan.unlabelled.append(Photo(parts, "", silent if silent in SPLITS else ""))
            return merge_left_out(plan, [parts], "data.left_out.beside_splits")
        split = corrections.split_for(parts[level]) or LEFT_OUT
        if split == LEFT_OUT:
            said = parts[level] in dict(corrections.splits)
            return merge_left_out(plan, [parts], "data.left_out.said" if said else "data.left_out.unclear")
    class_level = layout.class_levels.get(split)
    if split == UNLABELLED or class_level is None:
        plan.unlabelled.append(Photo(parts, "", split if split in SPLITS else ""))
    elif len(parts) - 1 <= class_level:
        merge_left_out(plan, [parts], "data.left_out.no_class")
    else:
        label = layout.class_of(parts[:-1], class_level)
        if label == "-1" or _UNLABELLED.fullmatch(label.casefold().strip()):
            plan.unlabelled.append(Photo(parts, "", split))
        else:
            plan.photos.append(Photo(parts, label, split))
    return None


def _choices(folders: Mapping[Folders, int], layout: Layout, corrections: Corrections) -> list[Choice]:
    """What can be said otherwise of folders, and what has to be."""
    found = [_split_choice(name, count) for name, count in layout.unclear.items()]
    if layout.split_level is not None:
        names = {path[layout.split_level] for path in folders if len(path) > layout.split_level}
        found += [
            _split_choice(name, 0, split)
            for name in sorted(names)
            if (split := corrections.split_for(name)) is not None
        ]
    if len(layout.readings) > 1 and not corrections.class_level:
        found.append(_level_choice(layout, ""))
    elif level := next((level + 1 for level in layout.class_levels.values() if level is not None), 0):
        deepest = max(map(len, folders))
        values = tuple((str(number), _level_words(folders, number)) for number in range(1, deepest + 1))
        if deepest > 1:
            found.append(Choice("class-level", str(level), values, Sentence("data.plan.class_level")))
    return found


def _level_choice(layout: Layout, value: str) -> Choice:
    """Two levels make sense: which of them is the class."""
    readings = layout.readings
    values = tuple(
        (
            str(reading.class_level + 1),
            Sentence(
                "data.plan.level",
                {"level": reading.class_level + 1, "names": _listed(sorted(reading.classes))},
            ),
        )
        for reading in readings
    )
    first, second = readings[0], readings[1]
    sentence = Sentence(
        "data.plan.which_level",
        {
            "one": first.class_level + 1,
            "names": _listed(sorted(first.classes)),
            "other": second.class_level + 1,
            "others": _listed(sorted(second.classes)),
        },
    )
    return Choice("class-level", value, values, sentence)


def _level_words(folders: Mapping[Folders, int], level: int) -> Sentence:
    return Sentence("data.plan.level", {"level": level, "names": _names(folders, level)})


def _names(folders: Mapping[Folders, int], level: int) -> str:
    return _listed(sorted({path[level - 1] for path in folders if len(path) >= level}))


def _listed(names: Sequence[str]) -> str:
    """The first names of many."""
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")


def _split_choice(name: str, count: int, value: str = "") -> Choice:
    values = tuple((split, Sentence(f"data.plan.split.{split}")) for split in (*SPLITS, UNLABELLED, LEFT_OUT))
    key = "data.plan.folder_is" if value else "data.plan.what_folder"
    return Choice(f"split:{name}", value, values, Sentence(key, {"name": name, "count": count}))


def _tidy(plan: Plan, listed: Sequence[str], corrections: Corrections) -> None:
    """Give each photo the class as it is to be called, and say what is much alike. listed: classes of which
    somebody said that each is one.
    """
    raw = {photo.label for photo in plan.photos}
    plan.spelled = sorted(raw)
    names = {name: labels.tidy(corrections.class_for(labels.tidy(name))) for name in raw}
    for name, tidied in names.items():
        labels.check(tidied, name)
    plan.photos = [photo._replace(label=names[photo.label]) for photo in plan.photos]
    plan.notes += labels.merged(raw)
    unsure = set(names.values()) - set(listed)
    plan.choices += labels.alike(unsure, corrections)
    plan.notes += itertools.islice(labels.near(unsure), MOST_NEAR)
