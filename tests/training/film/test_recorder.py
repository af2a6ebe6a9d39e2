"""The film of a run against a rollout written the slow way, and what it must never do: change a run, lose
frames, end a run.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.conftest import PLAIN, Done, Train, events_of, weights_of
from vit_demo.data.open.sources import open_dataset
from vit_demo.explain.attribution.maps import explain
from vit_demo.model.classifier import LeafClassifier
from vit_demo.training.film import reader, recorder
from vit_demo.training.film.recorder import Film, choose_photos
from vit_demo.training.job import TrainingJob
from vit_demo.training.loop import steps
from vit_demo.training.photos import prepare
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.events import EventLog
from vit_demo.training.run.runs import Run, create

# Every kind of chance that a run knows, and averaged weights; 10 steps, looked at after 3, 6, 9 and 10.
CHANCE = {
    "epochs": 2,
    "evaluate_every": 3,
    "augment": "strong",
    "patch_dropout": 0.25,
    "average": 0.9,
    "resolutions": (16, 32),
    "head_init": "normal",
    "film": 3,
}

pytestmark = pytest.mark.usefixtures("fp32")


@pytest.fixture(scope="module")
def start(tiny_model: Path, colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """A run of the tiny model on the coloured squares that has not begun."""

    def make(**settings) -> Run:
        config = TrainingConfig(
            **{**PLAIN, "data": str(colours), "model": str(tiny_model), "film": 3, **settings}
        )
        return create(config, tmp_path_factory.mktemp("run"))

    return make


@pytest.fixture(scope="module")
def done(train: Train) -> Done:
    return train(**CHANCE)


@pytest.fixture
def work(start: Callable[..., Run], tmp_path: Path) -> Iterator[TrainingJob]:
    """What a film is made for, without the steps."""
    with opened(start(), tmp_path) as work:
        yield work


@contextlib.contextmanager
def opened(run: Run, folder: Path) -> Iterator[TrainingJob]:
    """The work of a run, with a head drawn at random and the validation photos to learn from."""
    config = run.config()
    data = open_dataset(config.data)["validation"]
    classifier = LeafClassifier.open(
        config.model,
        device="cpu",
        labels=data.features["labels"].names,
        hybrid=config.hybrid,
        head_init="normal",
    )
    side = (config.resolutions or classifier.image_size)[-1]
    classifier.processor.size = {"height": side, "width": side}
    photos = prepare(data, classifier, (side, side), folder / "validation.npy")
    log = EventLog(run)
    yield TrainingJob(run, config, classifier, photos, photos, (side,), log, lambda progress: None)
    log.close()


def steps_of(run: Run) -> list[int]:
    found = reader.read(run)
    return [frame.step for frame in found.frames]


def warnings(run: Run) -> list[str]:
    return [event["message"] for event in events_of(run, "warning")]


def equal(run: Run, other: Run) -> bool:
    """Whether the saved weights are the same, bit for bit."""
    own, others = weights_of(run), weights_of(other)
    return (
        bool(own)
        and own.keys() == others.keys()
        and all(torch.equal(tensor, others[name]) for name, tensor in own.items())
    )


def slow_rollout(classifier: LeafClassifier, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What [CLS] takes from each patch, (patches,), and the probabilities; from transformers' own attentions,
    each sum of the formula a loop.
    """
    model = classifier.model.eval()
    kept = model.config._attn_implementation
    model.set_attn_implementation("eager")
    values = classifier.normalise(torch.from_numpy(pixels[None]))
    with torch.no_grad():
        output = model(
            values, output_attentions=True, interpolate_pos_encoding=classifier.needs_interpolation(values)
        )
    model.set_attn_implementation(kept)
    rollout = None
    for layer in output.attentions:
        heads = layer[0].double().numpy()
        tokens = heads.shape[-1]
        mixed = np.zeros((tokens, tokens))
        for i in range(tokens):
            for j in range(tokens):
                mixed[i, j] = 0.5 * sum(head[i, j] for head in heads) / len(heads) + 0.5 * (i == j)
            mixed[i] /= mixed[i].sum()
        if rollout is not None:
            mixed = np.array(
                [
                    [sum(mixed[i, k] * rollout[k, j] for k in range(tokens)) for j in range(tokens)]
                    for i in range(tokens)
                ]
            )
        rollout = mixed
    exponents = np.exp(output.logits[0].double().numpy())
    return rollout[0, 1:], exponents / exponents.sum()


