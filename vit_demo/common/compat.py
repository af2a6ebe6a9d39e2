"""The private functions of other libraries that this program uses: each with the reason, and what happens
where a version lacks it.

Everything else uses what its library documents. tests/common/test_compat.py tells which of these broke.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

    After = tuple[str, list[Any], str]

# What oneDNN computes after a product, as ``torch.ops.mkldnn._linear_pointwise`` takes it.
NOTHING_AFTER: After = ("none", [], "")
GELU_AFTER: After = ("gelu", [], "none")


@functools.cache
def onednn_fuses() -> bool:
    """Whether this torch has what its own compiler calls for a product with an activation after it, in
    bfloat16, and it gives what it should.

    Reason: computed in passing, GELU costs no second way through the memory. Without it, product and
    activation are computed one by one.
    """
    import torch
    from torch.nn.functional import gelu

    ones, weight = torch.ones(2, 3, 32, dtype=torch.bfloat16), torch.eye(32, dtype=torch.bfloat16)
    try:
        weights = (weight, laid_out(weight))
        found = [
            linear_then(ones, one, None, after) for one in weights for after in (NOTHING_AFTER, GELU_AFTER)
        ]
    except (
        AttributeError,
        RuntimeError,
        TypeError,
    ):  # built without oneDNN, or another torch, whose function is another
        return False
    return all(
        torch.equal(plain, ones) and torch.allclose(active, gelu(ones), atol=0.01)
        for plain, active in (found[:2], found[2:])
    )


def linear_then(values: Tensor, weight: Tensor, bias: Tensor | None, after: After) -> Tensor:
    """A linear layer and what comes after it as one call of oneDNN; only where :func:`onednn_fuses`."""
    import torch

    found: Tensor = torch.ops.mkldnn._linear_pointwise(values, weight, bias, *after)
    return found


def laid_out(weight: Tensor) -> Tensor:
    """A weight in the order in which oneDNN reads it, for :func:`linear_then` alone; only where
    :func:`onednn_fuses`.
    """
    import torch

    found: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight)
    return found


def lerp_all(tensors: list[Tensor], ends: list[Tensor], weight: float) -> None:
    """Move each tensor towards its end by this share, in place. Reason: one call for all weights; without it,
    one call each.
    """
    import torch

    together = getattr(torch, "_foreach_lerp_", None)
    if together is not None:
        together(tensors, ends, weight)
        return
    for tensor, end in zip(tensors, ends):
        tensor.lerp_(end, weight)


def dataset_stamp(data: Dataset) -> str:
    """What changes with the rows of a data set. Reason: the library's own fingerprint costs nothing. Without
    it, the stamp is never the same twice.
    """
    return getattr(data, "_fingerprint", "") or f"{id(data)}"
