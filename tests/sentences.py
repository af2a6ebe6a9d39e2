"""What a message to a person may look like."""

from __future__ import annotations

CODE = ("Traceback", "Error:", "\n", "<class", "object at", "None", "Errno", "0x")


def is_plain(text: str) -> bool:
    """Whether a text is one or two sentences as people write them, not a pasted exception."""
    sentences = [part for part in text.split(". ") if part]
    return 1 <= len(sentences) <= 2 and text.endswith(".") and not any(mark in text for mark in CODE)
