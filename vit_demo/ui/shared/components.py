"""Small pieces that several tabs share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from html import escape
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData

from vit_demo.common.errors import UserError
from vit_demo.common.words import percent


class OnePhoto(ImageData):
    """The file of a photo. A list, which a program may send and the stock class answers with a traceback, is refused with a sentence."""

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> OnePhoto:
        if isinstance(obj, list):
            raise gr.Error("Several photos go in photos, as a list; photo takes one.", print_exception=False)
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
    return PhotoInput(value, type="filepath", image_mode=None, sources=["upload", "webcam", "clipboard"], buttons=["fullscreen"], **options)


def photo_files(**options: Any) -> PhotoFiles:
    """Photos by drop, choice or, on a phone, camera."""
    return PhotoFiles(file_count="multiple", file_types=["image", ".heic", ".heif"], type="filepath", **options)


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
    """Show a UserError of a callback as a message on the page instead of a traceback."""

    @functools.wraps(callback)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        try:
            return callback(*arguments, **named)
        except UserError as error:
            raise gr.Error(escape(str(error)), title="That did not work", duration=12, print_exception=False) from None

    return wrapped


def bars(shares: dict[str, float], written: Callable[[float], str] | None = None) -> str:
    """Shares of 1 as labelled horizontal bars, in HTML. written: how a share is written, by default as percent() does."""
    written = written or percent
    rows = "".join(
        f'<div class="bar-row"><span class="bar-name">{escape(name)}</span>'
        f'<span class="bar-track"><span class="bar-fill" style="width:{share:.2%}"></span></span>'
        f'<span class="bar-number">{written(share)}</span></div>'
        for name, share in shares.items()
    )
    return f'<div class="bars">{rows}</div>'


def table(header: list[str], rows: list[list[Any]]) -> str:
    """A plain HTML table; the first column names the row."""
    head = "".join(f"<th>{escape(str(name))}</th>" for name in header)
    body = "".join(
        "<tr>" + f"<th>{escape(str(row[0]))}</th>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row[1:]) + "</tr>" for row in rows
    )
    return f'<div class="table-scroll"><table class="facts"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
