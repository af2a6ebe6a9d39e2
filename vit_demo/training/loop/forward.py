"""The forward of a training step: transformers' own on a GPU, and on a CPU the same sums with less traffic
through the memory.

On a CPU a step is bound by the memory as much as by its products: ``vit_demo.model.encoder`` computes the
same with less of it, and patches that a step leaves out are never embedded.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear

from vit_demo.model.classifier import LeafClassifier, autocast, bf16_is_faster
from vit_demo.model.encoder import encode

# Of mallopt: from which size on each block is a mapping of its own, and how much free memory at the top is
# given back.
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1

# Photos (B, 3, H, W) of values 0 to 255, and of which of their patches only (B, K) or None, to float32 logits
# (B, C).
Forward = Callable[[Tensor, Tensor | None], Tensor]


def forward_of(classifier: LeafClassifier, precision: str) -> Forward:
    """The forward of this model on its device, in training and in eval mode. precision: as in
    TrainingConfig.
    """
    device = classifier.device
    if device.type == "cpu":
        keep_memory()
        lower = bf16_is_faster("cpu") if precision == "auto" else precision == "bf16"
        dtype = torch.bfloat16 if lower else torch.float32

        def on_cpu(photos: Tensor, kept: Tensor | None = None) -> Tensor:
            return cpu_forward(classifier, photos, kept, dtype)

        return on_cpu

    def forward(photos: Tensor, kept: Tensor | None = None) -> Tensor:
        with _precision(precision, device), _patches_left_out(classifier, kept):
            return classifier.forward(classifier.normalise(photos)).float()

    return forward


def cpu_forward(
    classifier: LeafClassifier, photos: Tensor, kept: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """Float32 logits (B, C) of photos (B, 3, H, W) of values 0 to 255; keeps gradients.

    kept: the numbers of the patches that become tokens, (B, K), or None for all. dtype: of the products,
    bfloat16 or float32.
    """
    vit = classifier.model.vit
    if kept is None or classifier.feature_channels:
        pixel_values = classifier.normalise(photos)
        with (
            torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16),
            _patches_left_out(classifier, kept),
        ):
            tokens = vit.embeddings(
                pixel_values, interpolate_pos_encoding=classifier.needs_interpolation(pixel_values)
            ).float()
    else:
        tokens = _embed_some(classifier, photos, kept, dtype)
    logits: Tensor = classifier.model.classifier(encode(vit, tokens, dtype))
    return logits


def _embed_some(classifier: LeafClassifier, photos: Tensor, kept: Tensor, dtype: torch.dtype) -> Tensor:
    """[CLS] and the embedded patches ``kept`` (B, K), float32 (B, 1 + K, D); the pixels of the others are not
    even normalised.
    """
    embeddings, size = classifier.model.vit.embeddings, classifier.patch_size
    rows, columns = (side // size for side in photos.shape[-2:])
    patches = torch.unflatten(torch.unflatten(photos, 3, (columns, size)), 2, (rows, size))
    patches = patches.permute(0, 2, 4, 1, 3, 5)
    chosen = patches[torch.arange(len(photos))[:, None], kept // columns, kept % columns]
    pixels = classifier.normalise(chosen.flatten(0, 1)).flatten(1)
    projection = (
        embeddings.patch_embeddings.projection
    )  # a convolution whose stride is its kernel: a linear map of each patch
    embedded = linear(
        pixels.to(dtype),
        projection.weight.flatten(1).to(dtype),
        None if projection.bias is None else projection.bias.to(dtype),
    )
    positions: Tensor = embeddings.position_embeddings
    if classifier.needs_interpolation(photos):
        positions = embeddings.interpolate_pos_encoding(
            positions.new_empty(1, rows * columns + 1, positions.shape[-1]), *photos.shape[-2:]
        )
    cls_token = (embeddings.cls_token + positions[:, :1]).expand(len(photos), -1, -1)
    # embedding and not positions[0, 1:][kept]: the gradients of that one are added up in the order in which
    # the threads come.
    placed = torch.unflatten(embedded, 0, kept.shape) + embedding(kept, positions[0, 1:])
    tokens: Tensor = embeddings.dropout(torch.cat([cls_token, placed], dim=1))
    return tokens


@contextlib.contextmanager
def _patches_left_out(classifier: LeafClassifier, kept: Tensor | None) -> Iterator[None]:
    """Inside, the model's embeddings go on to the encoder with [CLS] and the patches ``kept`` (B, K) alone;
    None: all.
    """
    if kept is None:
        yield
        return

    def keep(_module: nn.Module, _inputs: tuple[Tensor, ...], tokens: Tensor) -> Tensor:
        places = (kept.to(tokens.device) + 1).unsqueeze(-1).expand(-1, -1, tokens.shape[-1])
        return torch.cat([tokens[:, :1], tokens.gather(1, places)], dim=1)

    handle = classifier.model.vit.embeddings.register_forward_hook(keep)
    try:
        yield
    finally:
        handle.remove()


def keep_memory() -> None:
    """Let this process keep the memory of a step for the next one: to get it anew costs about a twentieth of
    a step.

    Large blocks are otherwise given back to the system after each use, and come back as pages to be
    cleared. Only the GNU C library has this switch; elsewhere nothing happens.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(_M_MMAP_THRESHOLD, 2**30)
        library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _precision(precision: str, device: torch.device) -> torch.autocast | contextlib.nullcontext[None]:
    if precision == "auto":
        return autocast(device)
    return (
        torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()
    )
