"""Layer by layer: what the model would say if it ended earlier, and how much each layer changes the tokens.

The logit lens (nostalgebraist 2020, "interpreting GPT: the logit lens") reads the tokens after each layer
with the model's own last norm and head; for ViTs see Vilas, Schaumloeffel and Roig 2023, "Analyzing Vision
Transformers for Image Classification in Class Embedding Space", https://arxiv.org/abs/2310.18969.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from vit_demo.explain.protocols import Classifier, backbone

_CLS = 0


@dataclass(frozen=True)
class Lens:
    """What [CLS] would say after each layer; the first row is before the first layer, the last is the model's
    answer.

    logits, probabilities: (L + 1, C) float32.
    """

    logits: np.ndarray
    probabilities: np.ndarray

    @property
    def winners(self) -> np.ndarray:
        """The class with the highest probability after each layer, int64 (L + 1,)."""
        winners: np.ndarray = self.logits.argmax(axis=-1)
        return winners

    @property
    def settled(self) -> int:
        """The row from which on the winner is the model's answer and stays it, 0 .. L."""
        others = np.flatnonzero(self.winners != self.winners[-1])
        return int(others[-1]) + 1 if len(others) else 0


@torch.no_grad()
def logit_lens(classifier: Classifier, hidden: np.ndarray, temperature: float = 1.0) -> Lens:
    """The final layer norm and the head on [CLS] after each layer. hidden: (L + 1, T, D), as in a
    ``Trace``. temperature: what the logits are divided by before they become probabilities.
    """
    model = classifier.model
    cls_tokens = torch.from_numpy(hidden[:, _CLS]).to(model.device)
    with torch.autocast(model.device.type, enabled=False):
        logits = model.classifier(backbone(model).layernorm(cls_tokens)).float().cpu()
    return Lens(logits.numpy(), (logits / temperature).softmax(dim=-1).numpy())


def layer_similarity(tokens: np.ndarray) -> np.ndarray:
    """Cosine similarity of a token with itself after another layer, mean of all tokens; -1 to 1, float32 (L +
    1, L + 1).

    tokens: (L + 1, n, D), such as ``hidden[:, 1:]`` for the patches or ``hidden[:, :1]`` for [CLS].
    """
    flat = _unit(tokens).reshape(len(tokens), -1)
    found: np.ndarray = flat @ flat.T / tokens.shape[1]
    return found


def mutual_similarity(patches: np.ndarray) -> np.ndarray:
    """Cosine similarity of two different patches of the photo, mean of all pairs, after each layer; -1 to 1,
    float32 (L + 1,).

    patches: (L + 1, N, D). NaN where there is a single patch and so no pair. Near 1 all patches say the same
    (over-smoothing: Gong et al. 2021, "Vision Transformers with Patch Diversification",
    https://arxiv.org/abs/2104.12753).
    """
    count = patches.shape[1]
    if count == 1:
        return np.full(len(patches), np.nan, np.float32)
    # The squared length of the sum of unit vectors holds each pair twice, and each vector with itself.
    total = (_unit(patches).sum(axis=1, dtype=np.float64) ** 2).sum(axis=-1)
    mean: np.ndarray = ((total - count) / (count * (count - 1))).astype(np.float32)
    return mean


def _unit(tokens: np.ndarray) -> np.ndarray:
    """Tokens (..., D) of length 1; one of length 0 stays as it is."""
    lengths = np.linalg.norm(tokens, axis=-1, keepdims=True)
    return tokens / np.where(lengths > 0, lengths, 1)
