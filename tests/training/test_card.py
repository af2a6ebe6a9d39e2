"""What is written beside a model says what was measured."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard

from vit_demo.checkpoints import Checkpoint
from vit_demo.training.card import model_card, percent, scores_json
from vit_demo.training.config import TrainingConfig
from vit_demo.training.evaluation import Evaluation, score

LABELS = ["rust", "spot|mould", "healthy"]
CONFIG = TrainingConfig(data="my leaves", epochs=3, learning_rate=1 / 3e4)


def guessed(right: int, wrong: int) -> Evaluation:
    """That many right and wrong guesses, the wrong ones all of class 0 called class 2."""
    targets = np.array([0] * wrong + [1] * right)
    guesses = torch.tensor([2] * wrong + [1] * right)
    return score(torch.nn.functional.one_hot(guesses, 3).float(), targets, LABELS)


SCORES = {"validation": guessed(90, 10), "test": guessed(43, 5)}


def card(config: TrainingConfig = CONFIG, revision: str | None = None) -> str:
    return model_card(config, Checkpoint(Path("nowhere"), "owner/model", revision, ()), SCORES, {"seconds": 83.4})


def test_percent_reads_as_people_say_it() -> None:
    assert percent(guessed(43, 5)) == "89.6% (95 % interval 77.8% to 95.5%, 48 photos)"


def test_scores_json_has_each_split_and_the_time() -> None:
    back = json.loads(scores_json({split: result.to_dict() for split, result in SCORES.items()}, 83.4))
    assert back["seconds"] == 83.4
    assert back["test"]["accuracy"] == 43 / 48 and back["validation"]["confusion"] == SCORES["validation"].confusion


def test_the_card_is_one_that_the_hub_reads() -> None:
    data = ModelCard(card()).data.to_dict()
    assert data["library_name"] == "transformers" and data["pipeline_tag"] == "image-classification"


def test_the_card_names_test_and_validation_apart() -> None:
    text = card()
    assert f"Test accuracy: **{percent(SCORES['test'])}**" in text
    assert f"Validation accuracy: {percent(SCORES['validation'])}; the weights were chosen on this split" in text
    assert "in 83 s" in text


def test_every_row_of_the_table_has_as_many_cells(tmp_path: Path) -> None:
    rows = [line.replace("\\|", "/") for line in card().splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(LABELS)
    assert {line.count("|") for line in rows} == {len(LABELS) + 2}
    assert rows[2].split("|")[1:-1] == [" rust ", " 0 ", " 0 ", " 5 "]


def test_origin_revision_and_extra_photos_are_named_where_there_are_any() -> None:
    assert "Started from: `owner/model`\n" in card() and "Extra" not in card()
    text = card(TrainingConfig(extra_data="more leaves"), revision="abc123")
    assert "`owner/model`, revision `abc123`" in text and "Extra train photos: `more leaves`" in text


@pytest.mark.parametrize("config", [CONFIG, TrainingConfig(resolutions=(96, 128), half=True)])
def test_the_card_holds_the_command_and_the_settings(config: TrainingConfig) -> None:
    blocks = card(config).split("```")
    assert shlex.split(blocks[1]) == shlex.split(config.command())
    assert TrainingConfig.from_json(blocks[3].removeprefix("json")) == config
