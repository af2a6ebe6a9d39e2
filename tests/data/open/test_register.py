"""A kind of source that is added from outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from vit_demo.data.open import sources
from vit_demo.data.open.sources import Source, open_dataset, register


def test_a_kind_of_source_that_is_added_opens_everywhere(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "SOURCES", list(sources.SOURCES))
    register(Source(lambda text: text.startswith("field:"), lambda text, revision: open_dataset("beans")))
    assert open_dataset("field:north") is open_dataset("beans") is not None
    decided = open_dataset("mended:field:north")
    assert {split: len(part) for split, part in decided.items()} == {
        "train": 1034,
        "validation": 133,
        "test": 128,
    }
