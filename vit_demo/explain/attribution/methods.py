"""All methods that explain an answer, by name. A new one is a function in a file of its own and one entry
here, or one call of :func:`register`.

Nothing heavy is imported: the command line asks for the names before it knows whether a model is needed at
all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from vit_demo.common.words import Sentence, text_of, text_or_plain, words

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

    compute: what makes the maps, or "module:name" of it. It takes the classifier, ``pixel_values`` (B, 3, H,
    W), the target and the type of the products, and gives a number a patch, (B, N) or (B, rows, columns),
    larger for more. called: as people call it. told: what its map shows, in a sentence (Markdown) that may
    name the number of {patches}; both as keys of vit_demo/text, or as plain texts. for_class: whether the map
    depends on the class. one_pass: whether a photo takes one pass, so that several threads each explain some.
    versions: of a photo that are computed at once.
    """

    name: str
    compute: Compute | str
    called: str
    told: str
    for_class: bool = True
    one_pass: bool = True
    versions: int = 1

    @property
    def title(self) -> str:
        """As people call it, in the current language."""
        return text_or_plain(self.called)

    @property
    def short(self) -> str:
        """The title without what it adds in brackets."""
        key = f"inside.method.{self.name}.short"
        return text_of(key) if key in words() else self.title

    @property
    def shows(self) -> str:
        """What its map shows, in the current language; {patches} is not filled in yet."""
        return text_or_plain(self.told)

    def function(self) -> Compute:
        """What makes the maps."""
        if not isinstance(self.compute, str):
            return self.compute
        module, _, name = self.compute.partition(":")
        compute: Compute = getattr(import_module(module), name)
        return compute


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "attention",
            f"{_ROOM}.saliency:last_attention",
            "inside.method.attention",
            "inside.method.attention.shows",
            for_class=False,
        ),
        Method(
            "rollout",
            f"{_ROOM}.saliency:rollout",
            "inside.method.rollout",
            "inside.method.rollout.shows",
            for_class=False,
        ),
        Method(
            "relevance",
            f"{_ROOM}.relevance:patch_relevance",
            "inside.method.relevance",
            "inside.method.relevance.shows",
        ),
        Method(
            MASKED,
            f"{_ROOM}.masked:masked_relevance",
            "inside.method.masked-relevance",
            "inside.method.masked-relevance.shows",
            one_pass=False,
            versions=4,
        ),
        Method("gradcam", f"{_ROOM}.gradcam:gradcam", "inside.method.gradcam", "inside.method.gradcam.shows"),
        Method(
            "occlusion",
            f"{_ROOM}.occlusion:occlusions",
            "inside.method.occlusion",
            "inside.method.occlusion.shows",
            one_pass=False,
        ),
    )
}


def register(method: Method) -> Method:
    """Add a method: from then on the Look inside tab, the command line and the measurement of faithfulness
    have it.
    """
    if method.name in METHODS:
        raise ValueError(f"There is a method called {method.name} already.")
    METHODS[method.name] = method
    return method


def known_names(names: Iterable[str] | None = None) -> Sentence:
    """Two names or more in a sentence; by default those of all methods."""
    *first, last = METHODS if names is None else names
    return Sentence("error.explain.either", {"first": ", ".join(first), "last": last})
