"""What a run's state and events say to people: kept in its files in English, as always, and beside it by key,
so that it can be said in any language.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from vit_demo.common.words import DEFAULT_LANGUAGE, Sentence, speaking, words


def kept(said: Sentence | str) -> dict[str, Any]:
    """A sentence as fields of a state or an event; a text, such as an empty one, is only that.

    >>> run.set_state(status="starting", **kept(Sentence("train.record.opening")))
    """
    if not isinstance(said, Sentence):
        return {"message": said, "said": None}
    if said.key not in words():
        return {"message": said.key, "said": None}
    return {"message": _english(said), "said": json.loads(json.dumps(said.as_json(), default=str))}


def told(values: Mapping[str, Any]) -> Sentence | str:
    """The sentence of a state or an event, or its English text: of an older program, which knew no keys, or
    of another one, which has other words.

    That the two fit is looked at, since an older program that goes on with the run changes the text alone.
    """
    text = str(values.get("message") or "")
    try:
        sentence = Sentence.from_json(values["said"])
        return sentence if isinstance(sentence, Sentence) and _english(sentence) == text else text
    except (KeyError, IndexError, ValueError, TypeError, AttributeError):
        return text


def kept_all(said: Iterable[Sentence | str]) -> list[dict[str, Any]]:
    """Several sentences as a field of a state."""
    return [kept(one) for one in said]


def told_all(values: Any) -> list[Sentence | str]:
    """The sentences of such a field; of what is none, such as that of an older program, nothing."""
    return [told(one) for one in values if isinstance(one, Mapping)] if isinstance(values, list) else []


def english_all(values: Any) -> list[str]:
    """The same in English, for files and the command line."""
    return [str(one.get("message", "")) for one in values or [] if isinstance(one, Mapping)]


def _english(sentence: Sentence) -> str:
    with speaking(DEFAULT_LANGUAGE):
        return str(sentence)
