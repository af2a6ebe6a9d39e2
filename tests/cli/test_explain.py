"""``explain`` and ``faithfulness``: the map and all figures of a photo as files, and how far the maps can be
trusted over a split.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.commands import Outcome, assert_one_sentence, beans
from vit_demo.cli import explain as cli_explain
from vit_demo.cli import faithfulness as cli_faithfulness
from vit_demo.cli import main as cli
from vit_demo.cli import options as cli_options
from vit_demo.explain.attribution.maps import MapRequest, explain
from vit_demo.explain.attribution.methods import DEFAULT, METHODS
from vit_demo.explain.attribution.saliency import saliency
from vit_demo.explain.attribution.target import Target
from vit_demo.model.classifier import LeafClassifier

RUST = 1
Call = Callable[..., Outcome]


@pytest.fixture(scope="module")
def classifier(tiny_model: Path) -> LeafClassifier:
    return LeafClassifier.open(tiny_model, device="cpu")


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("photo") / "leaf.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(file)
    return file


@pytest.fixture
def call(
    tiny_model: Path, photo: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Call:
    """Run one command here, as its own process would; words after the line may hold spaces."""

    def main(line: str, *more: str) -> Outcome:
        names = {"model": tiny_model, "photo": photo, "folder": tmp_path}
        try:
            status = cli.main([*line.format(**names).split(), *more])
        except SystemExit as end:
            status = end.code
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return main


EXPLAIN = "explain --model {model} --device cpu {photo} "


# One map


def test_attention_is_written_with_its_settings(
    call: Call, photo: Path, classifier: LeafClassifier, tmp_path: Path
) -> None:
    done = call(EXPLAIN + "--method attention --layer 0 --head 1 --json --out {folder}/map.npz")
    assert (done.status, done.err) == (0, "")
    result = json.loads(done.out)
    assert set(result) == {"photo", "out", "shape", "method", "class", "against", "probability", "cls_share"}
    assert result["photo"] == str(photo) and result["shape"] == [4, 4] and result["method"] == "attention"
    probabilities = classifier.probabilities([Image.open(photo)])[0]
    assert result["class"] == classifier.labels[int(probabilities.argmax())] and result[
        "probability"
    ] == pytest.approx(float(probabilities.max()))
    with np.load(result["out"]) as stored:
        assert (
            stored["map"].shape == (4, 4)
            and stored["method"] == "attention"
            and (stored["layer"], stored["head"]) == (0, 1)
        )
        assert stored["map"].sum() + result["cls_share"] == pytest.approx(1, abs=1e-5)


def test_rollout_takes_a_patch_that_looks(
    call: Call, photo: Path, classifier: LeafClassifier, tmp_path: Path
) -> None:
    assert call(EXPLAIN + "--method rollout --query 3 --out {folder}/map.npz").status == 0
    with np.load(tmp_path / "map.npz") as stored:
        np.testing.assert_allclose(
            stored["map"], explain(classifier, Image.open(photo), MapRequest(query=3)).map, rtol=1e-5
        )
        assert stored["query"] == 3 and (stored["layer"], stored["head"]) == (-1, -1)


@pytest.mark.parametrize("method", [None, *(name for name, method in METHODS.items() if method.for_class)])
def test_a_class_is_explained_by_each_method(
    call: Call, photo: Path, classifier: LeafClassifier, tmp_path: Path, method: str | None
) -> None:
    flag = "" if method is None else f"--method {method} "
    done = call(EXPLAIN + flag + "--json --against healthy --out {folder}/map.npz --class", "Bean rust")
    assert (done.status, done.err) == (0, "")
    result = json.loads(done.out)
    assert (result["method"], result["class"], result["against"]) == (
        method or DEFAULT,
        "bean_rust",
        "healthy",
    ) and "cls_share" not in result
    pixel_values = classifier.preprocess([Image.open(photo)])
    with np.load(tmp_path / "map.npz") as stored:
        np.testing.assert_allclose(
            stored["map"],
            saliency(classifier, pixel_values, method or DEFAULT, Target(RUST, 2))[0],
            rtol=1e-4,
            atol=1e-6,
        )
        assert stored["label"] == "bean_rust" and stored["against"] == "healthy" and stored["patch_size"] == 8
        assert stored["probability"] == pytest.approx(result["probability"]) and stored[
            "image_size"
        ].tolist() == [32, 32]


def test_a_csv_has_a_row_a_patch_and_a_png_the_photo(
    call: Call, photo: Path, classifier: LeafClassifier, tmp_path: Path
) -> None:
    done = call(EXPLAIN + "--class healthy --out {folder}/map.CSV")
    assert done.out.startswith(f"{tmp_path}/map.CSV: {DEFAULT} map of 4 x 4 patches for healthy (healthy: ")
    with open(tmp_path / "map.CSV", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = saliency(classifier, classifier.preprocess([Image.open(photo)]), DEFAULT, Target(2))[0]
    assert [(int(row["row"]), int(row["column"])) for row in rows] == [
        (index // 4, index % 4) for index in range(16)
    ]
    np.testing.assert_allclose([float(row["value"]) for row in rows], expected.flatten(), rtol=1e-5)
    assert call(EXPLAIN + "--out {folder}/map.png").status == 0
    with Image.open(tmp_path / "map.png") as picture:
        assert picture.format == "PNG" and picture.size == (60, 40)


@pytest.mark.parametrize(
    ("name", "index"),
    [("bean_rust", 1), ("Bean rust", 1), ("  BEAN   RUST", 1), ("Healthy", 2), ("angular leaf_spot", 0)],
)
def test_a_class_is_known_as_people_write_it(name: str, index: int) -> None:
    assert cli_explain.find_class(["angular_leaf_spot", "bean_rust", "healthy"], name) == index


def test_a_name_that_fits_two_classes_is_refused(refusal: Callable[..., str]) -> None:
    assert cli_explain.find_class(["a_b", "a b"], "a b") == 1
    assert "a_b, a b" in refusal(cli_explain.find_class, ["a_b", "a b"], "A B")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--method attention --layer 2 --out {folder}/m.npz", "Layer 2 does not exist"),
        ("--method attention --layer -3 --out {folder}/m.npz", "Layer -3 does not exist"),
        ("--method attention --head 2 --out {folder}/m.npz", "Head 2 does not exist"),
        ("--method attention --query 16 --out {folder}/m.npz", "16"),
        ("--method magic --out {folder}/m.npz", "invalid choice: 'magic'"),
        ("--method rollout --layer 1 --out {folder}/m.npz", "Leave out --layer"),
        ("--method gradcam --query 1 --out {folder}/m.npz", "Leave out --query"),
        ("--method rollout --class healthy --out {folder}/m.npz", "does not depend on the class"),
        ("--method attention --against healthy --out {folder}/m.npz", "does not depend on the class"),
        ("--class mildew --out {folder}/m.npz", "angular_leaf_spot, bean_rust, healthy"),
        ("--class healthy --against Healthy --out {folder}/m.npz", "against itself"),
        ("--out {folder}/map.jpg", ".npz, .csv or .png"),
        ("--out {folder}", ".npz, .csv or .png"),
        ("--out {folder}/no/folder/m.npz", "cannot be written"),
        ("--out {folder}/no/folder/m.png", "cannot be written"),
        ("", "--out"),
        ("--out {folder}/m.npz --everything {folder}/all", "not allowed with"),
        ("--everything {folder}/all --method gradcam", "Leave out --method"),
        ("--everything {folder}/all --layer 0", "Leave out --layer"),
        ("--everything {photo}", "cannot be written"),
        ("--everything {folder}/all --class mildew", "The model knows no class mildew"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(call: Call, tmp_path: Path, line: str, words: str) -> None:
    done = call(EXPLAIN + line)
    assert (done.status, done.out) == (2, "")
    assert_one_sentence(done.err)
    assert words in done.err
    assert not list(tmp_path.glob("m.*")) and not (tmp_path / "all").exists()


def test_what_is_no_photo_is_told(call: Call, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no photo")
    done = call("explain --model {model} --out {folder}/m.npz {folder}/text.jpg")
    assert done.status == 2 and "is not a photo" in done.err


def test_occlusion_says_how_far_it_is_on_a_terminal(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = []
    monkeypatch.setattr(cli_options.Line, "__call__", lambda self, *words: lines.append(words))
    assert call(EXPLAIN + "--method occlusion --out {folder}/m.npz").status == 0
    assert lines[-1] == ("Occlusion: squares covered", 16, 16)


# All figures


class Page(HTMLParser):
    """What a page points to, and its text."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.links += [value for name, value in attributes if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.words += data


