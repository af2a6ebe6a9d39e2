"""What the tests of the data room share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vit_demo.data.importing import imports


@pytest.fixture
def place_for_imports(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A home of its own for a test; the datasets library keeps its copies there too."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    yield
    imports.JOBS.clear()
