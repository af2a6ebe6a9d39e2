"""How data sets are called, and what of a name can be known without opening anything."""

from __future__ import annotations

import functools
import re
import unicodedata
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.model.checkpoints import existing_path

# The photos that come with the program, scaled down from those of HUB_BEANS.
BEANS = "beans"
HUB_BEANS = "AI-Lab-Makerere/beans"
# What came with earlier versions: drawings of leaves. Their name still stands in the settings of old runs.
FORMER_SAMPLE = "sample"
# Before a source: with what was decided about its photos, see :mod:`vit_demo.data.corrections.journal`.
MENDED = "mended:"
# The photos that people corrected on the page; also behind another source, as "beans + review".
REVIEW = "review"
# Before the name of photos that were brought in, see vit_demo.data.importing.imports.
IMPORT = "import:"
SPLITS = ("train", "validation", "test")
# What people and other tools call the three splits, in the languages of the page.
_TRAIN = [
    "train",
    "training",
    "trn",
    "entrenamiento",
    "entrainement",
    "treino",
    "treinamento",
    "mafunzo",
    "训练",
]
_VALIDATION = [
    "validation",
    "valid",
    "val",
    "dev",
    "validate",
    "validacion",
    "validacao",
    "uthibitisho",
    "验证",
]
_TEST = [
    "test",
    "testing",
    "tst",
    "eval",
    "evaluation",
    "holdout",
    "heldout",
    "prueba",
    "teste",
    "jaribio",
    "测试",
]
SPLIT_NAMES = {
    **dict.fromkeys(_TRAIN, "train"),
    **dict.fromkeys(_VALIDATION, "validation"),
    **dict.fromkeys(_TEST, "test"),
}
# Words beside a split's name that say nothing: val_set, test_images, Training Data.
_FILLERS = [
    "set",
    "sets",
    "data",
    "dataset",
    "images",
    "image",
    "imgs",
    "img",
    "photos",
    "pictures",
    "split",
    "partial",
    "集",
]
HELD_OUT_SHARE = 0.1
SPLIT_SEED = 0


@functools.lru_cache(maxsize=4096)  # asked for each of many photos in the same few folders
def split_of(name: str) -> str | None:
    """Which split a folder, file, column value or split of the Hub is, by its name; None where it is none.

    Capitals, accents, digits at the end and words that say nothing do not count: "val_set", "Test images" and
    "hold-out" are known, "train_val" is two and so none.
    """
    plain = unicodedata.normalize("NFD", name.casefold())
    words = re.findall(r"[^\W\d_]+", "".join(sign for sign in plain if not unicodedata.combining(sign)))
    if words in (["hold", "out"], ["held", "out"]):
        return "test"
    kept = [_without_filler(word) for word in words if word not in _FILLERS]
    return SPLIT_NAMES.get(kept[0]) or SPLIT_NAMES.get(kept[0].removesuffix("s")) if len(kept) == 1 else None


def _without_filler(word: str) -> str:
    return next(
        (
            word.removesuffix(filler)
            for filler in _FILLERS
            if word.endswith(filler) and word.removesuffix(filler) in SPLIT_NAMES
        ),
        word,
    )


def imports_folder() -> Path:
    """Where photos that were brought in are kept; it need not be there yet."""
    return settings.load().home / "imports"


def plain_path(text: str) -> str:
    """A path as people paste it: without quotes and blanks around it, and of a file:// address the path."""
    text = text.strip()
    while len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    if text.casefold().startswith("file://"):
        text = url2pathname(urlsplit(text).path)
    return text


def located(text: str) -> Path | None:
    """The folder or file of this computer that a source names, an import by its name; None where there is
    none, and for the photos of the program.
    """
    if text == BEANS:
        return None
    name = text.removeprefix(IMPORT)
    if name == text:
        return existing_path(text) or existing_path(plain_path(text))
    # A name and never a path: what begins with "." is no import, or one that is not finished.
    return (
        None
        if name.startswith(".") or "/" in name or "\\" in name or not name
        else existing_path(str(imports_folder() / name))
    )


def base_of_reviewed(text: str) -> str | None:
    """What the review set is added to, "" where it stands alone, None where it is not asked for."""
    if text == REVIEW:
        return ""
    base, plus, added = text.rpartition("+")
    if not plus or added.strip() != REVIEW or existing_path(text):
        return None
    if base_of_reviewed(base.strip()) is not None:
        raise UserError("error.data.review_once", example=f"{BEANS} + {REVIEW}")
    return base.strip() or BEANS


def names_former_sample(spec: str | None) -> bool:
    """Whether a source is, or adds to, the drawings of leaves that came with earlier versions."""
    text = (spec or "").strip()
    try:
        base = base_of_reviewed(text)
    except UserError:  # no source at all, which whoever opens it is told
        return False
    return (base or text).removeprefix(MENDED).strip() == FORMER_SAMPLE


def refuse_former_sample(spec: str | None) -> None:
    """Raise UserError, with what to type instead, where a source is the drawings of leaves that came with
    earlier versions.
    """
    if names_former_sample(spec):
        raise UserError("error.data.former_sample", sample=FORMER_SAMPLE, beans=BEANS)
