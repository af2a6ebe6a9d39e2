"""Why a photo was refused is told in the language of the page, from what the checks themselves say of such a file."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path

import pytest
from PIL import Image

from vit_demo.common.words import LANGUAGES, say
from vit_demo.diagnose.photos import open_photo
from vit_demo.ui.shared.refusal import why_html


def empty(file: Path) -> None:
    file.touch()


def no_photo(file: Path) -> None:
    file.write_text("a shopping list")


def damaged(file: Path) -> None:
    Image.effect_noise((120, 90), 80).convert("RGB").save(file)
    file.write_bytes(file.read_bytes()[:900])


def large_file(file: Path) -> None:
    with file.open("wb") as opened:
        opened.truncate(65 * 2**20)


def many_pixels(file: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(file)


def one_long_row(file: Path) -> None:
    Image.new("1", (70_000, 1)).save(file)


@pytest.mark.parametrize(
    ("write", "key"),
    [(empty, "empty"), (no_photo, "no_photo"), (damaged, "damaged"), (large_file, "large"), (many_pixels, "large"), (one_long_row, "large")],
)
def test_the_usual_reasons_are_told_in_each_language(write: Callable[[Path], None], key: str, tmp_path: Path, refusal: Callable[..., str]) -> None:
    file = tmp_path / "a leaf <that> has 7 holes.png"
    write(file)
    error = refusal(open_photo, file)
    assert why_html(error, "en") == f'<span lang="en">{escape(error)}</span>'
    for language in LANGUAGES[1:]:
        assert why_html(error, language) == f'<span lang="{language}">{escape(say(f"diagnose.refused.{key}", language, name=file.name))}</span>'


def test_any_other_reason_stays_as_it_is() -> None:
    assert why_html("The model <x> was deleted.", "fr") == '<span lang="en">The model &lt;x&gt; was deleted.</span>'