def test_everything_of_a_photo_is_in_one_folder(
    call: Call, photo: Path, classifier: LeafClassifier, tmp_path: Path
) -> None:
    done = call(EXPLAIN + "--class healthy --everything {folder}/all --json")
    assert done.status == 0 and "Why this answer ..." in done.err
    result, folder = json.loads(done.out), tmp_path / "all"
    assert result["class"] == "healthy" and sorted(result["files"]) == sorted(
        path.name for path in folder.iterdir()
    )
    page = Page((folder / "index.html").read_text(encoding="utf-8"))
    # Each file but plotly and the page itself is shown or linked, by its bare name.
    assert set(page.links) == set(result["files"]) - {"plotly.min.js", "index.html"}
    assert "Explained here: Healthy." in page.words
    for name in result["files"]:
        if name.endswith(".png"):
            with Image.open(folder / name) as picture:
                picture.load()
        elif name.endswith(".html") and name != "index.html":
            assert 'src="plotly.min.js"' in (folder / name).read_text(encoding="utf-8")
    with np.load(folder / "maps.npz") as maps:
        expected = saliency(classifier, classifier.preprocess([Image.open(photo)]), DEFAULT, Target(2))[0]
        np.testing.assert_allclose(maps[DEFAULT], expected, rtol=1e-4, atol=1e-6)
        assert maps["label"] == "healthy" and maps["occlusion"].shape == (4, 4)
    with np.load(folder / "layers.npz") as layers, np.load(folder / "tokens.npz") as tokens:
        assert layers["logits"].shape == (3, 3) and tokens["hidden"].shape == (3, 17, 32)
        np.testing.assert_allclose(tokens["tokens"], tokens["hidden"][0], atol=1e-4)
    again = call(EXPLAIN + "--everything {folder}/all")
    assert again.status == 2 and "is not empty" in again.err


