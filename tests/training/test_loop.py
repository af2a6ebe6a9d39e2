"""A real fine-tune of a tiny model: it learns, repeats, keeps its best, and leaves a model and nothing else."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from vit_demo import vit
from vit_demo.data.sources import open_dataset
from vit_demo.errors import UserError
from vit_demo.training import loop
from vit_demo.training.config import TrainingConfig
from vit_demo.training.evaluation import evaluate
from vit_demo.training.loop import Progress, fine_tune
from vit_demo.training.photos import Photos
from vit_demo.training.runs import Run, create
from vit_demo.vit import LeafClassifier

TOO_HIGH = "the learning rate is too high"
LEFT = ["config.json", "events.jsonl", "model", "state.json"]


@pytest.fixture(autouse=True, scope="module")
def fp32() -> Iterator[None]:
    """bfloat16, which some CPUs would take here, is too coarse to compare two ways to the same number."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vit, "bf16_is_faster", lambda device_type: False)
        yield


@dataclasses.dataclass
class Done:
    """A run that has ended, and what it said meanwhile."""

    run: Run
    result: dict
    progress: list[Progress]

    def events(self, kind: str) -> list[dict]:
        return [event for event in self.run.read_events()[0] if event["kind"] == kind]

    def weights(self) -> dict[str, torch.Tensor]:
        parts = [load_file(file) for file in sorted(self.run.model_folder.glob("*.safetensors"))]
        return {name: tensor for part in parts for name, tensor in part.items()}


Train = Callable[..., Done]


@pytest.fixture(scope="module")
def train(tiny_model: Path, colours: Path, tmp_path_factory: pytest.TempPathFactory, fp32: None) -> Train:
    """Fine-tune the tiny model on the coloured squares; settings as named."""

    def work(listener: Callable[[Run, Progress], None] = lambda run, progress: None, before: Callable[[Run], None] = lambda run: None, **settings) -> Done:
        default = {"data": str(colours), "model": str(tiny_model), "device": "cpu", "epochs": 1, "batch_size": 8, "learning_rate": 2e-2}
        run = create(TrainingConfig(**{**default, **settings}), tmp_path_factory.mktemp("run"))
        run.claim()
        before(run)
        progress: list[Progress] = []
        return Done(run, fine_tune(run, lambda step: (progress.append(step), listener(run, step))), progress)

    return work


@pytest.fixture(scope="module")
def learned(train: Train) -> Done:
    """36 photos, 5 steps an epoch, 6 epochs."""
    return train(epochs=6, evaluate_every=4)


# What it learns


def test_it_learns_three_colours(learned: Done) -> None:
    assert learned.result["test_accuracy"] >= 0.9
    losses = [event["loss"] for event in learned.events("train")]
    assert losses[0] == pytest.approx(np.log(3), abs=0.01)  # the new head starts with every class equally likely
    assert np.mean(losses[-5:]) < 0.5 * losses[0]


def test_the_result_has_what_the_page_and_the_command_line_show(learned: Done) -> None:
    result = learned.result
    assert {"validation_accuracy", "test_accuracy", "test_interval", "seconds", "model"} <= set(result)
    assert result["test_interval"][0] <= result["test_accuracy"] <= result["test_interval"][1]
    assert Path(result["model"]) == learned.run.model_folder and result["seconds"] > 0
    state = learned.run.state()
    assert state["status"] == "finished" and state["result"] == json.loads(json.dumps(result)) and state["ended"] >= state["started"]


def test_the_scores_beside_the_model_are_those_of_the_model(learned: Done, colours: Path) -> None:
    scores = learned.run.scores()
    assert set(scores) == {"validation", "test", "seconds"} and scores["seconds"] == learned.result["seconds"]
    data = open_dataset(colours)
    classifier = LeafClassifier.open(learned.run.folder, device="cpu")
    assert classifier.labels == ["blue", "green", "red"]
    for split in ("validation", "test"):
        fresh = json.loads(json.dumps(evaluate(classifier, data[split]).to_dict()))
        assert fresh.pop("loss") == pytest.approx(scores[split].pop("loss"), rel=1e-4)
        assert fresh == scores[split] and fresh["n"] == 18
        assert learned.result[f"{split}_accuracy"] == fresh["accuracy"]


