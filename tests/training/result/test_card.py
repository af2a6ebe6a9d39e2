"""What is written beside a model says what was measured."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard

from vit_demo.model.abstention import Abstention, Answers, fit
from vit_demo.model.checkpoints import Checkpoint
from vit_demo.model.readout import Readout
from vit_demo.training.result.card import model_card, percent, scores_json
from vit_demo.training.result.evaluation import Evaluation, score
from vit_demo.training.run.config import TrainingConfig

LABELS = ["rust", "spot|mould", "healthy"]
CONFIG = TrainingConfig(data="my leaves", epochs=3, learning_rate=1 / 3e4)


def guessed(right: int, wrong: int, labels: list[str] = LABELS) -> Evaluation:
    """That many right and wrong guesses, the wrong ones all of class 0 called class 2, each surer than the
    one before.
    """
    targets = np.array([0] * wrong + [1] * right)
    guesses = torch.tensor([2] * wrong + [1] * right)
    sure = torch.linspace(2, 3, right + wrong)[:, None]
    places = [(row, f"leaves/{labels[target]}/{row}.jpg") for row, target in enumerate(targets)]
    found = score(
        torch.nn.functional.one_hot(guesses, 3) * sure, targets, labels, places=places
    ).at_temperature(1.25)
    return dataclasses.replace(
        found, features=np.random.default_rng(right).normal(size=(right + wrong, 4)).astype(np.float32)
    )


SCORES = {"validation": guessed(90, 10), "test": guessed(43, 5)}


# For which 19 validation photos were too few.
NOTHING_FITTED = Abstention(Readout(9), 1.25, tuple(LABELS), None, None)


def card(
    config: TrainingConfig = CONFIG,
    revision: str | None = None,
    scores: dict[str, Evaluation] = SCORES,
    abstention: Abstention = NOTHING_FITTED,
) -> str:
    return model_card(
        config,
        Checkpoint(Path("nowhere"), "owner/model", revision, ()),
        scores,
        {"seconds": 83.4},
        abstention,
    )


def section(text: str, title: str) -> str:
    """What stands under a heading."""
    return text.split(f"## {title}\n")[1].split("\n## ")[0]


def test_percent_reads_as_people_say_it() -> None:
    assert percent(guessed(43, 5)) == "89.6% (95 % interval 77.8% to 95.5%, 48 photos)"


def test_scores_json_has_each_split_the_temperature_and_the_time() -> None:
    back = json.loads(
        scores_json(
            {split: result.to_dict() for split, result in SCORES.items()},
            1.25,
            {"seconds": 83.4, "data_fingerprint": "abc"},
        )
    )
    assert (back["temperature"], back["seconds"]) == (1.25, 83.4)
    assert (
        back["test"]["accuracy"] == 43 / 48
        and back["validation"]["confusion"] == SCORES["validation"].confusion
    )


def test_the_card_is_one_that_the_hub_reads() -> None:
    data = ModelCard(card()).data
    assert (data.library_name, data.pipeline_tag, data.datasets) == (
        "transformers",
        "image-classification",
        None,
    )
    (accuracy,) = data.eval_results
    assert (accuracy.metric_type, accuracy.metric_value, accuracy.dataset_split) == (
        "accuracy",
        pytest.approx(43 / 48, abs=1e-6),
        "test",
    )
    assert (accuracy.dataset_type, accuracy.dataset_name) == ("imagefolder", "my leaves")


def test_photos_of_the_hub_are_named_as_the_hub_does() -> None:
    data = ModelCard(card(TrainingConfig(data="owner/leaves", data_revision="v2"))).data
    assert (
        data.datasets == ["owner/leaves"]
        and data.eval_results[0].dataset_type == "owner/leaves"
        and data.eval_results[0].dataset_revision == "v2"
    )


@pytest.mark.parametrize(
    "evil",
    [
        "- a: [b",
        "a: 'b' #c",
        "---",
        "<b>|x",
        "line\nbreak",
        "\u2028 \u00e4 \U0001f331",
        "{{x}}: &y *z !!t",
        "`x`",
    ],
)
def test_any_name_leaves_the_card_whole(evil: str) -> None:
    labels = [evil, "spot", "healthy"]
    text = card(
        TrainingConfig(data=f"folder/{evil}"),
        scores={"validation": guessed(9, 1, labels), "test": guessed(8, 2, labels)},
    )
    front = text.split("\n---\n")[0].removeprefix("---\n")
    assert yaml.safe_load(front)["model-index"][0]["results"][0]["dataset"]["name"] == evil
    lines = [line.replace("\\|", "") for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == (2 + 3) + (2 + 3) + (2 + 2) + (2 + 2) + (2 + 2)
    assert "<b>" not in "\n".join(lines)


def test_the_test_number_comes_first_and_validation_is_told_apart() -> None:
    text = card()
    assert text.index(f"Test accuracy: **{percent(SCORES['test'])}**") < text.index("Validation")
    assert (
        f"Validation accuracy: {percent(SCORES['validation'])}; the weights were chosen on this split" in text
    )
    assert "in 83 s" in text


def test_every_row_of_the_tables_has_as_many_cells() -> None:
    text = section(card(), "Each class")
    rows = [line.replace("\\|", "/") for line in text.splitlines() if line.startswith("|")]
    classes, confusion = rows[: 2 + len(LABELS)], rows[2 + len(LABELS) :]
    assert {line.count("|") for line in classes} == {7} and {line.count("|") for line in confusion} == {
        len(LABELS) + 2
    }
    assert confusion[2].split("|")[1:-1] == [" rust ", " 0 ", " 0 ", " 5 "]
    # rust is never said, all spots are found, and what is called healthy never is.
    assert [cell.strip() for cell in classes[2].split("|")[1:-1]] == [
        "rust",
        "none",
        "0.0%",
        "0.0% to 43.4%",
        "0.0%",
        "5",
    ]
    assert [cell.strip() for cell in classes[3].split("|")[1:-1]] == [
        "spot/mould",
        "100.0%",
        "100.0%",
        "91.8% to 100.0%",
        "100.0%",
        "43",
    ]
    assert [cell.strip() for cell in classes[4].split("|")[1:-1]] == [
        "healthy",
        "0.0%",
        "none",
        "no photo",
        "0.0%",
        "0",
    ]


def test_the_card_says_how_sure_it_is_and_on_which_photos_that_was_found() -> None:
    text, test = section(card(), "How sure it is"), SCORES["test"]
    assert f"{test.calibration.expected_calibration_error * 100:.1f} points" in text
    assert f"{test.calibrated.expected_calibration_error * 100:.1f} points" in text and "| 1.250 |" in text
    assert "fitted on the 100 validation photos and on changed copies" in text and "stays at 1" not in text
    right = card(scores={"validation": guessed(9, 0).at_temperature(1.0), "test": test})
    assert "Every validation photo was right, so there was nothing to fit and it stays at 1." in right


def test_the_worst_mistakes_are_named_the_surest_first() -> None:
    rows = [line for line in section(card(), "Its worst mistakes").splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [f"leaves/rust/{number}.jpg" for number in (4, 3, 2, 1, 0)]
    assert all("| rust | healthy |" in row for row in rows)
    assert "None on the 43 test photos." in card(scores={**SCORES, "test": guessed(43, 0)})


def test_origin_revision_and_extra_photos_are_named_where_there_are_any() -> None:
    assert "Started from: `owner/model`\n" in card() and "Extra" not in card()
    text = card(TrainingConfig(extra_data="more leaves"), revision="abc123")
    assert "`owner/model`, revision `abc123`" in text and "Extra train photos: `more leaves`" in text


@pytest.mark.parametrize("config", [CONFIG, TrainingConfig(resolutions=(96, 128), half=True)])
def test_the_card_holds_the_command_and_the_settings(config: TrainingConfig) -> None:
    blocks = card(config).split("```")
    assert shlex.split(blocks[1]) == shlex.split(config.command())
    assert TrainingConfig.from_json(blocks[3].removeprefix("json")) == config


def test_the_card_says_when_the_model_keeps_silent() -> None:
    validation = SCORES["validation"]
    own = Answers(validation.logits, validation.features, validation.targets)
    fitted = fit(own, own, 1.25, Readout(9), LABELS)
    text = section(card(abstention=fitted), "When it keeps silent")
    judged = fitted.judge(SCORES["test"].logits, SCORES["test"].features)
    counts = {
        verdict: sum(found.verdict == verdict for found in judged)
        for verdict in ("diagnosis", "unsure", "not_known")
    }
    row = next(line for line in text.splitlines() if line.startswith("| test"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:3] + cells[4:] == [
        str(number) for number in (48, counts["diagnosis"], counts["unsure"], counts["not_known"])
    ]
    assert (
        f"{fitted.conformal_threshold:.1%} or more" in text and "after block 9" in text and "too kind" in text
    )


def test_the_card_says_what_could_not_be_fitted() -> None:
    assert "At least 19 validation photos" in section(card(), "When it keeps silent")
    half = dataclasses.replace(NOTHING_FITTED, conformal_threshold=0.5)
    assert "too few train photos" in section(card(abstention=half), "When it keeps silent")


def test_what_is_known_of_the_photos_is_in_card_and_scores() -> None:
    notes = ["2 photos of <b>x</b> are in two classes.", "The class rust has no photo in test."]
    result = {"seconds": 83.4, "data_notes": notes}
    text = model_card(CONFIG, Checkpoint(Path("nowhere"), "o/m", None, ()), SCORES, result, NOTHING_FITTED)
    assert section(text, "About its photos").strip().splitlines() == [
        "- 2 photos of &lt;b>x&lt;/b> are in two classes.",
        "- The class rust has no photo in test.",
    ]
    assert json.loads(scores_json({}, 1.0, result))["data_notes"] == notes
    assert (
        "About its photos" not in card()
        and json.loads(scores_json({}, 1.0, {"seconds": 1}))["data_notes"] == []
    )


def test_without_a_test_score_each_section_says_so_and_the_hub_is_told_no_number() -> None:
    text = card(scores={**SCORES, "test": None})
    assert "Test accuracy: **not measured**" in text and percent(SCORES["validation"]) in text
    for title in ("Each class", "Its worst mistakes"):
        assert section(text, title).strip().startswith("Not measured: there was no test photo")
    sure = section(text, "How sure it is")
    assert "Expected calibration error on validation" in sure and "on test" not in sure
    silence = section(text, "When it keeps silent")
    assert "| test | 0 | not measured | not measured | not measured | not measured |" in silence
    assert ModelCard(text).data.eval_results is None and "looked at only after" not in text
    assert json.loads(scores_json({"test": None}, 1.0, {"seconds": 1.0}))["test"] is None