def test_everything_of_a_hybrid_and_nothing_of_a_label_is_markup(
    call: Call, tiny_model: Path, tmp_path: Path
) -> None:
    labels = ["<script>alert(1)</script>", "b&b", "c"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        hybrid = LeafClassifier.open(
            tiny_model, device="cpu", labels=labels, hybrid="new", head_init="normal"
        )
    hybrid.save(tmp_path / "hybrid")
    done = call(
        "explain --model {folder}/hybrid --device cpu --class b&b --against c --everything {folder}/all"
        " {photo}"
    )
    assert done.status == 0, done.err
    for file in (tmp_path / "all").glob("*.html"):
        text = file.read_text(encoding="utf-8")
        assert "<script>alert" not in text and not re.search(r'(?:src|href)="(?:[a-z]+:|/)', text)
    assert "B&b against C" in Page((tmp_path / "all" / "index.html").read_text(encoding="utf-8")).words
    assert not (tmp_path / "all" / "variance.html").exists()


# Over a split


def test_faithfulness_is_measured_printed_and_kept(
    call: Call, classifier: LeafClassifier, tmp_path: Path
) -> None:
    beans(tmp_path / "data")
    classifier.save(tmp_path / "own")
    line = (
        "faithfulness --model {folder}/own --device cpu --data {folder}/data --photos 3 --steps 4 --methods"
        " gradcam "
    )
    done = call(line + "--json --save")
    assert (done.status, done.err) == (0, "")
    result = json.loads(done.out)
    assert json.loads((tmp_path / "own" / "faithfulness.json").read_text()) == result
    assert (result["split"], result["data"], result["photos"], result["steps"]) == ("test", "data", 3, 4)
    assert list(result["methods"]) == ["attention", DEFAULT, "gradcam", "random", "centred"]
    for areas in result["methods"].values():
        for mean, low, high in areas.values():
            assert low <= mean <= high and 0 <= mean <= 1
    assert list(result["differences"]) == ["random", "centred", "attention"]
    difference = result["methods"][DEFAULT]["deletion"][0] - result["methods"]["random"]["deletion"][0]
    assert result["differences"]["random"]["deletion"][0] == pytest.approx(difference)
    assert result["sanity"]["methods"]["attention"]["head"][0] == pytest.approx(1)
    (tmp_path / "own" / "faithfulness.json").unlink()
    text = call(line).out
    mean, low, high = result["methods"]["gradcam"]["insertion"]
    assert f"{mean:.4f} ({low:.4f} to {high:.4f})" in text and "Sanity check on 3 photos" in text
    assert not (tmp_path / "own" / "faithfulness.json").exists()


def test_the_copy_of_a_model_on_the_hub_stays_as_it_is(
    classifier: LeafClassifier, refusal: Callable[..., str]
) -> None:
    there = dataclasses.replace(classifier.checkpoint, name="someone/leaves", revision="abc")
    found = LeafClassifier(classifier.model, classifier.processor, there)
    assert "someone/leaves is of the Hub" in refusal(cli_faithfulness.file_in, found)
    assert cli_faithfulness.file_in(classifier) == classifier.checkpoint.folder / "faithfulness.json"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--methods attention,magic", "Method 'magic' is not known"),
        ("--photos 0", "choose 1 or more"),
        ("--steps 0", "choose 1 or more"),
        ("--seed -1", "choose 0 or more"),
        ("--split all", "all is not train, validation, test or NAME=SPLIT"),
    ],
)
def test_a_mistake_in_what_is_measured_is_one_sentence(
    call: Call, tmp_path: Path, line: str, words: str
) -> None:
    beans(tmp_path / "data")
    done = call("faithfulness --model {model} --device cpu --data {folder}/data " + line)
    assert (done.status, done.out) == (2, "")
    assert_one_sentence(done.err)
    assert words in done.err
