"""In which language the page speaks to whom, and all of the page that changes when another is chosen."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.components import Component

from vit_demo.common.errors import UserError
from vit_demo.common.words import DEFAULT_LANGUAGE, LANGUAGES, ask_caller, pick_language, say, speaking

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
# Pages whose language is remembered, the last used; a page that is no longer among them speaks as its browser
# likes best.
PAGES = 10_000
_lock = threading.Lock()
# By the page's session; one for all who ask without any.
_chosen: OrderedDict[str | None, str] = OrderedDict()


class Told:
    """A text of the page that is told again in each language. text: a key, or what makes the text (or the
    choices) out of the current language.
    """

    def __init__(self, text: str | Callable[[], Any], /, **values: Any):
        self._text, self._values = text, values

    def __call__(self) -> Any:
        return say(self._text, **self._values) if isinstance(self._text, str) else self._text()


class Speech:
    """The list of languages, and all parts of the page that speak.

    >>> start = speech(gr.Button, value=Told("train.start"), elem_id="train-start")
    >>> with speech(gr.Tab, label=Told("data.check"), id="check"):
    """

    def __init__(self) -> None:
        self.language = gr.Dropdown(
            [(say("language", code), code) for code in LANGUAGES],
            value=DEFAULT_LANGUAGE,
            label=say("page.language"),
            container=False,
            filterable=False,
            scale=0,
            min_width=150,
            elem_id="language",
        )
        self._texts: list[tuple[Component, dict[str, Told]]] = [
            (self.language, {"label": Told("page.language")})
        ]
        self._answers: list[tuple[Callable, list[Component], list[Component]]] = []

    def __call__(self, kind: Callable[..., Any], **options: Any) -> Any:
        """Make a component, some of whose options are :class:`Told`. Texts are told by name, such as
        ``value=``, never by place.
        """
        told = {name: option for name, option in options.items() if isinstance(option, Told)}
        return self.speaks(
            kind(**{name: told[name]() if name in told else option for name, option in options.items()}),
            **told,
        )

    def speaks(self, component: Any, **told: Told) -> Any:
        """Let a component that was made elsewhere tell its texts in the language chosen. Returns the
        component.
        """
        self._texts.append((component, told))
        return component

    def retells(self, function: Callable, inputs: list[Component], outputs: list[Component]) -> None:
        """Let a part tell its answer again in another language; arguments as those of an event. It must not
        compute anew what is known.
        """
        self._answers.append((function, inputs, outputs))

    def wire(self, page: gr.Blocks) -> None:
        """Update all texts and answers, in one event, once all parts are built: each event is a request, and
        connections are weak.
        """
        remembered = gr.BrowserState("", storage_key="vit_demo.language", secret="vit_demo")
        known = list(
            dict.fromkeys([self.language, *(one for _, inputs, _ in self._answers for one in inputs)])
        )
        outputs = [component for component, _ in self._texts] + [
            one for _, _, shown in self._answers for one in shown
        ]

        def translate(*values: Any) -> list:
            """Inputs: language, and all that the answers are told from. Outputs: what speaks, then what is
            told again.
            """
            if values[0] not in LANGUAGES:
                return [gr.skip()] * len(outputs)
            if (caller := _caller()) is not None:
                remember(caller, values[0])
            by_component = dict(zip(known, values, strict=True))
            with speaking(values[0]):
                told: list[Any] = [
                    gr.update(**{name: text() for name, text in texts.items()}) for _, texts in self._texts
                ]
                for function, inputs, shown in self._answers:
                    try:
                        again = function(*(by_component[one] for one in inputs))
                    except UserError:
                        # Such as a model that was deleted since: this part stays, the others are told.
                        again = (gr.skip(),) * len(shown) if len(shown) > 1 else gr.skip()
                    told += again if len(shown) > 1 else [again]
            return told

        self.language.change(translate, known, outputs, **QUIET)
        self.language.input(None, self.language, remembered, js="code => code", **QUIET)
        page.load(restore, remembered, self.language, **QUIET)


def restore(remembered: str, request: gr.Request) -> str | dict:
    """Inputs: the language chosen in this browser before, its headers. Outputs: that language, else the one
    the browser likes best; nothing where the page has it already, or where a person was quicker to choose.
    """
    if request.session_hash in _chosen:
        return gr.skip()
    language = (
        remembered if remembered in LANGUAGES else pick_language(request.headers.get("accept-language"))
    )
    remember(request, language)
    # The page begins in it. Set once more, it could take the place of what a person chooses meanwhile.
    return gr.skip() if language == DEFAULT_LANGUAGE else language


def remember(request: gr.Request, language: str) -> None:
    """From now on this page is answered in this language."""
    with _lock:
        _chosen[request.session_hash] = language
        _chosen.move_to_end(request.session_hash)
        while len(_chosen) > PAGES:
            _chosen.popitem(last=False)


def _caller() -> gr.Request | None:
    """Who is being answered now; None outside of an answer."""
    try:
        # Gradio hands the request only to functions that name it among their arguments, and a text may be
        # told deep below one.
        from gradio.context import LocalContext

        return LocalContext.request.get(None)
    except (
        ImportError,
        AttributeError,
    ):  # another version of Gradio: labels are translated, answers are in English
        return None


def _of_caller() -> str:
    caller = _caller()
    return (
        DEFAULT_LANGUAGE
        if caller is None
        else _chosen.get(caller.session_hash) or pick_language(caller.headers.get("accept-language"))
    )


ask_caller(_of_caller)