def test_the_card_names_the_scores_and_the_run(learned: Done) -> None:
    text = (learned.run.model_folder / "README.md").read_text(encoding="utf-8")
    assert f"{learned.result['test_accuracy']:.1%}" in text and learned.run.config().command() in text


def test_nothing_but_the_record_and_the_model_is_left(learned: Done) -> None:
    assert sorted(path.name for path in learned.run.folder.iterdir()) == LEFT
    names = {path.name for path in learned.run.model_folder.iterdir()}
    assert {"config.json", "preprocessor_config.json", "scores.json", "README.md"} <= names
    assert not [name for name in names if name.endswith((".new", ".bin", ".pt"))]


# Its record


def test_every_step_is_logged_once_in_order(learned: Done) -> None:
    (begin,) = learned.events("begin")
    assert (begin["total_steps"], begin["steps_per_epoch"], begin["photos"]) == (30, 5, 36)
    steps = learned.events("train")
    assert [event["step"] for event in steps] == list(range(1, 31))
    assert steps[-1]["epoch"] == 6 and steps[4]["epoch"] == 1
    assert all(event["photos_per_second"] > 0 for event in steps)


def test_the_learning_rate_falls_in_a_line_from_the_highest_to_almost_0(learned: Done) -> None:
    rates = [event["learning_rate"] for event in learned.events("train")]
    assert rates == pytest.approx([2e-2 * (30 - step) / 30 for step in range(30)])


@pytest.mark.parametrize(("total", "warmup"), [(10, 0.0), (10, 0.5), (100, 0.1), (1, 0.0), (1, 0.9), (7, 0.9)])
def test_warm_up_rises_to_the_highest_rate_and_no_step_has_none(total: int, warmup: float) -> None:
    factor = loop._linear(total, warmup)
    factors = [factor(step) for step in range(total)]
    rising = round(total * warmup)
    assert all(0 < value <= 1 for value in factors)
    assert factors[: rising + 1] == sorted(factors[: rising + 1]) and factors[rising:] == sorted(factors[rising:], reverse=True)
    assert rising == total or max(factors) == factors[rising] == 1
    assert factor(total) == 0


def test_validation_is_looked_at_as_often_as_asked_and_at_the_end(train: Train, learned: Done) -> None:
    assert [event["step"] for event in learned.events("validation")] == [4, 8, 12, 16, 20, 24, 28, 30]
    two_an_epoch = train(epochs=2, evaluate_every=0, batch_size=3)
    assert [event["step"] for event in two_an_epoch.events("validation")] == [6, 12, 18, 24]


def test_the_listener_hears_preparing_then_training_then_scoring_and_test_comes_last(learned: Done) -> None:
    statuses = [progress.status for progress in learned.progress]
    assert list(dict.fromkeys(statuses)) == ["preparing", "training", "scoring"]
    assert statuses == sorted(statuses, key=["preparing", "training", "scoring"].index)
    messages = [progress.message for progress in learned.progress if "photos" in progress.message]
    assert list(dict.fromkeys(messages)) == [
        "Opening photos and model", "Reading train photos", "Reading validation photos", "Scoring validation photos", "Scoring test photos",
    ]
    assert all(0 <= progress.done <= progress.total for progress in learned.progress)


# The same run again


def test_the_same_seed_gives_the_same_weights_and_another_does_not(train: Train) -> None:
    first, again, other = (train(seed=seed, augment="strong").weights() for seed in (7, 7, 8))
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    assert not all(torch.equal(tensor, other[name]) for name, tensor in first.items())