# What it shows


def planned(total: int, *looks: int) -> list[int]:
    """The beginning, each look at validation, and seven moments that cut the run into eight."""
    return sorted({0, *looks, *(round(eighth * total / 8) for eighth in range(1, 8))})


def test_a_frame_at_the_beginning_at_each_evaluation_and_evenly_between(done: Done) -> None:
    assert steps_of(done.run) == planned(10, 3, 6, 9, 10)
    found = reader.read(done.run)
    assert found.labels == ("blue", "green", "red")
    assert [(photo.name, photo.label) for photo in found.photos] == [
        ("000.png", 0),
        ("000.png", 1),
        ("000.png", 2),
    ]
    for frame in found.frames:
        assert frame.maps.shape == (3, 4, 4) and frame.probabilities.shape == (3, 3)
        np.testing.assert_allclose(frame.probabilities.sum(axis=1), 1, atol=1e-4)
    assert not np.array_equal(found.frames[0].maps, found.frames[-1].maps)


@pytest.mark.parametrize("side", [32, 48])
def test_maps_and_probabilities_equal_the_slow_way(
    start: Callable[..., Run], tmp_path: Path, side: int
) -> None:
    """At the model's own size, and at one for which the position embeddings are interpolated."""
    run = start(resolutions=(side,))
    with opened(run, tmp_path) as work:
        Film(work).record(0)
        found = reader.read(run)
        (frame,) = found.frames
        for number, row in enumerate(choose_photos(work.validation.labels, 3)):
            expected, probabilities = slow_rollout(work.classifier, work.validation.pixels[row])
            step = float(frame.high[number] - frame.low[number]) / 255
            # What is kept is rounded to 1/255 of the map's range.
            np.testing.assert_allclose(
                frame.values[number].ravel(), expected, rtol=0, atol=0.51 * step + 1e-6
            )
            assert frame.low[number] == pytest.approx(expected.min(), abs=1e-6) and frame.high[
                number
            ] == pytest.approx(expected.max(), abs=1e-6)
            np.testing.assert_allclose(frame.probabilities[number], probabilities, atol=2e-5)


def test_the_last_frame_is_of_the_averaged_weights_that_were_scored(train: Train) -> None:
    """With one evaluation, at the end, the weights of that frame are those of the saved model."""
    run = train(**{**CHANCE, "evaluate_every": 1000}).run
    classifier = LeafClassifier.open(run.folder, device="cpu")
    frame = reader.read(run).frames[-1]
    assert frame.step == 10
    data = open_dataset(run.config().data)["validation"]
    for number in range(3):
        photo = data[data["labels"].index(number)]["image"]
        expected = explain(classifier, photo).map
        np.testing.assert_allclose(
            frame.values[number], expected, rtol=0, atol=float(frame.high[number] - frame.low[number]) / 250
        )
        np.testing.assert_allclose(
            frame.probabilities[number], classifier.probabilities([photo])[0], atol=1e-4
        )


def test_a_hybrid_and_a_grid_of_another_size(start: Callable[..., Run], tmp_path: Path) -> None:
    run = start(hybrid="new", resolutions=(64,), film=4)
    with opened(run, tmp_path) as work:
        Film(work).record(0)
        (frame,) = reader.read(run).frames
        assert frame.maps.shape == (4, 8, 8)
        expected, probabilities = slow_rollout(work.classifier, work.validation.pixels[0])
        np.testing.assert_allclose(
            frame.values[0].ravel(), expected, rtol=0, atol=float(frame.high[0] - frame.low[0]) / 500 + 1e-6
        )
        np.testing.assert_allclose(frame.probabilities[0], probabilities, atol=2e-5)


