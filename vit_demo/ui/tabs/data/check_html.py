"""What is wrong with a data set, in HTML: the kinds, one finding with its photos, the decisions, and what to do with the mended set.

Buttons carry what they ask for in ``data-do``; assets/theme/check.js hands that to ui/tabs/data/check.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import PurePath

from vit_demo.common.words import label_title
from vit_demo.data.browse.finding_columns import MAYBE, name_of
from vit_demo.data.checks.findings import BROKEN, DUPLICATE, KINDS, LABEL, LEAKAGE, UNLIKE, Finding
from vit_demo.data.corrections.journal import Decision

# Of each kind: what it is called in the list, and what a person should do about it.
TITLES = {
    LEAKAGE: "Same photo in two splits", LABEL: "Probably wrong labels", DUPLICATE: "Same photo twice in one split", UNLIKE: "Unlike all other photos",
    BROKEN: "Broken files", "dark": "Too dark", "bright": "Too bright", "blurred": "Blurred", "small": "Too few pixels", "leaf_small": "Little leaf to see",
}
HINTS = {
    LEAKAGE: "A model must not be examined with a photo that it has learned. Leave one of the two out, or move it to the split of the other.",
    LABEL: "Look at the leaf: choose what it shows, leave it out if nobody can say, or keep it if the label is right.",
    DUPLICATE: "Once is enough. Leave one of the two out, or keep both if they are two photos.",
    UNLIKE: "Leave it out if it does not belong here. Keep it if it is only a rare case.",
    BROKEN: "This file cannot be opened, so nothing can be learned from it. Leave it out.",
}
USUAL_HINT = "If you cannot tell what the leaf has, leave the photo out. Else keep it."
# Decisions that are listed, the newest.
LISTED = 100


@dataclass(frozen=True)
class Shown:
    """A photo of a finding. split, label: as they are decided by now. source: a picture as data URI, "" for a broken file."""

    split: str
    path: str
    label: str
    source: str


@dataclass(frozen=True)
class Choices:
    """What a photo can be given: names of the classes and splits."""

    labels: Sequence[str]
    splits: Sequence[str]


def refused_html(why: str) -> str:
    """Photos that cannot be checked. why: a sentence."""
    return f'<div class="answer answer-refused" role="alert"><p>{escape(why)}</p></div>'


def start_html(count: int, failed: str = "") -> str:
    """Nothing was read yet. failed: why the reading before ended, as a sentence."""
    told = f'<p role="alert"><b>{escape(failed)}</b></p>' if failed else ""
    return (
        f"{told}<p>The model in use looks at every photo once and finds copies, leakage between the splits, probably wrong labels, and photos that are "
        f'too dark, blurred, small, or do not belong here.</p>{_button("start", f"Check {count:,} photos", "check-main")}'
    )


def progress_html(done: int, total: int) -> str:
    """While photos are read."""
    share = done / max(total, 1)
    return (
        f'<p role="status">Looking at photo {done:,} of {total:,}. You can close the page meanwhile.</p>'
        f'<div class="progress" aria-hidden="true"><div style="width:{share:.1%}"></div></div>{_button("stop", "Stop")}'
    )


def kinds_html(found: Sequence[Finding], chosen: str, read: int, total: int) -> str:
    """The list of kinds that were found, with how many of each; what else was looked for in one line."""
    rows = []
    for kind in KINDS:
        of_kind = [finding for finding in found if finding.kind == kind]
        if of_kind:
            text = f"<span>{TITLES[kind]}</span><span>{_counted(of_kind)}</span>"
            rows.append(f'<button type="button" data-do="kind" data-to="{kind}" aria-pressed="{str(kind == chosen).lower()}">{text}</button>')
    clean = [TITLES[kind].lower() for kind in KINDS if not any(finding.kind == kind for finding in found)]
    none = f'<p class="note">Nothing found: {", ".join(clean)}.</p>' if clean else ""
    drawn = f'<p class="note">{read:,} of {total:,} photos were looked at, drawn by chance.</p>' if read < total else ""
    return f'<div class="check-kinds">{"".join(rows)}</div>{none}{drawn}'


def _counted(of_kind: Sequence[Finding]) -> str:
    """"3", "3, and 11 to look at", or "11 to look at"."""
    sure = sum(finding.sure for finding in of_kind)
    rest = len(of_kind) - sure
    return ", and ".join([*([f"{sure}"] if sure else []), *([f"{rest} to look at"] if rest else [])])


def imbalance(rare: Mapping[str, int], largest: tuple[str, int]) -> str:
    """Classes with few photos in a sentence. largest: the class with the most train photos, and how many."""
    if not rare:
        return ""
    parts = ", ".join(f"{label_title(name)} {count:,}" for name, count in rare.items())
    return (
        f'<p class="check-rare"><b>Few photos:</b> {escape(parts)}, while {escape(label_title(largest[0]))} has {largest[1]:,} in train. '
        "A model seldom names a class that it has seldom seen; bring more photos of it.</p>"
    )


def finding_html(finding: Finding | None, at: int, count: int, photos: Sequence[Shown], choices: Choices) -> str:
    """One finding with its photos side by side and all that can be decided. at: its number among the ``count`` of its kind, from 0."""
    if finding is None:
        return '<h3 tabindex="-1">Nothing is left to look at.</h3>'
    where = f"{at + 1:,} of {count:,}"
    pager = (
        f'<div class="check-pager">{_button("back", "Back", disabled=at == 0)}<span role="status">{where}</span>'
        f'{_button("next", "Next", disabled=at + 1 >= count)}</div>'
    )
    cards = "".join(_card(finding, number, photos, choices) for number in range(len(photos)))
    keep = "Keep both" if len(photos) > 1 else "Keep it, it is right"
    return (
        f'<h3 tabindex="-1">{escape(reason(finding, photos))}</h3><p class="note">{HINTS.get(finding.kind, USUAL_HINT)}</p>{pager}'
        f'<div class="check-photos check-photos-{len(photos)}">{cards}</div><div class="check-row">{_button("keep", keep)}</div>'
    )


def reason(finding: Finding, photos: Sequence[Shown]) -> str:
    """Why it is shown, in a sentence."""
    if finding.kind == LABEL:
        sure = "" if finding.sure else " a little"
        return f"Called {label_title(photos[0].label)}, looks{sure} more like {label_title(finding.suggestion)}"
    if finding.kind in (LEAKAGE, DUPLICATE):
        # The numbers behind the comma are for who reads the code.
        note = str(finding.note)
        what = "Two photos with the same pixels" if note.startswith("the same") else f"Two photos that look alike ({note.partition(',')[0]})"
        return f"{what}, in {photos[0].split} and {photos[1].split}" if finding.kind == LEAKAGE else f"{what}, both in {photos[0].split}"
    return f"{TITLES[finding.kind]}: {finding.note}" if finding.note else TITLES[finding.kind]


def found_title(name: str) -> str:
    """Of one of ``data.found.NAMES``."""
    title = TITLES[name.removesuffix(MAYBE)].lower()
    return f"{title}, to look at" if name.endswith(MAYBE) else title


def found_words(finding: Finding, photo: tuple[str, str]) -> str:
    """A finding as it is told of one of its photos (split, path)."""
    other = next((f": {'/'.join(PurePath(path).parts[-2:])} in {split}" for split, path in finding.photos if (split, path) != photo), "")
    more = f", looks more like {label_title(finding.suggestion)}" if finding.suggestion else ""
    return found_title(name_of(finding)) + other + more


def decided_words(decision: Decision) -> str:
    """A decision as it is told of its photo."""
    what = {"keep": "keep it", "exclude": "leave it out", "relabel": f"it is {label_title(decision.to)}", "move": f"into split {decision.to}"}[decision.action]
    why = TITLES.get(decision.why)
    return f"{what} ({why.lower()})" if why else what


def short(path: str) -> str:
    """The end of a path, with the folders of split and class where it has them."""
    return "/".join(PurePath(path).parts[-3:])


def _card(finding: Finding, number: int, photos: Sequence[Shown], choices: Choices) -> str:
    photo = photos[number]
    picture = f'<img src="{photo.source}" alt="{escape(photo.path)}">' if photo.source else '<span class="browse-broken">broken</span>'
    label = _select(number, "relabel", "It is", "Relabel", choices.labels, finding.suggestion or photo.label, label_title)
    # To the split of the other photo, else to another one.
    splits = [*(other.split for other in photos), *choices.splits]
    split = _select(number, "move", "Into split", "Move", choices.splits, next((name for name in splits if name != photo.split), ""))
    # What the finding is about stands open, the rest is a fold away.
    near, far = {LABEL: (label, split), LEAKAGE: (split, label)}.get(finding.kind, ("", label + split))
    return (
        f"<figure>{picture}<figcaption><b>{escape(label_title(photo.label))}</b> in {escape(photo.split)}"
        f'<span class="check-path" title="{escape(photo.path)}">{escape(short(photo.path))}</span></figcaption>'
        f'<div class="check-row">{near}{_button("exclude", "Leave it out", data=f"data-photo={number}", label=f"Leave out {short(photo.path)}")}</div>'
        f"<details><summary>More</summary>{far}</details></figure>"
    )


def _select(number: int, action: str, title: str, verb: str, options: Sequence[str], chosen: str, name=str) -> str:
    made = "".join(f'<option value="{escape(option)}"{" selected" if option == chosen else ""}>{escape(name(option))}</option>' for option in options)
    return f'<div class="check-choice"><label>{title}<select>{made}</select></label>{_button(action, verb, data=f"data-photo={number}")}</div>'


def undo_html(decisions: Sequence[Decision]) -> str:
    """The last decision, and the button that takes it back."""
    if not decisions:
        return ""
    return f'<p class="check-last"><span role="status">{sentence(decisions[-1])}</span> {_button("undo", "Undo")}</p>'


def sentence(decision: Decision) -> str:
    """A decision in words, as HTML."""
    path, to = escape(short(decision.path)), escape(label_title(decision.to) if decision.action == "relabel" else decision.to)
    what = {
        "keep": f"Kept: {path}", "exclude": f"Left out: {path}", "relabel": f"Relabelled as {to}: {path}", "move": f"Moved to {to}: {path}",
    }[decision.action]
    why = TITLES.get(decision.why)
    return f"{what} ({why.lower()})" if why else what


def journal_html(decisions: Sequence[Decision], is_open: bool, mark: str = "") -> str:
    """All decisions in force, each with a button that takes it back. mark: the fingerprint of the mended set, or why there is none, "" for not yet."""
    count = f"{len(decisions):,} decision{'' if len(decisions) == 1 else 's'}"
    rows = "".join(
        f'<li><span>{sentence(one)}</span>{_button("undo", "Undo", data=f"data-number={one.number}", label=f"Undo: {short(one.path)}")}</li>'
        for one in reversed(decisions[-LISTED:])
    )
    more = f"<p>The newest {LISTED} of them:</p>" if len(decisions) > LISTED else ""
    told = f"<p data-mark>{escape(mark)}</p>" if mark else '<p role="status">Working out the fingerprint …</p>'
    none = "" if decisions else "<p>Nothing was decided yet. The photos themselves are never changed.</p>"
    return (
        f'<details{" open" if is_open else ""}><summary data-do="journal">{count} about these photos</summary>{none}{more}<ul>{rows}</ul>{told}'
        '<p class="note">A run writes this fingerprint into its model card: the same one means the same photos, labels and splits.</p></details>'
    )


def away_html(decisions: Sequence[Decision], may_push: bool) -> str:
    """What to do with the data set as it is mended. may_push: whether this computer is logged in to the Hub."""
    left_out = sum(decision.action == "exclude" for decision in decisions)
    changed = len({decision.photo for decision in decisions if decision.action in ("relabel", "move")})
    push = (
        '<div class="check-choice"><label>Name on the Hugging Face Hub<input name="hub" placeholder="your-name/my-leaves" autocomplete="off"></label>'
        f'{_button("push", "Push, private")}</div>' if may_push else '<p class="note">Log in with "hf auth login" to push it to the Hugging Face Hub too.</p>'
    )
    return (
        f'<p>Mended set: {left_out:,} left out, {changed:,} with another label or split.</p>{_button("train", "Train on this", "check-main")}'
        f'<details><summary>Take it away</summary>'
        f'<div class="check-row">{_button("folder", "Image folder, as zip")}{_button("parquet", "Parquet, as zip")}</div>'
        f"{push}</details>"
    )


def _button(do: str, text: str, style: str = "", *, data: str = "", label: str = "", disabled: bool = False) -> str:
    parts = [f'data-do="{do}"', f'class="{style}"' if style else "", data, f'aria-label="{escape(label)}"' if label else "", "disabled" if disabled else ""]
    return f'<button type="button" {" ".join(filter(None, parts))}>{escape(text)}</button>'
