"""Maps of where the model looks, as arrays over the grid of patches.

One forward gives the attention of all layers and heads (:func:`attend`); every map of that photo
is then a selection out of it (:func:`select`), without another forward.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vit_demo.common.errors import UserError
from vit_demo.explain.attribution.methods import known_names
from vit_demo.explain.attribution.rollout import attention_rollout
from vit_demo.explain.internals.attention import capture_attention, resolve_index
from vit_demo.explain.patches import PatchGrid
from vit_demo.explain.protocols import Classifier, TokenAttention

if TYPE_CHECKING:
    from transformers import PreTrainedModel

METHODS = ("attention", "rollout")

_CLS = 0  # place of the [CLS] token in the sequence; patch i is token i + 1


@dataclass(frozen=True)
class MapRequest:
    """Which map is wanted.

    method: one of METHODS.
    layer: layer whose attention is shown; negative counts from the end. Not used by rollout.
    head: head whose attention is shown, None for the mean of all. Not used by rollout.
    query: patch (0-based, row by row) whose view is shown, None for the [CLS] token's.
    """

    method: str = "rollout"
    layer: int = -1
    head: int | None = None
    query: int | None = None


@dataclass(frozen=True)
class Explanation:
    """One map and what it was made from.

    map: (rows, columns) float32, attention paid to each patch; not normalised again.
    cls_share: attention paid to the [CLS] token, so that ``map.sum() + cls_share`` is 1.
    layers, heads: how many the model has.
    """

    map: np.ndarray
    cls_share: float
    grid: PatchGrid
    request: MapRequest
    layers: int
    heads: int


def attend(classifier: Classifier, photo: Image.Image) -> TokenAttention:
    """The attention of all layers and heads for one photo, from one forward."""
    return next(_attend_each(classifier, classifier.preprocess([photo])))


def select(attention: TokenAttention, request: MapRequest = MapRequest()) -> Explanation:
    """One map out of the attention of a photo; a bad request raises UserError."""
    token = _CLS if request.query is None else attention.grid.check(request.query) + 1
    row = _row(attention, request, token)
    return Explanation(
        map=_on_grid(row, attention.grid),
        cls_share=float(row[_CLS]),
        grid=attention.grid,
        request=request,
        layers=attention.layers,
        heads=attention.heads,
    )


def head_maps(attention: TokenAttention, layer: int) -> np.ndarray:
    """Attention from [CLS] to the patches for each head of ``layer``, (heads, rows, columns)."""
    rows = attention.weights[resolve_index("layer", layer, attention.layers), :, _CLS]
    return _on_grid(rows, attention.grid)


def explain(classifier: Classifier, photo: Image.Image, request: MapRequest = MapRequest()) -> Explanation:
    """The map that ``request`` asks for, of one photo."""
    return select(attend(classifier, photo), request)


def explain_batch(
    classifier: Classifier, pixel_values: Tensor, request: MapRequest = MapRequest()
) -> list[Explanation]:
    """The same map for each photo of a preprocessed batch (B, 3, H, W), from one forward."""
    return [select(attention, request) for attention in _attend_each(classifier, pixel_values)]


def all_heads(classifier: Classifier, photo: Image.Image, layer: int) -> np.ndarray:
    """Attention from [CLS] to the patches for each head of ``layer``, (heads, rows, columns)."""
    return head_maps(attend(classifier, photo), layer)


def save_npz(path: str | PathLike[str], explanation: Explanation) -> None:
    """Write the map with its settings to exactly ``path``; readable without pickle.

    Arrays: ``map`` (rows, columns), ``cls_share``, ``method``, ``layer``, ``head``, ``query``,
    ``patch_size`` and ``image_size`` (height, width), both in pixels. A -1 stands for all layers,
    for all heads, and for the [CLS] token as query.
    """
    request, grid = explanation.request, explanation.grid
    layer, head = -1, -1
    if request.method == "attention":
        layer = resolve_index("layer", request.layer, explanation.layers)
        head = -1 if request.head is None else request.head
    # An open file, because a bare name without .npz would get the ending appended.
    with Path(path).open("wb") as file:
        np.savez_compressed(
            file,
            map=explanation.map,
            cls_share=np.float32(explanation.cls_share),
            method=request.method,
            layer=layer,
            head=head,
            query=-1 if request.query is None else request.query,
            patch_size=grid.patch_size,
            image_size=(grid.image_height, grid.image_width),
        )


def _attend_each(classifier: Classifier, pixel_values: Tensor) -> Iterator[TokenAttention]:
    """Run one forward, then hand out photo by photo, so that only one is copied at a time."""
    channels, height, width = pixel_values.shape[1:]
    grid = PatchGrid(height, width, classifier.patch_size, channels)
    attentions = _forward(classifier.model, pixel_values)
    for photo in range(pixel_values.shape[0]):
        weights = torch.stack([layer[photo] for layer in attentions])
        yield TokenAttention(weights.cpu().numpy(), grid)


def _forward(model: PreTrainedModel, pixel_values: Tensor) -> tuple[Tensor, ...]:
    """Attention of each layer, (B, heads, T, T), from a float32 forward without gradients."""
    size = model.config.image_size
    trained_size = (size, size) if isinstance(size, int) else tuple(size)
    other_size = tuple(pixel_values.shape[-2:]) != trained_size
    no_autocast = torch.autocast(pixel_values.device.type, enabled=False)
    with torch.no_grad(), no_autocast, capture_attention(model) as recorder:
        model(pixel_values=pixel_values.float(), interpolate_pos_encoding=other_size)
    return recorder.attentions


def _row(attention: TokenAttention, request: MapRequest, token: int) -> np.ndarray:
    """What ``token`` attends to, (T,), by the method of the request."""
    if request.method == "rollout":
        one_photo_batches = torch.from_numpy(attention.weights).unsqueeze(1)
        return attention_rollout(one_photo_batches)[0, token].numpy()
    if request.method == "attention":
        heads = attention.weights[resolve_index("layer", request.layer, attention.layers)]
        row: np.ndarray = (
            heads[:, token].mean(axis=0)
            if request.head is None
            else heads[_checked_head(request.head, attention.heads), token]
        )
        return row
    raise UserError("error.explain.method", method=request.method, names=known_names(METHODS))


def _checked_head(head: int, heads: int) -> int:
    """``head`` itself where the model has it; -1 is refused, as it could be meant as "all"."""
    if head < 0:
        raise UserError("error.explain.no_head", index=head, last=heads - 1)
    return resolve_index("head", head, heads)


def _on_grid(rows: np.ndarray, grid: PatchGrid) -> np.ndarray:
    """Attention rows (..., T) without their [CLS] column, as (..., rows, columns)."""
    patches = rows[..., _CLS + 1 :]
    # A copy, so that a kept map does not keep the attention of all layers in memory.
    return patches.reshape(*rows.shape[:-1], grid.rows, grid.columns).copy()
