"""Notes written in the page: for a person's own models alone, one class and one language at a time, shown at
once with the answer.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from markupsafe import escape
from PIL import Image

from vit_demo.common import settings
from vit_demo.common.words import LANGUAGES, say, speaking
from vit_demo.diagnose.notes import FILE, SECTIONS, Fact, read_note
from vit_demo.ui.tabs.diagnose import notes, one

LABELS = ["angular_leaf_spot", "bean_rust", "healthy"]


@pytest.fixture
def own(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "own"))


def test_it_is_there_for_own_models_alone(own):
    assert notes.offer(str(own))["visible"] and not notes.offer("embedded")["visible"]
    assert (
        not notes.offer(str(settings.EMBEDDED_MODEL))["visible"]
        and not notes.offer("no/such-model")["visible"]
    )


@pytest.mark.parametrize("language", LANGUAGES, indirect=True)
def test_what_is_written_is_shown_with_the_answer(own, tmp_path, language):
    file = tmp_path / "leaf.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(file)
    said, *_ = one.show(str(file), str(own))
    label = said["answer"]["label"]
    classes, text, spoken, told = notes.open_all(str(own), said)
    assert (
        classes["value"] == label
        and [name for _, name in classes["choices"]] == LABELS
        and (spoken, told) == (language, "")
    )
    assert text.split("\n\n") == [f"# {say(f'notes.{name}', language)}" for name in SECTIONS[:-1]] + [
        f"# {say('notes.ask', language)}\n"
    ]
    source = say("diagnose.edit.source", language, name="A <book>")
    # The page was switched to another language meanwhile: the note stays in that of its text.
    other = LANGUAGES[LANGUAGES.index(language) - 1]
    with speaking(other):
        saved = notes.write(str(own), label, f"# {say('notes.now', language)}\nAAA & BBB {source}", spoken)
    assert (
        'role="status"' in saved
        and escape(say("diagnose.edit.saved", other, label=classes["choices"][LABELS.index(label)][0]))
        in saved
    )
    assert read_note(own, label, language).sections == {"now": [Fact("AAA & BBB", "A <book>")]}
    answer, _ = one.retell(said)
    assert "AAA &amp; BBB" in answer and "A &lt;book&gt;" in answer and "<book>" not in answer
    assert "AAA & BBB " + source in notes.open_one(str(own), label)[0]
    with speaking(other):
        assert "AAA" not in notes.open_one(str(own), label)[0]
    assert "AAA" not in notes.open_one(str(own), next(x for x in LABELS if x != label))[0]


@pytest.mark.parametrize("language", LANGUAGES, indirect=True)
def test_what_cannot_be_saved_is_said_in_place(own, language):
    for label, text in (
        ("bean_rust", "no heading"),
        ("no class", "# Now\nx"),
        (None, ""),
        ("bean_rust", "# Now\n" + "x" * 2000),
    ):
        told = notes.write(str(own), label, text, "en")
        assert 'role="alert"' in told and escape(say("diagnose.edit.failed", language)) in told
    assert not (own / FILE).exists()


def test_the_notes_of_the_embedded_model_are_written_by_nobody():
    before = (settings.EMBEDDED_MODEL / FILE).read_bytes()
    assert 'role="alert"' in notes.write("embedded", "bean_rust", "# Now\nx", "en")
    assert (settings.EMBEDDED_MODEL / FILE).read_bytes() == before
    assert notes.open_all("embedded", None)[1:] == ("", "en", "")
