"""HTML of the page, from the templates of ui/templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from markupsafe import Markup

from vit_demo.common.html import render_from, say_html

__all__ = ["TEMPLATES", "render", "say_html"]
TEMPLATES = Path(__file__).resolve().parents[1] / "templates"


def render(name: str, /, **values: Any) -> Markup:
    """A template filled in, see :func:`render_from`."""
    return render_from(TEMPLATES, name, **values)
