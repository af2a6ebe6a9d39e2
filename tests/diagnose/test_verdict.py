"""Whether a photo gets a diagnosis: what is kept beside the model is applied to the logits and features of
one forward.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import abstention as benchmark
from vit_demo.cli import main as cli
from vit_demo.data.open.sources import open_dataset
from vit_demo.diagnose.diagnosis import Diagnosis, diagnose, diagnose_files
from vit_demo.model import classifier as vit
from vit_demo.model.abstention import Abstention, Answers, abstention_of, fit
from vit_demo.model.checkpoints import ABSTENTION
from vit_demo.model.classifier import LeafClassifier
from vit_demo.model.readout import Readout

READOUT = Readout(1)
VERDICTS = ("diagnosis", "unsure", "not_known")


@pytest.fixture(scope="module", autouse=True)
def fp32() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vit, "bf16_is_faster", lambda device_type: False)
        yield


def pictures(count: int, seed: int, spread: int = 20) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [
        Image.fromarray(
            np.clip(rng.integers(40, 200, 3) + rng.normal(0, spread, (32, 32, 3)), 0, 255).astype(np.uint8)
        )
        for _ in range(count)
    ]


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that was taught on plain colours when to be silent."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    classifier = LeafClassifier.open(folder, device="cpu")
    answers = []
    for seed in (0, 1):
        logits, tokens = classifier.logits_and_features(pictures(90, seed), READOUT)
        answers.append(
            Answers(
                logits.numpy(), tokens.numpy(), logits.argmax(dim=1).numpy() if seed else np.arange(90) % 3
            )
        )
    fit(*answers, 2.0, READOUT, classifier.labels).save(folder)
    return folder


@pytest.fixture
def classifier(folder: Path) -> LeafClassifier:
    return LeafClassifier.open(folder, device="cpu")


def test_the_fields_are_what_was_fitted_says(classifier: LeafClassifier) -> None:
    fitted, photos = abstention_of(classifier), [*pictures(30, 7), *pictures(10, 8, spread=120)]
    logits, tokens = classifier.logits_and_features(photos, READOUT)
    seen = set()
    for photo, judged in zip(photos, fitted.judge(logits.numpy(), tokens.numpy())):
        answer = diagnose(classifier, photo)
        assert (answer.verdict, answer.temperature) == (judged.verdict, 2.0)
        assert answer.prediction_set == [classifier.labels[index] for index in judged.prediction_set]
        assert answer.distance == pytest.approx(judged.distance, rel=1e-3)
        # the same class as without a temperature, with a calibrated probability
        plain = (classifier.logits([photo])[0] / 2).softmax(dim=0)
        assert answer.scores == pytest.approx(dict(zip(classifier.labels, plain.tolist())), abs=1e-5)
        assert answer.label == classifier.labels[int(plain.argmax())] and answer.probability == max(
            answer.scores.values()
        )
        assert json.loads(json.dumps(answer.to_dict())) == answer.to_dict()
        seen.add(answer.verdict)
    assert seen == set(VERDICTS)


def test_one_forward_gives_the_answer(classifier: LeafClassifier, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, forward = [], LeafClassifier.forward
    monkeypatch.setattr(
        LeafClassifier, "forward", lambda self, pixels: sizes.append(len(pixels)) or forward(self, pixels)
    )
    diagnose(classifier, pictures(1, 9)[0])
    assert sizes == [1]


def test_files_get_the_same_verdicts(classifier: LeafClassifier, tmp_path: Path) -> None:
    photos = pictures(20, 10, spread=60)
    for number, photo in enumerate(photos):
        photo.save(tmp_path / f"{number:02d}.png")
    answers = list(diagnose_files(classifier, sorted(tmp_path.glob("*.png"))))
    assert [answer.verdict for answer in answers] == [diagnose(classifier, photo).verdict for photo in photos]


def test_a_model_taught_anew_is_believed_anew(classifier: LeafClassifier, folder: Path) -> None:
    photo = pictures(1, 11)[0]
    assert diagnose(classifier, photo).temperature == 2.0
    Abstention(READOUT, 3.0, tuple(classifier.labels), None, None).save(folder)
    os.utime(folder / ABSTENTION, ns=(1, 1))  # as after some time, even on a clock that ticks slowly
    assert (diagnose(classifier, photo).temperature, diagnose(classifier, photo).distance) == (3.0, None)
    (folder / ABSTENTION).unlink()
    assert diagnose(classifier, photo).verdict is None


def test_the_file_of_another_model_is_told_and_not_used(
    classifier: LeafClassifier, folder: Path, refusal
) -> None:
    Abstention(READOUT, 1.0, ("other", "classes"), None, None).save(folder)
    os.utime(folder / ABSTENTION, ns=(2, 2))
    assert "belongs to another model" in refusal(diagnose, classifier, pictures(1, 12)[0])


def test_saving_a_model_over_another_takes_its_limits_away(classifier: LeafClassifier, folder: Path) -> None:
    assert (folder / ABSTENTION).is_file()
    classifier.save(folder)
    assert not (folder / ABSTENTION).exists()


@pytest.mark.parametrize(
    ("verdict", "chosen", "expected"),
    [
        (None, None, "rust (81.0%)"),
        ("diagnosis", ["rust"], "rust (81.0%)"),
        ("unsure", ["rust", "spot"], "unsure, rust or spot; most likely rust (81.0%)"),
        (
            "not_known",
            [],
            (
                "not known, it looks like none of the classes that the model learned (distance 1.50, above 1"
                " is not known)"
            ),
        ),
    ],
)
def test_the_verdict_in_words(verdict: str | None, chosen: list[str] | None, expected: str) -> None:
    answer = Diagnosis(
        "leaf.jpg",
        "rust",
        0.81,
        {"rust": 0.81, "spot": 0.19},
        verdict,
        chosen,
        None if verdict is None else 1.0,
        1.5 if verdict else None,
    )
    assert answer.in_words() == expected


def test_predict_prints_it(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pictures(1, 13)[0].save(tmp_path / "leaf.png")
    line = ["predict", "--model", str(folder), "--device", "cpu", str(tmp_path / "leaf.png")]
    assert cli.main([*line, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer.pop("language") == "en" and answer.pop("text")
    assert answer["verdict"] in VERDICTS and answer["temperature"] == 2.0 and answer["distance"] > 0
    assert cli.main(line) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'leaf.png'}: {Diagnosis(**answer).in_words()}\n"


# What the forward gives


@pytest.mark.parametrize("layer", [1, 2])
def test_tokens_are_those_of_transformers(classifier: LeafClassifier, layer: int) -> None:
    photos = pictures(20, 14)
    logits, tokens = classifier.logits_and_features(photos, Readout(layer))
    with torch.inference_mode():
        expected = classifier.model(classifier.preprocess(photos), output_hidden_states=True).hidden_states[
            layer
        ][:, 0]
    torch.testing.assert_close(tokens, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits, classifier.logits(photos), atol=1e-4, rtol=1e-4)
    assert [len(part) for part in classifier.logits_and_features([], Readout(layer))] == [0, 0]


@pytest.mark.parametrize(("hybrid", "side"), [("new", 32), (None, 48)])
def test_a_hybrid_and_another_size_can_be_taught_too(
    tiny_model: Path, tmp_path: Path, hybrid: str | None, side: int
) -> None:
    made = LeafClassifier.open(tiny_model, device="cpu", hybrid=hybrid)
    made.processor.size = {"height": side, "width": side}
    made.save(tmp_path)
    classifier = LeafClassifier.open(tmp_path, device="cpu")
    own = [classifier.logits_and_features(pictures(60, seed), Readout(2)) for seed in (16, 17)]
    train, validation = (
        Answers(logits.numpy(), tokens.numpy(), logits.argmax(dim=1).numpy()) for logits, tokens in own
    )
    fit(train, validation, 1.0, Readout(2), classifier.labels).save(tmp_path)
    answers = [diagnose(classifier, photo) for photo in pictures(60, 17)]
    assert sum(answer.verdict != "not_known" for answer in answers) in (
        57,
        58,
        59,
    )  # ceil(0.95 * 61) = 58, and rounding at the limit itself
    assert all(answer.distance > 0 for answer in answers)


def test_visitors_at_the_same_time_get_their_own_photos(classifier: LeafClassifier) -> None:
    photos, found = pictures(8, 15), {}
    alone = [classifier.logits_and_features([photo], READOUT)[1] for photo in photos]

    def visit(number: int) -> None:
        found[number] = [classifier.logits_and_features([photos[number]], READOUT)[1] for _ in range(20)]

    visitors = [threading.Thread(target=visit, args=(number,)) for number in range(len(photos))]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    for number, expected in enumerate(alone):
        for tokens in found[number]:
            torch.testing.assert_close(tokens, expected, atol=1e-4, rtol=1e-4)


# The embedded model


def test_the_embedded_model_knows_when_to_be_silent(shared: Path, capsys: pytest.CaptureFixture) -> None:
    """On real leaves and on photos of other things, against the limits that were set beforehand."""
    report = benchmark.Report()
    test = open_dataset("beans")["test"]
    benchmark.measure(LeafClassifier.open(device="cpu"), test, shared / "data" / "not_beans", report)
    lines = capsys.readouterr().out
    assert report.passed, lines
    assert lines.count(": yes") == 9 and "citrus_fruit" in lines
