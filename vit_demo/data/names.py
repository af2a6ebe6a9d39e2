"""How data sets are called, and what of a name can be known without opening anything."""

from __future__ import annotations

from pathlib import Path

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
# What people and other tools call the three splits.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
}
PHOTO_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
HELD_OUT_SHARE = 0.1
SPLIT_SEED = 0


def imports_folder() -> Path:
    """Where photos that were brought in are kept; it need not be there yet."""
    return settings.load().home / "imports"


def located(text: str) -> Path | None:
    """The folder or file of this computer that a source names, an import by its name; None where there is
    none, and for the photos of the program.
    """
    if text == BEANS:
        return None
    name = text.removeprefix(IMPORT)
    if name == text:
        return existing_path(text)
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
