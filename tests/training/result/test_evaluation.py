"""Scores against formulas and loops written out here."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Image, Value
from sklearn.metrics import precision_recall_fscore_support

from vit_demo.common.errors import UserError
from vit_demo.data.open.sources import open_dataset
from vit_demo.model import cpu_engine
from vit_demo.model.classifier import LeafClassifier
from vit_demo.training import photos
from vit_demo.training.result.evaluation import WORST, evaluate, score

BEANS = ["angular_leaf_spot", "bean_rust", "healthy"]


def wilson(right: int, n: int) -> tuple[float, float]:
    """The interval as in Wilson 1927: the shares whose own 95 % range still reaches what was seen."""
    z, share = 1.959963984540054, right / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return middle - half, middle + half


@pytest.mark.parametrize(
    ("right", "n"), [(0, 1), (1, 1), (0, 10), (10, 10), (5, 10), (47, 48), (113, 128), (999, 1000)]
)
def test_accuracy_and_interval(right: int, n: int) -> None:
    logits = torch.zeros(n, 2)
    logits[:right, 0] = 1
    logits[right:, 1] = 1
    result = score(logits, np.zeros(n, dtype=np.int64), ["a", "b"])
    assert result.accuracy == right / n and result.n == n and result.broken == 0
    assert result.interval == pytest.approx(wilson(right, n), abs=1e-12)
    assert -1e-12 <= result.interval[0] <= result.accuracy <= result.interval[1] <= 1 + 1e-12


def test_confusion_and_loss_against_slow_loops() -> None:
    rng = np.random.default_rng(3)
    logits, targets = (
        rng.normal(size=(200, 4)),
        rng.integers(0, 3, 200),
    )  # class 3 is never true, but may be said
    result = score(torch.from_numpy(logits).float(), targets, ["a", "b", "c", "d"])
    slow, loss = [[0] * 4 for _ in range(4)], 0.0
    for row, target in zip(logits, targets):
        slow[target][max(range(4), key=lambda index: row[index])] += 1
        loss += math.log(sum(math.exp(value) for value in row)) - row[target]
    assert result.confusion == slow and sum(slow[3]) == 0
    assert result.loss == pytest.approx(loss / 200, rel=1e-5)
    assert result.accuracy == sum(slow[index][index] for index in range(4)) / 200


def test_to_dict_is_json_and_nothing_is_lost() -> None:
    result = score(torch.eye(3), np.array([0, 1, 1]), BEANS, broken=2)
    back = json.loads(json.dumps(result.to_dict()))
    assert back["confusion"] == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]
    assert back["interval"] == list(result.interval) and back["labels"] == BEANS and back["broken"] == 2
    assert {"accuracy", "interval", "loss", "n", "confusion", "labels", "broken"} <= set(back)
    assert (back["temperature"], back["calibrated"]) == (None, None)
    back = json.loads(json.dumps(result.at_temperature(2.0).to_dict()))
    assert (
        back["temperature"] == 2.0
        and back["calibrated"]["loss"] != back["calibration"]["loss"] == back["loss"]
    )
    assert sum(part["count"] for part in back["calibrated"]["bins"]) == 3


@pytest.mark.parametrize("classes", [2, 4, 9])
def test_each_class_against_scikit_learn(classes: int) -> None:
    rng = np.random.default_rng(classes)
    logits, targets = rng.normal(size=(150, classes)), rng.integers(0, classes, 150)
    labels = [f"class {number}" for number in range(classes)]
    found = score(torch.from_numpy(logits), targets, labels).classes
    precision, recall, f1, support = precision_recall_fscore_support(
        targets, logits.argmax(axis=1), labels=range(classes)
    )
    assert [part.label for part in found] == labels and [part.support for part in found] == support.tolist()
    assert [part.precision for part in found] == pytest.approx(precision.tolist())
    assert [part.recall for part in found] == pytest.approx(recall.tolist())
    assert [part.f1 for part in found] == pytest.approx(f1.tolist())
    for part in found:
        assert part.recall_interval == pytest.approx(
            wilson(round(part.recall * part.support), part.support), abs=1e-12
        )


def test_what_cannot_be_known_of_a_class_is_not_made_up() -> None:
    """Of three classes the second is never said, the third is never true; a fourth is neither."""
    said = torch.nn.functional.one_hot(torch.tensor([0, 0, 2]), 4).float()
    never_said, never_true, neither = score(said, np.array([0, 1, 0]), ["a", "b", "c", "d"]).classes[1:]
    assert (never_said.precision, never_said.recall, never_said.f1, never_said.support) == (None, 0.0, 0.0, 1)
    assert (never_true.precision, never_true.recall, never_true.f1, never_true.support) == (0.0, None, 0.0, 0)
    assert never_true.recall_interval is None
    assert (neither.precision, neither.recall, neither.f1) == (None, None, None)


def test_the_worst_mistakes_come_first_and_stay_few() -> None:
    rng = np.random.default_rng(8)
    logits, targets = torch.from_numpy(rng.normal(size=(300, 3))), rng.integers(0, 3, 300)
    result = score(logits, targets, BEANS, places=[(1000 + row, f"photo {row}") for row in range(300)])
    slow = []
    for row, (values, target) in enumerate(zip(logits.tolist(), targets)):
        said = values.index(max(values))
        if said != target:
            share = math.exp(values[said]) / sum(math.exp(value) for value in values)
            slow.append((share, 1000 + row, f"photo {row}", BEANS[target], BEANS[said]))
    slow.sort(reverse=True)
    worst = result.to_dict()["worst"]
    assert len(slow) > WORST == len(worst)
    assert [(part["row"], part["path"], part["true"], part["said"]) for part in worst] == [
        part[1:] for part in slow[:WORST]
    ]
    assert [part["probability"] for part in worst] == pytest.approx([part[0] for part in slow[:WORST]])
    # All that is kept of a large split besides the predictions has a bound.
    many = score(logits.repeat(100, 1), targets.repeat(100), BEANS).to_dict()
    assert len(json.dumps(many)) < 1.2 * len(json.dumps(result.to_dict()))


def test_the_temperature_of_other_photos_changes_no_answer() -> None:
    rng = np.random.default_rng(9)
    before = score(torch.from_numpy(rng.normal(size=(80, 3))), rng.integers(0, 3, 80), BEANS)
    after = before.at_temperature(3.0)
    for name in ("accuracy", "confusion", "predictions", "classes", "calibration"):
        assert getattr(after, name) == getattr(before, name)
    soft = score(torch.from_numpy(before.logits) / 3, before.targets, BEANS).calibration
    assert (
        after.calibrated.loss == pytest.approx(soft.loss, rel=1e-6) and after.calibrated.loss != before.loss
    )
    assert [part.count for part in after.calibrated.bins] == [part.count for part in soft.bins]


def test_no_photo_is_no_score() -> None:
    with pytest.raises(UserError, match="no photo to score"):
        score(torch.empty(0, 3), np.empty(0, dtype=np.int64), BEANS)


@pytest.fixture(scope="module")
def classifier(tiny_model: Path) -> LeafClassifier:
    return LeafClassifier.open(tiny_model, device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_squares: Callable[..., Path]) -> Path:
    """Squares in the bean classes; what the colours mean does not matter here."""
    shades = dict(zip(BEANS, ((200, 50, 40), (40, 60, 200), (90, 90, 90))))
    return make_squares(tmp_path_factory.mktemp("beans"), train=2, validation=2, test=25, colours=shades)


def data(rows: list[tuple[str, str]], names: list[str]) -> Dataset:
    """A split of (path, class) whose classes are numbered as in names."""
    features = Features(
        {"image_file_path": Value("string"), "image": Image(), "labels": ClassLabel(names=names)}
    )
    paths = [path for path, _ in rows]
    return Dataset.from_dict(
        {"image_file_path": paths, "image": paths, "labels": [names.index(label) for _, label in rows]},
        features=features,
    )


def rows_of(folder: Path, count: dict[str, int]) -> list[tuple[str, str]]:
    return [
        (str(path), label)
        for label, number in count.items()
        for path in sorted((folder / "test" / label).iterdir())[:number]
    ]


def test_evaluate_is_the_model_photo_by_photo(classifier: LeafClassifier, folder: Path) -> None:
    split = open_dataset(folder)["test"]
    assert len(split) > photos.CHUNK  # more than one chunk
    seen: list[tuple[int, int]] = []
    result = evaluate(classifier, split, lambda done, total: seen.append((done, total)))
    confusion = np.zeros((3, 3), dtype=int)
    for row in split:
        confusion[row["labels"], int(classifier.probabilities([row["image"]])[0].argmax())] += 1
    assert len({int(guess) for guess in confusion.nonzero()[1]}) > 1  # the model does say more than one class
    assert result.confusion == confusion.tolist() and result.n == len(split) and result.labels == BEANS
    assert seen[-1] == (len(split), len(split)) and len(seen) > 1


def test_a_prediction_leads_to_its_photo(classifier: LeafClassifier, folder: Path, tmp_path: Path) -> None:
    """By the row of the split, where photos that cannot be read are counted too."""
    rows = rows_of(folder, {"angular_leaf_spot": 25, "bean_rust": 25, "healthy": 20})
    (tmp_path / "text.png").write_text("no photo")
    for place in (0, 3, 40, 66):
        rows.insert(place, (str(tmp_path / "text.png"), "healthy"))
    split = data(rows, BEANS)
    result = evaluate(classifier, split)
    assert result.broken == 4 and [found.row for found in result.predictions] == [
        row for row in range(74) if row not in (0, 3, 40, 66)
    ]
    for found in result.predictions[::7]:
        assert (found.path, found.true) == rows[found.row]
        scores = classifier.probabilities([split[found.row]["image"]])[0]
        assert found.said == BEANS[int(scores.argmax())] and found.probability == pytest.approx(
            float(scores.max()), abs=2e-3
        )


def test_each_photo_is_decoded_and_seen_by_the_model_once(
    classifier: LeafClassifier, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = open_dataset(folder)["test"]
    decoded, seen = [], []
    decode, forward = photos.decode, cpu_engine.logits_and_features
    monkeypatch.setattr(photos, "decode", lambda stored: decoded.append(stored["path"]) or decode(stored))
    monkeypatch.setattr(
        cpu_engine,
        "logits_and_features",
        lambda model, pixels, readout: seen.append(len(pixels)) or forward(model, pixels, readout),
    )
    evaluate(classifier, split)
    assert len(decoded) == len(set(decoded)) == sum(seen) == len(split)


def test_the_next_photos_are_decoded_while_the_model_is_busy(
    classifier: LeafClassifier, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = open_dataset(folder)["test"]
    decoded: list[str] = []
    decode = photos.decode
    monkeypatch.setattr(photos, "decode", lambda stored: decoded.append(stored["path"]) or decode(stored))
    parts = photos.batches(split, classifier)
    first = next(parts)
    until = time.monotonic() + 30
    while len(decoded) < len(split) and time.monotonic() < until:
        time.sleep(0.01)
    assert len(first) == photos.CHUNK and len(decoded) == len(split)
    assert first.rows + next(parts).rows == list(range(len(split)))


def test_classes_are_matched_by_name(classifier: LeafClassifier, folder: Path) -> None:
    rows = rows_of(folder, {"angular_leaf_spot": 9, "bean_rust": 5, "healthy": 2})
    own = evaluate(classifier, data(rows, BEANS))
    assert [sum(row) for row in own.confusion] == [9, 5, 2]
    for names in (BEANS[::-1], [BEANS[1], BEANS[2], BEANS[0]]):
        assert evaluate(classifier, data(rows, names)) == own


def test_a_data_set_with_fewer_classes_is_scored(classifier: LeafClassifier, folder: Path) -> None:
    result = evaluate(
        classifier, data(rows_of(folder, {"healthy": 4, "bean_rust": 3}), ["healthy", "bean_rust"])
    )
    assert [sum(row) for row in result.confusion] == [0, 3, 4]


def test_a_class_that_the_model_does_not_know(classifier: LeafClassifier, folder: Path) -> None:
    with pytest.raises(UserError, match="does not know the class mildew; it knows angular_leaf_spot"):
        evaluate(classifier, data(rows_of(folder, {"healthy": 2}), ["healthy", "mildew"]))


def test_broken_photos_are_counted_and_do_not_count(
    classifier: LeafClassifier, folder: Path, tmp_path: Path
) -> None:
    rows = rows_of(folder, {"angular_leaf_spot": 3, "healthy": 3})
    good = evaluate(classifier, data(rows, BEANS))
    (tmp_path / "text.png").write_text("no photo")
    whole = Path(rows[0][0]).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    bad = [
        (str(tmp_path / "text.png"), "bean_rust"),
        (str(tmp_path / "cut.png"), "healthy"),
        (str(tmp_path / "missing.png"), "healthy"),
    ]
    mixed = evaluate(classifier, data([bad[0], *rows[:2], bad[1], *rows[2:], bad[2]], BEANS))
    assert (mixed.n, mixed.broken) == (6, 3)
    assert (mixed.confusion, mixed.loss) == (good.confusion, pytest.approx(good.loss, rel=1e-5))
    with pytest.raises(UserError, match="no photo to score"):
        evaluate(classifier, data(bad, BEANS))


def test_an_empty_split_is_no_score(classifier: LeafClassifier, folder: Path) -> None:
    with pytest.raises(UserError, match="no photo to score"):
        evaluate(classifier, open_dataset(folder)["test"].select([]))
