"""What the tests of the diagnose room share."""

from __future__ import annotations

from pathlib import Path

import pytest

from vit_demo.model.classifier import LeafClassifier


@pytest.fixture(scope="module")
def classifier(tiny_model: Path) -> LeafClassifier:
    """The small random model, opened once for all tests of a file."""
    return LeafClassifier.open(tiny_model, device="cpu")
