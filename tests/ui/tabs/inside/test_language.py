"""Look inside in another language: all that it says, what is told again after a switch, and what then stays
as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image

from tests.training.conftest import squares
from vit_demo.common import words as spoken
from vit_demo.common.words import DEFAULT_LANGUAGE, say, speaking
from vit_demo.explain.attribution.methods import METHODS
from vit_demo.figures import letters
from vit_demo.figures.embedding_map import axes
from vit_demo.model.classifier import LeafClassifier
from vit_demo.ui.shared.speech import Speech
from vit_demo.ui.tabs.inside import (
    attention,
    costs,
    embedding_map,
    embedding_map_html,
    layers,
    page,
    positions,
    scene,
    tokens,
    trust,
    why,
)
from vit_demo.ui.tabs.inside import embedding_map_jobs as maps
from vit_demo.ui.tabs.inside.heat import ANSWER, NONE

LABELS = ["angular_leaf_spot", "bean_rust", "healthy"]
OTHER = "sw"
MARK = "§"


@pytest.fixture(autouse=True)
def marked(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the other language each English text with a mark before each of its words, so that one that was not
    told by key has none.
    """
    real = spoken.words

    def words(language: str = DEFAULT_LANGUAGE) -> dict[str, str]:
        if language == DEFAULT_LANGUAGE:
            return real(language)
        own = {
            key: re.sub(r"(<[^>]*>|\{[^}]*\})|(?<!\w)(?=[A-Za-z]{2})", lambda found: found[1] or MARK, text)
            for key, text in real().items()
        }
        return {**own, "diagnose.decimal_point": ".", "diagnose.comma": ", "}

    monkeypatch.setattr(spoken, "words", words)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("photo") / "leaf.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(
        (80, 60), Image.Resampling.NEAREST
    ).save(file)
    return str(file)


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> str:
    folder = tmp_path_factory.mktemp("hybrid") / "model"
    LeafClassifier.open(tiny_model, labels=LABELS, hybrid="new", device="cpu").save(folder)
    return str(folder)


# Names of things and units, which are the same in every language.
SAME = {
    "cls",
    "flops",
    "angular",
    "leaf",
    "spot",
    "bean",
    "rust",
    "healthy",
    "adebayo",
    "blue",
    "green",
    "red",
    "sne",
}


def bare(told: object) -> set[str]:
    """English words without a mark in what is sent to the page."""
    return {
        word
        for text in texts(told)
        for word in re.findall(rf"(?<![\w{MARK}%{{])[A-Za-z]{{3,}}\b", text)
        if word.lower() not in SAME
    }


def texts(told: object) -> Iterator[str]:
    if isinstance(told, go.Figure):
        layout, data = told.layout, told.data
        for title in (
            layout.xaxis.title.text,
            layout.yaxis.title.text,
            *(note.text for note in layout.annotations),
        ):
            yield title or ""
        for trace in data:
            yield trace.name or ""
            yield re.sub(r"%\{[^}]*\}|<[^>]*>", " ", trace.hovertemplate or "")
    elif isinstance(told, str) and not told.endswith((".npz", ".csv")) and told not in attention.SHEETS:
        yield re.sub(r"<code>.*?</code>|<[^>]*>", " ", told)
    elif isinstance(told, dict):
        yield from (
            part
            for name in ("label", "info", "value")
            if name != "value" or "choices" not in told
            for part in texts(told.get(name))
        )
        yield from (title for title, value in told.get("choices", ()) if not re.match(r"\d+ ", str(value)))


