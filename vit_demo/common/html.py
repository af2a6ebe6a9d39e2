"""HTML from Jinja2 templates, in which all values are escaped unless they are HTML made here."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from vit_demo.common.words import current_language, label_title, percent, say, text_of


def render_from(folder: Path, name: str, /, **values: Any) -> Markup:
    """A template filled in. name: its file below the folder without ".html"; with "#" and a name, one macro
    of the file, called with the values.
    """
    file, _, macro = name.partition("#")
    template = _templates(folder).get_template(f"{file}.html")
    return Markup((getattr(template.module, macro)(**values) if macro else template.render(**values)).strip())


def say_html(key: str, language: str | None = None, /, **values: Any) -> Markup:
    """A text that has HTML in it, such as <b>; its values are escaped."""
    return Markup(text_of(key, language, values.get("count"))).format(**values)


@functools.cache
def _templates(folder: Path) -> Environment:
    templates = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals |= {
        "say": say,
        "say_html": say_html,
        "percent": percent,
        "label_title": label_title,
        "current_language": current_language,
    }
    return templates
