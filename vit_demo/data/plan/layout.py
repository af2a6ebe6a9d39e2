"""Which folder of a path is the split and which the class, from the names of the folders alone.

A level is a place in a path: in ``data/train/rust/1.jpg`` the folders are levels 1, 2 and 3. Of all levels
one may be the split, and of the others that one is the class that makes sense of all photos. Where two do,
nothing is guessed: a question is asked.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from vit_demo.data.names import split_of
from vit_demo.data.plan.corrections import LEFT_OUT, UNLABELLED, Corrections

Folders = tuple[str, ...]
# Folders that say when, where or how a photo was taken, or nothing at all, and not what it shows.
_GROUP = re.compile(
    r"(day|date|week|month|year|session|batch|plot|field|farm|row|rep|camera|cam|phone|part|group|folder|fold|round"
    r"|visit|site|block|series|trial|dia|jour|semana|semaine|parcela|parcelle|champ|campo|shamba|siku)s?"
    r"[ _.-]?\w{0,4}"
    r"|\d{1,4}([-_. ]\d{1,2}){0,2}|\d{6,8}|dcim|\d{3}[a-z_]{2,6}\d*"
)
_SAYS_NOTHING = re.compile(
    r"(images?|imgs?|photos?|pictures?|pics?|raw|originals?|all|unknown|unlabell?ed|data|files?|jpe?gs?|samples?)"
    r"[ _-]?\d*"
)
_CAMERA = re.compile(r"dcim|camera|screenshots|whatsapp images|\d{3}[a-z_]{3,6}\d*")
# Of photos, so many may lie elsewhere before a level does not make sense of all.
_MOST_ASTRAY = 0.05


@dataclass(frozen=True)
class Reading:
    """One way to read the folders. split_level, class_level: from 0; None where there is none. classes:
    photos of each class. shares: part of the photos that have a folder at this level.
    """

    class_level: int
    classes: Mapping[str, int]


@dataclass
class Layout:
    """What the folders mean. split_level: from 0, None where there is none. class_levels: {split, "" where
    there is none: level, or None where its photos have no class}. unclear: folders at the level of the splits
    whose names say nothing, with their photos. readings: more than one where it has to be asked which is
    right. wrappers: folders at the level of the classes, by their paths, that only hold folders called as the
    classes beside them.
    """

    split_level: int | None = None
    class_levels: dict[str, int | None] = field(default_factory=dict)
    unclear: dict[str, int] = field(default_factory=dict)
    readings: list[Reading] = field(default_factory=list)
    wrappers: dict[Folders, set[str]] = field(default_factory=dict)

    def class_of(self, folders: Folders, level: int) -> str:
        """What a photo in these folders shows, where the class is at this level (from 0)."""
        beside = self.wrappers.get(folders[: level + 1], set())
        return next((name for name in folders[level + 1 :] if name in beside), folders[level])


def layout_of(folders: Mapping[Folders, int], corrections: Corrections) -> Layout:
    """folders: {path of a folder in its parts: photos that lie in it, not counting those further down}."""
    layout = Layout(split_level=_split_level(folders, corrections))
    by_split, layout.unclear = _by_split(folders, layout.split_level, corrections)
    if corrections.class_level:
        layout.class_levels = dict.fromkeys(by_split, corrections.class_level - 1)
        return layout
    learned = (
        "train" if "train" in by_split else max(by_split, key=lambda split: sum(by_split[split].values()))
    )
    layout.readings = _readings(by_split[learned], layout.split_level)
    level = layout.readings[0].class_level if layout.readings else None
    layout.class_levels = {
        split: level if split == learned else _level_like(there, layout, corrections)
        for split, there in by_split.items()
    }
    for split, there in by_split.items():
        if (level := layout.class_levels[split]) is not None:
            layout.wrappers |= _wrappers(there, level)
    return layout


def with_common_words(folders: Mapping[Folders, int], corrections: Corrections) -> Corrections:
    """Know splits whose names all hold the same other words (plants_train, plants_test): nothing else is left
    of them without these.
    """
    for level in range(max(map(len, folders), default=0)):
        names = sorted(names_at(folders, level))
        words = {name: re.findall(r"[^\W_]+", name.casefold()) for name in names}
        common = set.intersection(*map(set, words.values())) if len(names) > 1 else set()
        rest = {
            name: split_of(" ".join(word for word in words[name] if word not in common)) for name in names
        }
        if common and all(rest.values()) and not all(map(split_of, names)):
            said = dict(corrections.splits)
            implied = tuple((name, split) for name, split in rest.items() if split and name not in said)
            return replace(corrections, splits=(*corrections.splits, *implied))
    return corrections


def _wrappers(folders: Mapping[Folders, int], level: int) -> dict[Folders, set[str]]:
    """{path of a folder at the level of the classes, of which each photo lies in a folder that is called like
    another class: the names of those}: rust/1.jpg beside more/rust/1.jpg.
    """
    inside: dict[Folders, list[Folders]] = defaultdict(list)
    for path in folders:
        if len(path) > level:
            inside[path[: level + 1]].append(path[level + 1 :])
    names = {path[-1] for path in inside}
    others = {path: names - {path[-1]} for path in inside}
    return {
        path: others[path] for path, below in inside.items() if all(others[path] & set(one) for one in below)
    }


def names_at(folders: Mapping[Folders, int], level: int) -> Counter[str]:
    """Photos at or below each folder of a level."""
    found: Counter[str] = Counter()
    for path, count in folders.items():
        if len(path) > level:
            found[path[level]] += count
    return found


def _split_level(folders: Mapping[Folders, int], corrections: Corrections) -> int | None:
    """The first level whose folders are splits."""
    deepest = max(map(len, folders), default=0)
    return next((level for level in range(deepest) if _are_splits(folders, level, corrections)), None)


def _are_splits(folders: Mapping[Folders, int], level: int, corrections: Corrections) -> bool:
    """Whether the folders of a level are splits, of which some may be called as nobody knows."""
    names = names_at(folders, level)
    said = {name for name, _ in corrections.splits}
    if said & set(names):
        return True
    known = {name: split for name in names if (split := split_of(name))}
    unknown = set(names) - set(known)
    if not known:
        return False
    if not unknown:
        # The only folder of photos may be a class of this name: classes lie beside each other, so it is not.
        return True
    below = _below(folders, level)
    if any(not below[name] for name in unknown) and any(not below[name] for name in known):
        # Photos lie in it directly, as in the folders beside it: a class that is called "train".
        return len(set(known.values())) > 1 and not _flat(known, below)
    inside = set().union(*(below[name] for name in known))
    alike = any(below[name] & inside for name in unknown)
    if len(set(known.values())) == 1:
        # train/rust beside more/rust: splits. train/day1 beside bus/day1: classes.
        return alike and not _are_groups(inside)
    return True


def _flat(names: Iterable[str], below: Mapping[str, set[str]]) -> bool:
    return all(not below[name] for name in names)


def _below(folders: Mapping[Folders, int], level: int) -> dict[str, set[str]]:
    """The names of the folders that lie in each folder of a level."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in folders:
        if len(path) > level:
            found[path[level]] |= set(path[level + 1 : level + 2])
    return found


