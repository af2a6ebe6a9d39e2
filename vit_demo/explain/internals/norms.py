"""How long the tokens are, and which patches are too long to be about themselves (Darcet et al. 2024).

"Vision Transformers Need Registers", ICLR 2024, https://arxiv.org/abs/2309.16588. Trained ViTs turn a few
patches with little to say into stores for what the whole photo shows. Their norms stand far above the
others, and a map that lights up there does not speak of what lies in the patch.
"""

from __future__ import annotations

import numpy as np

# The paper cuts at 150 where its usual patches lie near 50. A factor alone, since the deviation of very even
# norms is so small that a patch of 1.5 times the median is far outside it: seen in the first layers of any
# ViT.
TIMES_MEDIAN = 3.0
# A deviation too, since norms that spread widely have patches of three times the median among the usual ones.
TIMES_DEVIATION = 10.0
# Of normally distributed numbers the median absolute deviation times this is the standard deviation.
_MAD_TO_DEVIATION = 1.4826


def token_norms(hidden: np.ndarray) -> np.ndarray:
    """L2 norm of each token after each layer, (..., T) float32, without unit. hidden: (..., T, D)."""
    norms: np.ndarray = np.linalg.norm(hidden.astype(np.float32, copy=False), axis=-1)
    return norms


def outliers(norms: np.ndarray) -> np.ndarray:
    """Which norms stand far above the others of their row, bool (..., N). norms: of patches, (..., N),
    without [CLS].

    Those above TIMES_MEDIAN times the median and above the median by TIMES_DEVIATION robust standard
    deviations (1.4826 times the median absolute deviation from the median).
    """
    median = np.median(norms, axis=-1, keepdims=True)
    deviation = _MAD_TO_DEVIATION * np.median(np.abs(norms - median), axis=-1, keepdims=True)
    far: np.ndarray = (norms > TIMES_MEDIAN * median) & (norms - median > TIMES_DEVIATION * deviation)
    return far


def artefact_patches(hidden: np.ndarray) -> np.ndarray:
    """Patches whose norm is an outlier after one layer or more, as indices in rising order, int64 (K,).

    hidden: (L + 1, T, D), as in a ``Trace``. What enters the first layer does not count: a patch that is
    long there has not been through the model yet.
    """
    return np.flatnonzero(outliers(token_norms(hidden[1:, 1:])).any(axis=0))
