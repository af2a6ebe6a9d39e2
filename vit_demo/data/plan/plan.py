"""What was understood of a source before anything is decoded or learned: which photo is of which class and
split, what is left out and why, what was guessed, and what has to be asked.

Opening a folder (``--data FOLDER``) and taking one in (``data import``) both carry out the same plan.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from vit_demo.common.errors import UserError
from vit_demo.common.words import Sentence
from vit_demo.data.names import SPLITS
from vit_demo.data.plan.corrections import escaped
from vit_demo.data.plan.listing import Parts


class Photo(NamedTuple):
    """parts: its path in the source. label: its class, "" where it has none. split: one of SPLITS, "" where
    none is given.
    """

    parts: Parts
    label: str
    split: str


class PhotoFile(NamedTuple):
    """A file of many photos: parquet, or Arrow as ``save_to_disk`` writes it. parts: its path. split: as
    above.
    """

    parts: Parts
    split: str


class LeftOut(NamedTuple):
    """A file that is left out. why: key of the sentence that says so, about its {name}."""

    name: str
    why: str


@dataclass(frozen=True)
class Choice:
    """Something that a person can say otherwise. option: as corrections call it ("class-level",
    "split:extra"). value: what is taken, "" where it has to be asked. values: what can be said, with how it
    reads.
    """

    option: str
    value: str
    values: tuple[tuple[str, Sentence | str], ...]
    sentence: Sentence

    @property
    def is_open(self) -> bool:
        """Whether nothing can be learned before it is answered."""
        return not self.value


@dataclass
class Plan:
    """kind: "folders", "table", "parquet" or "saved" (``save_to_disk``). name: what the source is called.

    photos: with a class, in the order in which they are opened. unlabelled: without one. files: of many
    photos each. order: of the classes, where the source says one, else []. spelled: the
    classes as the source writes them.
    """

    kind: str
    name: str
    photos: list[Photo] = field(default_factory=list)
    unlabelled: list[Photo] = field(default_factory=list)
    files: list[PhotoFile] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    notes: list[Sentence] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    spelled: list[str] = field(default_factory=list)

    @property
    def questions(self) -> list[Choice]:
        """What has to be answered first."""
        return [choice for choice in self.choices if choice.is_open]

    @property
    def classes(self) -> list[str]:
        """Of the photos, sorted."""
        return sorted({photo.label for photo in self.photos})

    def counts(self) -> dict[str, dict[str, int]]:
        """{split, "" where none is given: {class: photos}}."""
        found: dict[str, Counter[str]] = {}
        for photo in self.photos:
            found.setdefault(photo.split, Counter())[photo.label] += 1
        return {split: dict(sorted(found[split].items())) for split in ("", *SPLITS) if split in found}

    def said(self) -> Iterator[Sentence]:
        """All that a person should know of what is there, one sentence each."""
        yield from self.notes
        if self.unlabelled:
            folders = Counter("/".join(photo.parts[:-1]) for photo in self.unlabelled)
            places = ", ".join(place for place, _ in folders.most_common(3) if place)
            key = "data.plan.unlabelled_in" if places else "data.plan.unlabelled"
            yield Sentence(key, {"count": len(self.unlabelled), "places": places})

    def said_of_left_out(self) -> Iterator[Sentence]:
        """How many files are left out, and one of them with the reason."""
        if self.left_out:
            # A photo is missed more than any other file.
            first = next(
                (one for one in self.left_out if one.why != "data.left_out.ending"), self.left_out[0]
            )
            told = Sentence(first.why, {"name": first.name[-120:]})
            yield Sentence("data.plan.left_out", {"count": len(self.left_out), "first": told})

    def check(self) -> None:
        """Raise UserError, with what to say, where something has to be answered first."""
        if self.questions:
            first = self.questions[0]
            raise UserError(
                "error.data.plan.question",
                source=self.name,
                question=first.sentence,
                answers=answers_of(first),
            )


def answers_of(choice: Choice) -> str:
    """How the answers to a choice are typed behind a source."""
    kind, colon, name = choice.option.partition(":")
    return ", ".join(f"[{kind}{colon}{escaped(name)}={escaped(value)}]" for value, _ in choice.values)


def merge_left_out(plan: Plan, names: Sequence[Parts], why: str) -> None:
    """Note files that are left out for one reason."""
    plan.left_out += [LeftOut("/".join(parts), why) for parts in names]
