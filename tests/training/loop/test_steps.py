"""Our own steps: which photos, at which rate and side, what is kept as the best, and when they end; checked
against the slow way.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from transformers.models.vit.modeling_vit import ViTEmbeddings

from tests.training.conftest import Done, Train, events_of
from vit_demo.common.errors import UserError
from vit_demo.data.normalise import label_names
from vit_demo.data.open.sources import open_dataset
from vit_demo.model.classifier import LeafClassifier
from vit_demo.training.job import Progress, TrainingJob
from vit_demo.training.loop import loss_logger, steps
from vit_demo.training.loop.optimizer import BETAS
from vit_demo.training.photos import Photos, prepare
from vit_demo.training.result.evaluation import evaluate
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.runs import Run

pytestmark = pytest.mark.usefixtures("fp32")
TOO_HIGH = "the learning rate is too high"
LEFT = ["config.json", "events.jsonl", "model", "similar.safetensors", "state.json"]


def work_of(photos: int, sides: tuple[int, ...] = (32,), validation: int = 50, **settings) -> TrainingJob:
    """A work of so many photos, of which only the numbers are looked at."""
    train, others = (
        Photos(np.zeros((count, 1, 1, 1), np.uint8), np.zeros(count, np.int64), [""] * count, [])
        for count in (photos, validation)
    )
    return TrainingJob(
        None, TrainingConfig(**{"patch_dropout": 0.0, **settings}), None, train, others, sides, None, None
    )


def validated(done: Done) -> dict[int, float]:
    return {event["step"]: event["loss"] for event in done.events("validation")}


# The order of the photos


def test_an_epoch_shows_every_photo_once_in_an_order_of_its_own() -> None:
    def order(seed: int) -> list[list[int]]:
        config = TrainingConfig(seed=seed, epochs=2, batch_size=4)
        batches = [steps.rows_of(config, 10, step) for step in range(1, 7)]
        assert [len(rows) for rows in batches] == [4, 4, 2] * 2
        flat = np.concatenate(batches).tolist()
        return [flat[:10], flat[10:]]

    first, second = order(1)
    assert sorted(first) == sorted(second) == list(range(10))
    assert len({tuple(first), tuple(second), tuple(range(10)), tuple(order(2)[0])}) == 4
    assert order(1) == [first, second]


# The learning rate


@pytest.mark.parametrize(
    ("total", "warmup"), [(10, 0.0), (10, 0.5), (100, 0.1), (1, 0.0), (1, 0.9), (7, 0.9)]
)
def test_warm_up_rises_to_the_highest_rate_and_no_step_has_none(total: int, warmup: float) -> None:
    factors = [steps.rate(step, total, warmup) for step in range(1, total + 1)]
    rising = round(total * warmup)
    assert all(0 < value <= 1 for value in factors)
    assert factors[: rising + 1] == sorted(factors[: rising + 1]) and factors[rising:] == sorted(
        factors[rising:], reverse=True
    )
    assert rising == total or max(factors) == factors[rising] == 1
    assert steps.rate(total + 1, total, warmup) == 0


# When validation is looked at, and at what side


def test_validation_is_looked_at_as_often_as_asked_and_at_the_end(train: Train, learned: Done) -> None:
    assert list(validated(learned)) == [4, 8, 12, 16, 20, 24, 28, 30]
    assert list(validated(train(epochs=2, batch_size=3))) == [
        24
    ]  # by its own choice: 216 forwards of train photos are worth one of 18


@pytest.mark.parametrize(
    ("sides", "validation", "dropped", "expected"),
    [
        # 4 epochs of 100 photos cost 1,200 forwards, of which a tenth are looks.
        ((32,), 30, 0.0, {10, 20, 30, 40}),
        ((32,), 60, 0.0, {20, 40}),
        ((32,), 30, 0.75, {40}),
        ((32,), 5, 0.0, {4 * look for look in range(1, 11)}),
        ((16, 32), 30, 0.0, {20, 30, 40}),
        ((16, 24, 32), 20, 0.0, {14, 27, 34, 40}),
        ((8, 16, 24, 32), 15, 0.0, {10, 20, 30, 35, 40}),
        ((32,), 10_000, 0.0, {40}),
    ],
)
def test_by_its_own_choice_validation_is_looked_at_after_each_part_and_for_a_tenth_of_the_last_ones_time(
    sides: tuple[int, ...], validation: int, dropped: float, expected: set[int]
) -> None:
    work = work_of(100, sides, validation, epochs=4, batch_size=10, evaluate_every=0, patch_dropout=dropped)
    assert steps.evaluation_steps(work) == expected


@pytest.mark.parametrize("photos", [1, 7, 33, 1000])
@pytest.mark.parametrize("sides", [(32,), (8, 16, 24, 32), tuple(range(8, 80, 8))])
@pytest.mark.parametrize("epochs", [1, 3, 200])
def test_there_are_few_looks_however_long_the_run_and_the_last_is_at_the_end(
    photos: int, sides: tuple[int, ...], epochs: int
) -> None:
    work = work_of(photos, sides, epochs=epochs, batch_size=8, evaluate_every=0)
    looks = steps.evaluation_steps(work)
    assert max(looks) == work.total_steps and min(looks) >= 1 and len(looks) <= 10 + len(sides) - 1
    assert steps.side_at(work, work.total_steps) == sides[-1]


@pytest.mark.parametrize(
    ("resolutions", "epochs", "expected"),
    [
        ((16, 24, 40), 3, [16] * 5 + [24] * 5 + [40] * 5),
        ((16, 24, 40), 2, [16] * 4 + [24] * 3 + [40] * 3),
        ((16, 24, 32, 40, 48, 56, 64), 1, None),  # more parts than steps
        ((), 1, [32] * 5),
    ],
)
def test_each_resolution_has_an_equal_part_of_the_run(
    train: Train, resolutions: tuple, epochs: int, expected: list | None
) -> None:
    seen: dict[bool, list[int]] = {True: [], False: []}

    def watch(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if isinstance(module, ViTEmbeddings):
            assert inputs[0].shape[-1] == inputs[0].shape[-2]
            seen[module.training].append(inputs[0].shape[-1])

    hook = register_module_forward_pre_hook(watch)
    try:
        done = train(resolutions=resolutions, epochs=epochs)
    finally:
        hook.remove()
    assert (
        seen[True] == expected
        or expected is None
        and seen[True] == sorted(seen[True])
        and len(seen[True]) == 5
    )
    own = resolutions[-1] if resolutions else 32
    # Validation is looked at as the photos are at that time; what counts in the end is the size that the
    # model will be used at.
    assert set(seen[False]) <= {*resolutions, own} and seen[False][-1] == own
    sides = [event["side"] for event in done.events("validation")]
    assert (
        sides
        == [
            steps.side_at(work_of(36, resolutions or (32,), epochs=epochs, batch_size=8), step)
            for step in validated(done)
        ]
        and sides[-1] == own
    )
    (best,) = done.events("best")
    assert best["step"] in [event["step"] for event in done.events("validation") if event["side"] == own]
    assert LeafClassifier.open(done.run.folder, device="cpu").image_size == (own, own)


# Against the slow way


SETTINGS = {
    "epochs": 2,
    "learning_rate": 5e-3,
    "warmup": 0.3,
    "weight_decay": 0.1,
    "layer_decay": 0.5,
    "label_smoothing": 0.2,
    "average": 0.9,
    "augment": "none",
    "evaluate_every": 10,
    "precision": "fp32",
}


def slowly(
    config: TrainingConfig, train: Photos, classifier: LeafClassifier
) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The same training from the papers' formulas: losses, and the averaged weights at the end.

    AdamW (Loshchilov and Hutter 2019, algorithm 2), gradients cut to a norm of 1, a learning rate that falls
    by the same factor with each layer (Clark et al. 2020), label smoothing (Szegedy et al. 2016), averaged
    weights (Polyak and Juditsky 1992).
    """
    model, (beta1, beta2), epsilon = classifier.model.train(), BETAS, 1e-8
    if config.attention_only:
        for name, weight in model.named_parameters():
            weight.requires_grad_(".mlp." not in name)
    weights = dict(model.named_parameters())
    first, second, average = (
        {name: torch.zeros_like(weight) for name, weight in weights.items()} for _ in range(3)
    )
    # [CLS], patches and positions; two layers; last norm and head.
    above = {
        name: 3 if "embeddings" in name else 2 if ".layers.0." in name else 1 if ".layers.1." in name else 0
        for name in weights
    }
    total, losses = 10, []
    for step in range(1, total + 1):
        rate = step / 4 if step <= 3 else (total - (step - 1)) / (total - 3)
        rows = steps.rows_of(config, len(train), step)
        logits = classifier.forward(classifier.normalise(torch.from_numpy(train.pixels[rows])))
        target = torch.nn.functional.one_hot(torch.from_numpy(train.labels[rows]), 3) * 0.8 + 0.2 / 3
        loss = -(target * logits.log_softmax(dim=-1)).sum(dim=-1).mean()
        losses.append(float(loss.detach()))
        model.zero_grad()
        loss.backward()
        norm = math.sqrt(
            sum(float(weight.grad.square().sum()) for weight in weights.values() if weight.grad is not None)
        )
        with torch.no_grad():
            for name, weight in weights.items():
                if weight.grad is None:
                    continue
                gradient = weight.grad / max(1.0, norm)
                first[name] = beta1 * first[name] + (1 - beta1) * gradient
                second[name] = beta2 * second[name] + (1 - beta2) * gradient**2
                highest = 5e-3 * 0.5 ** above[name] * rate
                weight -= highest * 0.1 * weight
                weight -= (
                    highest
                    * first[name]
                    / (1 - beta1**step)
                    / ((second[name] / (1 - beta2**step)).sqrt() + epsilon)
                )
            decay = min(0.9, (1 + step) / (10 + step))
            for name, weight in weights.items():
                average[name] = weight.clone() if step == 1 else decay * average[name] + (1 - decay) * weight
    return losses, average


