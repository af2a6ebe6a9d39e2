"""What the Fine-tune tab shows of a run's film: the pictures, and for each of them the words."""

from __future__ import annotations

import base64

import numpy as np

from vit_demo.common.errors import UserError
from vit_demo.common.words import label_title, percent
from vit_demo.training.film import reader
from vit_demo.training.film.reader import FilmReel, Frame
from vit_demo.training.run import runs
from vit_demo.training.run.curves import Curves, Series, curves_of
from vit_demo.training.run.runs import Run

# Points of a curve in the small figure beside the film.
CURVE_POINTS = 150
# Where all probabilities are as near as this, as with a new head, the model leans to none.
UNDECIDED = 0.005
# At which no line is broken.
SPACE = "\N{NO-BREAK SPACE}"
THIRDS = {1: ("middle",), 2: ("top", "bottom"), 3: ("top", "middle", "bottom")}
ACROSS = {"top": "left", "middle": "middle", "bottom": "right"}


def film_view(run: Run | None) -> dict:
    """What the page plays, fit for JSON, with the key ``seen``, which changes with the film; or only why there is nothing to play, as ``note``."""
    if run is None:
        return {"note": 'No run yet. Start one under "Train".', "seen": "none"}
    film = reader.read(run)
    status = run.state()["status"]
    if film is None:
        note = _why_none(run, status in runs.GOING)
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
            {"source": f"data:image/jpeg;base64,{base64.b64encode(photo.jpeg).decode()}", "name": photo.name, "truth": label_title(film.labels[photo.label])}
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
        return "The tutorial's recipe keeps no film. Choose another recipe to see where a model looks while it learns."
    if not config.film:
        return "This run was started without a film: its number of photos in the film is 0."
    if going:
        return "The film begins with the first step."
    return "This run has no film: it ended before its first step, its disk was full, or it was made by an older version of the program."


def _frame(film: FilmReel, frame: Frame, curves: Curves, total: int, last: bool) -> dict:
    labels = [label_title(label) for label in film.labels]
    says = [
        {**lean(probabilities, labels, photo.label), "where": where(values)}
        for probabilities, photo, values in zip(frame.probabilities, film.photos, frame.values)
    ]
    loss = _loss_at(frame.step, curves)
    maps = [base64.b64encode(one.tobytes()).decode() for one in frame.maps]
    return {"step": frame.step, "title": _title(frame.step, total, loss, last), "loss": loss, "maps": maps, "says": says}


def _title(step: int, total: int, loss: float | None, last: bool) -> str:
    if step == 0:
        return "Before training (step 0)"
    text = f"At the end (step {step} of {total})" if last else f"Step {step} of {total}"
    return text if loss is None else f"{text}, validation loss {loss:.2f}"


def _loss_at(step: int, curves: Curves) -> float | None:
    """The validation loss of a step; of a very long run the mean of its neighbourhood. None where validation was not looked at, or it is not there yet."""
    steps, losses = curves.validation_loss.points
    if not step or step > curves.last_validation.get("step", 0) or (step not in steps and not curves.validation_loss.thinned):
        return None
    return round(float(np.interp(step, steps, losses)), 5)


def lean(probabilities: np.ndarray, labels: list[str], truth: int) -> dict:
    """What the model takes a photo for, as a text of two lines, and the verdict: "right", "wrong", or nothing where it is undecided."""
    if np.ptp(probabilities) < UNDECIDED:
        return {"text": f"undecided,\n{_share(probabilities.mean())} each", "verdict": ""}
    best = int(probabilities.argmax())
    verdict = "right" if best == truth else "wrong"
    return {"text": f"{labels[best]},\n{_share(probabilities[best])}: {verdict}", "verdict": verdict}


def where(values: np.ndarray) -> str:
    """A map (rows, columns) in words: its strongest part, and on how small a part of the photo half of it lies."""
    down, across = (THIRDS[min(3, side)] for side in values.shape)
    parts = {
        (row, ACROSS[column]): part.mean()
        for row, band in zip(down, np.array_split(values, len(down))) for column, part in zip(across, np.array_split(band, len(across), axis=1))
    }
    row, column = max(parts, key=parts.get)
    place = "in the middle" if row == column == "middle" else f"at the {row} {column}"
    falling = np.sort(values, axis=None)[::-1]
    half = (np.searchsorted(falling.cumsum(), falling.sum() / 2) + 1) / falling.size
    return f"looks most {place}; half of its attention on {half:.0%} of the photo".replace("%", f"{SPACE}%")


def _share(share: float) -> str:
    return percent(float(share)).replace(" ", SPACE)


def _short(series: Series) -> list[list[float]]:
    """Steps and values of a curve, the means of at most CURVE_POINTS neighbouring parts."""
    columns = [np.asarray(column, dtype=float) for column in series.points]
    parts = min(CURVE_POINTS, len(columns[0]))
    return [[round(float(part.mean()), 4) for part in np.array_split(column, parts)] if parts else [] for column in columns]