def _by_split(
    folders: Mapping[Folders, int], level: int | None, corrections: Corrections
) -> tuple[dict[str, dict[Folders, int]], dict[str, int]]:
    """{split: its folders}, and the folders at the level of the splits of which it is not known what they
    are.

    Where there are no splits, all is under "".
    """
    if level is None:
        return {"": dict(folders)}, {}
    found: dict[str, dict[Folders, int]] = defaultdict(dict)
    unclear: Counter[str] = Counter()
    for path, count in folders.items():
        if len(path) <= level:
            continue
        split = corrections.split_for(path[level])
        if split is None:
            unclear[path[level]] += count
        elif split not in (LEFT_OUT, UNLABELLED):
            found[split][path] = count
    return dict(found) or {"": {}}, dict(unclear)


def _readings(folders: Mapping[Folders, int], split_level: int | None) -> list[Reading]:
    """The levels that can be the class, the one that makes sense of all photos first; several where it has to
    be asked.
    """
    total = sum(folders.values())
    levels = [level for level in range(max(map(len, folders), default=0)) if level != split_level]
    names = {level: names_at(folders, level) for level in levels}
    # What holds all others is a wrapper, unless nothing else lies in it.
    telling = [level for level in levels if len(names[level]) > 1]
    if not telling:
        return _single(names)
    first = max(sum(names[level].values()) for level in telling)
    full = [level for level in telling if sum(names[level].values()) >= first - _MOST_ASTRAY * total]
    left = _without_groups(
        [level for level in full if not _repeats(folders, level, full[0])] or full[:1], names
    )
    return [Reading(level, names[level]) for level in left]


