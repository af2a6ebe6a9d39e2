"""What the Fine-tune tab says of a run's result: tables and sentences in HTML, made from the files beside its model."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import PurePath

from PIL import Image

from vit_demo.common.words import label_title, percent
from vit_demo.figures.overlay import shrink
from vit_demo.training.result.predictions import Prediction
from vit_demo.ui.shared.components import table
from vit_demo.ui.shared.runtext import accuracy_text
from vit_demo.ui.tabs.finetune.reliability_figure import AFTER, BEFORE

SPLIT_TITLES = {"test": "test photos", "validation": "validation photos"}
# A matrix of more classes has no room for its names: there the most frequent mix-ups are listed.
MOST_CLASSES, MIX_UPS = 10, 20
# Column names longer than this together do not fit a phone; numbers stand for them.
COLUMN_LETTERS = 60
THUMBNAIL = 192
# At which no line is broken.
SPACE = "\N{NO-BREAK SPACE}"
EARLIER = "This run was scored by an earlier version of the program, which did not look at this."


def note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def empty(text: str) -> str:
    """In place of a result."""
    return f'<div class="run run-empty">{escape(text)}</div>'


def meaning(scores: dict) -> str:
    """What the large number means, and the validation number, smaller."""
    test, validation = scores["test"], scores.get("validation")
    low, high = test["interval"]
    lines = [
        f"Of {test['n']} test photos {_right(test)} were named right. The model learned from none of them and nothing was chosen by them, so this is what to "
        f"expect of new photos of the same kind: with 95 % confidence between {percent(max(0.0, low))} and {percent(min(1.0, high))} are named right."
    ]
    if broken := test.get("broken"):
        lines.append(f"{broken} more could not be read and do not count.")
    smaller = ""
    if validation:
        smaller = (
            f'<p class="result-validation">Validation: {accuracy_text(validation["accuracy"], validation["interval"])} of {validation["n"]} photos. '
            "The weights were chosen on these, so it is too kind.</p>"
        )
    return f'<div class="result-meaning"><p>{escape(" ".join(lines))}</p>{smaller}</div>'


def _right(split: dict) -> int:
    return sum(row[number] for number, row in enumerate(split["confusion"]))


def about_split(split: str) -> str:
    """What must be known of the photos that all below is about."""
    if split == "test":
        return note("Everything below is about the test photos.")
    return note("Everything below is about the validation photos. The weights were chosen on these, so it is too kind.")


def class_table(split: dict) -> str:
    """Precision, recall and F1 of each class."""
    if not split.get("classes"):
        return note(EARLIER)
    rows = [
        [
            label_title(found["label"]),
            "never said" if found["precision"] is None else _whole(percent(found["precision"])),
            "no photo" if found["recall"] is None else _recall(found),
            "" if found["f1"] is None else _whole(percent(found["f1"])),
            found["support"],
        ]
        for found in split["classes"]
    ]
    words = (
        "Precision: of the photos called this class, those that are. Recall: of the photos of this class, those called so. "
        "F1: both in one number (their harmonic mean)."
    )
    return table(["Class", "Precision", "Recall (95 % interval)", "F1", "Photos"], rows) + note(words)


def _recall(found: dict) -> str:
    share, _, interval = accuracy_text(found["recall"], found["recall_interval"]).partition(" (")
    return f"{_whole(share)} ({_whole(interval)}"


def _whole(text: str) -> str:
    """A number that stays together with its unit."""
    return text.replace(" ", SPACE)


def confusion(split: dict) -> str:
    """The confusion matrix as a table of buttons, ``data-cell`` saying which (row, column), and one button for the worst mistakes."""
    labels = [label_title(label) for label in split["labels"]]
    few = len(labels) <= MOST_CLASSES
    wrong = split["n"] - _right(split)
    worst = f'<button type="button" class="result-worst" data-cell="" aria-pressed="true">Worst mistakes first ({wrong})</button>'
    return (_matrix(split["confusion"], labels) if few else _mix_ups(split["confusion"], labels)) + worst


def _matrix(counts: list[list[int]], labels: list[str]) -> str:
    # Numbers stand for long names, so that the columns fit a phone.
    short = sum(map(len, labels)) > COLUMN_LETTERS or len(labels) > 4
    heads = [f"{number}. {label}" if short else label for number, label in enumerate(labels, 1)]
    columns = "".join(
        f'<th scope="col" title="{escape(label)}"><span aria-hidden="true">{number}</span><span class="result-hidden">{escape(label)}</span></th>' if short
        else f'<th scope="col">{escape(label)}</th>'
        for number, label in enumerate(labels, 1)
    )
    rows = "".join(
        f'<tr><th scope="row">{escape(heads[true])}</th>' + "".join(_cell(counts, labels, true, said) for said in range(len(labels))) + "</tr>"
        for true in range(len(labels))
    )
    words = (
        "Rows: what it is. Columns: what the model says. Green is right, orange is wrong, the darker the larger its share of the row. "
        "Touch a number to see its photos."
    )
    return (
        f'<div class="table-scroll"><table class="result-matrix"><thead><tr><td></td>{columns}</tr></thead><tbody>{rows}</tbody></table></div>{note(words)}'
    )


def _cell(counts: list[list[int]], labels: list[str], true: int, said: int) -> str:
    count, total = counts[true][said], sum(counts[true])
    if not count:
        return '<td class="result-none">0</td>'
    kind = "right" if true == said else "wrong"
    return f'<td class="result-{kind}" style="--share:{count / total:.3f}">{_button(labels, true, said, count, str(count))}</td>'


def _button(labels: list[str], true: int, said: int, count: int, text: str) -> str:
    photos = "1 photo" if count == 1 else f"{count} photos"
    words = f"{labels[true]} called {labels[said]}: {photos}"
    return f'<button type="button" data-cell="{true},{said}" aria-pressed="false" aria-label="{escape(words)}" title="{escape(words)}">{escape(text)}</button>'


def _mix_ups(counts: list[list[int]], labels: list[str]) -> str:
    """The most frequent wrong answers, for more classes than a matrix has room for."""
    wrong = [(count, true, said) for true, row in enumerate(counts) for said, count in enumerate(row) if true != said and count]
    if not wrong:
        return note("No class was taken for another.")
    wrong.sort(key=lambda found: (-found[0], found[1:]))
    rows = "".join(
        f"<tr><td>{escape(labels[true])}</td><td>{escape(labels[said])}</td><td>{_button(labels, true, said, count, str(count))}</td></tr>"
        for count, true, said in wrong[:MIX_UPS]
    )
    head = "<thead><tr><th>It is</th><th>The model says</th><th>Photos</th></tr></thead>"
    words = f"The {min(MIX_UPS, len(wrong))} most frequent mix-ups of {len(labels)} classes. Touch a number to see its photos."
    return f'<div class="table-scroll"><table class="facts result-mix-ups">{head}<tbody>{rows}</tbody></table></div>{note(words)}'


def list_title(labels: list[str], cell: tuple[int, int] | None, count: int) -> str:
    """What photos are shown."""
    photos = "1 photo" if count == 1 else f"{count} photos"
    if cell is None:
        return f"<h4>Worst mistakes first</h4>{note('The ones that the model was surest of stand first.') if count > 1 else ''}"
    true, said = (label_title(labels[number]) for number in cell)
    return f"<h4>{escape(true)} called {escape(said)}: {photos}</h4>"


def photo_list(found: list[tuple[Prediction, Image.Image | None]]) -> str:
    """A page of photos as buttons, ``data-row`` saying which row of the split; None is one that cannot be shown."""
    return f'<ul class="result-photos">{"".join(_photo(*part) for part in found)}</ul>'


def _photo(prediction: Prediction, photo: Image.Image | None) -> str:
    picture = '<span class="result-gone">not there any more</span>' if photo is None else f'<img alt="" src="{_source(photo)}">'
    name = PurePath(prediction.path.replace("\\", "/")).name or prediction.path
    verdict = "right" if prediction.true == prediction.said else "wrong"
    return (
        f'<li><button type="button" data-row="{prediction.row}">{picture}<span class="result-said result-said-{verdict}">'
        f"says {escape(label_title(prediction.said))}, {_whole(percent(prediction.probability))}</span>"
        f"<span>is {escape(label_title(prediction.true))}</span><span class=\"result-file\">{escape(name)}</span></button></li>"
    )


def _source(photo: Image.Image) -> str:
    file = io.BytesIO()
    shrink(photo, THUMBNAIL).save(file, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def photo_facts(prediction: Prediction, split: str) -> str:
    """What is known of one photo."""
    return table(
        ["This photo", ""],
        [
            ["It is", label_title(prediction.true)],
            ["The model says", label_title(prediction.said)],
            ["Its probability", percent(prediction.probability)],
            ["File", prediction.path],
            ["Split, row", f"{split}, {prediction.row}"],
        ],
    )


def away(name: str, rows: dict[str, dict], titles: dict[str, str], size: int) -> str:
    """What each model of the export of a run is worth.

    name: of the run. rows: of ``diagnose.export.compare``. titles: by engine. size: of the zip file in bytes.
    """
    cells = [
        [
            title, f"{rows[engine]['bytes'] / 1e6:.1f}", f"{rows[engine]['ms']:.1f}",
            accuracy_text(rows[engine]["accuracy"], rows[engine]["interval"]), _whole(percent(rows[engine]["agreement"])),
        ]
        for engine, title in titles.items()
    ]
    words = (
        f"The model of the run {name}, scored on {rows['torch']['n']} test photos. One photo: what the model alone takes on the processor of this server "
        f"(median of 15), more when the server is busy. Same answer: test photos that get the class which the run's own model says. "
        f"The zip file has {size / 1e6:.1f} MB."
    )
    return table(["Model", "Size (MB)", "One photo (ms)", "Right (95 % interval)", "Same answer"], cells) + note(words)


def how_sure(scores: dict, split: str) -> str:
    """The reliability diagram in a sentence and a table."""
    found = scores[split]
    calibration, calibrated = found.get("calibration"), found.get("calibrated")
    if not calibration:
        return note(EARLIER)
    fullest = max(calibration["bins"], key=lambda part: part["count"])
    lines = [
        f"When it was {_range(fullest)} sure ({fullest['count']} of {found['n']} photos), it was right {percent(fullest['accuracy'])} of the time; "
        f"its mean probability there was {percent(fullest['confidence'])}.",
        f"On average its probabilities are off by {_points(calibration)} (expected calibration error; 0 is best).",
    ]
    if calibrated:
        lines.append(_temperature_words(scores, split))
    return f"<p>{escape(' '.join(lines))}</p>{_bins_table(calibration, calibrated)}"


def _temperature_words(scores: dict, split: str) -> str:
    temperature = scores[split]["temperature"]
    if temperature == 1 and (scores.get("validation") or {}).get("accuracy") == 1:
        return "Every validation photo was right, so a temperature could not be fitted and it stays at 1."
    where = "these validation photos themselves" if split == "validation" else "the validation photos alone"
    effect = "hardly changes anything" if abs(temperature - 1) < 0.02 else f"makes it {'less sure' if temperature > 1 else 'surer'} without changing any answer"
    return f"A temperature of {temperature:.2f}, fitted on {where}, {effect}: with it they are off by {_points(scores[split]['calibrated'])}."


def _points(calibration: dict) -> str:
    points = f"{calibration['expected_calibration_error'] * 100:.1f}"
    return f"{points} points of 100"


def _range(part: dict) -> str:
    return f"{part['low'] * 100:.0f} to {part['high'] * 100:.0f} %"


def _bins_table(calibration: dict, calibrated: dict | None) -> str:
    kinds = {BEFORE: calibration, **({AFTER: calibrated} if calibrated else {})}
    groups = "".join(f'<th scope="colgroup" colspan="2">{name}</th>' for name in kinds)
    head = f'<tr><td></td>{groups}</tr><tr><th scope="col">How sure</th>{"<th scope=col>Photos</th><th scope=col>Right</th>" * len(kinds)}</tr>'
    rows = ""
    for parts in zip(*(kind["bins"] for kind in kinds.values())):
        if any(part["count"] for part in parts):
            cells = "".join(f"<td>{part['count']}</td><td>{percent(part['accuracy']) if part['count'] else ''}</td>" for part in parts)
            rows += f'<tr><th scope="row">{_range(parts[0])}</th>{cells}</tr>'
    return f'<div class="table-scroll"><table class="facts result-bins"><thead>{head}</thead><tbody>{rows}</tbody></table></div>'
