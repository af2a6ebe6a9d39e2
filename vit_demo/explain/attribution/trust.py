"""How far the maps of each method can be trusted, as a mean over many photos: the measures of faithfulness.py
with intervals.

Each method, and two maps that know nothing of the model, are scored by deletion and insertion on each photo.
As all are scored on the same photos, their differences are taken photo by photo, which leaves out how hard
each photo is. An interval is that of a mean over photos: mean +- t(0.975, n - 1) s / sqrt(n), Student's t
with s the sample's deviation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from vit_demo.common.errors import UserError
from vit_demo.explain.attribution import faithfulness
from vit_demo.explain.attribution.methods import DEFAULT, METHODS, known_names
from vit_demo.explain.attribution.saliency import saliency, usual_type
from vit_demo.explain.attribution.target import Target
from vit_demo.explain.patches import PatchGrid
from vit_demo.explain.protocols import Classifier, blocks_of

RAW = "attention"
RANDOM, CENTRED = "random", "centred"
# What the default method has to beat.
RIVALS = (RANDOM, CENTRED, RAW)
# All methods but the slow one.
QUICK = tuple(method for method in METHODS if method != "occlusion")
BATCH = 8
# What is drawn anew in the sanity check, by name.
HEAD, HALF, ALL = "head", "half of the blocks", "everything"
SANITY_PHOTOS = 32
CONFIDENCE = 0.95
# Photos by their numbers in the split, in batches of (numbers, pixel_values (B, 3, H, W)); unreadable ones
# are left out.
Read = Callable[[Sequence[int]], Iterable[tuple[Sequence[int], Tensor]]]
# Is told what is being done, the photos done and their number.
Report = Callable[[str, int, int], object]


@dataclass(frozen=True)
class Plan:
    """What is measured. methods: of METHODS; the default one and raw attention are always measured too.
    steps: points of a curve less one.

    seed: of the random maps and of the weights drawn anew.
    """

    methods: tuple[str, ...] = QUICK
    steps: int = faithfulness.STEPS
    seed: int = 0

    def __post_init__(self) -> None:
        for method in self.methods:
            if method not in METHODS:
                raise UserError("error.explain.method", method=method, names=known_names())
        if self.steps < 1:
            raise UserError("error.explain.steps", steps=self.steps)
        if self.seed < 0:
            raise UserError("error.explain.seed", seed=self.seed)

    @property
    def measured(self) -> tuple[str, ...]:
        """The methods in the order of METHODS."""
        return tuple(method for method in METHODS if method in (*self.methods, DEFAULT, RAW))


@dataclass(frozen=True)
class Mean:
    """A mean over photos and its 95 % interval; the interval is NaN for a single photo."""

    mean: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether 0 lies outside of the interval."""
        return self.low > 0 or self.high < 0

    def to_list(self) -> list[float | None]:
        """[mean, low, high] for JSON, which knows no NaN."""
        return [value if math.isfinite(value) else None for value in (self.mean, self.low, self.high)]


@dataclass(frozen=True)
class Areas:
    """Areas under the curves of each photo, float64 (n,), in the order of the photos' numbers."""

    deletion: np.ndarray
    insertion: np.ndarray


@dataclass(frozen=True)
class Trust:
    """What was measured. areas: by method or baseline. sanity: by method and by what was drawn anew, the rank
    correlation of each photo, (n,).
    """

    plan: Plan
    areas: dict[str, Areas]
    sanity: dict[str, dict[str, np.ndarray]]

    @property
    def photos(self) -> int:
        """How many were measured."""
        return len(self.areas[DEFAULT].deletion)

    @property
    def differences(self) -> dict[str, tuple[Mean, Mean]]:
        """The default method less each rival, photo by photo: (deletion, insertion). Below 0 is better for
        deletion, above 0 for insertion.
        """
        own = self.areas[DEFAULT]
        return {
            rival: (
                mean_of(own.deletion - self.areas[rival].deletion),
                mean_of(own.insertion - self.areas[rival].insertion),
            )
            for rival in RIVALS
            if rival != DEFAULT
        }

    def to_dict(self) -> dict[str, Any]:
        """For JSON: means with their intervals, [mean, low, high]."""
        return {
            "photos": self.photos,
            "steps": self.plan.steps,
            "seed": self.plan.seed,
            "default": DEFAULT,
            "methods": {
                name: {
                    "deletion": mean_of(areas.deletion).to_list(),
                    "insertion": mean_of(areas.insertion).to_list(),
                }
                for name, areas in self.areas.items()
            },
            "differences": {
                rival: {
                    "deletion": deletion.to_list(),
                    "insertion": insertion.to_list(),
                    "verdict": {
                        "deletion": verdict(deletion, below=True),
                        "insertion": verdict(insertion, below=False),
                    },
                }
                for rival, (deletion, insertion) in self.differences.items()
            },
            "sanity": {
                "photos": len(self.sanity[DEFAULT][HEAD]),
                "methods": {
                    name: {part: mean_of(values).to_list() for part, values in parts.items()}
                    for name, parts in self.sanity.items()
                },
            },
        }


def mean_of(values: np.ndarray) -> Mean:
    """The mean of (n,) values and its 95 % interval by Student's t, n > 0."""
    mean, count = float(values.mean()), len(values)
    if count == 1:
        return Mean(mean, math.nan, math.nan)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * stats.sem(values))
    return Mean(mean, mean - half, mean + half)


