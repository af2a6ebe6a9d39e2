"""Photos that are brought in, in HTML: how far an import is, what became of it, and all imports.

Buttons carry what they ask for in ``data-do``; assets/theme/bring.js hands that to ui/tabs/data/bring.py.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from datetime import datetime
from html import escape
from pathlib import Path

from vit_demo.common.jobs import Job, JobState
from vit_demo.common.words import label_title
from vit_demo.data.importing.imports import Imported
from vit_demo.data.names import SPLITS
from vit_demo.ui.shared.components import table

# So many files that were left out are named; the rest is counted.
NAMED = 200


def progress_html(job: Job) -> str:
    """While an import runs."""
    progress = job.progress
    files = f"File {progress.seen:,} of {progress.total:,}" if progress.total else f"File {progress.seen:,}"
    size = f" {progress.bytes / 1e6:,.0f} of {progress.of_bytes / 1e6:,.0f} MB are read." if progress.of_bytes else ""
    told = f"{files} was looked at, {progress.done:,} photo{_s(progress.done)} taken.{size}" if progress.seen else "The files are being opened."
    if progress.share == 1:
        told = f"All files were looked at. {progress.done:,} photo{'s are' if progress.done != 1 else ' is'} being put into splits."
    return (
        f'<h3>{escape(job.key)}</h3><p role="status">{told} You can close the page meanwhile.</p>'
        f'<div class="progress" aria-hidden="true"><div style="width:{progress.share:.1%}"></div></div>{_button("stop", "Cancel", job.key)}'
    )


def ended_html(job: Job) -> str:
    """What became of an import; "" where its photos are removed again."""
    if job.state is JobState.DONE:
        return result_html(job.result) if job.result.folder.is_dir() else ""
    return failed_html(job.error) if job.state is JobState.FAILED else '<p role="status"><b>The import was cancelled. Nothing of it was kept.</b></p>'


def failed_html(why: str) -> str:
    """Why there is no import. why: a sentence."""
    return f'<p class="bring-failed" role="alert"><b>{escape(why)}</b></p>'


def removed_html(name: str) -> str:
    """When an import was deleted."""
    return f'<p role="status"><b>{escape(name)} is removed.</b></p>'


def result_html(found: Imported) -> str:
    """What is in an import now, and what was left out."""
    classes = sorted({label for counts in found.counts.values() for label in counts})
    splits = [split for split in SPLITS if split in found.counts]
    rows = [[label_title(label), *(f"{found.counts[split].get(label, 0):,}" for split in splits)] for label in classes]
    return (
        f'<h3>{escape(found.name)}</h3><p role="status"><b>{found.photos:,} photo{_s(found.photos)} of {len(classes)} class{"es" * (len(classes) != 1)} '
        f'{"is" if found.photos == 1 else "are"} in.</b> {_next(found, len(classes))}</p>'
        f'{table(["Class", *splits], rows)}{_skipped(found)}{_button("open", "See the photos", found.name, "bring-main") if len(classes) > 1 else ""}'
    )


def _next(found: Imported, classes: int) -> str:
    """How the photos were split, or what is missing before anything can be learned from them."""
    if classes < 2:
        return "Now bring photos of a second class under the same name."
    if found.cut and len(found.counts) == 1:
        return "They are still too few to set some apart for examination: bring more under the same name."
    told = f"Some of each class were set apart here for {' and '.join(found.cut)}." if found.cut else "They lie in the splits that they came with."
    copies = f" {found.copies:,} look{'s' * (found.copies == 1)} like another one" if found.copies else ""
    return f"{told}{copies}{'; copies of a photo are on one side.' if copies and found.cut else '.' if copies else ''}"


def _skipped(found: Imported) -> str:
    if not found.skipped_count:
        return '<p class="note">Nothing was left out.</p>'
    rows = "".join(f"<li><b>{escape(entry['name'])}</b> {escape(entry['why'])}</li>" for entry in found.skipped[:NAMED])
    more = found.skipped_count - min(len(found.skipped), NAMED)
    rest = f"<li>and {more:,} more.</li>" if more else ""
    return f"<details><summary>{found.skipped_count:,} file{_s(found.skipped_count)} left out</summary><ul>{rows}{rest}</ul></details>"


def list_html(found: Sequence[Imported]) -> str:
    """All imports, each with what can be done with it."""
    if not found:
        return '<p class="note">No photos were brought in so far.</p>'
    return f'<h3>Photos that were brought in</h3><ul class="bring-all">{"".join(map(_row, found))}</ul>'


def _row(one: Imported) -> str:
    classes = len({label for counts in one.counts.values() for label in counts})
    when = f"{datetime.fromtimestamp(one.time):%d %b %Y}" if one.time else ""
    origin = f"from {one.source}" if one.source else ""
    about = [f"{one.photos:,} photo{_s(one.photos)}", f"{classes} class{'es' * (classes != 1)}", _size(one.folder, one.time), when, origin]
    sure = (
        f"<details><summary>Remove</summary><p>Delete the {one.photos:,} photo{_s(one.photos)} of {escape(one.name)} from this computer?</p>"
        f'{_button("remove", "Yes, delete", one.name, "bring-danger")}</details>'
    )
    return (
        f'<li><div><b>{escape(one.name)}</b><span class="note">{escape(", ".join(filter(None, about)))}</span></div>'
        f'<div class="bring-row">{_button("open", "Open", one.name)}{_button("tell", "Details", one.name)}{sure}</div></li>'
    )


@functools.lru_cache(maxsize=256)
def _size(folder: Path, _time: float) -> str:
    """Of all photos on the disk. _time: of the import, so that it is counted anew after photos were added."""
    found = 0
    for file in folder.glob("*/*/*"):
        with contextlib.suppress(OSError):  # removed just now
            found += file.stat().st_size
    return f"{found / 1e6:,.1f} MB"


def _button(do: str, text: str, name: str, style: str = "") -> str:
    return f'<button type="button" class="{style}" data-do="{do}" data-name="{escape(name)}">{text}</button>'


def _s(count: int) -> str:
    return "s" * (count != 1)
