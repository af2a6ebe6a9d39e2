"""The matrix of many classes as a picture: bounded, with the classes that have most mistakes."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import pytest

from vit_demo.ui.tabs.finetune.confusion_figure import LETTERS, MOST, confusion_figure, drawn_classes


def random_counts(classes: int, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    counts = rng.poisson(0.05, (classes, classes))
    counts[np.diag_indices(classes)] = rng.integers(1, 20, classes)
    return counts.tolist()


@pytest.mark.parametrize("classes", [11, 40, 150, 1000])
def test_it_is_never_higher_than_a_screen(classes: int) -> None:
    figure = confusion_figure(random_counts(classes), [f"class {number}" for number in range(classes)], "k")
    assert figure.layout.height <= 600 and len(figure.data[0].z) == min(MOST, classes)
    assert len(figure.to_json()) < 300_000


def test_the_classes_with_most_mistakes_are_drawn() -> None:
    counts = random_counts(150, 3)
    mistakes = [
        sum(counts[one][other] + counts[other][one] for other in range(150) if other != one)
        for one in range(150)
    ]
    drawn = drawn_classes(counts)
    assert drawn == sorted(drawn) and len(drawn) == MOST
    assert min(mistakes[one] for one in drawn) >= max(mistakes[one] for one in range(150) if one not in drawn)


def test_each_cell_is_its_share_of_the_row() -> None:
    counts = [[0] * 12 for _ in range(12)]
    counts[2][2], counts[2][5], counts[5][5] = 3, 1, 4
    found: go.Heatmap = confusion_figure(counts, [f"kind {number}" for number in range(12)], "k").data[0]
    # Classes that have no photo and were never said are left out.
    assert drawn_classes(counts) == [2, 5]
    assert [list(row) for row in found.z] == [[-0.75, 0.25], [None, -1]]
    assert found.text[0][1] == "kind 2 called kind 5: 1 photo"


def test_a_long_name_is_cut_and_two_that_begin_alike_stay_two() -> None:
    labels = [f"a very long name of a class, number {number}" for number in range(12)]
    figure = confusion_figure(np.eye(12, dtype=int).tolist(), labels, "k")
    ticks = figure.layout.yaxis.ticktext
    assert ticks[11] == "12. a very lon…number 11" and max(map(len, ticks)) <= LETTERS + 4
    assert len({tick.partition(". ")[2] for tick in ticks}) == 12