@pytest.mark.parametrize("attention_only", [True, False])
def test_each_step_is_that_of_the_papers_formulas(
    train: Train, colours: Path, tiny_model: Path, tmp_path: Path, attention_only: bool
) -> None:
    done = train(**SETTINGS, attention_only=attention_only)
    data = open_dataset(colours)
    classifier = LeafClassifier.open(tiny_model, device="cpu", labels=label_names(data))
    losses, weights = slowly(
        done.run.config(), prepare(data["train"], classifier, (32, 32), tmp_path / "train.npy"), classifier
    )
    assert [event["loss"] for event in done.events("train")] == pytest.approx(losses, abs=5e-6)
    found = done.weights()
    saved = {
        name: tensor
        for name, tensor in LeafClassifier.open(done.run.folder, device="cpu").model.named_parameters()
    }
    assert len(found) == len(saved) == len(weights)
    for name, expected in weights.items():
        assert torch.allclose(saved[name], expected, atol=2e-5), name


def test_frozen_mlps_stay_as_they_were_and_all_else_learns(train: Train, tiny_model: Path) -> None:
    done = train(attention_only=True, epochs=3, weight_decay=0.1)
    before, after = (
        LeafClassifier.open(folder, device="cpu", labels=["blue", "green", "red"]).model
        for folder in (tiny_model, done.run.folder)
    )
    after = dict(after.named_parameters())
    for name, weight in before.named_parameters():
        # What is added to all keys alike changes no attention: their bias gets no gradient, and none is to be
        # seen of its decay from 0.
        if "k_proj.bias" not in name:
            assert torch.equal(weight, after[name]) == (".mlp." in name), name