def test_the_photos_are_what_the_model_sees(work: TrainingJob) -> None:
    Film(work).record(0)
    for number, photo in enumerate(reader.read(work.run).photos, start=1):
        picture = Image.open(reader.photo_file(work.run.folder / reader.FOLDER, number))
        assert picture.format == "JPEG" and picture.size == (32, 32)
        seen = work.validation.pixels[choose_photos(work.validation.labels, 3)[number - 1]]
        assert np.abs(np.asarray(picture).astype(float).mean(axis=(0, 1)) - seen.mean(axis=(1, 2))).max() < 6
        assert len(photo.jpeg) == os.path.getsize(picture.filename)


def test_large_photos_are_kept_small(start: Callable[..., Run], tmp_path: Path) -> None:
    for count, side in ((2, 224), (5, 144)):
        run = start(resolutions=(256,), film=count)
        with opened(run, tmp_path) as work:
            Film(work).record(0)
        assert Image.open(run.folder / "film" / "photo-1.jpg").size == (side, side)
        assert len(reader.read(run).photos) == count and reader.read(run).frames[0].maps.shape == (
            count,
            32,
            32,
        )


@pytest.mark.parametrize(
    ("labels", "count", "rows"),
    [
        ([0, 0, 1, 1, 2, 2], 3, [0, 2, 4]),
        ([2, 2, 1, 0, 0, 1], 3, [3, 2, 0]),
        ([0, 0, 1, 1, 2, 2], 5, [0, 2, 4, 1, 3]),
        ([0, 0, 0, 2], 3, [0, 3, 1]),  # no photo of class 1
        ([0, 1], 12, [0, 1]),
        ([0, 1, 2, 3, 4, 5], 3, [0, 2, 4]),
    ],
)
def test_the_photos_are_spread_over_the_classes(labels: list[int], count: int, rows: list[int]) -> None:
    assert choose_photos(np.array(labels), count) == rows


# What it leaves alone


def test_a_run_is_the_same_bit_for_bit_with_and_without(train: Train, done: Done) -> None:
    without, other = (train(**{**CHANCE, "film": photos}).run for photos in (0, 7))
    assert not (without.folder / "film").exists() and reader.read(without) is None
    assert len(reader.read(other).photos) == 7
    assert equal(done.run, without) and equal(done.run, other)

    def course(run: Run) -> list[tuple]:
        return [
            (event["kind"], event["step"], event["loss"]) for event in run.read_events()[0] if "loss" in event
        ]

    assert course(done.run) == course(without) == course(other) and len(course(without)) == 10 + 4 + 1


def test_nothing_is_drawn_from_the_global_generators(work: TrainingJob) -> None:
    torch.manual_seed(3)
    np.random.seed(3)
    before = torch.get_rng_state(), json.dumps(np.random.get_state()[1].tolist())
    Film(work).record(0)
    assert (
        torch.equal(torch.get_rng_state(), before[0])
        and json.dumps(np.random.get_state()[1].tolist()) == before[1]
    )
    assert not any(module._forward_hooks for module in work.classifier.model.modules())


def test_a_broken_model_gives_no_frame(work: TrainingJob) -> None:
    with torch.no_grad():
        work.classifier.model.classifier.weight.fill_(float("nan"))
    Film(work).record(0)
    assert reader.read(work.run) is None and warnings(work.run) == []


# Broken off


class Cut(Exception):
    """A power cut."""