@pytest.mark.parametrize("augment", ["none", "flips"])
def test_flips_mirror_photos_only_where_asked(augment: str) -> None:
    torch.manual_seed(0)
    photos = torch.arange(64 * 3 * 4 * 4, dtype=torch.float32).view(64, 3, 4, 4)
    out = loop._augmentation(TrainingConfig(augment=augment), 4)(photos)
    kinds = Counter(
        next(name for name, axes in (("as it was", ()), ("left-right", (-1,)), ("up-down", (-2,)), ("both", (-1, -2))) if torch.equal(new, old.flip(axes)))
        for old, new in zip(photos, out)
    )
    assert kinds == {"as it was": 64} if augment == "none" else min(kinds.values()) >= 4 and len(kinds) == 4


def test_strong_augmentation_changes_each_photo_its_own_way_and_stays_a_photo() -> None:
    torch.manual_seed(0)
    photos = torch.rand(1, 3, 32, 32).expand(16, 3, 32, 32)
    out = loop._augmentation(TrainingConfig(augment="strong"), 32)(photos)
    assert out.shape == photos.shape and out.min() >= 0 and out.max() <= 1
    assert all(not torch.allclose(new, other) for index, new in enumerate(out) for other in out[:index])


def test_an_epoch_shows_every_photo_once_in_an_order_of_its_own() -> None:
    photos = Photos(np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1), np.arange(10), [""] * 10, [])

    def order(seed: int) -> list[list[int]]:
        work = loop._Training(None, TrainingConfig(seed=seed, epochs=2, batch_size=4), None, photos, None, (), None, None)
        batches = list(loop._batches(work))
        assert all(torch.equal(pixels.flatten(), labels) for pixels, labels in batches)
        assert [len(labels) for _, labels in batches] == [4, 4, 2] * 2
        flat = torch.cat([labels for _, labels in batches]).tolist()
        return [flat[:10], flat[10:]]

    first, second = order(1)
    assert sorted(first) == sorted(second) == list(range(10))
    assert len({tuple(first), tuple(second), tuple(range(10)), tuple(order(2)[0])}) == 4
    assert order(1) == [first, second]


# The best weights


