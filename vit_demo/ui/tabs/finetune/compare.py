"""Several runs side by side: their curves in one figure, and the settings in which they differ."""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr

from vit_demo.common.errors import UserError
from vit_demo.common.words import percent, say
from vit_demo.training.run import runs
from vit_demo.training.run.curves import curves_of
from vit_demo.training.run.runs import Run
from vit_demo.ui.shared.components import Choice, table
from vit_demo.ui.shared.runtext import differences, duration, status_word
from vit_demo.ui.shared.speech import Speech, Told
from vit_demo.ui.tabs.finetune.compare_figure import ALONG, MOST, Compared, compare_figure
from vit_demo.ui.tabs.finetune.live import QUIET, Shown
from vit_demo.ui.tabs.finetune.result_html import empty, note
from vit_demo.ui.tabs.finetune.runlist_rows import list_rows

FIRST = 2


def build(tab: gr.Tab, shown: Shown, speech: Speech) -> gr.Dropdown:
    """Lay out the comparison. Inputs: the sub-tab it stands in, the run that is shown, the page's speech.
    Outputs: the chosen runs.
    """
    words = {"label": Told("train.compare.runs"), "info": Told("train.compare.runs.info", most=MOST)}
    chosen = speech.speaks(
        Choice(
            [],
            value=[],
            multiselect=True,
            elem_id="compare-runs",
            **{name: text() for name, text in words.items()},
        ),
        **words,
    )
    along = speech(
        gr.Radio,
        choices=Told(lambda: [(say(f"train.compare.along.{name}"), name) for name in ALONG]),
        value="steps",
        label=Told("train.compare.along"),
        elem_id="compare-along",
        elem_classes="small-radio",
    )
    plot = gr.Plot(show_label=False, visible=False, elem_id="compare-plot")
    facts = gr.HTML(empty(say("train.compare.too_few")), elem_id="compare-table")
    outputs = [plot, facts]
    # What is chosen anew brings its comparison by the change.
    tab.select(come_back, [chosen, shown.run], chosen, **QUIET)
    gr.on(
        [chosen.change, along.change], compare, [chosen, along], outputs, trigger_mode="always_last", **QUIET
    )
    shown.moment.change(compare, [chosen, along], outputs, **QUIET)
    speech.retells(tell_again, [chosen, along], outputs)
    return chosen


def offer(chosen: Sequence[str | None] | None, run_id: str | None) -> dict:
    """Inputs: chosen runs, the run that is shown. Outputs: the list to choose from; where fewer than two are
    chosen, the run shown and the newest are added.
    """
    rows = list_rows()
    ids = [row.id for row in rows]
    chosen = [found for found in chosen or [] if found in ids]
    if len(chosen) < FIRST:
        others = sorted((found for found in ids if found not in chosen), key=lambda found: found != run_id)
        chosen = [*chosen, *others][:FIRST]
    return gr.update(choices=[(row.name, row.id) for row in rows], value=chosen)


def come_back(chosen: list[str] | None, run_id: str | None) -> dict:
    """As :func:`offer`, when the view is opened again: what is chosen already is not chosen anew, see
    ``live.come_back``.
    """
    update = offer(chosen, run_id)
    return update if update["value"] != (chosen or []) else gr.update(choices=update["choices"])


def add(chosen: list[str] | None, run_id: str | None) -> dict:
    """Inputs: chosen runs, the run to add. Outputs: as offer, with this run; the oldest choice goes where
    there are too many.
    """
    kept = [found for found in chosen or [] if found != run_id]
    return offer([*kept, run_id][-MOST:], None)


def compare(chosen: list[str] | None, along: str) -> tuple:
    """Inputs: chosen runs, what the curves go along. Outputs: figure, table; a sentence where there is
    nothing to compare.
    """
    found = [run for run in map(runs.find, chosen or []) if run]
    if len(found) < 2:
        return gr.update(visible=False), empty(say("train.compare.too_few"))
    if len(found) > MOST:
        return gr.update(visible=False), empty(say("train.compare.too_many", most=MOST))
    names = _names(found)
    figure = compare_figure([Compared(name, curves_of(run)) for name, run in zip(names, found)], along)
    return gr.update(value=figure, visible=True), _facts(found, names)


def tell_again(chosen: list[str] | None, along: str) -> tuple:
    """Inputs: as of compare. Outputs: figure, where there is one; table."""
    figure, told = compare(chosen, along)
    return gr.update(value=figure["value"]) if figure["visible"] else gr.skip(), told


def _names(found: list[Run]) -> list[str]:
    """What each is called in the figure, two of the same name told apart by their id."""
    names = [run.name for run in found]
    return [name if names.count(name) == 1 else f"{name} ({run.id})" for name, run in zip(names, found)]


def _facts(found: list[Run], names: list[str]) -> str:
    """What the runs reached, and only those settings that differ."""
    states, scores = [run.state() for run in found], [run.scores() for run in found]
    rows = [
        [say("train.compare.row.status"), *(status_word(state["status"]) for state in states)],
        [say("train.compare.row.test"), *(_accuracy(score, "test") for score in scores)],
        [say("train.compare.row.interval"), *(_interval(score.get("test")) for score in scores)],
        [say("train.compare.row.validation"), *(_accuracy(score, "validation") for score in scores)],
        [say("train.compare.row.time"), *(_time(state.get("result") or {}) for state in states)],
    ]
    try:
        different = differences([run.config() for run in found])
    except UserError as error:
        return table(["", *names], rows) + empty(error.sentence)
    rows += [[title, *values] for title, values in different]
    return table(["", *names], rows) + ("" if different else note(say("train.compare.same")))


def _accuracy(scores: dict, split: str) -> str:
    if found := scores.get(split):
        return percent(found["accuracy"])
    return say("train.not_measured" if split in scores else "train.compare.no_result")


def _interval(split: dict | None) -> str:
    return (
        say("train.interval", low=percent(split["interval"][0]), high=percent(split["interval"][1]))
        if split
        else ""
    )


def _time(result: dict) -> str:
    return duration(result["seconds"]) if "seconds" in result else ""
