"""What a person said about a source where the program would guess: as values, as options, and behind the name
of a source (``FOLDER [class-level=2, split:extra=test]``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from urllib.parse import unquote

from vit_demo.common.errors import UserError
from vit_demo.data.names import SPLITS, split_of

# Where photos are of no split that is learned from or scored: they can only be predicted, or not at all.
UNLABELLED, LEFT_OUT = "unlabelled", "none"
_SUFFIX = re.compile(r"(?P<source>.*\S)\s+\[(?P<told>[^\[\]]*=[^\[\]]*)\]\s*", re.DOTALL)
_PAIRS = {"splits": "split", "classes": "class"}


@dataclass(frozen=True)
class Corrections:
    """class_level: which folder of a path is the class, 1 for the first below the source; 0: found by itself.

    splits: (folder, file or split as it is called, one of SPLITS or UNLABELLED or LEFT_OUT). classes: (class
    as it is called, class that it is to be). label_column, image_column: of a table or parquet file;
    encoding: of a table; "" is found by itself.
    """

    class_level: int = 0
    splits: tuple[tuple[str, str], ...] = ()
    classes: tuple[tuple[str, str], ...] = ()
    label_column: str = ""
    image_column: str = ""
    encoding: str = ""

    def __bool__(self) -> bool:
        return self != Corrections()

    def split_for(self, name: str) -> str | None:
        """The split that a folder or file belongs to: as it was said, else by its name; None where it is
        none.
        """
        said = dict(self.splits).get(name)
        return said if said is not None else split_of(name)

    def class_for(self, name: str) -> str:
        """The class that photos of this one are to be in."""
        return dict(self.classes).get(name, name)

    def __str__(self) -> str:
        """As it stands behind a source, "" where nothing was said."""
        told = [
            f"{_PAIRS[field.name]}:{escaped(name)}={escaped(value)}"
            if field.name in _PAIRS
            else f"{field.name.replace('_', '-')}={escaped(str(value))}"
            for field in fields(self)
            for name, value in (
                getattr(self, field.name) if field.name in _PAIRS else [("", getattr(self, field.name))]
            )
            if value or field.name in _PAIRS
        ]
        return f"[{', '.join(told)}]" if told else ""


def escaped(text: str) -> str:
    """A name as it stands behind a source: the signs that part corrections as in an address (%2C for a
    comma).
    """
    return re.sub(r"[%,=\[\]]", lambda sign: f"%{ord(sign[0]):02X}", text)


def corrected(source: str, corrections: Corrections) -> str:
    """A source with what was said about it behind it, as ``open_dataset`` takes it."""
    return f"{source} {corrections}" if corrections else source


def parted(text: str) -> tuple[str, Corrections]:
    """A source, and what is said about it behind its name. Raises UserError where that cannot be
    understood.
    """
    found = _SUFFIX.fullmatch(text)
    if not found:
        return text, Corrections()
    pairs = (part.partition("=")[::2] for part in found["told"].split(","))
    return found["source"], corrections_of((unquote(name), unquote(value)) for name, value in pairs)


def corrections_of(told: Iterable[tuple[str, str]]) -> Corrections:
    """Of (name, value) pairs such as ("class-level", "2") and ("split:extra", "test"). Raises UserError."""
    values: dict[str, object] = {}
    pairs: dict[str, list[tuple[str, str]]] = {"splits": [], "classes": []}
    for name, value in ((name.strip(), value.strip()) for name, value in told):
        kind, _, what = name.partition(":")
        if kind == "split" and what:
            pairs["splits"].append((what, _split(value)))
        elif kind == "class" and what:
            pairs["classes"].append((what, value))
        elif name == "class-level":
            values["class_level"] = _level(value)
        elif name in ("label-column", "image-column", "encoding"):
            values[name.replace("-", "_")] = value
        else:
            raise UserError("error.data.plan.no_correction", name=name[:40])
    return Corrections(**{name: tuple(found) for name, found in pairs.items()}, **values)  # type: ignore[arg-type]


def _level(value: str) -> int:
    if not value.isdecimal() or not 1 <= int(value) <= 50:
        raise UserError("error.data.plan.level", value=value[:40])
    return int(value)


def _split(value: str) -> str:
    if value not in (*SPLITS, UNLABELLED, LEFT_OUT):
        raise UserError("error.data.plan.split", value=value[:40])
    return value
