"""One door to all maps of a prediction: which patches speak for a class, by any of the methods, for a batch of photos."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vit_demo.encoder import encode
from vit_demo.errors import UserError
from vit_demo.explain.gradcam import gradcam
from vit_demo.explain.maps import Classifier
from vit_demo.explain.masked import masked_relevance
from vit_demo.explain.occlusion import occlusion
from vit_demo.explain.patches import PatchGrid
from vit_demo.explain.relevance import embed, relevance
from vit_demo.explain.rollout import cls_rollout
from vit_demo.explain.target import ANSWER, Target

# The first two say where [CLS] looks, whatever the class; the others what speaks for a class.
ATTENTION_METHODS = ("attention", "rollout")
CLASS_METHODS = ("relevance", "masked-relevance", "gradcam", "occlusion")
METHODS = ATTENTION_METHODS + CLASS_METHODS
# The most faithful that answers at once, as benchmarks/faithfulness.py measures it.
DEFAULT = "masked-relevance"


def saliency(
    classifier: Classifier, pixel_values: Tensor, method: str, target: Target = ANSWER, dtype: torch.dtype = torch.float32
) -> Tensor:
    """A map of each photo, float32 (B, rows, columns) on the CPU; larger is more, by the scale of the method.

    pixel_values: (B, 3, H, W). method: one of METHODS; "attention" is that of the last layer, as a mean over
    its heads. dtype: of the model's products, float32 or bfloat16. Raises UserError for another method or class.
    """
    if method not in METHODS:
        raise UserError(f"Method {method!r} is not known: choose {', '.join(METHODS[:-1])} or {METHODS[-1]}.")
    grid = PatchGrid(*pixel_values.shape[-2:], classifier.patch_size)
    values = _METHODS[method](classifier, pixel_values, target, dtype)
    return values.reshape(-1, grid.rows, grid.columns).float().cpu()


def attentions(classifier: Classifier, pixel_values: Tensor, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """The attention of each layer in ``dtype``, (B, heads, T, T); of the last layer [CLS] alone, (B, heads, 1, T)."""
    found: list[Tensor] = []
    with torch.no_grad(), torch.autocast(pixel_values.device.type, enabled=False):
        encode(classifier.model.base_model, embed(classifier, pixel_values), dtype, found.append)
    return found


def _attention(classifier: Classifier, pixel_values: Tensor, _target: Target, dtype: torch.dtype) -> Tensor:
    return attentions(classifier, pixel_values, dtype)[-1][:, :, 0, 1:].float().mean(dim=1)


def _rollout(classifier: Classifier, pixel_values: Tensor, _target: Target, dtype: torch.dtype) -> Tensor:
    return cls_rollout(attentions(classifier, pixel_values, dtype))[:, 1:]


def _relevance(classifier: Classifier, pixel_values: Tensor, target: Target, dtype: torch.dtype) -> Tensor:
    return relevance(classifier, pixel_values, target, dtype)[:, 1:]


def _occlusion(classifier: Classifier, pixel_values: Tensor, target: Target, _dtype: torch.dtype) -> Tensor:
    return torch.stack([occlusion(classifier, photo[None], target) for photo in pixel_values])


_METHODS: dict[str, Callable[[Classifier, Tensor, Target, torch.dtype], Tensor]] = {
    "attention": _attention, "rollout": _rollout, "relevance": _relevance, "masked-relevance": masked_relevance,
    "gradcam": gradcam, "occlusion": _occlusion,
}
