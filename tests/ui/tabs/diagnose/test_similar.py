"""It looks like these: the part beside the answer, folded until it is opened, and not there where it has
nothing to show.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from markupsafe import escape
from PIL import Image

from vit_demo.common.words import LANGUAGES, say, speaking
from vit_demo.data.open.sources import open_dataset
from vit_demo.model.classifier import LeafClassifier
from vit_demo.model.neighbours import FILE, Pictures
from vit_demo.model.readout import Readout
from vit_demo.ui.shared.models import get_classifier
from vit_demo.ui.tabs.diagnose import one, similar

LABELS = ("angular_leaf_spot", "bean_rust", "healthy")


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("photo") / "leaf.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(file)
    return str(file)


@pytest.fixture(scope="module")
def run(tiny_model: Path, photo: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run whose pictures are of the photo itself (bean rust) and of others."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    shutil.copytree(tiny_model, folder / "model")
    others = [Image.new("RGB", (40, 40), colour) for colour in ("red", "green", "blue")]
    features = (
        LeafClassifier.open(folder, device="cpu")
        .logits_and_features([Image.open(photo), *others], Readout(1))[1]
        .numpy()
    )
    Pictures(Readout(1), features, [1, 0, 2, 0], [b"the photo", b"red", b"green", b"blue"], LABELS).save(
        folder / FILE
    )
    return str(folder)


def labels_in(html: str) -> list[str]:
    return re.findall(r'alt="" /><span>(.*?)</span></li>', html)


@pytest.mark.parametrize("language", LANGUAGES, indirect=True)
def test_it_is_offered_folded_and_shows_three_pictures_with_their_labels_when_opened(photo, run, language):
    said = json.loads(json.dumps(one.show(photo, run)[0]))
    folded = similar.offer(said)
    assert (
        "data-waits" in folded
        and " open>" not in folded
        and "<img" not in folded
        and escape(say("diagnose.similar.title", language)) in folded
    )
    opened = similar.look(photo, said)
    assert (
        " open>" in opened
        and "data-waits" not in opened
        and escape(say("diagnose.similar.learned", language)) in opened
    )
    shown = labels_in(opened)
    assert (
        len(shown) == 3 and shown[0] == "Bean rust" and "base64,dGhlIHBob3Rv" in opened.partition("</li>")[0]
    )
    assert run not in opened and str(Path(photo).parent) not in opened


def test_folded_it_asks_the_model_nothing(photo, run):
    said, asked = one.show(photo, run)[0], []
    handle = get_classifier(run).model.register_forward_pre_hook(lambda *_: asked.append(1))
    try:
        similar.offer(said)
        assert not asked
        similar.look(photo, said)
        assert len(asked) == 1
    finally:
        handle.remove()


def test_it_is_not_there_where_there_is_nothing_to_show(photo, run, tiny_model):
    said = one.show(photo, run)[0]
    silent = {**said, "answer": {**said["answer"], "verdict": "not_known"}}
    without = one.show(photo, str(tiny_model))[0]
    for nothing in (None, {"error": "no photo"}, silent, without, {**said, "model": "/nowhere/at/all"}):
        assert similar.offer(nothing) == "" == similar.look(photo, nothing)
    assert similar.look(None, said) == ""


def test_broken_pictures_are_one_sentence_in_the_part(photo, run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "broken")
    (folder / FILE).write_bytes(b"nothing")
    said = one.show(photo, str(folder))[0]
    html = similar.look(photo, said)
    assert "is broken" in html and " open>" in html and "<img" not in html and str(tmp_path) not in html


def test_of_the_embedded_model_real_train_photos_are_shown_in_the_language_of_the_page(tmp_path):
    leaf = tmp_path / "leaf.png"
    open_dataset("beans")["train"][700]["image"].save(leaf)
    said = one.show(str(leaf), "embedded")[0]
    assert said["answer"]["label"] == "healthy"
    with speaking("zh"):
        html = similar.look(str(leaf), said)
    assert (
        say("diagnose.similar.learned", "zh") in html
        and labels_in(html)[0] == say("class.healthy", "zh")
        and html.count("<img") == 3
    )
    assert not re.findall("[A-Za-z]{2,}", re.sub("<[^>]*>", "", html))
