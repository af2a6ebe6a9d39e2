"""Several leaves of one plant: pooled as the formula says where they agree, told apart where they do not."""

from __future__ import annotations

import itertools
import math

import pytest
from scipy.stats import gmean

from vit_demo.diagnose.diagnosis import Diagnosis, Refusal
from vit_demo.diagnose.several import ALIKE, DOUBT, MOST, combine, effective, is_healthy, pooled

LABELS = ("rust", "spot", "healthy")


def leaf(
    label: str,
    probability: float = 0.99,
    verdict: str | None = "diagnosis",
    left: list[str] | None = None,
    photo: str = "leaf.jpg",
) -> Diagnosis:
    """A leaf that looks like one class, the rest shared three to one among the others."""
    others = [name for name in LABELS if name != label]
    scores = {label: probability, others[0]: 0.75 * (1 - probability), others[1]: 0.25 * (1 - probability)}
    chosen = (
        left
        if left is not None
        else []
        if verdict == "not_known"
        else [label]
        if verdict == "diagnosis"
        else list(scores)[:2]
    )
    return Diagnosis(
        photo,
        label,
        probability,
        scores,
        verdict,
        chosen if verdict else None,
        1.0 if verdict else None,
        0.5 if verdict else None,
    )


def test_leaves_that_agree_are_pooled_as_the_formula_says():
    leaves = [leaf("rust", 0.9, "unsure"), leaf("rust", 0.99), leaf("spot", 0.6, "unsure", ["spot", "rust"])]
    expected = {}
    for name in LABELS:
        doubted = [(1 - DOUBT) * one.scores[name] + DOUBT / 3 for one in leaves]
        expected[name] = gmean(doubted) ** (3 / (1 + 2 * ALIKE))
    total = sum(expected.values())
    found = combine(leaves)
    assert found.scores == pytest.approx({name: share / total for name, share in expected.items()})
    assert list(found.scores) == sorted(expected, key=lambda name: -expected[name]) and math.isclose(
        sum(found.scores.values()), 1
    )
    assert (found.label, found.counts, found.voted) == (
        "rust",
        {"rust": 1},
        3,
    ) and found.probability == found.scores["rust"]


def test_more_leaves_never_count_for_more_than_they_are():
    assert effective(1) == 1 and effective(6, 0.0) == 6 and effective(6, 1.0) == 1
    assert all(effective(count) < effective(count + 1) < 1 / ALIKE for count in range(1, MOST))
    # As two photos of one leaf, they say what one says; as independent ones, the product of the odds.
    same = [leaf("rust", 0.9)] * 4
    assert pooled(same, 1.0, 0.0) == pytest.approx(same[0].scores)
    independent = pooled(same, 0.0, 0.0)
    assert independent["rust"] / independent["spot"] == pytest.approx((0.9 / 0.075) ** 4)


def test_one_leaf_alone_says_what_it_says():
    for one in (
        leaf("rust"),
        leaf("rust", 0.7, "unsure"),
        leaf("rust", 0.7, "not_known"),
        leaf("rust", 0.7, "unsure", ["spot", "rust"]),
    ):
        found = combine([one])
        assert (found.verdict, found.label, found.probability, found.scores, found.prediction_set) == (
            one.verdict,
            one.label,
            one.probability,
            one.scores,
            one.prediction_set,
        )


def test_one_rusty_leaf_among_healthy_ones_makes_no_healthy_plant():
    found = combine([leaf("healthy")] * 5 + [leaf("rust", 0.995)])
    assert (found.verdict, found.label, found.probability) == ("mixed", "rust", 0.995)
    assert found.counts == {"healthy": 5, "rust": 1} and found.prediction_set == ["healthy", "rust"]


def test_a_leaf_that_is_sick_of_it_does_not_know_what_is_not_voted_down_either():
    found = combine([leaf("healthy")] * 5 + [leaf("spot", 0.8, "unsure", ["spot", "rust"])])
    assert (found.verdict, found.label, found.counts) == ("mixed", "spot", {"healthy": 5})
    assert found.prediction_set == ["healthy", "spot", "rust"]


def test_two_diseases_are_both_named_the_more_frequent_first_whatever_the_order():
    leaves = [leaf("rust")] * 3 + [leaf("spot", 0.9999)] * 2
    for order in set(itertools.permutations(range(5), 5)):
        found = combine([leaves[index] for index in order])
        assert (found.verdict, found.label, found.probability, found.counts) == (
            "mixed",
            "rust",
            0.99,
            {"rust": 3, "spot": 2},
        )
        assert list(found.counts) == found.prediction_set == ["rust", "spot"]


def test_doubt_that_allows_for_the_others_is_no_contradiction():
    found = combine([leaf("rust")] * 4 + [leaf("spot", 0.6, "unsure", ["spot", "rust"])])
    assert (found.verdict, found.label, found.prediction_set) == ("diagnosis", "rust", ["rust"])


def test_the_same_doubt_many_times_makes_no_certainty():
    found = combine([leaf("rust", 0.97, "unsure")] * MOST)
    assert found.probability > 0.99 and (found.verdict, found.prediction_set, found.counts) == (
        "unsure",
        ["rust", "spot"],
        {},
    )


def test_photos_that_are_not_known_or_refused_do_not_vote_but_are_reported():
    lost = Refusal("notes.txt", "notes.txt is not a photo.")
    others = [leaf("spot", 0.999, "not_known"), lost]
    found = combine([leaf("rust"), *others, leaf("rust")])
    alone = combine([leaf("rust")] * 2)
    assert (found.verdict, found.scores, found.voted) == ("diagnosis", alone.scores, 2)
    assert len(found.leaves) == 4 and found.leaves[1:3] == others


def test_where_most_photos_show_something_else_there_is_no_diagnosis():
    shoes = [leaf("rust", 0.8, "not_known")] * 3
    found = combine([*shoes, leaf("rust"), leaf("rust")])
    assert (found.verdict, found.prediction_set, found.voted) == ("not_known", [], 2)
    assert combine([*shoes, *[leaf("rust")] * 3]).verdict == "diagnosis"
    assert (combine(shoes).verdict, combine(shoes).voted) == ("not_known", 0)


def test_a_model_that_was_never_taught_to_be_silent_still_tells_leaves_apart():
    assert combine([leaf("rust", 0.99, None)] * 3).verdict == "diagnosis"
    assert combine([leaf("rust", 0.99, None), leaf("spot", 0.99, None)]).verdict == "mixed"
    assert combine([leaf("rust", 0.6, None)] * 3).verdict == "unsure"


def test_too_many_and_none_that_can_be_used_are_refused_with_a_sentence(refusal):
    assert str(MOST) in refusal(combine, [leaf("rust")] * (MOST + 1))
    refusal(combine, [])
    assert (
        refusal(combine, [Refusal("a.txt", "a.txt is not a photo. Send one."), Refusal("b.txt", "b")])
        == "a.txt is not a photo. Send one."
    )


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("healthy", True),
        ("Healthy leaf", True),
        ("Tomato___healthy", True),
        ("unhealthy", False),
        ("rust", False),
    ],
)
def test_healthy_is_told_by_its_name(label, expected):
    assert is_healthy(label) == expected
