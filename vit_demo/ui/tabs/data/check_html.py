"""What is wrong with a data set, in words and HTML: the kinds, one finding with its photos, the decisions,
and what to do with the mended set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from vit_demo.common.words import Sentence, current_language, joined, label_title, say
from vit_demo.data.browse.finding_columns import MAYBE, name_of
from vit_demo.data.checks.checks import CHECKS
from vit_demo.data.checks.finding import Finding, FindingKind
from vit_demo.data.corrections.journal import Decision
from vit_demo.ui.shared.html import render

# Decisions that are listed, the newest.
LISTED = 100


@dataclass(frozen=True)
class Shown:
    """A photo of a finding. split, label: as they are decided by now. source: a picture as data URI, "" for a
    broken file.
    """

    split: str
    path: str
    label: str
    source: str


@dataclass(frozen=True)
class Choices:
    """What a photo can be given: names of the classes and splits."""

    labels: Sequence[str]
    splits: Sequence[str]


def refused_html(why: object) -> str:
    """Photos that cannot be checked. why: a sentence."""
    return render("data/pieces#refused", why=why)


def start_html(count: int, failed: object = "") -> str:
    """Nothing was read yet. failed: why the reading before ended, as a sentence."""
    return render("data/check#start", count=count, failed=failed)


def progress_html(done: int, total: int) -> str:
    """While photos are read."""
    return render("data/check#progress", done=done, total=total)


def kinds_html(found: Sequence[Finding], chosen: str, read: int, total: int) -> str:
    """The list of kinds that were found, with how many of each; what else was looked for in one line."""
    by_kind = {kind: [finding for finding in found if finding.kind == kind] for kind in CHECKS}
    clean = listed(within(kind) for kind, those in by_kind.items() if not those)
    rows = [(kind, CHECKS[kind].title, _counted(those)) for kind, those in by_kind.items() if those]
    return render("data/check#kinds", rows=rows, chosen=chosen, clean=clean, read=read, total=total)


def _counted(of_kind: Sequence[Finding]) -> str:
    """ "3", "3, and 11 to look at", or "11 to look at"."""
    sure = sum(finding.sure for finding in of_kind)
    rest = len(of_kind) - sure
    if not rest:
        return str(sure)
    return (
        say("data.check.sure_and_rest", sure=sure, rest=rest) if sure else say("data.check.rest", rest=rest)
    )


def imbalance(rare: Mapping[str, int], largest: tuple[str, int]) -> str:
    """Classes with few photos in a sentence. largest: the class with the most train photos, and how many."""
    if not rare:
        return ""
    names = listed(f"{label_title(name)} {count:,}" for name, count in rare.items())
    return render("data/check#rare", names=names, label=largest[0], count=largest[1])


def finding_html(
    finding: Finding | None, at: int, count: int, photos: Sequence[Shown], choices: Choices
) -> str:
    """One finding with its photos side by side and all that can be decided. at: its number among the
    ``count`` of its kind, from 0.
    """
    if finding is None:
        return render("data/check#nothing_left")
    cards = [_card(finding, photo, photos, choices) for photo in photos]
    return render(
        "data/check#finding",
        reason=reason(finding, photos),
        hint=CHECKS[finding.kind].advice,
        at=at,
        total=count,
        cards=cards,
    )


def reason(finding: Finding, photos: Sequence[Shown]) -> str:
    """Why it is shown, in a sentence."""
    if finding.kind == FindingKind.LABEL:
        key = "data.reason.label" if finding.sure else "data.reason.label_maybe"
        return say(key, label=label_title(photos[0].label), other=label_title(finding.suggestion))
    if finding.kind in (FindingKind.LEAKAGE, FindingKind.DUPLICATE):
        note = finding.note if isinstance(finding.note, Sentence) else Sentence(finding.note)
        what = "same" if note.key == "data.note.same" else "alike"
        # The other numbers are for who reads the code.
        return say(
            f"data.reason.{what}.{finding.kind}",
            how=note.values.get("likeness", note),
            first=photos[0].split,
            second=photos[1].split,
        )
    title = CHECKS[finding.kind].title
    return say("data.reason.noted", kind=title, note=finding.note) if finding.note else title


def within(kind: str) -> str:
    """What a kind is called within a sentence."""
    return CHECKS[kind].within


def listed(names) -> str:
    """Names one after the other, as the current language writes them."""
    return joined(names, "diagnose.comma", current_language())


def found_title(name: str) -> str:
    """Of one of ``finding_columns.names``."""
    title = within(name.removesuffix(MAYBE))
    return say("data.within_maybe", kind=title) if name.endswith(MAYBE) else title


def found_words(finding: Finding, photo: tuple[str, str]) -> str:
    """A finding as it is told of one of its photos (split, path)."""
    title = found_title(name_of(finding))
    if finding.suggestion:
        return say("data.found.label", kind=title, label=label_title(finding.suggestion))
    other = next(((split, path) for split, path in finding.photos if (split, path) != photo), None)
    return (
        title
        if other is None
        else say("data.found.pair", kind=title, path="/".join(PurePath(other[1]).parts[-2:]), split=other[0])
    )


def decided_words(decision: Decision) -> str:
    """A decision as it is told of its photo."""
    return _with_why(say(f"data.decided.{decision.action}", to=_to(decision)), decision)


def sentence(decision: Decision) -> str:
    """A decision by itself."""
    return _with_why(
        say(f"data.decision.{decision.action}", to=_to(decision), path=short(decision.path)), decision
    )


def _to(decision: Decision) -> str:
    return label_title(decision.to) if decision.action == "relabel" else decision.to


def _with_why(what: str, decision: Decision) -> str:
    return say("data.decided.why", what=what, why=within(decision.why)) if decision.why in CHECKS else what


def short(path: str) -> str:
    """The end of a path, with the folders of split and class where it has them."""
    return "/".join(PurePath(path).parts[-3:])


def _card(finding: Finding, photo: Shown, photos: Sequence[Shown], choices: Choices) -> dict:
    """As the template takes it."""
    label = {
        "action": "relabel",
        "title": say("data.check.it_is"),
        "verb": say("data.check.relabel"),
        "options": [(name, label_title(name)) for name in choices.labels],
        "chosen": finding.suggestion or photo.label,
    }
    # To the split of the other photo, else to another one.
    splits = [*(other.split for other in photos), *choices.splits]
    split = {
        "action": "move",
        "title": say("data.check.into_split"),
        "verb": say("data.check.move"),
        "options": [(name, name) for name in choices.splits],
        "chosen": next((name for name in splits if name != photo.split), ""),
    }
    # What the finding is about stands open, the rest is a fold away.
    near = {str(FindingKind.LABEL): [label], str(FindingKind.LEAKAGE): [split]}.get(finding.kind, [])
    far = [one for one in (label, split) if one not in near]
    return {"photo": photo, "short": short(photo.path), "near": near, "far": far}


def undo_html(decisions: Sequence[Decision]) -> str:
    """The last decision, and the button that takes it back."""
    return render("data/check#undo", sentence=sentence(decisions[-1])) if decisions else ""


def journal_html(decisions: Sequence[Decision], is_open: bool, mark: object = "") -> str:
    """All decisions in force, each with a button that takes it back.

    mark: the fingerprint of the mended set as a sentence, or why there is none, "" for not yet.
    """
    rows = [(one.number, sentence(one), short(one.path)) for one in reversed(decisions[-LISTED:])]
    return render(
        "data/check#journal", count=len(decisions), rows=rows, listed=LISTED, is_open=is_open, mark=mark
    )


def export_html(decisions: Sequence[Decision], may_push: bool) -> str:
    """What to do with the data set as it is mended. may_push: whether this computer is logged in to the
    Hub.
    """
    left_out = sum(decision.action == "exclude" for decision in decisions)
    changed = len({decision.photo for decision in decisions if decision.action in ("relabel", "move")})
    return render("data/check#export", left_out=left_out, changed=changed, may_push=may_push)