def verdict(difference: Mean, below: bool) -> str:
    """ "better" or "worse" where the interval is clear of 0, else "not clear". below: whether smaller is
    better.
    """
    if not difference.clear:
        return "not clear"
    return "better" if (difference.mean < 0) == below else "worse"


def measure(
    classifier: Classifier,
    read: Read,
    numbers: Sequence[int],
    plan: Plan = Plan(),
    report: Report | None = None,
) -> Trust:
    """Areas of all methods on the photos of these numbers, and the sanity check on at most SANITY_PHOTOS of
    them, evenly spread.

    Raises UserError where none can be read.
    """
    areas = areas_of(
        classifier,
        read(numbers),
        plan,
        None if report is None else lambda done: report("curves", done, len(numbers)),
    )
    chosen = [numbers[index] for index in spread(len(numbers), SANITY_PHOTOS)]
    correlations = sanity(
        classifier,
        read(chosen),
        plan,
        None if report is None else lambda done: report("sanity check", done, len(chosen)),
    )
    return Trust(plan, areas, correlations)


def areas_of(
    classifier: Classifier,
    batches: Iterable[tuple[Sequence[int], Tensor]],
    plan: Plan,
    report: Callable[[int], object] | None = None,
) -> dict[str, Areas]:
    """The areas of each photo for each method and baseline; the class is the one that the model says of the
    photo.

    batches: as Read gives them. A photo's areas depend on nothing but the photo, its number and the plan.
    """
    names = (*plan.measured, RANDOM, CENTRED)
    found: dict[str, dict[int, tuple[float, float]]] = {name: {} for name in names}
    for numbers, pixel_values, target in _alike(classifier, batches):
        maps = _maps(classifier, pixel_values, target, plan)
        grid = PatchGrid.of(pixel_values, classifier.patch_size)
        for index, number in enumerate(numbers):
            heats = {
                **{method: values[index] for method, values in maps.items()},
                RANDOM: faithfulness.random_heat(grid, random_seed(plan.seed, number)),
                CENTRED: faithfulness.centred_heat(grid),
            }
            for name in names:
                curves = faithfulness.curves(
                    classifier, pixel_values[index : index + 1], heats[name], target, plan.steps
                )
                found[name][number] = curves.deletion_area, curves.insertion_area
            if report is not None:
                report(len(found[RANDOM]))
    if not found[RANDOM]:
        raise UserError("error.explain.unreadable")
    return {
        name: Areas(*np.array([areas[number] for number in sorted(areas)]).T) for name, areas in found.items()
    }


def _maps(classifier: Classifier, pixel_values: Tensor, target: Target, plan: Plan) -> dict[str, np.ndarray]:
    """The maps of each method, (B, rows, columns), each as it is shown of its photo alone."""
    device = pixel_values.device.type
    return {
        method: saliency(classifier, pixel_values, method, target, usual_type(method, 1, device)).numpy()
        for method in plan.measured
    }


def sanity(
    classifier: Classifier,
    batches: Iterable[tuple[Sequence[int], Tensor]],
    plan: Plan,
    report: Callable[[int], object] | None = None,
) -> dict[str, dict[str, np.ndarray]]:
    """Rank correlation of each photo's map with that of the model after parts of it were drawn anew, by
    method and part, (n,).

    batches: as Read gives them. Near 1 the map stays as it was whatever the model knows; attention and
    rollout must be 1 after the head, which they do not ask.
    """
    blocks = len(blocks_of(classifier.model))
    parts = {"head": HEAD, f"block {blocks // 2}": HALF, "embeddings": ALL}
    photos = list(_alike(classifier, batches))
    before = [_maps(classifier, pixel_values, target, plan) for _, pixel_values, target in photos]
    found: dict[str, dict[str, dict[int, float]]] = {
        method: {part: {} for part in parts.values()} for method in plan.measured
    }
    done = 0
    for name, twin in faithfulness.randomised(classifier, plan.seed):
        for (numbers, pixel_values, target), own in zip(photos, before) if name in parts else ():
            for method, other in _maps(twin, pixel_values, target, plan).items():
                correlations = map(faithfulness.rank_correlation, own[method], other)
                found[method][parts[name]].update(zip(numbers, correlations))
            done += len(numbers)
            if report is not None:
                report(done // len(parts))
    return {
        method: {
            part: np.array([values[number] for number in sorted(values)]) for part, values in by_part.items()
        }
        for method, by_part in found.items()
    }


def spread(count: int, most: int) -> list[int]:
    """At most ``most`` of 0 .. count - 1, evenly spread, in rising order: splits are often sorted by
    class.
    """
    chosen: list[int] = np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()
    return chosen


def random_seed(seed: int, number: int) -> int:
    """Of the random map of one photo: another for each photo and each seed."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _alike(
    classifier: Classifier, batches: Iterable[tuple[Sequence[int], Tensor]]
) -> Iterable[tuple[list[int], Tensor, Target]]:
    """At most BATCH photos at a time of which the model says the same class, with that class named."""
    for numbers, pixel_values in batches:
        labels = torch.cat(
            [classifier.forward_fast(part) for part in torch.split(pixel_values, BATCH)]
        ).argmax(dim=-1)
        for label in torch.unique(labels).tolist():
            for some in (labels == label).nonzero()[:, 0].split(BATCH):
                yield [numbers[index] for index in some.tolist()], pixel_values[some], Target(label)
