"""One door to all maps of a prediction: which patches speak for a class, by any of the methods, for a batch
of photos.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vit_demo.common.errors import UserError
from vit_demo.common.threads import map_threads
from vit_demo.explain.attribution.methods import MASKED, METHODS, known_names
from vit_demo.explain.attribution.relevance import embed
from vit_demo.explain.attribution.rollout import cls_rollout
from vit_demo.explain.attribution.target import ANSWER, Target
from vit_demo.explain.patches import PatchGrid
from vit_demo.explain.protocols import Classifier, backbone
from vit_demo.model.classifier import bf16_is_faster
from vit_demo.model.cpu_engine import FEW, encoder_of, is_faster
from vit_demo.model.encoder import encode

# More photos at once are no faster on a CPU. Memory in bytes for the attention of those that are explained at
# once.
MOST_PHOTOS, MEMORY = 8, 2**29


def saliency(
    classifier: Classifier,
    pixel_values: Tensor,
    method: str,
    target: Target = ANSWER,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """A map of each photo, float32 (B, rows, columns) on the CPU; larger is more, by the scale of the method.

    pixel_values: (B, 3, H, W). method: one of METHODS; "attention" is that of the last layer, as a mean over
    its heads. dtype: of the model's products, float32 or bfloat16; None for that of :func:`usual_type`.
    Raises UserError for another method or class.
    """
    if method not in METHODS:
        raise UserError("error.explain.method", method=method, names=known_names())
    known = METHODS[method]
    compute = known.function()
    if dtype is None:
        dtype = usual_type(method, len(pixel_values), pixel_values.device.type)
    grid = PatchGrid.of(pixel_values, classifier.patch_size)
    size = max(1, photos_at_once(classifier, grid) // known.versions)

    def explained(part: Tensor) -> Tensor:
        return compute(classifier, part, target, dtype).reshape(-1, grid.rows, grid.columns).float().cpu()

    threads = torch.get_num_threads()
    if pixel_values.device.type == "cpu" and known.one_pass and threads > 1 and len(pixel_values) > 1:
        # As many photos as at once otherwise, but a few in each thread.
        few = min(FEW, max(1, size // threads), -(-len(pixel_values) // threads))
        return torch.cat(list(map_threads(explained, torch.split(pixel_values, few), ahead=threads)))
    return torch.cat([explained(part) for part in torch.split(pixel_values, size)])


def usual_type(method: str, photos: int, device: str) -> torch.dtype:
    """The type of the products for so many photos at once, where none is asked for.

    bfloat16 where the hardware has it for several photos, which someone waits for, and for the masked
    relevance: a mean over random halves is no more exact than that. Of one photo the map is as exact as the
    attention shown beside it.
    """
    return torch.bfloat16 if (method == MASKED or photos > 1) and bf16_is_faster(device) else torch.float32


def photos_at_once(classifier: Classifier, grid: PatchGrid) -> int:
    """How many photos are explained in one go, so that the attention of all layers and its gradients fit in
    memory.
    """
    config = classifier.model.config
    # Of each probability there are its value, what softmax keeps of it for the backward, and its gradient, in
    # float32.
    one = config.num_hidden_layers * config.num_attention_heads * grid.num_tokens**2 * 3 * 4
    return int(min(MOST_PHOTOS, max(1, MEMORY // one)))


def attentions(
    classifier: Classifier,
    pixel_values: Tensor,
    dtype: torch.dtype = torch.float32,
    kept: Callable[[Tensor], Tensor] = lambda attention: attention,
) -> list[Tensor]:
    """The attention of each layer in ``dtype``, (B, heads, T, T); of the last layer [CLS] alone, (B, heads,
    1, T). kept: what is made of each at once.
    """
    found: list[Tensor] = []
    model = classifier.model
    with torch.no_grad(), torch.autocast(pixel_values.device.type, enabled=False):
        tokens = embed(classifier, pixel_values)
        if dtype == torch.bfloat16 and is_faster(model):
            encoder_of(model)(tokens, lambda attention: found.append(kept(attention)))
        else:
            encode(backbone(model), tokens, dtype, lambda attention: found.append(kept(attention)))
    return found


def last_attention(
    classifier: Classifier, pixel_values: Tensor, _target: Target, dtype: torch.dtype
) -> Tensor:
    """Attention of [CLS] to each patch in the last layer, mean of the heads, (B, N)."""
    return attentions(classifier, pixel_values, dtype)[-1][:, :, 0, 1:].float().mean(dim=1)


def rollout(classifier: Classifier, pixel_values: Tensor, _target: Target, dtype: torch.dtype) -> Tensor:
    """Attention rollout of [CLS] to each patch, (B, N)."""
    # Only their mean over the heads is asked for: taken while they are at hand, it is all that has to be
    # kept.
    means = attentions(
        classifier,
        pixel_values,
        dtype,
        lambda attention: attention.sum(dim=1, keepdim=True, dtype=torch.float32) / attention.shape[1],
    )
    return cls_rollout(means)[:, 1:]
