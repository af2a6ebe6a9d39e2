"""What a check found, as columns of a catalogue: so that photos are filtered by it, and a photo's page tells
it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from vit_demo.data.browse.catalogue import Catalogue
from vit_demo.data.checks.checks import CHECKS
from vit_demo.data.checks.finding import Finding
from vit_demo.data.corrections.journal import Decision

# Behind a kind: candidates that are not claimed, for a person to look at.
MAYBE = "?"
_turns = itertools.count(1)


def names() -> tuple[str, ...]:
    """What photos can be found by: each kind, and its candidates."""
    return tuple(name for kind in CHECKS for name in (kind, kind + MAYBE))


def add_findings(
    catalogue: Catalogue, found: tuple[Finding, ...], looked_at: Sequence[tuple[str, str]]
) -> Catalogue:
    """The same catalogue, which can now be filtered by what was found of the photos (split, path) that were
    looked at.
    """
    by_photo: dict[tuple[str, str], list[Finding]] = {photo: [] for photo in looked_at}
    for finding in found:
        for photo in finding.photos:
            by_photo[photo].append(finding)
    found_names = names()
    bits = [
        sum(1 << found_names.index(name) for name in {name_of(finding) for finding in those})
        for those in by_photo.values()
    ]
    numbers = catalogue.lookup(*(zip(*by_photo) if by_photo else ((), ())))
    # Number -1, of a photo that was not looked at, is the last.
    column = np.array([*bits, -1], dtype=np.int64)[numbers]
    findings = {photo: tuple(those) for photo, those in by_photo.items() if those}
    return catalogue.knowing(found=column, found_names=found_names, findings=findings, turn=next(_turns))


def name_of(finding: Finding) -> str:
    """One of :func:`names`."""
    return finding.kind if finding.sure else finding.kind + MAYBE


def decided(decisions: Iterable[Decision], photo: tuple[str, str]) -> list[Decision]:
    """Those about a photo (split, path), also where the data set is the mended one and has the photo in the
    split that it was moved to.
    """
    decisions = list(decisions)
    moved = {one.photo for one in decisions if one.action == "move" and (one.to, one.path) == photo}
    return [one for one in decisions if one.photo == photo or one.photo in moved]
