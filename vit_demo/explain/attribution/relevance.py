"""Which patches speak for a class, by attention weighted with its gradient (Chefer, Gur and Wolf 2021).

"Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder Transformers",
ICCV 2021, https://arxiv.org/abs/2103.15679, section 3, for a model that has self-attention alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vit_demo.explain.attribution.target import ANSWER, Target
from vit_demo.explain.protocols import Classifier, backbone
from vit_demo.model.encoder import encode

# What is differentiated, from the logits (B, C) to (B,).
Score = Callable[[Tensor], Tensor]


def relevance(
    classifier: Classifier, pixel_values: Tensor, target: Target = ANSWER, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Relevance of each token for the class, as row 0 ([CLS]) of the paper's R: float32 (B, T), 0 or more.

    With A_l the attention of layer l, gA_l the gradient of the class's logit by it, E the mean over heads and
    + the positive part::

        Abar_l = E((gA_l * A_l)+)          the paper's eq. 5
        R_0 = I,  R_l = R_(l-1) + Abar_l R_(l-1)    eq. 6

    Only row 0 of the last R is asked for, so it is multiplied through from the last layer to the first.
    pixel_values: (B, 3, H, W). dtype: of the model's products, float32 or bfloat16.
    """
    return relevance_of(classifier, pixel_values, target.score, dtype)


def relevance_of(
    classifier: Classifier, pixel_values: Tensor, score: Score, dtype: torch.dtype = torch.float32
) -> Tensor:
    """The same for any score of the logits in the place of the class's logit."""
    attentions, gradients = attention_gradients(classifier, pixel_values, score, dtype)
    row: Tensor | None = None
    for attention, gradient in zip(reversed(attentions), reversed(gradients)):
        # Attention is never below 0, so that the positive part of the product is the product with the
        # positive part.
        weighted = gradient.clamp_(min=0).mul_(attention).mean(dim=1, dtype=torch.float32)
        if row is None:  # of the last layer only [CLS] has gone on, and its row of R_0 is that of I
            row = weighted[:, 0]
            row[:, 0] += 1
        else:
            row = row + (row[:, None] @ weighted)[:, 0]
    assert row is not None  # a model has a layer or more
    return row


def attention_gradients(
    classifier: Classifier, pixel_values: Tensor, score: Score, dtype: torch.dtype = torch.float32
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The attention of each layer and the gradient of the photos' scores by it, both (B, heads, T, T) in
    ``dtype``.

    Of the last layer both are of [CLS] alone, (B, heads, 1, T): the other rows of the gradient are 0.
    """
    model, device = classifier.model, pixel_values.device.type
    attentions: list[Tensor] = []
    with torch.autocast(device, enabled=False):
        with torch.no_grad():
            tokens = embed(classifier, pixel_values)
        with torch.enable_grad():
            # The leaf of the graph: the gradients of weights are not asked for and not computed.
            logits = model.classifier(
                encode(backbone(model), tokens.requires_grad_(), dtype, attentions.append)
            )
            gradients = torch.autograd.grad(score(logits).sum(), attentions)
    return tuple(attention.detach() for attention in attentions), gradients


def embed(classifier: Classifier, pixel_values: Tensor) -> Tensor:
    """The tokens that enter the first block, (B, T, D)."""
    other_size = classifier.needs_interpolation(pixel_values)
    embeddings = backbone(classifier.model).embeddings
    tokens: Tensor = embeddings(pixel_values.float(), interpolate_pos_encoding=other_size)
    return tokens


def patch_relevance(
    classifier: Classifier, pixel_values: Tensor, target: Target, dtype: torch.dtype
) -> Tensor:
    """:func:`relevance` of the patches alone, (B, N)."""
    return relevance(classifier, pixel_values, target, dtype)[:, 1:]
