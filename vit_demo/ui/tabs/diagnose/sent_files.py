"""The photos that a program sends. What is no file comes through as a :class:`Misfit`, so that it is refused
in the language that was sent beside it; Gradio itself answers with a traceback, before it knows of a
language.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData, ListFiles
from pydantic import ValidationError

from vit_demo.common.errors import UserError


@dataclass(frozen=True)
class Misfit:
    """What was sent where files belong. key: of the sentence that says what belongs there."""

    key: str


class SentImage(ImageData):
    """A file, or what was sent as it is where it is none."""

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Any:
        try:
            return super().model_validate(obj, **options)
        except ValidationError:
            return obj


class SentList(ListFiles):
    """Files, or what was sent as it is where it is no list of them."""

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Any:
        try:
            return super().model_validate(obj, **options)
        except ValidationError:
            return obj


class SentPhoto(gr.Image):
    """One photo file, untouched."""

    # As in ui.shared.components.PhotoInput.
    is_template = True
    data_model = SentImage

    def preprocess(self, payload: Any) -> Any:
        """The path, a Misfit, or None."""
        if payload is None:
            return None
        if isinstance(payload, ImageData):
            return payload.path
        return Misfit("error.page.one_photo" if isinstance(payload, list) else "error.page.no_file")


class SentPhotos(gr.File):
    """Several photo files, untouched."""

    # As above.
    is_template = True

    def preprocess(self, payload: Any) -> Any:
        """The paths, a Misfit, or None."""
        if payload is None:
            return None
        if isinstance(payload, ListFiles):
            return [file.path for file in payload.root]
        return Misfit("error.page.no_file")


def build() -> tuple[SentPhoto, SentPhotos]:
    """One photo and several, for programs alone."""
    photo = SentPhoto(
        visible=False, label="photo", type="filepath", image_mode=None, sources=["upload"], buttons=[]
    )
    photos = SentPhotos(
        visible=False,
        label="photos",
        file_count="multiple",
        file_types=["image", ".heic", ".heif"],
        type="filepath",
    )
    # Gradio sets it by file_count.
    photos.data_model = SentList
    return photo, photos


def files(photo: str | Misfit | None, photos: list[str] | Misfit | None) -> list[str]:
    """The files of both. Raises UserError for what is none."""
    for sent in (photo, photos):
        if isinstance(sent, Misfit):
            raise UserError(sent.key)
    return [*([photo] if isinstance(photo, str) else []), *(photos if isinstance(photos, list) else [])]
