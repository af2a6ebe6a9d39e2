"""Look inside: why this answer. What in the photo speaks for a class, or for it rather than another, and how
far to trust that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr
import numpy as np

from vit_demo.common.errors import UserError
from vit_demo.common.words import label_title, percent, say
from vit_demo.explain.attribution.methods import DEFAULT, METHODS
from vit_demo.explain.attribution.target import Target
from vit_demo.explain.internals.norms import artefact_patches
from vit_demo.figures.why import map_overlay
from vit_demo.ui.shared.components import Choice, polite
from vit_demo.ui.shared.html import say_html
from vit_demo.ui.shared.speech import Told
from vit_demo.ui.tabs.inside import trust
from vit_demo.ui.tabs.inside.downloads import npz_file
from vit_demo.ui.tabs.inside.heat import (
    ANSWER,
    NONE,
    class_index,
    class_values,
    heat,
    method_titles,
    place_words,
)
from vit_demo.ui.tabs.inside.scene import NO_PHOTO, Again, Look, Scene, look

ID, TITLE = "why", "inside.why.title"


def build(tab: gr.Tab, scene: Scene) -> None:
    """Lay out the view. Inputs: its tab, and what all views look at."""
    speech = scene.speech
    answer = gr.Markdown(elem_id="inside-why-answer")
    with gr.Row(equal_height=False):
        # Their choices come with each photo and each language.
        explained = speech(
            Choice,
            choices=_choices("inside.why.the_answer", ANSWER),
            value=ANSWER,
            label=Told("inside.why.explain"),
            elem_id="inside-why-class",
            min_width=160,
        )
        versus = speech(
            Choice,
            choices=_choices("inside.why.no_class", NONE),
            value=NONE,
            label=Told("inside.why.compare"),
            elem_id="inside-why-versus",
            min_width=160,
        )
        method = speech(
            gr.Dropdown,
            choices=Told(method_titles),
            value=DEFAULT,
            label=Told("inside.why.method"),
            elem_id="inside-why-method",
            min_width=240,
        )
    method_words = gr.Markdown(elem_id="inside-why-method-words")
    with gr.Row(equal_height=False, elem_id="inside-why-maps"):
        pictures = [
            gr.Image(
                interactive=False,
                buttons=["download", "fullscreen"],
                visible=number == 0,
                elem_id=f"inside-why-map-{number}",
                min_width=240,
            )
            for number in range(3)
        ]
        # Beside one picture, and too wide to stand beside three.
        with gr.Column(min_width=420, elem_id="inside-why-said"):
            words = gr.Markdown(elem_id="inside-why-words")
            with gr.Row(elem_classes="actions"):
                numbers = speech(
                    gr.DownloadButton,
                    label=Told("inside.why.download"),
                    size="sm",
                    elem_id="inside-why-npz",
                    min_width=150,
                )
    asked = [scene.photo, scene.model, explained, versus, method]
    checked = trust.build(
        scene, [scene.photo, scene.model, explained, method], [explained.input, method.input]
    )
    shown = [answer, method_words, *pictures, words, numbers, checked.results]
    scene.draw(
        tab,
        begin,
        [explained, versus, method],
        [explained, versus, checked.measured, *shown],
        Again(begin_again, pictures),
    )
    # Over the words alone: the pictures stay to be looked at meanwhile.
    options: dict[str, Any] = {
        "api_visibility": "private",
        "show_progress": "full",
        "show_progress_on": method_words,
        "trigger_mode": "always_last",
    }
    gr.on([explained.input, versus.input, method.input], polite(show), asked, shown, **options)


def begin(photo: str | None, model: str, explained: str | None, versus: str | None, method: str) -> tuple:
    """Inputs: a new photo or model, class, class against it, method.

    Outputs: both lists of classes as this model has them, what was measured over many photos, then as show.
    """
    classifier = _found(photo, model).classifier
    labels = classifier.labels
    explained = explained if class_index(explained, labels) is not None else ANSWER
    versus = versus if class_index(versus, labels) is not None else NONE
    lists = (
        gr.update(choices=_choices("inside.why.the_answer", ANSWER, labels), value=explained),
        gr.update(choices=_choices("inside.why.no_class", NONE, labels), value=versus),
    )
    return *lists, trust.measured(classifier), *show(photo, model, explained, versus, method)


def begin_again(
    photo: str | None, model: str, explained: str | None, versus: str | None, method: str
) -> tuple:
    """As begin where only the language is another: the check of the map stays."""
    *told, _ = begin(photo, model, explained, versus, method)
    return *told, gr.skip()


def show(photo: str | None, model: str, explained: str | None, versus: str | None, method: str) -> tuple:
    """Inputs: photo, model, class, class against it, method.

    Outputs: the answer and what the method shows, in words; three pictures; where they are bright, in words;
    npz; the old check of the map, hidden.
    """
    if photo is None:
        raise UserError(NO_PHOTO)
    found = look(model, photo)
    if method not in METHODS:
        raise UserError("error.inside_tab.method")
    labels = found.classifier.labels
    label, against = trust.explained_class(found, explained), class_index(versus, labels)
    compares = against not in (None, label) and METHODS[method].for_class
    targets = [Target(label), Target(against), Target(label, against)] if compares else [Target(label)]
    maps = [
        heat(found, photo, method, target, _report(number, len(targets)))
        for number, target in enumerate(targets)
    ]
    titles = [_title(target, labels, method) for target in targets]
    hidden = [gr.update(value=None, visible=False)] * (3 - len(maps))
    return (
        _answer_words(found, label),
        _method_words(found, method, against == label),
        *(
            gr.update(
                value=map_overlay(found.seen, values),
                label=title if target.against is None else say("inside.why.difference"),
                visible=True,
            )
            for values, title, target in zip(maps, titles, targets)
        ),
        *hidden,
        "\n\n".join([*_map_words(maps, titles, method), *_artefact_words(found)]),
        _numbers(found, maps, targets, method),
        gr.update(visible=False),
    )


def _found(photo: str | None, model: str) -> Look:
    if photo is None:
        raise UserError(NO_PHOTO)
    return look(model, photo)


def _report(number: int, count: int):
    """What tells the page how far occlusion is. Not a parameter of the callback: gradio would give it to the
    scene's wrapper in the wrong place.
    """
    progress = gr.Progress()
    told: dict[str, Any] = {
        "desc": say("inside.why.step", number=number + 1, maps=count),
        "unit": say("inside.places"),
    }
    return lambda done, total: progress((done, total), **told)


def _title(target: Target, labels: list[str], method: str) -> str:
    if not METHODS[method].for_class:
        return say("inside.why.cls_looks")
    assert target.label is not None  # show names one in each
    name = label_title(labels[target.label])
    if target.against is None:
        return say("inside.why.for", name=name)
    return say("inside.why.for_rather", name=name, other=label_title(labels[target.against]))


def _choices(first: str, value: str, labels: Sequence[str] = ()) -> list[tuple[str, str]]:
    """What a list of classes offers. first, value: the text and the value of what is no class."""
    return [(say(first), value), *zip(map(label_title, labels), class_values(labels))]


def _answer_words(found: Look, label: int) -> str:
    shares, labels = found.trace.probabilities, found.classifier.labels
    says = int(shares.argmax())
    words = [
        say_html("inside.why.answer", name=label_title(labels[says]), percent=percent(float(shares[says])))
    ]
    if label != says:
        words.append(
            say_html(
                "inside.why.chosen", name=label_title(labels[label]), percent=percent(float(shares[label]))
            )
        )
    return " ".join(words)


def _method_words(found: Look, method: str, same: bool) -> str:
    """What the method shows. same: whether a class is to be compared with itself."""
    words = [METHODS[method].shows.format(patches=found.trace.grid.num_patches)]
    if not METHODS[method].for_class:
        words.append(say("inside.why.any_class"))
    elif same:
        words.append(say("inside.why.same"))
    if found.classifier.feature_channels:
        words.append(say("inside.why.hybrid"))
    return " ".join(words)


def _map_words(maps: list[np.ndarray], titles: list[str], method: str) -> list[str]:
    """For each map where it is bright; for signed maps, how much of the photo is below 0."""
    lines = []
    for values, title in zip(maps, titles):
        line: list[str] = [
            say_html("inside.why.place", title=title, place=place_words(np.maximum(values, 0)))
        ]
        if method == "occlusion":
            line.append(say("inside.why.against", percent=percent(float((values < 0).mean()))))
        lines.append(" ".join(line))
    if len(maps) > 1:
        lines.append(say("inside.why.scales"))
    return lines


def _artefact_words(found: Look) -> list[str]:
    count = len(artefact_patches(found.trace.hidden))
    if not count:
        return []
    return [say("inside.why.artefacts", count=count, view=say("inside.layers.title"))]


def _numbers(found: Look, maps: list[np.ndarray], targets: list[Target], method: str) -> str:
    """The maps as computed, also below 0; of each its class and the class against it, -1 for none."""
    return npz_file(
        "why",
        maps=np.stack(maps),
        classes=np.array([target.label for target in targets]),
        against=np.array([-1 if target.against is None else target.against for target in targets]),
        method=np.array(method),
        probabilities=found.trace.probabilities,
        labels=np.array(found.classifier.labels),
        patch_size=np.array(found.trace.grid.patch_size),
    )
