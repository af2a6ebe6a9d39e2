"""What the parts of the Diagnose tab share: who is asked, in which language, and all texts that change with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
from gradio.components import Component

from vit_demo.text.words import LANGUAGES

QUIET = {"api_visibility": "private", "show_progress": "hidden"}


@dataclass
class Asked:
    """model: the list on top of the page. language: the code of the one chosen. page: for what is done when it is opened."""

    page: gr.Blocks
    model: gr.Dropdown
    language: gr.Dropdown
    texts: list[tuple[Component | gr.Tab, Callable[[str], Any]]] = field(default_factory=list)
    answers: list[tuple[Callable, list[Component], list[Component]]] = field(default_factory=list)

    def speaks(self, component: Component | gr.Tab, text: Callable[[str], Any]) -> None:
        """Let a component say its text in the language chosen. text: what the component is updated with, by language."""
        self.texts.append((component, text))

    def retells(self, function: Callable, inputs: list[Component], outputs: list[Component]) -> None:
        """Let a part tell its answer again in the language chosen; arguments as those of an event, the language is one of the inputs."""
        self.answers.append((function, inputs, outputs))

    def wire(self) -> None:
        """Update all texts and answers, in one event, once all parts are built: each event is a request, and connections are weak."""
        known = list(dict.fromkeys([self.language, *(one for _, inputs, _ in self.answers for one in inputs)]))

        def translate(language: str, *others: Any) -> list:
            """Inputs: language, and all that the answers are told from. Outputs: what speaks, then what is told again."""
            if language not in LANGUAGES:
                return [gr.skip()] * len(outputs)
            values = dict(zip(known, (language, *others), strict=True))
            told = [text(language) for _, text in self.texts]
            for function, inputs, shown in self.answers:
                again = function(*(values[one] for one in inputs))
                told += again if len(shown) > 1 else [again]
            return told

        outputs = [component for component, _ in self.texts] + [one for _, _, shown in self.answers for one in shown]
        self.language.change(translate, known, outputs, **QUIET)
