"""What the Fine-tune tab shows of one run."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

import gradio as gr
from gradio.components.plot import PlotData

from vit_demo.common.words import current_language, percent, say
from vit_demo.training.run import queue, runs
from vit_demo.training.run.curves import Curves, curves_of
from vit_demo.training.run.notes import told, told_all
from vit_demo.training.run.runs import Run
from vit_demo.training.run.status import ENDED, GOING
from vit_demo.ui.shared.html import render
from vit_demo.ui.shared.runtext import duration, settings_of, status_word
from vit_demo.ui.tabs.finetune.curves_figure import curves_plot


@dataclass(frozen=True)
class RunView:
    """Everything on the page about a run.

    moment: changes with the run, its status, its name and the number of its evaluations alone. drawn: changes
    with the curves and the language. told: changes with all else. usable: it has a model. stoppable,
    resumable: which buttons are shown.
    """

    moment: str
    drawn: str
    told: str
    status: str
    log: str = ""
    plot: PlotData | None = None
    usable: bool = False
    stoppable: bool = False
    resumable: bool = False

    @property
    def seen(self) -> str:
        """What a page that shows this view has seen."""
        return json.dumps([self.moment, self.drawn, self.told])

    def updates(self, seen: str = "") -> tuple:
        """Updates for status, stop, resume, use, plot, log, seen, moment, of only what a page that has
        ``seen`` that lacks.

        The browser takes a value that is sent again for a change: what follows from a change must not lead
        back to it.
        """
        if seen == self.seen:
            return (gr.skip(),) * 8
        moment, drawn, _ = json.loads(seen) if seen else ("", "", "")
        return (
            self.status,
            gr.update(visible=self.stoppable),
            gr.update(visible=self.resumable),
            gr.update(visible=self.usable),
            gr.skip() if drawn == self.drawn else gr.update(value=self.plot, visible=self.plot is not None),
            self.log,
            self.seen,
            gr.skip() if moment == self.moment else self.moment,
        )


def hidden_view() -> RunView:
    """When there is no run."""
    return RunView("none", "none", f"none:{current_language()}", render("train/run#no_run"))


def view_of(run: Run) -> RunView:
    """The view of a run as its folder has it now."""
    state = run.state()
    status = state["status"]
    curves = curves_of(run)
    scores = run.scores() if status in ENDED else {}
    going = run.is_going()
    stopping = run.stop_requested() and going
    # Time left counts down by itself, so a going run is told anew each second; an ended one once.
    second = int(time.time()) if going else 0
    evaluation = curves.last_validation.get("step")
    return RunView(
        moment=f"{run.id}:{status}:{evaluation}:{run.name}",
        drawn=f"{run.id}:{curves.offset}:{current_language()}",
        told=f"{run.id}:{curves.offset}:{status}:{state.get('done')}:{stopping}:{second}:{run.name}:{current_language()}",
        status=_status(run, state, curves, stopping) + _score(scores),
        log=run.log_tail(),
        plot=curves_plot(curves, run.id) if curves.last_train or curves.last_validation else None,
        usable=run.has_model(),
        stoppable=going and not stopping,
        resumable=run.can_resume(),
    )


def _status(run: Run, state: dict, curves: Curves, stopping: bool) -> str:
    status = state["status"]
    message = _place(run) if status == "waiting" else told(state)
    lines = [
        line
        for line in (runs.ON_DRAWINGS if run.learned_from_drawings() else "", message, *curves.notes())
        if line
    ]
    return render(
        "train/run#status",
        kind=status.replace(" ", "-"),
        word=say("train.status.stopping") if stopping else status_word(status),
        progress=_progress_text(state, curves),
        share=_share_done(state),
        numbers=_numbers(curves),
        lines=lines,
        photos=told_all(state.get("data_notes")),
        settings=settings_of(run),
        id=run.id,
    )


def _place(run: Run) -> str:
    ahead = queue.place(run)
    return say("train.run.waits", count=ahead) if ahead else say("train.run.soon")


def _share_done(state: dict) -> float:
    if state["status"] in ("finished", "stopped"):
        return 1.0
    # Preparing is about a tenth of a run, scoring a twentieth.
    start, width = {"preparing": (0.0, 0.1), "training": (0.1, 0.85), "scoring": (0.95, 0.05)}.get(
        state["status"], (0.0, 0.0)
    )
    return start + width * state.get("done", 0) / max(1, state.get("total", 1))


def _progress_text(state: dict, curves: Curves) -> str:
    status = state["status"]
    if status == "training":
        done, total = state.get("done", 0), state.get("total", 0)
        left = _time_left(state, curves, done, total)
        return (
            say("train.run.step_left", done=done, total=total, time=left)
            if left
            else say("train.run.step", done=done, total=total)
        )
    if status in ("finished", "stopped") and state.get("result"):
        return say("train.run.in", time=duration(state["result"]["seconds"]))
    if status in GOING and state.get("total", 1) > 1:
        return say("train.run.part", done=state["done"], total=state["total"])
    return ""


def _time_left(state: dict, curves: Curves, done: int, total: int) -> str:
    """How long the training will still take; "" where that cannot be told yet."""
    # Of this sitting alone: a run may have gone on after a night.
    since, first = curves.since.get("time"), curves.since.get("step", 0)
    spent = state.get("changed", 0) - since if since else 0
    return "" if done <= first or spent < 3 else duration(spent / (done - first) * (total - done))


def _numbers(curves: Curves) -> str:
    """The plot in words, for those who cannot see it and those who want the numbers."""
    parts = []
    if train := curves.last_train:
        parts.append(say("train.run.train", loss=f"{train['loss']:.3f}"))
    if validation := curves.last_validation:
        seen = {
            "loss": f"{validation['loss']:.3f}",
            "accuracy": percent(validation["accuracy"]),
            "step": validation["step"],
        }
        parts.append(say("train.run.validation", **seen))
    if train := curves.last_train:
        parts.append(say("train.run.rate", rate=f"{train['learning_rate']:.2g}"))
        parts.append(say("train.run.speed", photos=f"{train['photos_per_second']:.0f}"))
    return say("train.semicolon").join(parts)


def _score(scores: dict) -> str:
    """The one number that counts: of photos that the run has neither learned from nor chosen by."""
    if "test" not in scores:
        return ""
    return render("train/run#score", test=scores["test"]) if scores["test"] else render("train/run#no_score")
