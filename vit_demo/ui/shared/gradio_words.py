"""What Gradio itself says on the page, such as the name of the button that removes a photo, in our languages.

assets/theme/language.js has Gradio take its words from here, assets/theme/names.js puts the names in their
place.
"""

from __future__ import annotations

import gradio as gr

from vit_demo.common.words import LANGUAGES, say, text_of, words

# What Gradio tells when it draws something, and not again when the language is switched.
TOLD_ONCE = (
    "gradio.common.clear",
    "gradio.common.download",
    "gradio.common.remove",
    "gradio.image.drop_to_upload",
)


def gradio_words() -> gr.I18n:
    """Gradio's texts by its own keys, for each of our languages; it has no Swahili of its own."""
    return gr.I18n(
        **{
            say("page.locale", language): {
                key: text_of(f"gradio.{key}", language) for key in _below("gradio.")
            }
            for language in LANGUAGES
        }
    )


def names() -> dict[str, str]:
    """Gradio's names of buttons and fields: as each of our languages calls one, and as the current one
    does.
    """
    keys = [*TOLD_ONCE, *(f"page.named.{name}" for name in _below("page.named."))]
    return {text_of(key, language): text_of(key) for key in keys for language in LANGUAGES}


def _below(prefix: str) -> list[str]:
    return [key.removeprefix(prefix) for key in words() if key.startswith(prefix)]