def test_a_frozen_encoder_stays_as_it_was_and_the_head_learns(train: Train, tiny_model: Path) -> None:
    done = train(freeze=True, epochs=3, learning_rate=5e-2, weight_decay=0.1)
    before, after = (
        LeafClassifier.open(folder, device="cpu", labels=["blue", "green", "red"]).model
        for folder in (tiny_model, done.run.folder)
    )
    assert all(
        torch.equal(weight, after.vit.state_dict()[name]) for name, weight in before.vit.state_dict().items()
    )
    assert bool(after.classifier.weight.any()) and done.result["test_accuracy"] > 0.5


# The best weights


def test_the_weights_of_the_lowest_validation_loss_are_saved(train: Train, noise: Path) -> None:
    done = train(data=str(noise), epochs=20, evaluate_every=6, augment="none")
    losses = validated(done)
    best = min(losses, key=losses.get)
    assert (
        best != max(losses) and losses[max(losses)] > losses[best] + 0.01
    )  # else this test would show nothing
    (said,) = done.events("best")
    assert (said["step"], said["loss"]) == (best, losses[best])
    saved = evaluate(LeafClassifier.open(done.run.folder, device="cpu"), open_dataset(noise)["validation"])
    assert saved.loss == pytest.approx(losses[best], rel=1e-4)
    # With patience the same run ends after so many looks without a better loss, with the same model.
    short = train(data=str(noise), epochs=20, evaluate_every=6, augment="none", patience=2)
    looks = list(validated(short).items())
    assert looks == list(losses.items())[: len(looks)] and len(looks) < len(losses)
    lowest = min(range(len(looks)), key=lambda look: looks[look][1])
    assert lowest == len(looks) - 3
    assert (
        f"Training ended at step {looks[-1][0]} of" in short.events("warning")[0]["message"]
        and short.run.state()["status"] == "finished"
    )


