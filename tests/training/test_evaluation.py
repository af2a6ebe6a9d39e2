"""Scores against formulas and loops written out here."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Image, Value

from vit_demo.data.sources import open_dataset
from vit_demo.errors import UserError
from vit_demo.training import photos
from vit_demo.training.evaluation import evaluate, score
from vit_demo.vit import LeafClassifier

BEANS = ["angular_leaf_spot", "bean_rust", "healthy"]


def wilson(right: int, n: int) -> tuple[float, float]:
    """The interval as in Wilson 1927: the shares whose own 95 % range still reaches what was seen."""
    z, share = 1.959963984540054, right / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return middle - half, middle + half


@pytest.mark.parametrize(("right", "n"), [(0, 1), (1, 1), (0, 10), (10, 10), (5, 10), (47, 48), (113, 128), (999, 1000)])
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
    logits, targets = rng.normal(size=(200, 4)), rng.integers(0, 3, 200)  # class 3 is never true, but may be said
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
    assert set(back) == {"accuracy", "interval", "loss", "n", "confusion", "labels", "broken"}


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
    features = Features({"image_file_path": Value("string"), "image": Image(), "labels": ClassLabel(names=names)})
    paths = [path for path, _ in rows]
    return Dataset.from_dict({"image_file_path": paths, "image": paths, "labels": [names.index(label) for _, label in rows]}, features=features)


def rows_of(folder: Path, count: dict[str, int]) -> list[tuple[str, str]]:
    return [(str(path), label) for label, number in count.items() for path in sorted((folder / "test" / label).iterdir())[:number]]


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


def test_classes_are_matched_by_name(classifier: LeafClassifier, folder: Path) -> None:
    rows = rows_of(folder, {"angular_leaf_spot": 9, "bean_rust": 5, "healthy": 2})
    own = evaluate(classifier, data(rows, BEANS))
    assert [sum(row) for row in own.confusion] == [9, 5, 2]
    for names in (BEANS[::-1], [BEANS[1], BEANS[2], BEANS[0]]):
        assert evaluate(classifier, data(rows, names)) == own


def test_a_data_set_with_fewer_classes_is_scored(classifier: LeafClassifier, folder: Path) -> None:
    result = evaluate(classifier, data(rows_of(folder, {"healthy": 4, "bean_rust": 3}), ["healthy", "bean_rust"]))
    assert [sum(row) for row in result.confusion] == [0, 3, 4]


def test_a_class_that_the_model_does_not_know(classifier: LeafClassifier, folder: Path) -> None:
    with pytest.raises(UserError, match="does not know the class mildew; it knows angular_leaf_spot"):
        evaluate(classifier, data(rows_of(folder, {"healthy": 2}), ["healthy", "mildew"]))


def test_broken_photos_are_counted_and_do_not_count(classifier: LeafClassifier, folder: Path, tmp_path: Path) -> None:
    rows = rows_of(folder, {"angular_leaf_spot": 3, "healthy": 3})
    good = evaluate(classifier, data(rows, BEANS))
    (tmp_path / "text.png").write_text("no photo")
    whole = Path(rows[0][0]).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    bad = [(str(tmp_path / "text.png"), "bean_rust"), (str(tmp_path / "cut.png"), "healthy"), (str(tmp_path / "missing.png"), "healthy")]
    mixed = evaluate(classifier, data([bad[0], *rows[:2], bad[1], *rows[2:], bad[2]], BEANS))
    assert (mixed.n, mixed.broken) == (6, 3)
    assert (mixed.confusion, mixed.loss) == (good.confusion, pytest.approx(good.loss, rel=1e-5))
    with pytest.raises(UserError, match="no photo to score"):
        evaluate(classifier, data(bad, BEANS))


def test_an_empty_split_is_no_score(classifier: LeafClassifier, folder: Path) -> None:
    with pytest.raises(UserError, match="no photo to score"):
        evaluate(classifier, open_dataset(folder)["test"].select([]))
