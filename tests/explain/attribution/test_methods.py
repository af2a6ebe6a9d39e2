"""A method that is added from outside is there wherever methods are: on the command line, in the tab, in what
is measured.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vit_demo.cli.main import main
from vit_demo.common.words import say, text_of
from vit_demo.explain.attribution.methods import METHODS, Method, known_names, register
from vit_demo.explain.attribution.saliency import saliency
from vit_demo.explain.attribution.target import ANSWER
from vit_demo.explain.attribution.trust import Plan
from vit_demo.model.classifier import LeafClassifier
from vit_demo.ui.tabs.inside import why
from vit_demo.ui.tabs.inside.heat import method_titles


def corner(_classifier, pixel_values: torch.Tensor, target, _dtype) -> torch.Tensor:
    """All of the map lies in the first patch."""
    maps = torch.zeros(len(pixel_values), 16)
    maps[:, 0] = 1
    return maps


@pytest.fixture
def added() -> Iterator[Method]:
    made = register(
        Method("corner", corner, "The first corner", "Always the **same corner** of {patches} patches.")
    )
    yield made
    del METHODS["corner"]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 40, 3), dtype=np.uint8)).save(
        tmp_path / "leaf.png"
    )
    return tmp_path / "leaf.png"


def test_each_method_names_a_function_that_is_there() -> None:
    assert all(callable(method.function()) for method in METHODS.values()) and [
        method.name for method in METHODS.values()
    ] == list(METHODS)


def test_each_method_is_called_and_described_by_key() -> None:
    for name, method in METHODS.items():
        assert (method.title, method.shows) == (
            say(f"inside.method.{name}"),
            text_of(f"inside.method.{name}.shows"),
        )
        assert method.title.startswith(method.short) and "(" not in method.short
    assert str(known_names()) == "attention, rollout, relevance, masked-relevance, gradcam or occlusion"


def test_an_added_method_is_on_the_command_line(
    added: Method, photo: Path, tiny_model: Path, tmp_path: Path
) -> None:
    assert (
        main(
            [
                "explain",
                "--model",
                str(tiny_model),
                "--method",
                "corner",
                "--out",
                str(tmp_path / "map.csv"),
                str(photo),
            ]
        )
        == 0
    )
    with open(tmp_path / "map.csv", encoding="utf-8") as file:
        assert [float(row["value"]) for row in csv.DictReader(file)] == [1.0] + [0.0] * 15


def test_it_is_in_the_tab_and_is_measured_as_all_others(added: Method, photo: Path, tiny_model: Path) -> None:
    assert ("The first corner", "corner") in method_titles()
    _, words, first, *_ = why.show(str(photo), str(tiny_model), "answer", "none", "corner")
    assert words.startswith("Always the **same corner** of 16 patches.") and first["visible"]
    assert Plan(("corner",)).measured[-1] == "corner"


def test_it_works_for_several_photos_in_threads(added: Method, tiny_model: Path) -> None:
    maps = saliency(LeafClassifier.open(tiny_model, device="cpu"), torch.rand(5, 3, 32, 32), "corner", ANSWER)
    assert maps.shape == (5, 4, 4) and (maps[:, 0, 0] == 1).all() and maps.sum() == 5


def test_two_of_one_name_are_refused(added: Method) -> None:
    with pytest.raises(ValueError, match="already"):
        register(added)