@pytest.mark.parametrize(
    ("settings", "kept"), [({"learning_rate": 2e-3}, True), ({"data": "noise", "epochs": 20}, False)]
)
def test_the_end_weights_are_tried_further_on_and_validation_decides(
    train: Train, noise: Path, tiny_model: Path, settings: dict, kept: bool
) -> None:
    """Too short a run wants to go further; one that has learned its noisy labels by heart does not."""
    settings = {
        **settings,
        **({"data": str(noise)} if "data" in settings else {}),
        "augment": "none",
        "evaluate_every": 1000,
    }
    plain, moved = train(**settings), train(**settings, overshoot=0.5)
    (said,) = moved.events("best")
    assert said["overshoot"] == (0.5 if kept else 0.0) and plain.events("best")[0]["overshoot"] == 0.0
    (loss,) = validated(plain).values()
    assert list(validated(moved).values()) == [loss] and (
        said["loss"] < loss if kept else said["loss"] == loss
    )
    data = open_dataset(moved.run.config().data)
    begin = dict(
        LeafClassifier.open(tiny_model, device="cpu", labels=label_names(data)).model.named_parameters()
    )
    ends = [
        dict(LeafClassifier.open(done.run.folder, device="cpu").model.named_parameters())
        for done in (plain, moved)
    ]
    for name, end in ends[0].items():
        expected = begin[name] + 1.5 * (end - begin[name]) if kept else end
        assert torch.allclose(ends[1][name], expected, atol=1e-6), name
    assert kept or all(torch.equal(end, ends[1][name]) for name, end in ends[0].items())
    scored = evaluate(LeafClassifier.open(moved.run.folder, device="cpu"), data["validation"])
    assert scored.loss == pytest.approx(said["loss"], rel=1e-4)


