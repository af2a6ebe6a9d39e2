"""A model tried on photos beside the page: the page may be closed meanwhile, and finds the answer by its
key.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vit_demo.common.jobs import Job, Jobs
from vit_demo.common.words import Sentence
from vit_demo.data.open.sources import open_to_try
from vit_demo.training.result.across import Across, PhotoVerdict, evaluate_across, match_classes
from vit_demo.training.run.of_model import has_learned_from
from vit_demo.ui.shared.models import get_classifier

if TYPE_CHECKING:
    from datasets import Dataset

CHOICES = ("test", "validation", "train")
# So many answers are kept, each with a line for each photo.
KEEP = 4


@dataclass(frozen=True)
class Request:
    """model: as the page's model list names it. source: as open_dataset takes it. split: one of CHOICES.
    pairs: classes that are called otherwise, as ``match_classes`` takes them.
    """

    model: str
    source: str
    split: str
    pairs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tried:
    """What came of it. data: the photos that were asked about. notes: what must be known of them."""

    found: Across
    data: Dataset = field(repr=False)
    notes: list[Sentence]


JOBS: Jobs[Tried] = Jobs("model on photos", KEEP, "error.train_tab.across_failed", one_at_a_time=True)


def start(request: Request) -> Job[Tried]:
    """Begin; each time anew, since model and photos may have changed."""
    return JOBS.start(Job(secrets.token_hex(8), about=request), _work)


def _work(job: Job[Tried]) -> Tried:
    request: Request = job.about
    classifier = get_classifier(request.model)
    seen = has_learned_from(classifier.checkpoint.folder, request.source)
    data, notes = open_to_try(request.source, request.split, seen=seen)
    job.tell(0, len(data))
    match = match_classes(classifier.labels, data.features["labels"].names, request.pairs)
    return Tried(evaluate_across(classifier, data, match, job.tell), data, notes)


def cell_of(text: str, found: Across, classes: list[int]) -> str:
    """The cell of this text, "" of what is none.

    A cell is "" (all photos on which the model was silent), "1,2" (those of the class classes[1] that got
    classes[2]), or "3:unsure" (those of found.counts[3] with this verdict).
    """
    if re.fullmatch(r"\d{1,6},\d{1,6}", text):
        return text if all(int(place) < len(classes) for place in text.split(",")) else ""
    if re.fullmatch(r"\d{1,6}:(diagnosis|unsure|not_known)", text):
        return text if int(text.partition(":")[0]) < len(found.counts) else ""
    return ""


def chosen_photos(found: Across, cell: str, classes: list[int]) -> list[PhotoVerdict]:
    """The photos of a :func:`cell_of`, those that the model is surest of first."""
    if not cell:
        chosen = [photo for photo in found.photos if not photo.is_diagnosis]
    elif ":" in cell:
        number, _, verdict = cell.partition(":")
        label = found.counts[int(number)].label
        chosen = [one for one in found.photos if one.label == label and verdict_of(one) == verdict]
    else:
        true, said = (found.match.labels[classes[int(place)]] for place in cell.split(","))
        names = {name for name, own in found.match.matched.items() if own == true}
        chosen = [one for one in found.photos if one.label in names and one.said == said]
    return sorted(chosen, key=lambda one: (-one.probability, one.row))


def verdict_of(photo: PhotoVerdict) -> str:
    """What the verdict on a photo is called."""
    return "diagnosis" if photo.verdict is None else str(photo.verdict)
