"""Where in the encoder the vector is read that stands for a whole photo."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class Pool(enum.StrEnum):
    """How a vector is made of the tokens of a photo, as the files of a model name it."""

    CLS = "cls"
    PATCH_MEAN = "patch_mean"


@dataclass(frozen=True)
class Readout:
    """After ``layer`` blocks (1 or more), before any final norm; pool: the [CLS] token, or the mean of the
    patch tokens.
    """

    layer: int
    pool: Pool = Pool.CLS

    def of(self, tokens: Tensor) -> Tensor:
        """The vector of each photo, float32 (B, D), from all its tokens after that block, (B, 1 + N, D)."""
        return (tokens[:, 0] if self.pool is Pool.CLS else tokens[:, 1:].mean(dim=1)).float()

    @property
    def needs_all_tokens(self) -> bool:
        """Whether the patch tokens after that block are needed too."""
        return self.pool is not Pool.CLS


# How far up the encoder photos are compared. `benchmarks/abstention.py --layers` measures every layer.
DEPTH = 0.75


def readout_of(blocks: int) -> Readout:
    """Where photos are compared with those a model learned from: after three quarters of its blocks (9 of
    12).

    The mean of the patch tokens there tells other plants from leaves that another camera took better than the
    [CLS] token, which fine-tuning squeezes onto the directions of the classes (docs/recipe.md).
    """
    return Readout(max(1, round(DEPTH * blocks)), Pool.PATCH_MEAN)
