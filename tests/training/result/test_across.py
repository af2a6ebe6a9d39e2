"""A model on the photos of another data set: names matched, photos scored or only counted, against counts
made by hand.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset

from tests.conftest import SHARED
from vit_demo.data.open.sources import open_dataset
from vit_demo.model.abstention import ABSTENTION, Verdict, abstention_of
from vit_demo.model.classifier import LeafClassifier
from vit_demo.training.result.across import Across, Unscored, evaluate_across, match_classes
from vit_demo.training.result.evaluation import evaluate

BEANS = ["angular_leaf_spot", "bean_rust", "healthy"]


@pytest.fixture(scope="module")
def embedded() -> LeafClassifier:
    return LeafClassifier.open("embedded", device="cpu")


@pytest.fixture(scope="module")
def leaves() -> Dataset:
    """Twelve real test photos of each class, as they come: the classes are mixed."""
    test = open_dataset("beans")["test"]
    labels = np.asarray(test["labels"])
    rows = np.sort(np.concatenate([np.flatnonzero(labels == label)[:12] for label in range(3)]))
    return test.select(rows)


def renamed(data: Dataset, names: list[str], of: dict[int, int]) -> Dataset:
    """The same photos with classes called otherwise. of: the new class id of each that is there."""
    labels = [of[label] for label in data["labels"]]
    features = data.features.copy()
    features["labels"] = ClassLabel(names=names)
    return data.remove_columns("labels").add_column("labels", labels, feature=features["labels"])


def by_hand(classifier: LeafClassifier, data: Dataset) -> list[tuple[str, str]]:
    """(verdict, the most probable class) of each photo, asked one by one."""
    fitted, found = abstention_of(classifier), []
    for row in data:
        logits, features = classifier.logits_and_features([row["image"].convert("RGB")], fitted.readout)
        (one,) = fitted.judge(logits.numpy(), features.numpy())
        found.append((str(one.verdict), classifier.labels[int(one.probabilities.argmax())]))
    return found


def asked(classifier: LeafClassifier, data: Dataset, *pairs: str) -> Across:
    return evaluate_across(
        classifier, data, match_classes(classifier.labels, data.features["labels"].names, pairs)
    )


# Names


@pytest.mark.parametrize(
    "name", ["bean_rust", "Bean rust", " BEAN-RUST ", "bean__rust", "bean \t rust", "Bean - Rust"]
)
def test_a_name_is_the_same_however_it_is_spelled(name: str) -> None:
    assert match_classes(BEANS, [name]).matched == {name: "bean_rust"}


def test_letters_that_are_written_in_two_ways_are_the_same() -> None:
    assert match_classes(
        ["mancha_foliar_é", "Straße"], ["Mancha foliar e\u0301", "STRASSE", "mancha"]
    ).matched == {"Mancha foliar e\u0301": "mancha_foliar_é", "STRASSE": "Straße"}


def test_what_is_matched_missing_and_unknown() -> None:
    found = match_classes(BEANS, ["Healthy", "mildew", "Bean Rust"])
    assert found.matched == {"Healthy": "healthy", "Bean Rust": "bean_rust"}
    assert (found.missing, found.unknown, found.is_same) == (["angular_leaf_spot"], ["mildew"], False)
    assert found.own_ids().tolist() == [2, -1, 1, -1]


@pytest.mark.parametrize(
    ("names", "same"), [(BEANS, True), (BEANS[::-1], False), (BEANS[:2], False), ([*BEANS, "mildew"], False)]
)
def test_only_the_same_classes_in_the_same_order_leave_nothing_to_tell(names: list[str], same: bool) -> None:
    assert match_classes(BEANS, names).is_same is same


def test_pairs_match_what_is_called_otherwise_and_part_what_is_not_the_same() -> None:
    found = match_classes(
        BEANS,
        ["rust", "Healthy", "spot=angular", "rust too"],
        ["Rust=bean rust", "healthy=", "spot=angular=Angular-leaf-spot", "rust too=bean_rust"],
    )
    assert found.matched == {
        "rust": "bean_rust",
        "spot=angular": "angular_leaf_spot",
        "rust too": "bean_rust",
    }
    assert (found.unknown, found.missing) == (["Healthy"], ["healthy"])


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (["rust"], "with = between them"),
        (["blight=bean_rust"], "have no class blight; theirs are rust, healthy, two words, two_words."),
        (["rust=blight"], "has no class blight; its classes are angular_leaf_spot, bean_rust, healthy."),
        (["rust=bean_rust", "RUST=healthy"], "rust is given twice"),
        (["Two-words=healthy"], "fits several classes: two words, two_words."),
    ],
)
def test_a_pair_that_fits_nothing_is_refused_in_a_sentence(
    refusal: Callable[..., str], pairs: list[str], words: str
) -> None:
    assert words in refusal(match_classes, BEANS, ["rust", "healthy", "two words", "two_words"], pairs)


def test_a_name_that_fits_several_classes_of_the_model_is_refused_but_not_a_pair_for_it(
    refusal: Callable[..., str],
) -> None:
    labels = ["leaf spot", "leaf_spot"]
    assert "fits several classes: leaf spot, leaf_spot." in refusal(match_classes, labels, ["Leaf spot"])
    assert match_classes(labels, ["Leaf spot"], ["Leaf spot=leaf_spot"]).matched == {"Leaf spot": "leaf_spot"}
    assert match_classes(labels, ["leaf_spot"]).matched == {"leaf_spot": "leaf_spot"}


def test_of_many_classes_a_refusal_names_a_few(refusal: Callable[..., str]) -> None:
    text = refusal(match_classes, [f"class {number}" for number in range(150)], ["rust"], ["rust=blight"])
    assert len(text) < 300 and "class 11, …." in text


# Photos


def test_another_order_and_spelling_give_the_same_score(embedded: LeafClassifier, leaves: Dataset) -> None:
    own = evaluate(embedded, leaves)
    other = renamed(leaves, ["Healthy", "ANGULAR leaf-spot", "Bean rust"], {0: 1, 1: 2, 2: 0})
    found = asked(embedded, other)
    assert found.scored is not None and found.scored == own
    told, before = found.to_dict(), own.to_dict()
    assert {key: told[key] for key in before} == before
    assert (told["not_measured"], told["missing"], told["unknown"], told["unlabelled"]) == (None, [], [], 0)


def test_photos_are_counted_by_class_and_verdict(embedded: LeafClassifier, leaves: Dataset) -> None:
    """Bean rust is called by a name that the model does not know; a class has no photo here."""
    data = renamed(leaves, ["healthy", "orange spots", "Angular leaf spot", "mildew"], {0: 2, 1: 1, 2: 0})
    found, hand = asked(embedded, data), by_hand(embedded, data)
    known = [
        (is_, verdict, says)
        for is_, (verdict, says) in zip((BEANS[label] for label in leaves["labels"]), hand)
        if is_ != "bean_rust"
    ]
    assert found.scored.n == len(known) == 24
    # The model may still say bean rust of a photo of another class, and is wrong then.
    assert found.scored.accuracy == sum(is_ == says for is_, _, says in known) / 24
    assert found.scored.labels == BEANS and found.scored.classes[1].support == 0
    verdicts = Counter(verdict for _, verdict, _ in known)
    tally = found.tally
    assert (tally.n, tally.diagnosis, tally.unsure, tally.not_known) == (
        24,
        verdicts["diagnosis"],
        verdicts["unsure"],
        verdicts["not_known"],
    )
    assert tally.right == sum(verdict == "diagnosis" and is_ == says for is_, verdict, says in known)
    (other,) = found.others
    rust = [one for one, label in zip(hand, leaves["labels"]) if label == 1]
    assert (other.label, other.own, other.n, other.right) == ("orange spots", None, 12, None)
    assert other.diagnosis == dict(Counter(says for verdict, says in rust if verdict == "diagnosis"))
    assert other.unsure == sum(verdict == "unsure" for verdict, _ in rust)
    assert other.not_known == sum(verdict == "not_known" for verdict, _ in rust)
    assert other.diagnosed + other.unsure + other.not_known == 12
    assert [(photo.verdict, photo.said) for photo in found.photos] == hand
    assert found.match.unknown == ["orange spots", "mildew"]
    assert [count.label for count in found.counts] == ["healthy", "orange spots", "Angular leaf spot"]


def test_a_pair_lets_them_be_scored(embedded: LeafClassifier, leaves: Dataset) -> None:
    data = renamed(leaves, ["healthy", "orange spots", "Angular leaf spot"], {0: 2, 1: 1, 2: 0})
    found = asked(embedded, data, "orange spots=bean_rust")
    assert found.scored == evaluate(embedded, leaves) and found.others == []


@pytest.mark.parametrize(
    ("names", "of", "why"),
    [
        (["oak", "elm", "ash"], {0: 0, 1: 1, 2: 2}, Unscored.NO_CLASS),
        (["oak", "elm", "ash", "healthy"], {0: 0, 1: 1, 2: 2}, Unscored.NO_PHOTO),
        (BEANS, {0: -1, 1: -1, 2: -1}, Unscored.NO_LABEL),
    ],
)
def test_where_nothing_can_be_scored_nothing_is_measured(
    tiny: LeafClassifier, leaves: Dataset, names: list[str], of: dict, why: Unscored
) -> None:
    found = asked(tiny, renamed(leaves, names, of))
    told = json.loads(json.dumps(found.to_dict()))
    assert found.scored is None and found.tally is None and told["not_measured"] == why == found.unscored
    assert (told["accuracy"], told["interval"], told["loss"], told["confusion"], told["n"]) == (
        None,
        None,
        None,
        None,
        0,
    )
    assert sum(count.n for count in found.counts) == 36
    assert set(told) >= set(evaluate(tiny, leaves).to_dict())


def test_photos_without_a_label_are_counted_and_never_scored(tiny: LeafClassifier, leaves: Dataset) -> None:
    """Also not as the last class, to which an id of -1 would lead."""
    data = renamed(leaves, BEANS, {0: 0, 1: 1, 2: -1})
    found = asked(tiny, data)
    assert found.unlabelled == 12 and found.scored.n == 24 and found.counts[-1].label is None
    assert evaluate(tiny, data) == found.scored
    assert sum(map(sum, found.scored.confusion)) == 24


def test_a_model_that_was_never_taught_when_to_be_silent_names_a_class(
    tiny: LeafClassifier, leaves: Dataset
) -> None:
    found = asked(tiny, renamed(leaves, ["oak", "bean_rust", "healthy"], {0: 0, 1: 1, 2: 2}))
    assert not found.abstains and found.tally is None
    assert {photo.verdict for photo in found.photos} == {None}
    (other,) = found.others
    with torch.no_grad():
        photos = [row["image"] for row in leaves if row["labels"] == 0]
        said = tiny.logits(photos).argmax(dim=1).tolist()
    assert other.diagnosis == dict(Counter(BEANS[guess] for guess in said))
    assert (other.unsure, other.not_known) == (None, None)


def test_broken_photos_are_counted_once_and_progress_reaches_the_end(
    tiny: LeafClassifier, leaves: Dataset
) -> None:
    rows = [
        dict(row) for row in leaves.cast_column("image", leaves.features["image"].__class__(decode=False))
    ]
    rows[3]["image"] = {"bytes": b"no photo", "path": None}
    data = Dataset.from_list(rows, features=leaves.features)
    steps: list[tuple[int, int]] = []
    match = match_classes(tiny.labels, ["oak", *BEANS[1:]])
    found = evaluate_across(tiny, data, match, lambda done, total: steps.append((done, total)))
    assert found.broken == 1 and len(found.photos) == 35 and steps[-1] == (36, 36)
    assert 3 not in {photo.row for photo in found.photos}


def test_where_no_photo_can_be_read_it_says_so(
    tiny: LeafClassifier, leaves: Dataset, refusal: Callable[..., str]
) -> None:
    match = match_classes(tiny.labels, BEANS)
    assert "none of its photos can be read" in refusal(evaluate_across, tiny, leaves.select([]), match)


def test_photos_of_other_plants_are_told_from_those_it_knows(shared: Path, tmp_path: Path) -> None:
    """By hand on real photos: beans of another source, whose folders have names of their own."""
    source = SHARED / "data" / "other_beans"
    for folder in ("deder26_healthy", "deder26_brown_spot"):
        shutil.copytree(source / folder, tmp_path / "set" / folder)
    data, model = open_dataset(tmp_path / "set")["train"], LeafClassifier.open("embedded", device="cpu")
    found, hand = asked(model, data, "deder26_healthy=healthy"), by_hand(model, data)
    assert [(photo.verdict, photo.said) for photo in found.photos] == hand
    assert found.match.unknown == ["deder26_brown_spot"] and found.scored.n == found.counts[1].n
    assert (
        (abstention_of(model) is not None)
        is found.abstains
        is ((model.checkpoint.folder / ABSTENTION).is_file())
    )
    assert found.others[0].not_known == sum(
        verdict == Verdict.NOT_KNOWN for (verdict, _), label in zip(hand, data["labels"]) if label == 0
    )
