"""What the parts of the Diagnose tab share: who is asked, and the speech of the page."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from vit_demo.ui.shared.speech import Speech


@dataclass(frozen=True)
class Shared:
    """model: the list on top of the page. speech: its languages."""

    model: gr.Dropdown
    speech: Speech
