"""All methods that explain an answer, by name. A new one is a function in a file of its own and one entry here, or one call of :func:`register`.

Nothing heavy is imported: the command line asks for the names before it knows whether a model is needed at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from vit_demo.explain.attribution.target import Target
    from vit_demo.explain.protocols import Classifier

    Compute = Callable[[Classifier, Tensor, Target, torch.dtype], Tensor]

MASKED = "masked-relevance"
# The most faithful that answers at once, as benchmarks/faithfulness.py measures it.
DEFAULT = MASKED
_ROOM = "vit_demo.explain.attribution"


@dataclass(frozen=True)
class Method:
    """One way to explain.

    compute: what makes the maps, or "module:name" of it. It takes the classifier, ``pixel_values`` (B, 3, H, W), the target and the type of
    the products, and gives a number a patch, (B, N) or (B, rows, columns), larger for more. title: as people call it. shows: what its map
    shows, in a sentence (Markdown) that may name the number of {patches}. for_class: whether the map depends on the class. one_pass: whether
    a photo takes one pass, so that several threads each explain some. versions: of a photo that are computed at once.
    """

    name: str
    compute: Compute | str
    title: str
    shows: str
    for_class: bool = True
    one_pass: bool = True
    versions: int = 1

    def function(self) -> Compute:
        """What makes the maps."""
        if not isinstance(self.compute, str):
            return self.compute
        module, _, name = self.compute.partition(":")
        return getattr(import_module(module), name)


METHODS: dict[str, Method] = {method.name: method for method in (
    Method(
        "attention", f"{_ROOM}.saliency:last_attention", "Attention of the last layer",
        "Where [CLS] looks in the **last layer**, as the mean of its heads. What earlier layers gathered is not in it.", for_class=False,
    ),
    Method(
        "rollout", f"{_ROOM}.saliency:rollout", "Attention rollout",
        "Where [CLS] looks over **all layers together**: attention followed back from layer to layer (Abnar and Zuidema 2020).", for_class=False,
    ),
    Method(
        "relevance", f"{_ROOM}.relevance:patch_relevance", "Relevance (attention x gradient)",
        "Attention of all layers, counted only where more of it would **raise the class** (attention x gradient; Chefer, Gur and Wolf 2021).",
    ),
    Method(
        MASKED, f"{_ROOM}.masked:masked_relevance", "Masked relevance",
        "Attention x gradient (Chefer, Gur and Wolf 2021), as the **mean over photos of which a random half is covered**: "
        "of half a photo the model is less sure, and shows better what it leans on.", one_pass=False, versions=4,
    ),
    Method(
        "gradcam", f"{_ROOM}.gradcam:gradcam", "Grad-CAM",
        "Which patches, as they enter the last layer, **push the class up** (Selvaraju et al. 2017).",
    ),
    Method(
        "occlusion", f"{_ROOM}.occlusion:occlusions", "Occlusion (slow)",
        "A square of 3 x 3 patches is covered, at {patches} places in turn: bright where the class then **loses most** (Zeiler and Fergus 2014).",
        one_pass=False,
    ),
)}


def register(method: Method) -> Method:
    """Add a method: from then on the Look inside tab, the command line and the measurement of faithfulness have it."""
    if method.name in METHODS:
        raise ValueError(f"There is a method called {method.name} already.")
    METHODS[method.name] = method
    return method


def known_names() -> str:
    """The names in a sentence."""
    *first, last = METHODS
    return f"{', '.join(first)} or {last}"
