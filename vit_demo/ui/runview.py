"""What the Fine-tune tab shows of one run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from html import escape

import gradio as gr
import plotly.graph_objects as go

from vit_demo.training import runs
from vit_demo.training.curves import Curves, curves_of
from vit_demo.training.runs import Run
from vit_demo.ui.components import percent, table
from vit_demo.ui.figures.training import confusion_figure, curves_figure
from vit_demo.ui.words import label_title

STATUS_WORDS = {
    "starting": "Starting", "preparing": "Preparing", "training": "Training", "scoring": "Scoring",
    "finished": "Finished", "stopped": "Stopped", "failed": "Failed", runs.BROKEN_OFF: "Broken off",
}


@dataclass(frozen=True)
class RunView:
    """Everything on the page about a run. version: changes when any of it does; moment: with the run, its status and its evaluations alone."""

    version: str
    moment: str
    status: str
    log: str
    plot: go.Figure | None = None
    result: str = ""
    confusion: go.Figure | None = None
    usable: bool = False

    def updates(self) -> tuple:
        """Updates for status, plot, result, confusion, use, log, seen, moment."""
        return (
            self.status,
            gr.update(value=self.plot, visible=self.plot is not None),
            self.result,
            gr.update(value=self.confusion, visible=self.confusion is not None),
            gr.update(visible=self.usable),
            self.log,
            self.version,
            self.moment,
        )


def hidden_view() -> RunView:
    """When there is no run."""
    return RunView("none", "none", '<div class="run run-empty">No run yet. Choose photos and settings, then press Start.</div>', "")


def view_of(run: Run) -> RunView:
    """The view of a run as its folder has it now."""
    state = run.state()
    curves = curves_of(run)
    scores = run.scores() if state["status"] in ("finished", "stopped") else {}
    stopping = run.stop_requested() and state["status"] in runs.GOING
    test = scores.get("test")
    # Time left counts down by itself, so a going run is sent anew each second; an ended one once.
    moment = int(time.time()) if state["status"] in runs.GOING else 0
    return RunView(
        version=f"{run.id}:{curves.offset}:{state['status']}:{state.get('done')}:{moment}",
        moment=f"{run.id}:{state['status']}:{curves.last_validation.get('step')}",
        status=_status(run, state, curves, stopping),
        log=run.log_tail(),
        plot=curves_figure(curves, run.id) if curves.last_train or curves.last_validation else None,
        result=_result(scores),
        confusion=confusion_figure(test["confusion"], [label_title(label) for label in test["labels"]]) if test else None,
        usable=run.has_model(),
    )


def _status(run: Run, state: dict, curves: Curves, stopping: bool) -> str:
    status = state["status"]
    share = _share_done(state)
    word = "Stopping" if stopping else STATUS_WORDS.get(status, status)
    message = state.get("message") or ""
    warnings = "".join(f'<p class="run-message">{escape(text)}</p>' for text in curves.warnings)
    kind = escape(status.replace(" ", "-"))
    return (
        f'<div class="run run-{kind}" role="status">'
        f'<div class="run-head"><b>{escape(word)}</b><span>{escape(_progress_text(state, curves))}</span></div>'
        f'<div class="progress" role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{share * 100:.0f}">'
        f'<div style="width:{share:.1%}"></div></div>'
        f'<p class="run-numbers">{escape(_numbers(curves))}</p>'
        + (f'<p class="run-message">{escape(message)}</p>' if message else "")
        + warnings
        + "</div>"
    )


def _share_done(state: dict) -> float:
    if state["status"] in ("finished", "stopped"):
        return 1.0
    # Preparing is about a tenth of a run, scoring a twentieth.
    start, width = {"preparing": (0.0, 0.1), "training": (0.1, 0.85), "scoring": (0.95, 0.05)}.get(state["status"], (0.0, 0.0))
    return start + width * state.get("done", 0) / max(1, state.get("total", 1))


def _progress_text(state: dict, curves: Curves) -> str:
    status = state["status"]
    if status == "training":
        done, total = state.get("done", 0), state.get("total", 0)
        return f"step {done} of {total}{_time_left(curves, done, total)}"
    if status in ("finished", "stopped") and state.get("result"):
        return f"in {_duration(state['result']['seconds'])}"
    if status in runs.GOING and state.get("total", 1) > 1:
        return f"{state['done']} of {state['total']}"
    return ""


def _time_left(curves: Curves, done: int, total: int) -> str:
    begin, last = curves.begin.get("time"), curves.last_train.get("time")
    if not done or not begin or not last or last - begin < 3:
        return ""
    return f", about {_duration((last - begin) / done * (total - done))} left"


def _duration(seconds: float) -> str:
    seconds = round(seconds)
    if seconds < 90:
        return f"{seconds} s"
    return f"{seconds // 60} min {seconds % 60} s" if seconds < 3600 else f"{seconds // 3600} h {seconds % 3600 // 60} min"


def _numbers(curves: Curves) -> str:
    """The plot in words, for those who cannot see it and those who want the numbers."""
    parts = []
    if train := curves.last_train:
        parts.append(f"train loss {train['loss']:.3f}")
    if validation := curves.last_validation:
        parts.append(f"validation loss {validation['loss']:.3f}, accuracy {percent(validation['accuracy'])} (step {validation['step']})")
    if train := curves.last_train:
        parts.append(f"learning rate {train['learning_rate']:.2g}")
        parts.append(f"{train['photos_per_second']:.0f} photos/s")
    return "; ".join(parts)


def _result(scores: dict) -> str:
    if not scores:
        return ""
    test, validation = scores["test"], scores["validation"]
    low, high = test["interval"]
    rows = [
        [f"{name}: {split['n']}", percent(split["accuracy"]), f"{percent(split['interval'][0])} to {percent(split['interval'][1])}"]
        for name, split in (("Test", test), ("Validation, used to choose", validation))
    ]
    return (
        f'<div class="score"><span class="score-number">{percent(test["accuracy"])}</span>'
        f"<span>of {test['n']} test photos right; with 95 % confidence between {percent(low)} and {percent(high)}</span></div>"
        + table(["Photos", "Accuracy", "95 % interval"], rows)
    )
