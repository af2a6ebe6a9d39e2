"""Why this answer: how far a map can be trusted. For this photo by asking the model again, and as measured
over many photos.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from vit_demo.common.errors import UserError
from vit_demo.common.words import Sentence, label_title, percent, say
from vit_demo.explain.attribution.faithfulness import (
    Curves,
    centred_heat,
    curves,
    random_heat,
    randomised,
    rank_correlation,
)
from vit_demo.explain.attribution.methods import METHODS
from vit_demo.explain.attribution.saliency import saliency
from vit_demo.explain.attribution.target import Target
from vit_demo.figures.why import curve_figure
from vit_demo.model.classifier import LeafClassifier
from vit_demo.ui.shared.components import polite, table
from vit_demo.ui.shared.html import render, say_html
from vit_demo.ui.shared.speech import Told
from vit_demo.ui.tabs.inside.downloads import csv_file
from vit_demo.ui.tabs.inside.heat import class_index, heat, pixels
from vit_demo.ui.tabs.inside.scene import NO_PHOTO, Look, Scene, look

# Fewer than on the command line: somebody waits.
STEPS = 10
SEEDS = (0, 1, 2)
# What the curves are called.
THIS, RANDOM, CENTRED = "inside.trust.this_map", "inside.trust.random", "inside.trust.centred"
# Areas that differ by less are called equal: one step of one patch more or less moves them as much.
EQUAL = 0.01
# A map of a random model that agrees more than this with the real one does not show what was learned.
AGREES = 0.5
# Below this probability there is little to lose when the photo is covered.
UNLIKELY = 0.05
# Where a photo of one colour keeps this share of the probability, there is little to bring back.
ENOUGH = 0.8
FILE = "faithfulness.json"
# So often the model is asked, about.
TIMES = 22 * (len(SEEDS) + 2)
BASELINES = {"random": "inside.trust.baseline_random", "centred": "inside.trust.baseline_centred"}
# gradio finds it in the signature of a callback, and then shows on the page how far that is.
PROGRESS = gr.Progress()


@dataclass(frozen=True)
class Part:
    """Widgets that the view sets. results: the check of one map, hidden until it is asked for. measured: what
    was measured over many photos.
    """

    results: gr.Column
    measured: gr.HTML


@dataclass(frozen=True)
class Check:
    """The curves by the order in which patches are changed: this map's, random ones (their mean), from the
    middle outwards.
    """

    by_map: Curves
    random: Curves
    centred: Curves

    @property
    def named(self) -> dict[str, Curves]:
        """By the name that a person reads."""
        return {say(THIS): self.by_map, say(RANDOM): self.random, say(CENTRED): self.centred}


@dataclass(frozen=True)
class Checked:
    """What was found of one map, to be told in any language.

    label: the class as the model names it, of probability ``share``. kept: by what is random in the model,
    how far its map agrees; None where it was not asked.
    """

    check: Check
    method: str
    label: str
    share: float
    kept: list[tuple[Sentence, float]] | None


def build(scene: Scene, asked: list, changes: list) -> Part:
    """Lay out the part. Inputs: photo, model, class and method; the events after which a running check is of
    no use.
    """
    speech = scene.speech
    speech(gr.Markdown, value=Told("inside.trust.title"))
    with gr.Row(elem_classes="actions"):
        button = speech(gr.Button, value=Told("inside.trust.ask"), elem_id="inside-trust", min_width=200)
    status = speech(gr.Markdown, value=Told("inside.trust.wait", times=TIMES), elem_id="inside-trust-status")
    with gr.Column(visible=False, elem_id="inside-trust-results") as results:
        words = gr.Markdown(elem_id="inside-trust-words")
        with gr.Row(equal_height=False):
            with gr.Column(min_width=300):
                speech(gr.Markdown, value=Told("inside.trust.deletion"))
                deletion = gr.Plot(show_label=False, elem_id="inside-trust-deletion")
            with gr.Column(min_width=300):
                speech(gr.Markdown, value=Told("inside.trust.insertion"))
                insertion = gr.Plot(show_label=False, elem_id="inside-trust-insertion")
        areas = gr.HTML(padding=False, elem_id="inside-trust-areas")
        sanity_words = gr.Markdown(elem_id="inside-trust-sanity-words")
        sanity = gr.HTML(padding=False, elem_id="inside-trust-sanity")
        with gr.Row(elem_classes="actions"):
            numbers = speech(
                gr.DownloadButton,
                label=Told("inside.trust.download"),
                size="sm",
                elem_id="inside-trust-csv",
                min_width=150,
            )
    speech(gr.Markdown, value=Told("inside.trust.over_many"))
    measured = gr.HTML(padding=False, elem_id="inside-trust-measured")
    checked = gr.State()
    told = [words, deletion, insertion, areas, sanity_words, sanity]
    outputs = [results, *told, numbers, status, checked]
    speech.retells(retell, [checked], told)
    # Progress is drawn over the status, whose own text makes room for it.
    options: dict[str, Any] = {
        "api_visibility": "private",
        "trigger_mode": "once",
        "show_progress": "full",
        "show_progress_on": status,
    }
    running = button.click(polite(check), asked, outputs, **options)
    # Its result would stand below another map.
    gr.on(
        [*changes, scene.photo.change, scene.model.change], None, cancels=[running], api_visibility="private"
    )
    return Part(results, measured)


def check(
    photo: str | None, model: str, explained: str | None, method: str, progress: gr.Progress = PROGRESS
) -> tuple:
    """Inputs: photo, model, class, method.

    Outputs: the results, shown; a verdict; both plots; table of areas; sanity check in words and as a table;
    CSV; status; what was found.
    """
    if photo is None:
        raise UserError(NO_PHOTO)
    if method not in METHODS:
        raise UserError("error.inside_tab.method")
    found = look(model, photo)
    label = explained_class(found, explained)
    told: dict[str, Any] = {"desc": say("inside.trust.computing"), "unit": say("inside.places")}
    values = heat(found, photo, method, Target(label), lambda done, total: progress((done, total), **told))
    if np.ptp(values) == 0:
        raise UserError("error.inside_tab.flat_map")
    result = compare(found, values, label, progress)
    kept = None if method == "occlusion" else agreement(found, values, method, label, progress)
    checked = Checked(
        result, method, found.classifier.labels[label], float(found.trace.probabilities[label]), kept
    )
    return (
        gr.update(visible=True),
        *_told(checked),
        csv_file("curves", *_csv(result)),
        say("inside.trust.wait", times=TIMES),
        checked,
    )


def retell(checked: Checked | None) -> tuple:
    """Inputs: what was found last. Outputs: verdict; both plots; table of areas; sanity check in words and as
    a table.
    """
    return (gr.skip(),) * 6 if checked is None else _told(checked)


def _told(checked: Checked) -> tuple:
    shares, named, kept = checked.check.by_map.shares, checked.check.named, checked.kept
    return (
        _verdict(checked),
        curve_figure(shares, {name: found.deletion for name, found in named.items()}, "covered"),
        curve_figure(shares, {name: found.insertion for name, found in named.items()}, "shown_again"),
        _areas(named),
        _sanity_words(kept, checked.method),
        table(
            [say("inside.trust.what_is_random"), say("inside.trust.correlation")],
            [[name, f"{value:.2f}"] for name, value in kept],
        )
        if kept
        else "",
    )


def explained_class(found: Look, explained: str | None) -> int:
    """The class that is chosen, else the one that the model says."""
    chosen = class_index(explained, found.classifier.labels)
    return int(found.trace.logits.argmax()) if chosen is None else chosen


def compare(found: Look, values: np.ndarray, label: int, progress: Callable = lambda *_, **__: None) -> Check:
    """Deletion and insertion of a map and of what it must beat. values: (rows, columns). progress: as
    gr.Progress.
    """
    grid, pixel_values, target = found.trace.grid, pixels(found), Target(label)
    orders = [values, centred_heat(grid), *(random_heat(grid, seed) for seed in SEEDS)]
    drawn = []
    for number, order in enumerate(orders):
        progress((number, len(orders)), desc=say("inside.trust.covering"), unit=say("inside.trust.orders"))
        drawn.append(curves(found.classifier, pixel_values, order, target, STEPS))
    by_map, centred, *random = drawn
    mean = Curves(
        by_map.shares,
        np.mean([one.deletion for one in random], axis=0),
        np.mean([one.insertion for one in random], axis=0),
    )
    return Check(by_map, mean, centred)


def agreement(
    found: Look, values: np.ndarray, method: str, label: int, progress: Callable = lambda *_, **__: None
) -> list[tuple[Sentence, float]]:
    """Rank correlation of a map with that of the model as ever more of it is random, by what is random."""
    blocks = found.trace.attention.layers
    upper = blocks - blocks // 2
    wanted = {
        0: Sentence("inside.trust.head"),
        upper: Sentence("inside.trust.head_and_layers", {"upper": upper, "layers": blocks}),
        blocks + 1: Sentence("inside.trust.everything"),
    }
    kept: list[tuple[Sentence, float]] = []
    for number, (_, twin) in enumerate(randomised(found.classifier)):
        if number in wanted:
            progress(
                (len(kept), len(wanted)), desc=say("inside.trust.asking"), unit=say("inside.trust.models")
            )
            other = saliency(twin, pixels(found), method, Target(label))[0].numpy()
            kept.append((wanted[number], rank_correlation(values, other)))
    return kept


def measured(classifier: LeafClassifier) -> str:
    """What was measured over many photos, from the model's folder, in HTML; without it, how to measure."""
    file = classifier.checkpoint.folder / FILE
    if not file.is_file():
        return render("inside/trust#not_measured")
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
        rows = {
            str(name): _measured_row(str(name), areas, report.get("sanity", {}))
            for name, areas in report["methods"].items()
        }
        best = min(
            (name for name in rows if name not in BASELINES),
            key=lambda name: report["methods"][name]["deletion"][0],
        )
        where = {
            "photos": int(report["photos"]),
            "split": report["split"],
            "data": report["data"],
            "steps": int(report["steps"]),
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return render("inside/trust#unreadable", file=FILE)
    header = [
        say(f"inside.trust.{name}") for name in ("order", "deletion_area", "insertion_area", "all_random")
    ]
    return render(
        "inside/trust#measured", **where, method=_method_title(best), rows=table(header, list(rows.values()))
    )


def _measured_row(name: str, areas: dict, sanity: dict) -> list[str]:
    """One method of the file. Raises what a file of another form raises."""
    agreement = sanity.get("methods", {}).get(name, {}).get("everything")
    return [
        _method_title(name),
        _interval(areas["deletion"]),
        _interval(areas["insertion"]),
        _interval(agreement) if agreement else say("inside.trust.none"),
    ]


def _method_title(name: str) -> str:
    if name in BASELINES:
        return say(BASELINES[name])
    return METHODS[name].short if name in METHODS else label_title(name)


def _interval(numbers: list[float | None]) -> str:
    """[mean, low, high]; of a single photo there is no interval."""
    mean, low, high = numbers
    return f"{mean:.3f}" if low is None else say("inside.trust.interval", mean=mean, low=low, high=high)


def _verdict(checked: Checked) -> str:
    """Whether the map wins, in one sentence for each curve and one for both."""
    name, result = label_title(checked.label), checked.check
    ours, others = result.by_map, {"random": result.random, "centred": result.centred}
    falls = {
        order: (ours.deletion_area, other.deletion_area, other.deletion_area - ours.deletion_area)
        for order, other in others.items()
    }
    rises = {
        order: (ours.insertion_area, other.insertion_area, ours.insertion_area - other.insertion_area)
        for order, other in others.items()
    }
    won = _won([gain for *_, gain in (*falls.values(), *rises.values())])
    words = [
        " ".join(
            [won, say_html("inside.trust.of", method=METHODS[checked.method].short, name=name, steps=STEPS)]
        ),
        say_html("inside.trust.falls", name=name, **_paces("fall", falls)),
        say("inside.trust.rises", **_paces("rise", rises)),
    ]
    empty = float(ours.insertion[0])
    if checked.share < UNLIKELY:
        words.append(say_html("inside.trust.unlikely", name=name, percent=percent(checked.share)))
    # Both off the curves, which are of the probabilities as the model computes them, without temperature.
    if empty > ENOUGH * float(ours.deletion[0]):
        words.append(say_html("inside.trust.of_one_colour", name=name, percent=percent(empty)))
    return "\n\n".join(words)


def _won(gains: list[float]) -> str:
    """gains: of the four comparisons."""
    wins, losses = sum(gain > EQUAL for gain in gains), sum(gain < -EQUAL for gain in gains)
    if wins == 0:
        return say("inside.trust.wins_none")
    if losses:
        return say("inside.trust.wins_and_loses", wins=wins, losses=losses)
    return (
        say("inside.trust.wins_all", wins=wins)
        if wins == len(gains)
        else say("inside.trust.wins_some", wins=wins)
    )


def _paces(way: str, against: dict[str, tuple[float, float, float]]) -> dict[str, str]:
    """By the other order, as "faster than covering random patches (area 0.41 against 0.93)". against: our
    area, its area and what we gain.
    """
    return {
        order: say(f"inside.trust.{way}.{order}.{_pace(gain)}", ours=ours, other=other)
        for order, (ours, other, gain) in against.items()
    }


def _pace(gain: float) -> str:
    return "even" if abs(gain) <= EQUAL else "faster" if gain > 0 else "slower"


def _areas(named: dict[str, Curves]) -> str:
    rows = [
        [name, f"{found.deletion_area:.3f}", f"{found.insertion_area:.3f}"] for name, found in named.items()
    ]
    return table(
        [say(f"inside.trust.{name}") for name in ("area", "deletion_better", "insertion_better")], rows
    )


def _sanity_words(kept: list[tuple[Sentence, float]] | None, method: str) -> str:
    words = [say("inside.trust.sanity")]
    if kept is None:
        words.append(say("inside.trust.left_out"))
    else:
        _, last = kept[-1]
        words.append(
            say("inside.trust.passed" if abs(last) < AGREES else "inside.trust.not_passed", agreement=last)
        )
        if not METHODS[method].for_class:
            words.append(say("inside.trust.no_head"))
    return " ".join(words)


def _csv(result: Check) -> tuple[list[str], list[list[str]]]:
    """Shares of 1 and probabilities, a row a step."""
    columns = {"map": result.by_map, "random_mean": result.random, "centred": result.centred}
    header = [
        "share_of_patches",
        *(f"{kind}_{name}" for kind in ("deletion", "insertion") for name in columns),
    ]
    numbers = [
        result.by_map.shares,
        *(one.deletion for one in columns.values()),
        *(one.insertion for one in columns.values()),
    ]
    return header, [[f"{value:.6f}" for value in row] for row in zip(*numbers)]