def test_the_weights_of_the_lowest_validation_loss_are_saved(train: Train, tmp_path: Path) -> None:
    """Photos whose colour says nothing: what is learned by heart makes validation worse and worse."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("validation", 12), ("test", 2)):
        for label in ("a", "b"):
            (tmp_path / split / label).mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(tmp_path / split / label / f"{number}.png")
    done = train(data=str(tmp_path), epochs=20, evaluate_every=6, augment="none")
    losses = {event["step"]: event["loss"] for event in done.events("validation")}
    best = min(losses, key=losses.get)
    assert best != max(losses) and losses[max(losses)] > losses[best] + 0.01  # else this test would show nothing
    (said,) = done.events("best")
    assert (said["step"], said["loss"]) == (best, losses[best])
    saved = evaluate(LeafClassifier.open(done.run.folder, device="cpu"), open_dataset(tmp_path)["validation"])
    assert saved.loss == pytest.approx(losses[best], rel=1e-4)


# Resolutions


@pytest.fixture
def sides(monkeypatch: pytest.MonkeyPatch) -> dict[bool, list[int]]:
    """{while training: sides of the batches that the model sees}."""
    seen: dict[bool, list[int]] = {True: [], False: []}
    forward = LeafClassifier.forward

    def watch(self: LeafClassifier, pixel_values: torch.Tensor) -> torch.Tensor:
        assert pixel_values.shape[-1] == pixel_values.shape[-2]
        seen[self.model.training].append(pixel_values.shape[-1])
        return forward(self, pixel_values)

    monkeypatch.setattr(LeafClassifier, "forward", watch)
    return seen


@pytest.mark.parametrize(
    ("resolutions", "epochs", "expected"),
    [
        ((16, 24, 40), 3, [16] * 5 + [24] * 5 + [40] * 5),
        ((16, 24, 40), 2, [16] * 4 + [24] * 3 + [40] * 3),
        ((16, 24, 32, 40, 48, 56, 64), 1, None),  # more parts than steps
        ((), 1, [32] * 5),
    ],
)
def test_each_resolution_has_an_equal_part_of_the_run(train: Train, sides: dict, resolutions: tuple, epochs: int, expected: list | None) -> None:
    done = train(resolutions=resolutions, epochs=epochs)
    assert sides[True] == expected or expected is None and sides[True] == sorted(sides[True]) and len(sides[True]) == 5
    own = resolutions[-1] if resolutions else 32
    assert set(sides[False]) == {own}  # validation and test see what the model will be used at
    assert LeafClassifier.open(done.run.folder, device="cpu").image_size == (own, own)


def test_a_resolution_that_the_patches_do_not_divide(train: Train, tmp_path: Path) -> None:
    folders: list[Run] = []
    with pytest.raises(UserError, match="The resolution 36 is not a multiple of this model's patch size of 8 pixels"):
        train(before=folders.append, resolutions=(24, 36))
    assert sorted(path.name for path in folders[0].folder.iterdir()) == ["config.json", "events.jsonl", "state.json"]


# Stopping


def test_a_stop_before_the_first_step_still_gives_a_model(train: Train) -> None:
    done = train(before=Run.request_stop, epochs=9)
    assert [event["step"] for event in done.events("train")] == [1]
    assert done.run.state()["status"] == "stopped"
    assert LeafClassifier.open(done.run.folder, device="cpu").labels == ["blue", "green", "red"]


def test_a_stop_in_mid_run_keeps_the_best_model_so_far(train: Train, colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LOG_SECONDS", 0.0)  # progress is told at each step

    def stop_at_13(run: Run, progress: Progress) -> None:
        if progress.status == "training" and progress.done == 13:
            run.request_stop()

    done = train(listener=stop_at_13, epochs=9, evaluate_every=5)
    assert [event["step"] for event in done.events("train")] == list(range(1, 14))
    validated = {event["step"]: event["loss"] for event in done.events("validation")}
    assert list(validated) == [5, 10]
    assert done.run.state()["status"] == "stopped" and done.run.scores()["test"]["n"] == 18
    saved = evaluate(LeafClassifier.open(done.run.folder, device="cpu"), open_dataset(colours)["validation"])
    assert saved.loss == pytest.approx(min(validated.values()), rel=1e-4)
    assert sorted(path.name for path in done.run.folder.iterdir()) == [*LEFT, "stop"]


# Losses without end


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("broken", ["train", "validation"])
def test_an_infinite_loss_is_said_in_a_sentence_and_leaves_no_model(train: Train, monkeypatch: pytest.MonkeyPatch, value: float, broken: str) -> None:
    forward = LeafClassifier.forward
    calls = Counter()

    def overflow(self: LeafClassifier, pixel_values: torch.Tensor) -> torch.Tensor:
        calls[self.model.training] += 1
        logits = forward(self, pixel_values)
        hit = calls[True] == 3 if broken == "train" else not self.model.training
        return logits * value if hit else logits

    monkeypatch.setattr(LeafClassifier, "forward", overflow)
    folders: list[Run] = []
    with pytest.raises(UserError, match=TOO_HIGH):
        train(before=folders.append, evaluate_every=5)
    assert sorted(path.name for path in folders[0].folder.iterdir()) == ["config.json", "events.jsonl", "state.json"]
    assert "NaN" not in folders[0].events_file.read_text() and "Infinity" not in folders[0].events_file.read_text()


# Photos


@pytest.fixture
def damaged(tmp_path: Path, colours: Path) -> Path:
    """The squares with one broken file in each split."""
    folder = shutil.copytree(colours, tmp_path / "damaged")
    (folder / "train" / "red" / "text.jpg").write_text("this is no photo")
    (folder / "validation" / "red" / "empty.png").touch()
    whole = (folder / "test" / "red" / "000.png").read_bytes()
    (folder / "test" / "red" / "cut.png").write_bytes(whole[: len(whole) // 2])
    return folder


def test_broken_photos_are_left_out_with_a_warning(train: Train, damaged: Path) -> None:
    done = train(data=str(damaged))
    (warning,) = done.events("warning")
    assert [Path(path).name for path in warning["paths"]] == ["text.jpg", "empty.png"]
    assert warning["message"] == "2 photos cannot be read and are left out."
    assert done.events("begin")[0]["photos"] == 36
    scores = done.run.scores()
    assert [(scores[split]["n"], scores[split]["broken"]) for split in ("validation", "test")] == [(18, 1), (18, 1)]


def test_a_data_set_without_a_whole_photo(train: Train, tmp_path: Path, colours: Path) -> None:
    folder = shutil.copytree(colours, tmp_path / "all broken")
    for file in folder.glob("validation/*/*.png"):
        file.write_text("this is no photo")
    with pytest.raises(UserError, match="None of the photos can be read"):
        train(data=str(folder))


def test_extra_data_adds_to_train_alone(train: Train, make_squares: Callable[..., Path], tmp_path: Path) -> None:
    extra = make_squares(tmp_path / "extra", train=5, validation=7, test=9, seed=9)
    done = train(extra_data=str(extra))
    assert done.events("begin")[0]["photos"] == 36 + 15
    assert [done.run.scores()[split]["n"] for split in ("validation", "test")] == [18, 18]


def test_extra_data_with_other_classes_is_refused(train: Train, make_squares: Callable[..., Path], tmp_path: Path) -> None:
    extra = make_squares(tmp_path / "extra", colours={"blue": (0, 0, 255), "pink": (255, 150, 150)})
    with pytest.raises(UserError, match="other classes"):
        train(extra_data=str(extra))


def test_half_precision_halves_the_file_and_still_knows_the_colours(train: Train, learned: Done) -> None:
    half = train(half=True, epochs=6, evaluate_every=4)
    assert {tensor.dtype for tensor in half.weights().values()} == {torch.float16}
    assert {tensor.dtype for tensor in learned.weights().values()} == {torch.float32}
    # Else the two runs are the same.
    assert all(torch.equal(tensor.half(), half.weights()[name]) for name, tensor in learned.weights().items())
    assert half.result["test_accuracy"] >= 0.9
    # The scores are of the model as saved, not of the one in memory.
    fresh = evaluate(LeafClassifier.open(half.run.folder, device="cpu"), open_dataset(half.run.config().data)["test"]).loss
    rounding = abs(fresh - learned.run.scores()["test"]["loss"])
    assert rounding > 1e-9 and abs(fresh - half.run.scores()["test"]["loss"]) < rounding / 10
    assert LeafClassifier.open(half.run.folder, device="cpu").model.dtype == torch.float32


def test_a_failure_while_scoring_keeps_the_model_and_leaves_no_scratch(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "evaluate", lambda *_: (_ for _ in ()).throw(UserError("planted")))
    folders: list[Run] = []
    with pytest.raises(UserError, match="planted"):
        train(before=folders.append)
    assert sorted(path.name for path in folders[0].folder.iterdir()) == ["config.json", "events.jsonl", "model", "state.json"]
    assert LeafClassifier.open(folders[0].folder, device="cpu").labels == ["blue", "green", "red"]


def test_a_model_that_knows_the_classes_goes_on_with_its_head(train: Train, learned: Done) -> None:
    again = train(model=str(learned.run.folder), learning_rate=1e-5)
    assert again.events("train")[0]["loss"] < 0.8  # a new head would start at ln 3
