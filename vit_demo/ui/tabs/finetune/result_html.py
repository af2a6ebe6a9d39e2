"""What the Fine-tune tab says of a run's result: tables and sentences in HTML, made from the files beside its
model.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup
from PIL import Image

from vit_demo.common.words import label_title, percent, say
from vit_demo.figures.overlay import shrink
from vit_demo.training.result.predictions import Prediction
from vit_demo.ui.shared.components import table
from vit_demo.ui.shared.html import render
from vit_demo.ui.shared.runtext import accuracy_text, interval_text
from vit_demo.ui.tabs.finetune.confusion_figure import confusion_figure, drawn_classes
from vit_demo.ui.tabs.finetune.reliability_figure import AFTER, BEFORE

SPLITS = ("test", "validation")
# A matrix of more classes has no room for its names: there the most frequent mix-ups are listed, and drawn.
MOST_CLASSES, MIX_UPS = 10, 100
# Column names longer than this together do not fit a phone; numbers stand for them.
COLUMN_LETTERS = 60
THUMBNAIL = 192
# At which no line is broken.
SPACE = "\N{NO-BREAK SPACE}"


def heading(key: str) -> Callable[[], str]:
    """What says a heading of the view, in Markdown."""
    return lambda: f"### {say(key)}"


def note(text: Any) -> Markup:
    return render("train/result#note", text=text)


def empty(text: Any) -> Markup:
    """In place of a result."""
    return render("train/result#empty", text=text)


def earlier() -> Markup:
    return note(say("train.result.earlier"))


def meaning(scores: dict) -> Markup:
    """What the large number means, and the validation number, smaller."""
    test, validation = scores["test"], scores.get("validation")
    lines = _meaning(test) if test else [say("train.photos.not_measured")]
    smaller = ""
    if validation:
        accuracy = accuracy_text(validation["accuracy"], validation["interval"])
        smaller = say("train.result.validation", accuracy=accuracy, photos=validation["n"])
    return render("train/result#meaning", lines=lines, validation=smaller)


def _meaning(test: dict) -> list[str]:
    low, high = test["interval"]
    found = {
        "photos": test["n"],
        "right": _right(test),
        "low": percent(max(0.0, low)),
        "high": percent(min(1.0, high)),
    }
    broken = test.get("broken")
    more = [say("train.result.broken", broken=broken)] if broken else []
    return [say("train.result.meaning", **found), *more]


def not_measured() -> Markup:
    """In place of what is said of a split of which no photo could be read."""
    return note(say("train.not_measured"))


def _right(split: dict) -> int:
    return sum(row[number] for number, row in enumerate(split["confusion"]))


def about_split(split: str) -> Markup:
    """What must be known of the photos that all below is about."""
    return note(say("train.result.about.test" if split == "test" else "train.result.about.validation"))


def class_table(split: dict) -> Markup:
    """Precision, recall and F1 of each class."""
    if not split.get("classes"):
        return earlier()
    rows = [
        [
            label_title(found["label"]),
            say("train.result.never_said")
            if found["precision"] is None
            else _whole(percent(found["precision"])),
            say("train.result.no_photo") if found["recall"] is None else _recall(found),
            "" if found["f1"] is None else _whole(percent(found["f1"])),
            found["support"],
        ]
        for found in split["classes"]
    ]
    head = [say(f"train.result.{name}") for name in ("class", "precision", "recall", "f1", "photos")]
    return table(head, rows, say("train.result.classes")) + note(say("train.result.classes.note"))


def _recall(found: dict) -> str:
    return say(
        "train.accuracy",
        accuracy=_whole(percent(found["recall"])),
        interval=_whole(interval_text(found["recall_interval"])),
    )


def _whole(text: str) -> str:
    """A number that stays together with its unit."""
    return text.replace(" ", SPACE)


def confusion(split: dict, chosen: tuple[int, int] | None = None) -> Markup:
    """The confusion matrix as a table of buttons, ``data-cell`` saying which (row, column), and one button
    for the worst mistakes.

    chosen: the cell whose photos are shown; None for the worst mistakes.
    """
    labels = [label_title(label) for label in split["labels"]]
    wrong = split["n"] - _right(split)
    worst = render("train/result#worst", wrong=wrong, chosen=chosen is None)
    return confusion_table(split["confusion"], labels, chosen) + worst


def confusion_table(
    counts: list[list[int]],
    labels: list[str],
    chosen: tuple[int, int] | None,
    rows: Sequence[int] | None = None,
) -> Markup:
    """The matrix, or of many classes its most frequent mix-ups, as buttons; labels: as people read them.
    rows: the class ids that have a row, all by default.
    """
    if len(labels) > MOST_CLASSES:
        return _mix_ups(counts, labels, chosen)
    return _matrix(counts, labels, chosen, range(len(labels)) if rows is None else rows)


def _matrix(
    counts: list[list[int]], labels: list[str], chosen: tuple[int, int] | None, of: Sequence[int]
) -> Markup:
    # Numbers stand for long names, so that the columns fit a phone.
    short = sum(map(len, labels)) > COLUMN_LETTERS or len(labels) > 4
    heads = [{"number": number if short else 0, "label": label} for number, label in enumerate(labels, 1)]
    rows = [
        (
            f"{true + 1}. {labels[true]}" if short else labels[true],
            [_cell(counts, labels, (true, said), chosen) for said in range(len(labels))],
        )
        for true in of
    ]
    return render("train/result#matrix", heads=heads, rows=rows)


def _cell(
    counts: list[list[int]], labels: list[str], place: tuple[int, int], chosen: tuple[int, int] | None
) -> dict:
    true, said = place
    count, total = counts[true][said], sum(counts[true])
    return {
        "count": count,
        "share": count / max(1, total),
        "kind": "right" if true == said else "wrong",
        "place": f"{true},{said}",
        "chosen": place == chosen,
        "true": labels[true],
        "said": labels[said],
    }


def _mix_ups(counts: list[list[int]], labels: list[str], chosen: tuple[int, int] | None) -> Markup:
    """The most frequent wrong answers, for more classes than a matrix has room for."""
    wrong = [
        (count, true, said)
        for true, row in enumerate(counts)
        for said, count in enumerate(row)
        if true != said and count
    ]
    if not wrong:
        return note(say("train.result.no_mix_up"))
    wrong.sort(key=lambda found: (-found[0], found[1:]))
    cells = [_cell(counts, labels, (true, said), chosen) for _, true, said in wrong[:MIX_UPS]]
    return render("train/result#mix_ups", cells=cells, classes=len(labels))


def drawn(split: dict, key: str) -> go.Figure | None:
    """The matrix as a picture, of more classes than its table has room for; else None."""
    if len(split["labels"]) <= MOST_CLASSES:
        return None
    return confusion_figure(split["confusion"], [label_title(label) for label in split["labels"]], key)


def drawn_note(split: dict) -> Markup:
    """What must be known of that picture."""
    shown = len(drawn_classes(split["confusion"]))
    return note(say("train.result.drawn", shown=shown, classes=len(split["labels"])))


def list_title(labels: list[str], cell: tuple[int, int] | None, count: int) -> Markup:
    """What photos are shown."""
    if cell is None:
        text = say("train.result.worst.note") if count > 1 else ""
        return render("train/result#list_title", title=say("train.result.worst"), text=text)
    true, said = (label_title(labels[number]) for number in cell)
    return render(
        "train/result#list_title", title=say("train.result.cell", true=true, said=said, count=count), text=""
    )


def photo_list(found: list[tuple[Prediction, Image.Image | None]]) -> Markup:
    """A page of photos as buttons, ``data-row`` saying which row of the split; None is one that cannot be
    shown.
    """
    return render("train/result#photos", found=[_photo(*part) for part in found])


def _photo(prediction: Prediction, photo: Image.Image | None) -> dict:
    return {
        "row": prediction.row,
        "source": "" if photo is None else picture_source(photo),
        "verdict": "right" if prediction.true == prediction.said else "wrong",
        "said": label_title(prediction.said),
        "probability": _whole(percent(prediction.probability)),
        "true": label_title(prediction.true),
        "name": PurePath(prediction.path.replace("\\", "/")).name or prediction.path,
    }


def picture_source(photo: Image.Image) -> str:
    """A photo as a small picture, as data URI."""
    file = io.BytesIO()
    shrink(photo, THUMBNAIL).save(file, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def photo_facts(prediction: Prediction, split: str) -> Markup:
    """What is known of one photo."""
    rows = [
        [say("train.result.it_is"), label_title(prediction.true)],
        [say("train.result.it_says"), label_title(prediction.said)],
        [say("train.result.probability"), percent(prediction.probability)],
        [say("train.result.file"), prediction.path],
        [say("train.result.row"), say(f"train.result.row.{split}", row=prediction.row)],
    ]
    return table([say("train.result.this_photo"), ""], rows)


def export(name: str, rows: dict[str, dict], titles: dict[str, str], size: int) -> Markup:
    """What each model of the export of a run is worth.

    name: of the run. rows: of ``export.onnx.compare``. titles: keys by engine. size: of the zip file in
    bytes.
    """
    cells = [
        [
            say(title),
            f"{rows[engine]['bytes'] / 1e6:.1f}",
            f"{rows[engine]['ms']:.1f}",
            accuracy_text(rows[engine]["accuracy"], rows[engine]["interval"]),
            _whole(percent(rows[engine]["agreement"])),
        ]
        for engine, title in titles.items()
    ]
    words = say("train.export.note", name=name, photos=rows["torch"]["n"], megabytes=f"{size / 1e6:.1f}")
    head = [say(f"train.export.column.{column}") for column in ("model", "size", "time", "right", "same")]
    return table(head, cells) + note(words)


def how_sure(scores: dict, split: str, copies: bool) -> Markup:
    """The reliability diagram in a sentence and a table. copies: whether the temperature was fitted on
    changed copies of the validation photos too.
    """
    found = scores[split]
    calibration, calibrated = found.get("calibration"), found.get("calibrated")
    if not calibration:
        return earlier()
    fullest = max(calibration["bins"], key=lambda part: part["count"])
    lines = [
        say(
            "train.result.fullest",
            range=_range(fullest),
            count=fullest["count"],
            photos=found["n"],
            right=percent(fullest["accuracy"]),
            mean=percent(fullest["confidence"]),
        ),
        say("train.result.off_by", points=_points(calibration)),
    ]
    if calibrated:
        lines.append(_temperature_words(scores, split, copies))
    kinds = {BEFORE: calibration, **({AFTER: calibrated} if calibrated else {})}
    rows = [
        (_range(parts[0]), parts)
        for parts in zip(*(kind["bins"] for kind in kinds.values()))
        if any(part["count"] for part in parts)
    ]
    return render("train/result#how_sure", lines=lines, kinds=list(kinds), rows=rows)


def _temperature_words(scores: dict, split: str, copies: bool) -> str:
    temperature = scores[split]["temperature"]
    if temperature == 1 and (scores.get("validation") or {}).get("accuracy") == 1:
        return say("train.result.temperature.none")
    effect = "nothing" if abs(temperature - 1) < 0.02 else "less_sure" if temperature > 1 else "surer"
    return say(
        f"train.result.temperature.{effect}.{split}",
        temperature=f"{temperature:.2f}",
        points=_points(scores[split]["calibrated"]),
        on=say(f"train.result.fitted_on.{'copies' if copies else 'photos'}"),
    )


def _points(calibration: dict) -> str:
    return f"{calibration['expected_calibration_error'] * 100:.1f}"


def _range(part: dict) -> str:
    return say("train.result.range", low=f"{part['low'] * 100:.0f}", high=f"{part['high'] * 100:.0f}")
