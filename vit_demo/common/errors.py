"""The one kind of error that a person can cause and can mend."""

from __future__ import annotations

from typing import Any

from vit_demo.common.words import Sentence


class UserError(Exception):
    """A mistake of the person at the page or the prompt.

    key: of one plain sentence (or two) of vit_demo/text/<language>/errors that says what is wrong and what to
    do. values: what is filled in. ``str`` of it is the sentence in the language of whoever is being answered.
    The page shows it; the command line prints it and exits with 2.
    """

    def __init__(self, key: str, /, **values: Any):
        super().__init__(key)
        self.sentence = Sentence(key, values)

    def __str__(self) -> str:
        return str(self.sentence)

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors of helping processes are sent as they were made.
        return _made, (type(self), self.sentence)


def _made(kind: type[UserError], sentence: Sentence) -> UserError:
    error = kind.__new__(kind, sentence.key)
    UserError.__init__(error, sentence.key, **sentence.values)
    return error
