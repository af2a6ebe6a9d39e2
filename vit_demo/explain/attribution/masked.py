"""Relevance that does not hang on one look: the mean over versions of the photo of which a random half is
covered.

The gradient of a model that is sure says little: nothing much would change its mind. Of half a photo it is
less sure, and which patches it then leans on depends on which it can see. Covering at random and averaging is
the idea of RISE (Petsiuk, Das and Saenko 2018, https://arxiv.org/abs/1806.07421, section 3); averaging a
gradient over changed photos that of SmoothGrad (Smilkov et al. 2017, https://arxiv.org/abs/1706.03825).
"""

from __future__ import annotations

import torch
from torch import Tensor

from vit_demo.explain.attribution.occlusion import cover
from vit_demo.explain.attribution.relevance import relevance_of
from vit_demo.explain.attribution.target import ANSWER, Target
from vit_demo.explain.patches import PatchGrid
from vit_demo.explain.protocols import Classifier

# Each is one random half and the other half: two versions of the photo.
ROUNDS = 2
SEED = 0


def masked_relevance(
    classifier: Classifier,
    pixel_values: Tensor,
    target: Target = ANSWER,
    dtype: torch.dtype = torch.float32,
    rounds: int = ROUNDS,
) -> Tensor:
    """Relevance of each patch for the class as a mean over half-covered versions of the photo, float32 (B,
    N), 0 or more.

    With V_k the patches that version k shows, and r_k the relevance (see relevance.py) of version k for the
    log odds of the class, divided by its sum over all patches::

        map[i] = mean over the versions k with i in V_k of r_k[i]

    Versions come in pairs that show one half each, so that each patch is seen ``rounds`` times. The halves
    are drawn once, the same for every photo. pixel_values: (B, 3, H, W). dtype: of the model's products.
    """
    grid = PatchGrid.of(pixel_values, classifier.patch_size)
    labels = target.labels(classifier.forward_fast(pixel_values))
    shown = halves(grid.num_patches, rounds).to(pixel_values.device)
    versions = torch.stack(
        [cover(photo[None], ~shown, grid) for photo in pixel_values]
    )  # (B, 2 * rounds, 3, H, W)
    row = relevance_of(
        classifier,
        versions.flatten(0, 1),
        lambda logits: target.log_odds(logits, labels.repeat_interleave(len(shown))),
        dtype,
    )[:, 1:]
    row = torch.unflatten(row, 0, (-1, len(shown)))
    shares = row / row.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(row.dtype).tiny)
    return torch.where(shown, shares, 0).sum(dim=1) / rounds


def halves(patches: int, rounds: int, seed: int = SEED) -> Tensor:
    """Random halves of the patches, each followed by the other half: bool (2 * rounds, patches)."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(rounds, patches, generator=generator).argsort(dim=1)
    first = order.argsort(dim=1) < patches // 2
    return torch.stack([first, ~first], dim=1).flatten(0, 1)