def test_a_run_that_goes_on_has_each_frame_once(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {**CHANCE, "checkpoint_every": 4, "epochs": 3}
    unbroken = train(**settings).run
    broken: list[Run] = []
    step = steps._Loop._step

    def cut(self: steps._Loop, number: int) -> None:
        if number == 11:
            raise Cut
        step(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(steps._Loop, "_step", cut)
        with pytest.raises(Cut):
            train(before=broken.append, **settings)
    (run,) = broken
    assert steps_of(run) == [step for step in planned(15, 3, 6, 9) if step < 11]
    train(run=run)  # from step 8 on: 9 is done again
    written = (run.folder / "film" / "frames.jsonl").read_text(encoding="utf-8").splitlines()
    assert (
        [json.loads(line)["step"] for line in written] == planned(15, 3, 6, 9, 12, 15) == steps_of(unbroken)
    )
    assert written == (unbroken.folder / "film" / "frames.jsonl").read_text(encoding="utf-8").splitlines()
    assert equal(run, unbroken)


def test_a_torn_line_is_passed_over_and_the_next_one_is_whole(work: TrainingJob) -> None:
    first = Film(work)
    first.record(0)
    first.record(3)
    file = work.run.folder / "film" / "frames.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) - 40])
    assert steps_of(work.run) == [0]
    again = Film(work)
    again.record(3)
    again.record(6)
    assert steps_of(work.run) == [0, 3, 6]


def test_of_a_step_that_comes_twice_the_first_counts(work: TrainingJob) -> None:
    Film(work).record(5)
    file = work.run.folder / "film" / "frames.jsonl"
    first = json.loads(file.read_text(encoding="utf-8"))
    later = {**first, "probabilities": [[1.0, 0.0, 0.0]] * 3}
    file.write_text(
        "\n".join(map(json.dumps, [first, {**first, "step": 9}, later, {**first, "step": 7}])) + "\n",
        encoding="utf-8",
    )
    frames = reader.read(work.run).frames
    assert [frame.step for frame in frames] == [5, 7, 9] and frames[0].probabilities.tolist() == first[
        "probabilities"
    ]
    Film(work).record(9)
    assert len(file.read_text(encoding="utf-8").splitlines()) == 4


def test_photos_that_changed_begin_a_new_film(work: TrainingJob) -> None:
    Film(work).record(0)
    about = work.run.folder / "film" / "film.json"
    about.write_text(about.read_text(encoding="utf-8").replace("000.png", "old.png"), encoding="utf-8")
    Film(work).record(3)
    assert steps_of(work.run) == [3] and reader.read(work.run).photos[0].name == "000.png"


# The disk


def test_a_run_whose_film_cannot_be_written_goes_on(train: Train, done: Done) -> None:
    run = train(before=lambda run: (run.folder / "film").write_text("in the way"), **CHANCE).run
    (warning,) = warnings(run)
    assert warning.startswith("The film could not be written (") and warning.endswith(
        "The run goes on; free some space."
    )
    assert run.state()["status"] == "finished" and reader.read(run) is None
    assert equal(run, done.run)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_costs_only_the_frames_it_did_not_take(work: TrainingJob) -> None:
    made = Film(work)
    made.record(0)
    file = work.run.folder / "film" / "frames.jsonl"
    kept = file.with_name("kept")
    file.rename(kept)
    file.symlink_to("/dev/full")
    made.record(3)
    made.record(6)
    file.unlink()
    kept.rename(file)
    made.record(9)
    assert steps_of(work.run) == [0, 9]
    assert warnings(work.run) == [
        "The film could not be written (No space left on device). The run goes on; free some space."
    ]


def test_a_run_folder_that_is_gone_is_not_made_again(work: TrainingJob) -> None:
    made = Film(work)
    shutil.rmtree(work.run.folder)
    made.record(0)
    assert not work.run.folder.exists()


# How long it gets


def test_a_long_film_is_thinned_evenly_on_the_page_and_on_the_disk(
    work: TrainingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "MOST_FRAMES", 20)
    monkeypatch.setattr(recorder, "KEPT_FRAMES", 80)
    made = Film(work)
    for step in range(0, 1001, 5):
        made.record(step)
        assert len(reader.frame_lines(work.run.folder / "film")) <= 80
    shown = steps_of(work.run)
    assert len(shown) == 20 and shown[0] == 0 and shown[-1] == 1000
    assert max(np.diff(shown)) <= 2 * min(np.diff(shown))
    again = Film(work)
    again.record(1005)
    assert steps_of(work.run)[-1] == 1005


# Reading


def test_a_run_without_a_film_has_none(work: TrainingJob) -> None:
    assert reader.read(work.run) is None
    Film(work).record(0)
    about = work.run.folder / "film" / "film.json"
    good = json.loads(about.read_text(encoding="utf-8"))
    for bad in (
        "",
        "[]",
        json.dumps({**good, "photos": [{"name": "x", "label": 9}]}),
        json.dumps({**good, "rows": None}),
        json.dumps({**good, "rows": 5}),
    ):
        about.write_text(bad, encoding="utf-8")
        assert reader.read(work.run) is None
    about.write_text(json.dumps(good), encoding="utf-8")
    (work.run.folder / "film" / "photo-2.jpg").unlink()
    assert reader.read(work.run) is None
