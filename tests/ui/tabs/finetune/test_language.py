"""Everything that the Fine-tune tab says follows the language of the page: in a made-up one, all of whose
texts are in «marks», nothing stays without them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tests.training.conftest import squares
from tests.ui.tabs.finetune.test_film import shoot
from tests.ui.tabs.finetune.test_result import event, finished, scored
from vit_demo.common import words as spoken
from vit_demo.common.errors import UserError
from vit_demo.training.run import runs
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.events import EventLog
from vit_demo.training.run.notes import kept
from vit_demo.ui.shared.speech import Speech
from vit_demo.ui.tabs import finetune
from vit_demo.ui.tabs.finetune import across, compare, curves_figure, export, form, live, result, runlist
from vit_demo.ui.tabs.finetune.film_html import film_view
from vit_demo.ui.tabs.finetune.result_html import class_table, confusion, how_sure, meaning
from vit_demo.ui.tabs.finetune.runlist_rows import find_rows, list_rows

MADE_UP = "sw"
# Names, numbers, units, and what is for machines.
NAMES = re.compile(
    r"Blue|Green|Red|[\w.]*(/[\w.-]+)+|\d{3}\.png|\d{8}-\d+(-\d+)?|\b(seed-a|seed-b|leaves)\b|\b\d+"
    r" (s|min|h)\b|Trackio|TensorBoard|Weights & Biases"
)


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The made-up language, spoken."""
    english = spoken.words()
    signs = {
        key: text for key, text in english.items() if not re.search("[a-z]{2}", re.sub(r"\{.*?\}", "", text))
    }
    made_up = {key: f"«{text}»" for key, text in english.items()} | signs
    monkeypatch.setattr(spoken, "words", lambda language="en": english if language == "en" else made_up)
    curves_figure._frame.cache_clear()
    with spoken.speaking(MADE_UP):
        yield
    curves_figure._frame.cache_clear()


@pytest.fixture
def run(home: Path, tmp_path: Path) -> runs.Run:
    """A finished run with a film, curves and scores, one of two of an experiment."""
    leaves = squares(tmp_path / "leaves", train=1, validation=4, test=9)
    found = [
        finished(leaves, {split: scored(leaves, split, 3) for split in ("validation", "test")})
        for _ in range(2)
    ]
    for one, name in zip(found, ("seed-a", "seed-b")):
        one.set_meta(name=name, experiment="e")
    shoot(found[0], [0, 4, 8])
    return found[0]


def left(shown: Any) -> str:
    """The words of an answer that are not of the language: without marked texts, tags, names and numbers."""
    if isinstance(shown, dict) and shown.get("__type__") == "update":
        choices = [one if isinstance(one, str) else one[0] for one in shown.get("choices") or []]
        shown = [*(shown.get(part) for part in ("value", "label", "info", "placeholder")), *choices]
    if isinstance(shown, (list, tuple)):
        return " ".join(filter(None, map(left, shown)))
    text = shown if isinstance(shown, str) else ""
    while (without := re.sub("«[^«»]*»", "", text)) != text:
        text = without
    said = " ".join(re.findall(r'(?:aria-label|title|alt)="([^"]*)"', text))
    return " ".join(re.findall("[^\\W\\d_]{2,}", NAMES.sub("", re.sub("<[^>]*>", " ", text) + said)))


def test_the_look_for_other_words_sees_planted_ones(marked: None) -> None:
    assert (
        left("<p>«What «it» is» 3 s</p>") == ""
        and left(["<p>«What» it is</p>", gr.update(label="Run", value="«x»")]) == "it is Run"
    )
    assert left('<button title="planted">«x»</button>') == "planted"


def test_all_that_is_built_is_told_again(home: Path, marked: None) -> None:
    with gr.Blocks() as page:
        speech = Speech()
        with gr.Tab("x") as tab:
            finetune.build(tab, gr.Dropdown([], allow_custom_value=True), speech)
        speech.wire(page)
    (translate,) = (one for one in page.fns.values() if one.name == "translate")
    values = [MADE_UP if one is speech.language else getattr(one, "value", None) for one in translate.inputs]
    answers = dict(
        zip(
            [(type(one).__name__, one.elem_id, number) for number, one in enumerate(translate.outputs)],
            translate.fn(*values),
            strict=True,
        )
    )
    assert len(answers) > 80
    # The titles of data sets and models are those of other rooms.
    others = ("train-model", "train-film")
    answers = {
        name: answer
        for name, answer in answers.items()
        if name[1] not in others and name[:2] != ("Textbox", None)
    }
    assert {name: left(answer) for name, answer in answers.items() if left(answer)} == {}
    # Each part that a person reads is among them.
    told = {name[:2] for name in answers}
    untold = {
        (type(one).__name__, one.elem_id)
        for one in page.blocks.values()
        if isinstance(one, (gr.Button, gr.Tab, gr.Accordion, gr.Radio, gr.Checkbox))
        and one.elem_id != "language"
    } - told
    assert untold == {("Tab", None)} - told


def test_a_run_and_its_result(run: runs.Run, marked: None) -> None:
    view = live.view_of(run)
    assert left(view.status) == "" and "«Finished»" in view.status
    names = [trace["name"] for trace in json.loads(view.plot.plot)["data"]]
    assert names == ["«train loss»", "«validation loss»", "«validation accuracy»"]
    for split in ("test", "validation"):
        shown = result.show(run.id, split, "")
        assert left(shown[:-1]) == "" and all("«" in trace.name for trace in shown[5]["value"].data)
        assert (
            left(result.list_photos(run.id, split, "", 0, "")[:-2]) == ""
            and left(result.list_photos(run.id, split, "1,1", 0, "")[:4]) == ""
        )
    facts = result.open_photo(run.id, "test", event("10"))[2]
    assert left(facts) == "" and "«It is»" in facts
    scores = run.scores()
    for html in (
        meaning(scores),
        class_table(scores["test"]),
        confusion(scores["test"]),
        how_sure(scores, "test", True),
        how_sure(scores, "test", False),
    ):
        assert left(html) == "" and "«" in html


