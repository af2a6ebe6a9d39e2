"""What the tests of the Diagnose tab share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vit_demo.common.words import speaking


@pytest.fixture
def language(request: pytest.FixtureRequest) -> Iterator[str]:
    """In the test all is told in this language, as the page does for whoever chose it."""
    with speaking(request.param):
        yield request.param
