"""What a map of a prediction explains: one number made from the logits of a photo."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vit_demo.explain.internals.attention import resolve_index


@dataclass(frozen=True)
class Target:
    """A class, or a class against another.

    label: index of the class, None for the one that the model says. against: index of another class, for
    what speaks for ``label`` and not for this one; None for the class alone.
    """

    label: int | None = None
    against: int | None = None

    def labels(self, logits: Tensor) -> Tensor:
        """The class that is explained in each photo, int64 (B,). logits: (B, C). Raises UserError for one
        that does not exist.
        """
        if self.label is None:
            return logits.argmax(dim=-1)
        return torch.full(
            (len(logits),), resolve_index("class", self.label, logits.shape[-1]), device=logits.device
        )

    def score(self, logits: Tensor) -> Tensor:
        """The logit of the class, or its lead over the other, (B,); keeps gradients."""
        found = _of(logits, self.labels(logits.detach()))
        if self.against is None:
            return found
        return found - logits[:, resolve_index("class", self.against, logits.shape[-1])]

    def log_odds(self, logits: Tensor, labels: Tensor | None = None) -> Tensor:
        """log(p / (1 - p)) of the class, or of it against the other, (B,): unlike p it does not stand still
        near 0 and 1.

        The logit less the log of the sum of the others' exponentials. labels: the class of each photo, int64
        (B,), where it is known; None for that of :meth:`labels`.
        """
        labels = self.labels(logits.detach()) if labels is None else labels
        found = _of(logits, labels)
        if self.against is not None:
            return found - logits[:, resolve_index("class", self.against, logits.shape[-1])]
        return found - logits.scatter(1, labels[:, None], -torch.inf).logsumexp(dim=-1)

    def fixed(self, logits: Tensor) -> Target:
        """The same with the class of one photo, whose logits (1, C) are given, named: for the same photo when
        it is changed.
        """
        return Target(int(self.labels(logits)), self.against)


# The class that the model says, alone.
ANSWER = Target()


def _of(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.gather(1, labels[:, None])[:, 0]
