"""What a person says about photos where the program would guess: the same flags wherever photos are named."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

# The attributes in which commands keep the photos that are meant.
NAMED = ("data", "spec", "source")
SPLITS = ("train", "validation", "test")


class _Pair(argparse.Action):
    """NAME=VALUE, any number of times; for --split, where a split can be chosen too, its name alone."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        value: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        text = str(value)
        name, sign, to = text.rpartition("=")
        if sign and name:
            kind = str(option_string).removeprefix("--")
            told = [*(getattr(namespace, "told", None) or []), (f"{kind}:{name}", to)]
            namespace.told = told
        elif self.choices_of_split and text in SPLITS:
            namespace.split = text
        else:
            said = f"{', '.join(SPLITS)} or NAME=SPLIT" if self.choices_of_split else "NAME=VALUE"
            parser.error(f"argument {option_string}: {text} is not {said}")

    @property
    def choices_of_split(self) -> bool:
        """Whether the flag also chooses a split."""
        return self.const is True


def add_corrections(parser: argparse.ArgumentParser, scores_split: bool = False) -> None:
    """The flags. scores_split: whether --split also says which split is meant ("test" by default)."""
    group = parser.add_argument_group(
        "where photos would be read wrongly", "see what is understood with `vit_demo data look`"
    )
    group.add_argument(
        "--class-level",
        metavar="N",
        help="which folder of a photo's path is its class, 1 for the first below the folder that is given",
    )
    group.add_argument(
        "--split",
        action=_Pair,
        const=scores_split or None,
        default="test" if scores_split else None,
        metavar="SPLIT | NAME=SPLIT" if scores_split else "NAME=SPLIT",
        help=("train, validation or test (default: test), or " if scores_split else "")
        + "what a folder, file or split of this name is: train, validation, test, unlabelled or none",
    )
    group.add_argument(
        "--class",
        action=_Pair,
        dest="classes",
        metavar="NAME=CLASS",
        help="another name for a class; two of one name become one",
    )
    group.add_argument("--label-column", metavar="NAME", help="of a table or parquet file")
    group.add_argument("--image-column", metavar="NAME", help="of a parquet file")
    group.add_argument("--encoding", metavar="NAME", help="of a table, such as gb18030")


def fold(options: argparse.Namespace) -> None:
    """Put what was said behind the photos that it was said about. Raises UserError."""
    from vit_demo.data.plan.corrections import corrected, corrections_of

    single = [
        (name.replace("_", "-"), value)
        for name in ("class_level", "label_column", "image_column", "encoding")
        if (value := getattr(options, name, None))
    ]
    told = [*(getattr(options, "told", None) or []), *single]
    if not told:
        return
    corrections = corrections_of(told)
    name = next((name for name in NAMED if getattr(options, name, None)), "data")
    given = getattr(options, name) or "beans"
    if isinstance(given, list):
        setattr(options, name, [corrected(str(one), corrections) for one in given])
    else:
        setattr(options, name, corrected(str(given), corrections))