def test_what_a_run_said_while_it_went(home: Path, marked: None) -> None:
    run = runs.create(TrainingConfig())
    log = EventLog(run)
    log.add("warning", **kept(spoken.Sentence("train.record.out_of_queue")))
    log.close()
    run.set_state(status="failed", **kept(UserError("error.train_tab.seeds", most=10).sentence))
    status = live.view_of(run).status
    assert left(status) == "" and "«It was taken out" in status and "«The number of seeds" in status
    run.set_state(status="waiting", place=2)
    run.claim()
    assert "«It starts by itself when the 2 runs before it have ended." in live.view_of(run).status
    run.set_state(status="training", pid=2**22 + 1, pid_started=1.0)
    assert "«Broken off»" in live.view_of(run).status and left(live.view_of(run).status) == ""


def test_the_list_the_comparison_and_the_film(run: runs.Run, marked: None) -> None:
    stopped = runs.create(TrainingConfig(seed=7))
    stopped.set_state(status="stopped", created=1.7e9)
    for found in (
        runlist.refresh(run.id, "", 0, "")[:2],
        runlist.describe(run.id, "")[1],
        runlist.ask(run.id)[1],
        live.offer_runs(None),
        export._lead(),
    ):
        assert left(found) == "" and "«" in str(found)
    assert find_rows(list_rows(), "«stopped»")[0].id == stopped.id
    plot, table = compare.compare([run.id, stopped.id], "epochs")
    assert (
        left(table) == ""
        and "«" in plot["value"].layout.xaxis3.title.text
        and all("«" in one.text for one in plot["value"].layout.annotations)
    )
    view = film_view(run)
    assert left([view["words"][name] for name in view["words"]]) == ""
    for frame in view["frames"]:
        assert (
            left([frame["title"], *(part[name] for part in frame["says"] for name in ("text", "where"))])
            == ""
        )


def test_what_is_refused(home: Path, marked: None) -> None:
    refused = [
        (live.existing, "gone"),
        (live.end, None),
        (live.use_model, None),
        (export.export_run, None),
        (form._resolutions, "x"),
    ]
    for callback, given in refused:
        with pytest.raises(UserError) as caught:
            callback(given)
        assert left(str(caught.value)) == ""


# Told again


def test_what_was_not_shown_is_not_told_and_what_is_shown_keeps_its_place(run: runs.Run) -> None:
    assert (
        result.tell_again(run.id, "test", "", "") == (gr.skip(),) * 7
        and result.list_again(run.id, "test", "", 0, "") == (gr.skip(),) * 4
    )
    assert (
        runlist.tell_again(run.id, "", 0, "") == (gr.skip(),) * 2
        and runlist.name_again(run.id, "", "") == (gr.skip(),) * 2
    )
    assert result.open_again(run.id, "test", "") == gr.skip() and export.tell_again("not made") == gr.skip()
    assert form.tell_again("", "") == (gr.skip(),) * 2
    seen, listed = result.show(run.id, "test", "")[-1], result.list_photos(run.id, "test", "1,2", 0, "")[5]
    assert result.tell_again(run.id, "test", "1,2", seen) == (gr.skip(),) * 7  # in the same language
    with spoken.speaking(MADE_UP):
        told = result.tell_again(run.id, "test", "1,2", seen)
        assert (
            'data-cell="1,2" aria-pressed="true"' in told[3]
            and 'data-cell="" aria-pressed="false"' in told[3]
        )
        assert told[4]["value"].layout.uirevision == result._stamp(run, "test")  # the zoom stays
        assert (
            result.show(run.id, "test", told[-1])[0] == gr.skip()
        )  # which would go back to the worst mistakes
        again = result.list_again(run.id, "test", "1,2", 0, listed)
        assert (
            again[1].count("data-row=") == 3
            and result.list_photos(run.id, "test", "1,2", 0, again[-1]) == (gr.skip(),) * 7
        )
        assert result.open_again(run.id, "test", "10")


def test_a_model_that_was_tried_on_photos(home: Path, tmp_path: Path, tiny_model: Path, marked: None) -> None:
    source = squares(tmp_path / "leaves", train=1, validation=1, test=3)
    for pairs in ("", "blue=healthy"):
        _, key, *going = across.begin(str(tiny_model), str(source), "test", pairs)
        assert left(going[:3]) == ""
        assert across.JOBS.find(key).wait(60)
        told = across.tell_again(key, "", "1:diagnosis")
        assert left(told[:-1]) == "" and "«Diagnosis»" in told[2]
        assert left(across.choose(key, event("0:diagnosis"))[1:]) == ""
    assert left(across.refresh("gone", "")[2]) == "" and left(across.refresh(key, "")[:-1]) == ""


def test_a_curve_is_the_same_one_in_every_language(run: runs.Run) -> None:
    def uids() -> list[str]:
        return [trace["uid"] for trace in json.loads(live.view_of(run).plot.plot)["data"]]

    english, moment = uids(), live.view_of(run).moment
    seen = live.view_of(run).seen
    assert live.tell_again(run.id, seen) == (gr.skip(), gr.skip())
    with spoken.speaking(MADE_UP):
        assert uids() == english == ["train", "validation", "accuracy"]
        # What follows from another run must not follow from another language.
        assert live.view_of(run).moment == moment and live.refresh(run.id, seen)[-1] == gr.skip()
        assert live.tell_again(run.id, seen)[1]["value"]
