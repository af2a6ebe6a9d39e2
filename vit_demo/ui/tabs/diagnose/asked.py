"""What the parts of the Diagnose tab share: who is asked, and the speech of the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from vit_demo.common.words import current_language
from vit_demo.ui.shared.speech import QUIET, Speech, Told

__all__ = ["QUIET", "Asked"]


@dataclass(frozen=True)
class Asked:
    """model: the list on top of the page. speech: its languages."""

    model: gr.Dropdown
    speech: Speech

    @property
    def language(self) -> gr.Dropdown:
        """The code of the language chosen."""
        return self.speech.language

    def speaks(self, component: Any, **texts: Callable[[str], str]) -> None:
        """Let a component tell its texts in the language chosen. texts: by the name of the option, out of the language."""
        self.speech.speaks(component, **{name: Told(lambda text=text: text(current_language())) for name, text in texts.items()})

    def retells(self, function: Callable, inputs: list[Component], outputs: list[Component]) -> None:
        """As :meth:`Speech.retells`."""
        self.speech.retells(function, inputs, outputs)