def test_a_stopped_run_is_not_moved_on(train: Train) -> None:
    (said,) = train(before=Run.request_stop, epochs=9, overshoot=0.5).events("best")
    assert said["overshoot"] == 0.0


# Ending early


def test_a_stop_before_the_first_step_still_gives_a_model(train: Train) -> None:
    done = train(before=Run.request_stop, epochs=9)
    assert [event["step"] for event in done.events("train")] == [1]
    assert done.run.state()["status"] == "stopped"
    assert LeafClassifier.open(done.run.folder, device="cpu").labels == ["blue", "green", "red"]


def test_a_stop_in_mid_run_keeps_the_best_model_so_far(
    train: Train, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_logger, "LOG_SECONDS", 0.0)  # progress is told at each step

    def stop_at_13(run: Run, progress: Progress) -> None:
        if progress.status == "training" and progress.done == 13:
            run.request_stop()

    done = train(listener=stop_at_13, epochs=9, evaluate_every=5)
    assert [event["step"] for event in done.events("train")] == list(range(1, 14))
    losses = validated(done)
    assert list(losses) == [5, 10]
    assert done.run.state()["status"] == "stopped" and done.run.scores()["test"]["n"] == 18
    saved = evaluate(LeafClassifier.open(done.run.folder, device="cpu"), open_dataset(colours)["validation"])
    assert saved.loss == pytest.approx(min(losses.values()), rel=1e-4)
    assert sorted(path.name for path in done.run.folder.iterdir()) == sorted([*LEFT, "checkpoint", "stop"])


def test_a_time_limit_ends_the_run_as_finished_with_what_it_has(train: Train) -> None:
    done = train(epochs=1000, time_limit=0.005)
    last = done.events("train")[-1]["step"]
    assert last < 5000 and done.run.state()["status"] == "finished" and done.run.scores()["test"]["n"] == 18
    assert (
        done.events("warning")[0]["message"]
        == f"Training ended at step {last} of 5000: the time limit of 0.005 minutes."
    )
    assert done.events("validation")[-1]["step"] == last


# Losses without end


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("broken", ["train", "validation"])
def test_an_infinite_loss_is_said_in_a_sentence_and_leaves_no_model(
    train: Train, value: float, broken: str
) -> None:
    calls = Counter()

    def overflow(module: torch.nn.Module, inputs: object, logits: torch.Tensor) -> torch.Tensor | None:
        if not (isinstance(module, torch.nn.Linear) and module.out_features == 3):
            return None  # not the head
        calls[module.training] += 1
        hit = calls[True] == 3 if broken == "train" else not module.training
        return logits * value if hit else None

    folders: list[Run] = []
    hook = register_module_forward_hook(overflow)
    try:
        with pytest.raises(UserError, match=TOO_HIGH):
            train(before=folders.append, evaluate_every=5)
    finally:
        hook.remove()
    assert sorted(path.name for path in folders[0].folder.iterdir()) == [
        "config.json",
        "events.jsonl",
        "state.json",
    ]
    assert (
        "NaN" not in folders[0].events_file.read_text()
        and "Infinity" not in folders[0].events_file.read_text()
    )


# The record


def test_every_step_is_logged_once_in_order(learned: Done) -> None:
    (begin,) = learned.events("begin")
    assert (begin["total_steps"], begin["steps_per_epoch"], begin["photos"], begin["processes"]) == (
        30,
        5,
        36,
        1,
    )
    train = events_of(learned.run, "train")
    assert [event["step"] for event in train] == list(range(1, 31))
    assert train[-1]["epoch"] == 6 and train[4]["epoch"] == 1
    assert all(event["photos_per_second"] > 0 for event in train)


def test_the_learning_rate_falls_in_a_line_from_the_highest_to_almost_0(learned: Done) -> None:
    rates = [event["learning_rate"] for event in learned.events("train")]
    assert rates == pytest.approx([2e-2 * (30 - step) / 30 for step in range(30)])