VIEWS: dict[str, Callable[[str, str], tuple]] = {
    **{
        f"why {method}": lambda photo, model, method=method: why.begin(photo, model, ANSWER, NONE, method)
        for method in METHODS
    },
    "why compared": lambda photo, model: why.begin(photo, model, "1 bean_rust", "2 healthy", "relevance"),
    "tokens": lambda photo, model: tokens.show(photo, model, 3),
    "costs": lambda photo, model: costs.show(photo, model, 16, 224, "memory"),
    "filters": positions.show_filters,
    "similarity": lambda photo, model: positions.show_similarity(photo, model, 3),
    "resized": lambda photo, model: positions.show_resized(photo, model, 3, 48),
    "answers": lambda photo, model: positions.show_answers(photo, model, 48),
    "distance": positions.show_distance,
    "attention": lambda photo, model: attention.begin(
        photo, model, "attention", 1, attention.ALL_HEADS, "heads"
    ),
    "attention of a patch": lambda photo, model: attention.show(photo, model, "attention", 1, 1, 3, "matrix"),
    "rollout": lambda photo, model: attention.begin(
        photo, model, "rollout", 1, attention.ALL_HEADS, "matrix"
    ),
    "layers": lambda photo, model: layers.show(photo, model, 1),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("kind", ["plain", "hybrid"])
def test_a_view_says_nothing_in_english_when_another_language_is_chosen(
    view, kind, photo, tiny_model, request
):
    model = str(tiny_model) if kind == "plain" else request.getfixturevalue("hybrid")
    with speaking(OTHER):
        told = VIEWS[view](photo, model)
    assert [found for part in told if (found := bare(part))] == []
    assert MARK in "".join(text for part in told for text in texts(part))


def test_a_check_is_told_again_as_it_was_found(photo, tiny_model):
    found = trust.check(photo, str(tiny_model), "1 bean_rust", "relevance")
    checked = found[-1]
    assert all(again == first for again, first in zip(trust.retell(checked), found[1:7]))
    with speaking(OTHER):
        again = trust.retell(checked)
        assert trust.measured(LeafClassifier.open(tiny_model, device="cpu")).count(MARK) > 10
    assert [part for one in again if (part := bare(one))] == []
    assert len(again[1].data) == 3 and list(again[1].data[0].y) == list(found[2].data[0].y)
    assert trust.retell(None) == (gr.skip(),) * 6


@pytest.fixture
def built(tiny_model: Path, photo: str) -> SimpleNamespace:
    """The tab on a page, with what tells each language."""
    with gr.Blocks() as blocks:
        speech = Speech()
        model = gr.Dropdown([str(tiny_model)], value=str(tiny_model))
        with gr.Tabs(), gr.Tab("Look inside", id="inside") as tab:
            page.build(tab, model, speech, photo)
        speech.wire(blocks)
    return SimpleNamespace(blocks=blocks, speech=speech)


def test_every_label_of_the_tab_follows_the_language(built):
    told = {
        component: {name: text() for name, text in texts.items()} for component, texts in built.speech._texts
    }
    with speaking(OTHER):
        again = {
            component: {name: text() for name, text in texts.items()}
            for component, texts in built.speech._texts
        }
    # Numbers, and names that are the same everywhere, may stay.
    assert len(told) > 70 and all(again[one] != told[one] for one in told)
    silent = {
        str(block.label)
        for block in built.blocks.blocks.values()
        if getattr(block, "visible", True) is True
        and getattr(block, "show_label", False)
        and getattr(block, "label", None)
        and block not in told
        and not isinstance(block, gr.State | gr.Timer | gr.BrowserState)
    }
    # The model list is the page's; the maps of Why this answer have their labels with each map.
    assert {label for label in silent if label not in ("Image", "Dropdown", "Textbox", "Language")} == set()


def test_in_another_language_a_view_is_told_again_and_keeps_what_was_put_in(photo, tiny_model):
    with gr.Blocks() as blocks:
        speech = Speech()
        shared = [gr.Image(), gr.Dropdown(), gr.Textbox(), {"attention": gr.Textbox()}]
        with gr.Tab("Attention", id="attention") as view:
            attention.build(view, scene.Scene(view, *shared, speech))
    call = next(
        function.fn
        for function in blocks.fns.values()
        if function.fn is not None and function.fn.__name__ == "begin"
    )
    first = call("", "en", photo, str(tiny_model), "attention", 1, 1, "heads", -1)
    assert "The [CLS] token" in first[5] and first[1] == -1
    # The patch that was clicked since then goes on looking; neither it nor the lists are set anew, nor sent
    # the pictures without words.
    told = call(first[0], OTHER, photo, str(tiny_model), "attention", 1, 1, "heads", 5)
    assert MARK in told[5] and "5" in told[5] and told[0] != first[0]
    assert (
        told[1] == told[2] == told[3] == told[4] == gr.skip()
        and "value" not in told[6]
        and "value" not in told[7]
        and told[7]["choices"]
    )
    assert isinstance(told[8], Image.Image)
    assert set(map(str, call(told[0], OTHER, photo, str(tiny_model), "attention", 1, 1, "heads", 5))) == {
        str(gr.skip())
    }
    # Whoever sends a language that there is not gets English.
    assert (
        "The [CLS] token"
        in call(first[0], "../../etc", photo, str(tiny_model), "attention", 1, 1, "heads", -1)[5]
    )


def test_a_map_of_a_data_set_is_told_again_with_its_chosen_dot(tmp_path, tiny_model, home):
    leaves, visitor = squares(tmp_path / "leaves"), SimpleNamespace(session_hash="page")
    plan = maps.plan(maps.Request(str(tiny_model), str(leaves), "test"))
    maps.JOBS.clear()
    job = maps.start(plan)
    assert job.wait(60) and job.state == "done"
    asked = (str(tiny_model), str(leaves), "test", "pca", plan.key)
    first = embedding_map.opened(embedding_map.ID, *asked, "", "en", -1, visitor)
    stage, seen = first[7], first[9]
    assert stage["words"]["whole"] == "Whole map" and stage["layout"] == "pca" and "sheet" in stage
    assert embedding_map.opened(embedding_map.ID, *asked, seen, "en", 3, visitor)[6:] == (gr.skip(),) * 8
    told = embedding_map.opened(embedding_map.ID, *asked, seen, OTHER, 3, visitor)
    assert (
        MARK in told[6]
        and "sheet" not in told[7]
        and told[7]["words"]["whole"] == f"{MARK}Whole {MARK}map"
        and told[9] != seen
    )
    assert "003.png" in told[10] and MARK in told[10] and told[11:] == (gr.skip(),) * 3
    assert f"{MARK}Choose" in embedding_map.opened(embedding_map.ID, *asked, seen, OTHER, -1, visitor)[10]
    assert [word for text in told[7]["words"].values() for word in bare(text)] == []
    with speaking(OTHER):
        assert embedding_map.retell_offer(seen)["value"] == say("inside.embedding_map.draw_count", count=18)
        assert (
            embedding_map.retell_offer("")["value"]
            == say("inside.embedding_map.draw")
            == embedding_map.retell_offer("a:b:c:d:e")["value"]
        )
        assert bare(axes(job.result.pca)[0]) == bare(axes(job.result.tsne)[0]) == set()
        assert bare(embedding_map_html.progress(maps.Job("key", 18, plan, done=4))) == set()


def test_words_in_a_picture_are_such_as_a_font_has(monkeypatch):
    letters._font_for.cache_clear()
    monkeypatch.setattr(letters, "FONTS", ("",))
    monkeypatch.setattr(
        letters,
        "say",
        lambda key, language=OTHER, **values: say(key, "en", **values).replace(
            "Head", "头" if language == OTHER else "Head"
        ),
    )
    assert letters.written("figures.heads.head", head=3) == "Head 3"
    assert letters.written("figures.heads.layers") == "Layer"
    letters._font_for.cache_clear()


def test_the_script_of_the_map_has_no_words_of_its_own():
    from vit_demo.common import settings

    script = (settings.ASSETS / "theme" / "embedding_map.js").read_text(encoding="utf-8")
    asked = set(re.findall(r"map\.words\.(\w+)", script))
    given = set(re.findall(r'"(\w+)"', json.dumps(embedding_map_html.WORDS))) | {
        "over",
        "decimal_point",
        "legend_more",
        "mistakes",
        "canvas",
    }
    assert asked == given
