"""Small pieces that several tabs share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData
from markupsafe import Markup, escape

from vit_demo.common.errors import UserError
from vit_demo.common.words import percent, say
from vit_demo.ui.shared.html import render


class OnePhoto(ImageData):
    """The file of a photo. A list, which a program may send and the stock class answers with a traceback, is
    refused with a sentence.
    """

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> OnePhoto:
        if isinstance(obj, list):
            raise gr.Error(say("error.page.one_photo"), print_exception=False)
        return super().model_validate(obj, **options)


class PhotoInput(gr.Image):
    """An image input that hands over the uploaded file untouched.

    The stock component decodes the file before our own checks and shows its raw exception;
    here the path alone arrives, and ``diagnose.photos.open_photo`` decides.
    """

    # The page draws it as the stock component. It has no __init__ of its own, since gradio reads
    # the properties to send from the signature of that method.
    is_template = True
    data_model = OnePhoto

    def preprocess(self, payload: Any) -> str | None:
        return None if payload is None else payload.path


def photo_input(value: str | None = None, **options: Any) -> PhotoInput:
    """A photo by drop, choice, paste or camera."""
    return PhotoInput(
        value,
        type="filepath",
        image_mode=None,
        sources=["upload", "webcam", "clipboard"],
        buttons=["fullscreen"],
        **options,
    )


def photo_files(**options: Any) -> PhotoFiles:
    """Photos by drop, choice or, on a phone, camera."""
    return PhotoFiles(
        file_count="multiple", file_types=["image", ".heic", ".heif"], type="filepath", **options
    )


class PhotoFiles(gr.File):
    """Several photo files, untouched: our own checks say what is no photo, one by one."""

    # As in PhotoInput.
    is_template = True

    def preprocess(self, payload: Any) -> list[str] | None:
        return None if payload is None else [file.path for file in payload.root]


class Choice(gr.Dropdown):
    """A dropdown whose value the callback judges, and not the choices the server last sent.

    Those are other ones after a restart of the server, in a second browser, or when a run was deleted;
    the stock component then answers with a raw exception, each second in a live view.
    """

    # As in PhotoInput.
    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return payload


def polite(callback: Callable) -> Callable:
    """Show a UserError of a callback as a message on the page, in the language of whoever is answered,
    instead of a traceback.
    """

    @functools.wraps(callback)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        try:
            return callback(*arguments, **named)
        except UserError as error:
            raise told(error) from None

    return wrapped


def told(error: UserError) -> gr.Error:
    """The message on the page, in the current language."""
    return gr.Error(str(escape(str(error))), title=say("page.failed"), duration=12, print_exception=False)


def bars(shares: dict[str, float], written: Callable[[float], str] | None = None) -> Markup:
    """Shares of 1 as labelled horizontal bars, in HTML. written: how a share is written, by default as
    percent() does.
    """
    return render("shared/pieces#bars", shares=shares, written=written or percent)


# A table with more rows gets a height of its own.
MANY_ROWS = 15


def table(header: Sequence[str], rows: Sequence[Sequence[Any]], label: str = "") -> Markup:
    """A plain HTML table; the first column names the row. label: what it is called; with many rows it then
    has a fixed height and scrolls.
    """
    return render(
        "shared/pieces#table", header=header, rows=rows, label=label if len(rows) > MANY_ROWS else ""
    )
