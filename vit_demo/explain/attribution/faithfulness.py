"""How far a map can be trusted: does the prediction depend on what the map says it depends on?

Deletion and insertion (Petsiuk, Das and Saenko 2018, "RISE", BMVC, https://arxiv.org/abs/1806.07421, section
4.2) change the photo patch by patch in the order of the map and watch the probability of the class. The paper
inserts into a blurred photo, so that no sharp edge adds something to see. Here whole patches come back, whose
edges lie between tokens, so both start or end with the photo's mean colour: in a blurred leaf a model still
sees the colour of the disease, and then any order inserts well. The sanity check (Adebayo et al. 2018,
"Sanity Checks for Saliency Maps", NeurIPS, https://arxiv.org/abs/1810.03292, section 3) replaces what the
model has learned by random numbers: a map that stays as it was does not show what the model has learned.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from vit_demo.explain.attribution.occlusion import BATCH, cover
from vit_demo.explain.attribution.target import ANSWER, Target
from vit_demo.explain.patches import PatchGrid
from vit_demo.explain.protocols import Classifier, backbone, blocks_of

STEPS = 20


@dataclass(frozen=True)
class Curves:
    """How the class fares while the photo is changed in the order of a map.

    shares: (S + 1,), share of the patches that is changed, 0 to 1. deletion: (S + 1,), probability of the
    class while the patches that the map ranks highest are covered first, with the photo's mean colour.
    insertion: (S + 1,), while of a photo that is all covered they come back first.
    """

    shares: np.ndarray
    deletion: np.ndarray
    insertion: np.ndarray

    @property
    def deletion_area(self) -> float:
        """Area under the deletion curve, 0 to 1; the smaller, the more faithful the map."""
        return float(np.trapezoid(self.deletion, self.shares))

    @property
    def insertion_area(self) -> float:
        """Area under the insertion curve, 0 to 1; the larger, the more faithful the map."""
        return float(np.trapezoid(self.insertion, self.shares))


def curves(
    classifier: Classifier,
    pixel_values: Tensor,
    heat: np.ndarray,
    target: Target = ANSWER,
    steps: int = STEPS,
) -> Curves:
    """Deletion and insertion of one photo in the order of a map.

    pixel_values: (1, 3, H, W). heat: (rows, columns), larger is more. target: its class is watched, None for
    the one that the model says of the whole photo. Of equal values the first patch counts as higher.
    """
    grid = PatchGrid.of(pixel_values, classifier.patch_size)
    counts = np.unique(np.round(np.linspace(0, grid.num_patches, steps + 1)).astype(int))
    order = np.argsort(-heat.reshape(-1), kind="stable")
    place = torch.from_numpy(np.argsort(order)).to(pixel_values.device)  # of each patch in the order
    changed = place < torch.from_numpy(counts).to(pixel_values.device)[:, None]
    label = int(target.labels(classifier.forward_fast(pixel_values)))
    deletion = cover(pixel_values, changed, grid)
    insertion = cover(pixel_values, ~changed, grid)
    return Curves(
        counts / grid.num_patches,
        _probability(classifier, deletion, label),
        _probability(classifier, insertion, label),
    )


def random_heat(grid: PatchGrid, seed: int) -> np.ndarray:
    """A map that knows nothing, (rows, columns): the first thing that a map must beat."""
    return np.random.default_rng(seed).random((grid.rows, grid.columns))


def centred_heat(grid: PatchGrid) -> np.ndarray:
    """A map that knows only that people put the leaf in the middle, (rows, columns): the second."""
    rows, columns = np.mgrid[: grid.rows, : grid.columns]
    centred: np.ndarray = -np.hypot((rows + 0.5) / grid.rows - 0.5, (columns + 0.5) / grid.columns - 0.5)
    return centred


def randomised(classifier: Classifier, seed: int = 0) -> Iterator[tuple[str, Classifier]]:
    """Copies of a classifier with ever more of it drawn anew, from the head down: (what is random now, the
    copy).

    First the head, then also the last block, and so on down to the first, then the embeddings too. Weights
    are drawn as transformers draws those of a new model. The same copy is changed each time.
    """
    twin = copy.copy(classifier)
    twin.model = copy.deepcopy(classifier.model)
    parts = [
        ("head", twin.model.classifier),
        *((f"block {n}", block) for n, block in reversed(list(enumerate(blocks_of(twin.model))))),
    ]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, part in [*parts, ("embeddings", backbone(twin.model).embeddings)]:
            part.apply(_draw_anew(twin.model.config.initializer_range))
            yield name, twin


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's rank correlation of two maps, -1 to 1; 0 where one of them is flat."""
    found = (
        spearmanr(one.reshape(-1), other.reshape(-1)).statistic
        if np.ptp(one) > 0 and np.ptp(other) > 0
        else 0.0
    )
    return float(found)


def _draw_anew(deviation: float) -> Callable[[torch.nn.Module], None]:
    def draw(module: torch.nn.Module) -> None:
        with torch.no_grad():
            for name, parameter in module.named_parameters(recurse=False):
                if isinstance(module, (torch.nn.LayerNorm, torch.nn.GroupNorm, torch.nn.BatchNorm2d)):
                    parameter.fill_(1.0 if name == "weight" else 0.0)
                elif name == "bias":
                    parameter.zero_()
                else:
                    torch.nn.init.trunc_normal_(parameter, std=deviation)

    return draw


def _probability(classifier: Classifier, pixel_values: Tensor, label: int) -> np.ndarray:
    """Of one class for each photo, (B,)."""
    logits = torch.cat(
        [
            classifier.forward_fast(pixel_values[start : start + BATCH])
            for start in range(0, len(pixel_values), BATCH)
        ]
    )
    return logits.softmax(dim=-1)[:, label].cpu().numpy()
