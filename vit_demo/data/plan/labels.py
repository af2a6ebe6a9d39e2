"""Classes by their names: one spelling for what is the same, and a word about those that look alike."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from vit_demo.common.errors import UserError
from vit_demo.common.words import Sentence
from vit_demo.data.plan.corrections import Corrections
from vit_demo.data.plan.file_names import readable
from vit_demo.data.plan.plan import Choice

MOST_LETTERS = 100
MOST_COMPARED = 1000


def tidy(name: str) -> str:
    """A class without blanks at its ends, letters composed (NFC): what cannot be seen makes no class."""
    return " ".join(unicodedata.normalize("NFC", name).split())


def spelling(name: str) -> str:
    """What two spellings of a class share: "Bean rust", "bean-rust" and "bean_rust" are one."""
    return "_".join(re.split(r"[\s_\-]+", tidy(name).casefold()))


def alike(names: Iterable[str], corrections: Corrections) -> Iterator[Choice]:
    """Classes whose names differ only by capitals, blanks or signs: whether they are one has to be said."""
    found = defaultdict(list)
    said = dict(corrections.classes)
    for name in sorted(set(names)):
        if name not in said and name not in said.values():
            found[spelling(name)].append(name)
    for same in found.values():
        for other in same[1:]:
            yield Choice(
                f"class:{other}",
                "",
                (
                    (same[0], Sentence("data.plan.one_class", {"name": same[0]})),
                    (other, Sentence("data.plan.two_classes")),
                ),
                Sentence("data.plan.alike", {"one": same[0], "other": other}),
            )


def near(names: Iterable[str]) -> Iterator[Sentence]:
    """Classes of which one name holds all words of another (rust, bean_rust): told, not asked."""
    words = {name: set(spelling(name).split("_")) for name in sorted(set(names))}
    if len(words) > MOST_COMPARED:  # each with each would take minutes, and nobody could look at it
        return
    for one in words:
        for other in words:
            if words[one] < words[other] and len(words[other]) - len(words[one]) == 1:
                yield Sentence("data.plan.near", {"one": one, "other": other})


def merged(names: Iterable[str]) -> Iterator[Sentence]:
    """Names that became one when they were tidied."""
    found = defaultdict(set)
    for name in names:
        found[tidy(name)].add(name)
    for name, raw in sorted(found.items()):
        if len(raw) > 1:
            yield Sentence("data.plan.tidied", {"name": name})


def in_order(names: Iterable[str]) -> list[str]:
    """Names of classes by their letters; where all are numbers, by their size."""
    found = set(names)
    return sorted(found, key=(lambda name: (int(name), name)) if all(map(str.isdecimal, found)) else None)


def called(name: str, corrections: Corrections) -> str:
    """A class as it is to be called."""
    return tidy(corrections.class_for(tidy(name)))


def class_order(lists: Mapping[str, Sequence[Sequence[str]]], corrections: Corrections) -> list[str]:
    """One order for the classes of all splits: that of train where it has all, else by name. lists: {split:
    names as its files list them}.
    """
    every = [list(names) for split in ("train", "", *lists) for names in lists.get(split, ())]
    if not every:
        return []
    union = {name for names in every for name in names}
    raw = every[0] if union <= set(every[0]) else in_order(union)
    return list(dict.fromkeys(called(name, corrections) for name in raw))


def check(name: str, raw: str) -> None:
    """Raise UserError for what is no name of a class: empty, too long, or with signs that cannot be shown."""
    if not name or len(name) > MOST_LETTERS or not name.isprintable() or not any(map(str.isalnum, name)):
        raise UserError("error.data.plan.no_class_name", name=readable(raw)[:60], most=MOST_LETTERS)