def _single(names: Mapping[int, Counter[str]]) -> list[Reading]:
    """All photos in one folder: its name is the class, unless it says nothing."""
    told = [
        (level, found)
        for level, found in names.items()
        for name in found
        if not split_of(name) and not _says_nothing(name)
    ]
    inner = [(level, found) for level, found in told if not _are_groups(found)] or told
    return [Reading(*inner[-1])] if inner else []


def _repeats(folders: Mapping[Folders, int], level: int, outer: int) -> bool:
    """Whether a level only says again what the one above it says (rust/rust, rust/rust_photos)."""
    if level == outer:
        return False
    inside = defaultdict(set)
    for path in folders:
        if len(path) > level:
            inside[path[outer]].add(path[level])
    return all(len(names) == 1 for names in inside.values()) and len(inside) > 1


def _without_groups(levels: Sequence[int], names: Mapping[int, Counter[str]]) -> list[int]:
    """Without the levels that say when or where photos were taken, where any other is left."""
    shown = [level for level in levels if not all(map(_is_camera, names[level]))]
    return [level for level in shown if not _are_groups(names[level])] or shown


def _are_groups(names: Iterable[str]) -> bool:
    return all(_GROUP.fullmatch(name.casefold().strip()) or _says_nothing(name) for name in names)


def _is_camera(name: str) -> bool:
    """Whether a folder is one that phones and cameras make (DCIM/Camera, 100APPLE)."""
    return bool(_CAMERA.fullmatch(name.casefold().strip()))


def _says_nothing(name: str) -> bool:
    return bool(_SAYS_NOTHING.fullmatch(name.casefold().strip()))


def _level_like(folders: Mapping[Folders, int], layout: Layout, corrections: Corrections) -> int | None:
    """Where the classes of a split are that is not learned from; None where its folders name none: then its
    photos are to be predicted.
    """
    if not layout.readings:
        return None
    reading = layout.readings[0]
    known = {corrections.class_for(name) for name in reading.classes}
    levels = [level for level in range(max(map(len, folders), default=0)) if level != layout.split_level]
    shared = {
        level: len(known & {corrections.class_for(name) for name in names_at(folders, level)})
        for level in levels
    }
    best = max(levels, key=lambda level: (shared[level], level == reading.class_level), default=None)
    if best is not None and shared[best]:
        return best
    # What lies around the splits says nothing about one of them.
    inside = [level for level in levels if level > (layout.split_level or 0)]
    names = {name for level in inside for name in names_at(folders, level)}
    # One folder that no class is called like: whatever its name, it is the same for all photos.
    silent = (
        len(names) < 2 or all(split_of(name) or _says_nothing(name) for name in names) or _are_groups(names)
    )
    return None if silent or reading.class_level not in levels else reading.class_level
