"""Why this answer: how far a map can be trusted. For this photo by asking the model again, and as measured over many photos."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

import gradio as gr
import numpy as np

from vit_demo.common.errors import UserError
from vit_demo.common.words import label_title, percent
from vit_demo.explain.attribution.faithfulness import Curves, centred_heat, curves, random_heat, randomised, rank_correlation
from vit_demo.explain.attribution.methods import METHODS
from vit_demo.explain.attribution.saliency import saliency
from vit_demo.explain.attribution.target import Target
from vit_demo.figures.why import curve_figure
from vit_demo.model.classifier import LeafClassifier
from vit_demo.ui.shared.components import polite, table
from vit_demo.ui.tabs.inside.downloads import csv_file
from vit_demo.ui.tabs.inside.heat import class_index, heat, pixels
from vit_demo.ui.tabs.inside.scene import NO_PHOTO, Look, Scene, look

# Fewer than on the command line: somebody waits.
STEPS = 10
SEEDS = (0, 1, 2)
THIS, RANDOM, CENTRED = "this map", "random (mean of 3)", "from the middle outwards"
# Areas that differ by less are called equal: one step of one patch more or less moves them as much.
EQUAL = 0.01
# A map of a random model that agrees more than this with the real one does not show what was learned.
AGREES = 0.5
# Below this probability there is little to lose when the photo is covered.
UNLIKELY = 0.05
# Where a photo of one colour keeps this share of the probability, there is little to bring back.
ENOUGH = 0.8
FILE = "faithfulness.json"
WAIT = f"It asks the model some {22 * (len(SEEDS) + 2)} times: seconds with a small model, about a minute with a large one."
BASELINES = {"random": "Random", "centred": "From the middle outwards"}
NOT_MEASURED = (
    "<p>Not measured for this model yet. On the command line, <code>python -m vit_demo faithfulness --save</code> measures it "
    "(<code>--help</code> says on which model and photos), and the result appears here.</p>"
)
UNREADABLE = f"<p>The file {FILE} of this model cannot be read. Measure anew with <code>python -m vit_demo faithfulness --save</code>.</p>"
# gradio finds it in the signature of a callback, and then shows on the page how far that is.
PROGRESS = gr.Progress()


@dataclass(frozen=True)
class Part:
    """Widgets that the view sets. results: the check of one map, hidden until it is asked for. measured: what was measured over many photos."""

    results: gr.Column
    measured: gr.HTML


@dataclass(frozen=True)
class Check:
    """The curves by the order in which patches are changed: this map's, random ones (their mean), from the middle outwards."""

    by_map: Curves
    random: Curves
    centred: Curves

    @property
    def named(self) -> dict[str, Curves]:
        """By the name that a person reads."""
        return {THIS: self.by_map, RANDOM: self.random, CENTRED: self.centred}


def build(scene: Scene, asked: list, changes: list) -> Part:
    """Lay out the part. Inputs: photo, model, class and method; the events after which a running check is of no use."""
    gr.Markdown(
        "### Can this map be trusted?\n"
        "A map is a claim about the model, and the model can be asked: cover what the map marks, and see whether the class falls."
    )
    with gr.Row(elem_classes="actions"):
        button = gr.Button("How far can I trust this map?", elem_id="inside-trust", min_width=200)
    status = gr.Markdown(WAIT, elem_id="inside-trust-status")
    with gr.Column(visible=False, elem_id="inside-trust-results") as results:
        words = gr.Markdown(elem_id="inside-trust-words")
        with gr.Row(equal_height=False):
            with gr.Column(min_width=300):
                gr.Markdown("**Deletion**: the patches are covered, those that the map ranks highest first. It should fall fast.")
                deletion = gr.Plot(show_label=False, elem_id="inside-trust-deletion")
            with gr.Column(min_width=300):
                gr.Markdown("**Insertion**: they come back, the highest first, into a photo of its mean colour. It should rise fast.")
                insertion = gr.Plot(show_label=False, elem_id="inside-trust-insertion")
        areas = gr.HTML(padding=False, elem_id="inside-trust-areas")
        sanity_words = gr.Markdown(elem_id="inside-trust-sanity-words")
        sanity = gr.HTML(padding=False, elem_id="inside-trust-sanity")
        with gr.Row(elem_classes="actions"):
            numbers = gr.DownloadButton("Download the curves (CSV)", size="sm", elem_id="inside-trust-csv", min_width=150)
    gr.Markdown("### Measured over many photos")
    measured = gr.HTML(padding=False, elem_id="inside-trust-measured")
    outputs = [results, words, deletion, insertion, areas, sanity_words, sanity, numbers, status]
    # Progress is drawn over the status, whose own text makes room for it.
    options = {"api_visibility": "private", "trigger_mode": "once", "show_progress": "full", "show_progress_on": status}
    running = button.click(polite(check), asked, outputs, **options)
    # Its result would stand below another map.
    gr.on([*changes, scene.photo.change, scene.model.change], None, cancels=[running], api_visibility="private")
    return Part(results, measured)


