"""What the parts of the Diagnose tab share: who is asked, in which language, and all texts that change with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
from gradio.components import Component

from vit_demo.words import LANGUAGES

QUIET = {"api_visibility": "private", "show_progress": "hidden"}


@dataclass
class Asked:
    """model: the list on top of the page. language: the code of the one chosen. page: for what is done when it is opened."""

    page: gr.Blocks
    model: gr.Dropdown
    language: gr.Dropdown
    texts: list[tuple[Component | gr.Tab, Callable[[str], Any]]] = field(default_factory=list)

    def speaks(self, component: Component | gr.Tab, text: Callable[[str], Any]) -> None:
        """Let a component say its text in the language chosen. text: what the component is updated with, by language."""
        self.texts.append((component, text))

    def wire(self) -> None:
        """Update all that speaks, in one event, once all parts are built."""

        def translate(language: str) -> list:
            """Inputs: language. Outputs: what each component that speaks is updated with."""
            return [text(language) if language in LANGUAGES else gr.skip() for _, text in self.texts]

        self.language.change(translate, self.language, [component for component, _ in self.texts], **QUIET)
