"""Grad-CAM on the tokens of the last block (Selvaraju et al. 2017).

"Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017,
https://arxiv.org/abs/1610.02391. The feature map is that of the patches after the first layer norm of the
last block, the last place where patches reach the head: after the block only [CLS] does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vit_demo.explain.attribution.relevance import embed
from vit_demo.explain.attribution.target import ANSWER, Target
from vit_demo.explain.protocols import Classifier, backbone, blocks_of
from vit_demo.model.encoder import block_after_norm, encoder_block


def gradcam(
    classifier: Classifier, pixel_values: Tensor, target: Target = ANSWER, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Grad-CAM of each patch for the class, float32 (B, N), 0 or more.

    With F (B, N, D) the feature map and y the class's logit: alpha = mean over patches of dy/dF (eq. 1),
    and the map is (F alpha)+ (eq. 2). pixel_values: (B, 3, H, W). dtype: of the products.
    """
    model = classifier.model
    *blocks, last = blocks_of(model)
    with torch.autocast(pixel_values.device.type, enabled=False):
        with torch.no_grad():
            tokens = embed(classifier, pixel_values)
            for block in blocks:
                tokens = encoder_block(block, tokens, dtype)
            normed = last.layernorm_before(tokens).to(dtype)
        with torch.enable_grad():
            normed.requires_grad_()
            cls_token = block_after_norm(last, tokens, normed, cls_only=True)[:, 0]
            logits = model.classifier(backbone(model).layernorm(cls_token))
            (gradient,) = torch.autograd.grad(target.score(logits).sum(), normed)
    features, gradient = normed.detach()[:, 1:].float(), gradient[:, 1:].float()
    found: Tensor = (features @ gradient.mean(dim=1)[..., None])[..., 0].clamp(min=0)
    return found