def check(photo: str | None, model: str, explained: str | None, method: str, progress: gr.Progress = PROGRESS) -> tuple:
    """Inputs: photo, model, class, method.

    Outputs: the results, shown; a verdict; both plots; table of areas; sanity check in words and as a table; CSV; status.
    """
    if photo is None:
        raise UserError(NO_PHOTO)
    if method not in METHODS:
        raise UserError("Choose a method from the list.")
    found = look(model, photo)
    label = explained_class(found, explained)
    values = heat(found, photo, method, Target(label), lambda done, total: progress((done, total), desc="Computing the map", unit="places"))
    if np.ptp(values) == 0:
        raise UserError("This map is the same everywhere, so there is nothing to check. Choose another method or class.")
    result = compare(found, values, label, progress)
    shares, named = result.by_map.shares, result.named
    kept = None if method == "occlusion" else agreement(found, values, method, label, progress)
    return (
        gr.update(visible=True),
        _verdict(result, found, label, method),
        curve_figure(shares, {name: found.deletion for name, found in named.items()}, "covered"),
        curve_figure(shares, {name: found.insertion for name, found in named.items()}, "shown again"),
        _areas(named),
        _sanity_words(kept, method),
        table(["What is random in the model", "rank correlation with this map"], [[name, f"{value:.2f}"] for name, value in kept.items()]) if kept else "",
        csv_file("curves", *_csv(result)),
        WAIT,
    )


def explained_class(found: Look, explained: str | None) -> int:
    """The class that is chosen, else the one that the model says."""
    chosen = class_index(explained, found.classifier.labels)
    return int(found.trace.logits.argmax()) if chosen is None else chosen


def compare(found: Look, values: np.ndarray, label: int, progress: Callable = lambda *_, **__: None) -> Check:
    """Deletion and insertion of a map and of what it must beat. values: (rows, columns). progress: as gr.Progress."""
    grid, pixel_values, target = found.trace.grid, pixels(found), Target(label)
    orders = [values, centred_heat(grid), *(random_heat(grid, seed) for seed in SEEDS)]
    drawn = []
    for number, order in enumerate(orders):
        progress((number, len(orders)), desc="Covering patches and bringing them back", unit="orders")
        drawn.append(curves(found.classifier, pixel_values, order, target, STEPS))
    by_map, centred, *random = drawn
    mean = Curves(by_map.shares, np.mean([one.deletion for one in random], axis=0), np.mean([one.insertion for one in random], axis=0))
    return Check(by_map, mean, centred)


def agreement(found: Look, values: np.ndarray, method: str, label: int, progress: Callable = lambda *_, **__: None) -> dict[str, float]:
    """Rank correlation of a map with that of the model as ever more of it is random, by what is random."""
    blocks = found.trace.attention.layers
    upper = blocks - blocks // 2
    wanted = {0: "the head", upper: f"the head and the upper {upper} of {blocks} layers", blocks + 1: "everything"}
    kept = {}
    for number, (_, twin) in enumerate(randomised(found.classifier)):
        if number in wanted:
            progress((len(kept), len(wanted)), desc="Asking models with random weights", unit="models")
            other = saliency(twin, pixels(found), method, Target(label))[0].numpy()
            kept[wanted[number]] = rank_correlation(values, other)
    return kept


def measured(classifier: LeafClassifier) -> str:
    """What was measured over many photos, from the model's folder, in HTML; without it, how to measure."""
    file = classifier.checkpoint.folder / FILE
    if not file.is_file():
        return NOT_MEASURED
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
        rows = {str(name): _measured_row(str(name), areas, report.get("sanity", {})) for name, areas in report["methods"].items()}
        best = min((name for name in rows if name not in BASELINES), key=lambda name: report["methods"][name]["deletion"][0])
        where = f"{int(report['photos'])} photos of the {report['split']} split of {report['data']}, {int(report['steps'])} steps"
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return UNREADABLE
    words = (
        f"<p>Means over {escape(where)}, in brackets the 95 % interval of the mean. "
        f"By deletion <strong>{escape(_method_title(best))}</strong> is the most faithful method for this model.</p>"
    )
    header = [
        "Order of the patches", "deletion area (smaller is better)", "insertion area (larger is better)",
        "rank correlation, all weights random (near 0 is best)",
    ]
    return words + table(header, list(rows.values()))


