"""What the Fine-tune tab shows of a run's film: the pictures, and for each of them the words."""

from __future__ import annotations

import base64

import numpy as np

from vit_demo.common.errors import UserError
from vit_demo.common.words import current_language, label_title, percent, say
from vit_demo.training.film import reader
from vit_demo.training.film.reader import FilmReel, Frame
from vit_demo.training.run.curves import Curves, Series, curves_of
from vit_demo.training.run.runs import Run
from vit_demo.training.run.status import GOING

# Points of a curve in the small figure beside the film.
CURVE_POINTS = 150
# Where all probabilities are as near as this, as with a new head, the model leans to none.
UNDECIDED = 0.005
# At which no line is broken.
SPACE = "\N{NO-BREAK SPACE}"
# What the script says, beside what it is given of each frame. Of the last three it fills in what stands in
# braces.
WORDS = ("play", "pause", "moment", "scale", "curve", "train", "validation", "now", "loss")
FILLED = {"step": ("step",), "is": ("label",), "picture": ("name", "where")}
THIRDS = {1: ("middle",), 2: ("top", "bottom"), 3: ("top", "middle", "bottom")}
ACROSS = {"top": "left", "middle": "middle", "bottom": "right"}


def film_view(run: Run | None) -> dict:
    """What the page plays, fit for JSON, with the key ``seen``, which changes with the film and the language;
    or only why there is nothing to play, as ``note``. words: what the script says."""
    view = _view(run)
    filled = {
        name: say(f"train.film.{name}", **{part: f"{{{part}}}" for part in parts})
        for name, parts in FILLED.items()
    }
    return {
        **view,
        "seen": f"{current_language()}:{view['seen']}",
        "words": {**{name: say(f"train.film.{name}") for name in WORDS}, **filled},
    }


def _view(run: Run | None) -> dict:
    if run is None:
        return {"note": say("train.none_yet"), "seen": "none"}
    film = reader.read(run)
    status = run.state()["status"]
    if film is None:
        note = _why_none(run, status in GOING)
        return {"note": note, "seen": f"{run.id}:{note}"}
    curves = curves_of(run)
    frames = film.frames
    total = max(1, curves.begin.get("total_steps") or frames[-1].step)
    end = frames[-1] if status == "finished" else None
    return {
        "run": run.id,
        "seen": f"{run.id}:{len(frames)}:{frames[-1].step}:{curves.last_validation.get('step')}:{status}",
        "rows": frames[0].maps.shape[1],
        "columns": frames[0].maps.shape[2],
        "photos": [
            {
                "source": f"data:image/jpeg;base64,{base64.b64encode(photo.jpeg).decode()}",
                "name": photo.name,
                "truth": label_title(film.labels[photo.label]),
            }
            for photo in film.photos
        ],
        "frames": [_frame(film, frame, curves, total, frame is end) for frame in frames],
        "total": total,
        "train": _short(curves.train_loss),
        "validation": _short(curves.validation_loss),
    }


def _why_none(run: Run, going: bool) -> str:
    try:
        config = run.config()
    except UserError as error:
        return str(error)
    if config.engine == "trainer":
        return say("train.film.tutorial")
    if not config.film:
        return say("train.film.off")
    return say("train.film.begins" if going else "train.film.none")


def _frame(film: FilmReel, frame: Frame, curves: Curves, total: int, last: bool) -> dict:
    labels = [label_title(label) for label in film.labels]
    says = [
        {**lean(probabilities, labels, photo.label), "where": where(values)}
        for probabilities, photo, values in zip(frame.probabilities, film.photos, frame.values)
    ]
    loss = _loss_at(frame.step, curves)
    maps = [base64.b64encode(one.tobytes()).decode() for one in frame.maps]
    return {
        "step": frame.step,
        "title": _title(frame.step, total, loss, last),
        "loss": loss,
        "maps": maps,
        "says": says,
    }


def _title(step: int, total: int, loss: float | None, last: bool) -> str:
    if step == 0:
        return say("train.film.before")
    key = "train.film.at_end" if last else "train.film.at_step"
    return (
        say(key, step=step, total=total)
        if loss is None
        else say(f"{key}.loss", step=step, total=total, loss=f"{loss:.2f}")
    )


def _loss_at(step: int, curves: Curves) -> float | None:
    """The validation loss of a step; of a very long run the mean of its neighbourhood. None where validation
    was not looked at, or it is not there yet.
    """
    steps, losses = curves.validation_loss.points
    if (
        not step
        or step > curves.last_validation.get("step", 0)
        or (step not in steps and not curves.validation_loss.thinned)
    ):
        return None
    return round(float(np.interp(step, steps, losses)), 5)


def lean(probabilities: np.ndarray, labels: list[str], truth: int) -> dict:
    """What the model takes a photo for, as a text of two lines, and the verdict: "right", "wrong", or nothing
    where it is undecided.
    """
    if np.ptp(probabilities) < UNDECIDED:
        return {"text": say("train.film.undecided", share=_share(probabilities.mean())), "verdict": ""}
    best = int(probabilities.argmax())
    verdict = "right" if best == truth else "wrong"
    return {
        "text": say(f"train.film.{verdict}", label=labels[best], share=_share(probabilities[best])),
        "verdict": verdict,
    }


def where(values: np.ndarray) -> str:
    """A map (rows, columns) in words: its strongest part, and on how small a part of the photo half of it
    lies.
    """
    down, across = (THIRDS[min(3, side)] for side in values.shape)
    parts = {
        (row, ACROSS[column]): part.mean()
        for row, band in zip(down, np.array_split(values, len(down)))
        for column, part in zip(across, np.array_split(band, len(across), axis=1))
    }
    row, column = max(parts, key=parts.__getitem__)
    falling = np.sort(values, axis=None)[::-1]
    half = (np.searchsorted(falling.cumsum(), falling.sum() / 2) + 1) / falling.size
    return say(
        "train.film.where",
        place=say(f"train.film.place.{row}-{column}"),
        share=f"{half:.0%}".replace("%", f"{SPACE}%"),
    )


def _share(share: float) -> str:
    return percent(float(share)).replace(" ", SPACE)


def _short(series: Series) -> list[list[float]]:
    """Steps and values of a curve, the means of at most CURVE_POINTS neighbouring parts."""
    columns = [np.asarray(column, dtype=float) for column in series.points]
    parts = min(CURVE_POINTS, len(columns[0]))
    return [
        [round(float(part.mean()), 4) for part in np.array_split(column, parts)] if parts else []
        for column in columns
    ]
