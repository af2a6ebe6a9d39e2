"""What the scripts of the Data tab send: any text at all, since anyone can call what they call."""

from __future__ import annotations

import json
from typing import Any


def values_of(text: Any, usual: dict[str, Any]) -> dict[str, Any]:
    """The values that ``usual`` names, out of the JSON that a page sent; one that is missing or of another
    type is as in ``usual``.
    """
    try:
        given = json.loads(text)
    except (TypeError, ValueError):
        given = {}
    given = given if isinstance(given, dict) else {}
    return {
        name: given[name] if type(given.get(name)) is type(value) else value for name, value in usual.items()
    }