def _measured_row(name: str, areas: dict, sanity: dict) -> list[str]:
    """One method of the file. Raises what a file of another form raises."""
    agreement = sanity.get("methods", {}).get(name, {}).get("everything")
    return [_method_title(name), _interval(areas["deletion"]), _interval(areas["insertion"]), _interval(agreement) if agreement else "none"]


def _method_title(name: str) -> str:
    return BASELINES.get(name) or (METHODS[name].title.split(" (")[0] if name in METHODS else label_title(name))


def _interval(numbers: list[float | None]) -> str:
    """[mean, low, high]; of a single photo there is no interval."""
    mean, low, high = numbers
    return f"{mean:.3f}" if low is None else f"{mean:.3f} ({low:.3f} to {high:.3f})"


def _verdict(result: Check, found: Look, label: int, method: str) -> str:
    """Whether the map wins, in one sentence for each curve and one for both."""
    name = escape(label_title(found.classifier.labels[label]))
    ours = result.by_map
    others = {"random patches": result.random, "the middle first": result.centred}
    falls = {order: (ours.deletion_area, other.deletion_area, other.deletion_area - ours.deletion_area) for order, other in others.items()}
    rises = {order: (ours.insertion_area, other.insertion_area, ours.insertion_area - other.insertion_area) for order, other in others.items()}
    wins = sum(gain > EQUAL for *_, gain in (*falls.values(), *rises.values()))
    losses = sum(gain < -EQUAL for *_, gain in (*falls.values(), *rises.values()))
    if wins == 0:
        verdict = "**Do not rely on this map for this photo**: it wins none of four comparisons."
    else:
        verdict = f"**It holds {'' if wins == 4 else 'in part '}for this photo**: the map wins {wins} of four comparisons and loses {losses or 'none'}."
    words = [
        f"{verdict} ({METHODS[method].title.split(' (')[0]}, {name}, {STEPS} steps.)",
        f"Covering what this map marks makes {name} fall {_than(falls, 'covering')}; a smaller area is better.",
        f"Bringing back what it marks makes it rise {_than(rises, 'bringing back')}; a larger area is better.",
    ]
    share, empty = float(found.trace.probabilities[label]), float(ours.insertion[0])
    if share < UNLIKELY:
        words.append(f"The model gives {name} only {percent(share)} here, so there is little to lose and deletion says little.")
    if empty > ENOUGH * share:
        words.append(f"Of a photo of one colour the model already says {name} with {percent(empty)}, so insertion says little here.")
    return "\n\n".join(words)


def _than(against: dict[str, tuple[float, float, float]], doing: str) -> str:
    """As "faster than covering random patches (area 0.41 against 0.93)". against: by the other order our area, its area and what we gain."""
    return " and ".join(f"{_pace(gain)} {doing} {order} (area {ours:.2f} against {other:.2f})" for order, (ours, other, gain) in against.items())


def _pace(gain: float) -> str:
    return "as fast as" if abs(gain) <= EQUAL else "faster than" if gain > 0 else "more slowly than"


def _areas(named: dict[str, Curves]) -> str:
    rows = [[name, f"{found.deletion_area:.3f}", f"{found.insertion_area:.3f}"] for name, found in named.items()]
    return table(["Area under the curve, 0 to 1", "deletion (smaller is better)", "insertion (larger is better)"], rows)


def _sanity_words(kept: dict[str, float] | None, method: str) -> str:
    title = "**Sanity check** (Adebayo et al. 2018): a map that stays as it is when the model's weights are random does not show what the model has learned."
    if kept is None:
        return f"{title} For occlusion it is left out here: it would ask three more models once for each patch."
    *_, last = kept.values()
    still = f"With all weights random it agrees with this one by {last:.2f} (1: the same order of patches, 0: none)"
    verdict = "**passed**, it shows what was learned." if abs(last) < AGREES else "**not passed**, much of it was not learned."
    return f"{title} {still}: {verdict}" + (" The head takes no part in attention, so a random head changes nothing." if not METHODS[method].for_class else "")


def _csv(result: Check) -> tuple[list[str], list[list[str]]]:
    """Shares of 1 and probabilities, a row a step."""
    columns = {"map": result.by_map, "random_mean": result.random, "centred": result.centred}
    header = ["share_of_patches", *(f"{kind}_{name}" for kind in ("deletion", "insertion") for name in columns)]
    numbers = [result.by_map.shares, *(one.deletion for one in columns.values()), *(one.insertion for one in columns.values())]
    return header, [[f"{value:.6f}" for value in row] for row in zip(*numbers)]
