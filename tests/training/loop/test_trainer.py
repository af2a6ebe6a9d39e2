"""The tutorial's recipe with Trainer: the same numbers as a plain script, in a run that can be stopped and
goes on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import Trainer, TrainingArguments, ViTForImageClassification, ViTImageProcessorPil

from tests.training.conftest import full_disk
from vit_demo.common.errors import UserError
from vit_demo.data.open.sources import open_dataset
from vit_demo.model.classifier import LeafClassifier
from vit_demo.training.job import Progress
from vit_demo.training.loop import trainer as engine
from vit_demo.training.loop.finetune import fine_tune
from vit_demo.training.result.evaluation import evaluate
from vit_demo.training.run import checkpoint
from vit_demo.training.run.config import RECIPES, TrainingConfig
from vit_demo.training.run.runs import Run, create

pytestmark = pytest.mark.usefixtures("fp32")
Train = Callable[..., Run]


@pytest.fixture(scope="module")
def train(tiny_model: Path, colours: Path, tmp_path_factory: pytest.TempPathFactory, fp32: None) -> Train:
    """Fine-tune the tiny model on the 36 coloured squares by the tutorial's recipe, with settings as
    named.
    """

    def work(
        listener: Callable[[Run, Progress], None] = lambda run, progress: None,
        run: Run | None = None,
        **settings,
    ) -> Run:
        if run is None:
            own = {
                "data": str(colours),
                "model": str(tiny_model),
                "device": "cpu",
                "epochs": 6,
                "batch_size": 8,
                "learning_rate": 5e-3,
            }
            run = create(
                TrainingConfig(**{**RECIPES["tutorial"], **own, **settings}),
                tmp_path_factory.mktemp("run") / "run",
            )
        run.claim()
        fine_tune(run, lambda progress: listener(run, progress))
        return run

    return work


def events(run: Run, kind: str) -> list[dict]:
    return [event for event in run.read_events()[0] if event["kind"] == kind]


def weights(run: Run) -> dict[str, torch.Tensor]:
    return {
        name: tensor
        for file in sorted(run.model_folder.glob("model*.safetensors"))
        for name, tensor in load_file(file).items()
    }


@pytest.fixture(scope="module")
def learned(train: Train) -> Run:
    """36 photos, 5 steps an epoch, 6 epochs."""
    return train()


def stop_at(step: int) -> Callable[[Run, Progress], None]:
    """Ask for a stop while the step before is reported."""
    return lambda run, progress: (
        run.request_stop() if progress.status == "training" and progress.done == step - 1 else None
    )


# The same as a plain script


@pytest.fixture(scope="module")
def plain(
    tiny_model: Path, colours: Path, tmp_path_factory: pytest.TempPathFactory, fp32: None
) -> tuple[Trainer, dict]:
    """The tutorial's code, written out: map with the processor, collate, Trainer."""
    data = open_dataset(colours)
    processor = ViTImageProcessorPil.from_pretrained(tiny_model)

    def preprocess(row: dict) -> dict:
        return {
            "pixel_values": processor(row["image"].convert("RGB"), return_tensors="pt")["pixel_values"][0],
            "labels": row["labels"],
        }

    rows = {split: [preprocess(row) for row in data[split]] for split in ("train", "validation")}
    names = data["train"].features["labels"].names
    model = ViTForImageClassification.from_pretrained(
        tiny_model,
        num_labels=3,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )
    torch.nn.init.zeros_(model.classifier.weight)
    torch.nn.init.zeros_(model.classifier.bias)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(tmp_path_factory.mktemp("plain")),
            per_device_train_batch_size=8,
            num_train_epochs=6,
            learning_rate=5e-3,
            eval_strategy="steps",
            eval_steps=10,
            logging_steps=1,
            save_steps=100,
            save_total_limit=2,
            load_best_model_at_end=True,
            remove_unused_columns=False,
            report_to="none",
            seed=42,
            use_cpu=True,
            disable_tqdm=True,
        ),
        data_collator=lambda batch: {
            "pixel_values": torch.stack([row["pixel_values"] for row in batch]),
            "labels": torch.tensor([row["labels"] for row in batch]),
        },
        compute_metrics=lambda prediction: {
            "accuracy": float(np.mean(prediction.predictions.argmax(-1) == prediction.label_ids))
        },
        train_dataset=rows["train"],
        eval_dataset=rows["validation"],
    )
    trained = trainer.train()
    return trainer, {**trained.metrics, **trainer.evaluate()}


def test_each_step_has_the_loss_of_a_plain_trainer_script(learned: Run, plain: tuple[Trainer, dict]) -> None:
    history = plain[0].state.log_history
    for name in ("loss", "learning_rate"):
        expected = [entry[name] for entry in history if "loss" in entry]
        assert len(expected) == 30
        assert [event[name] for event in events(learned, "train")] == pytest.approx(expected, abs=2e-6)


def test_validation_is_as_the_plain_script_has_it(learned: Run, plain: tuple[Trainer, dict]) -> None:
    looked = [entry for entry in plain[0].state.log_history if "eval_loss" in entry][:3]
    found = events(learned, "validation")
    assert [event["step"] for event in found] == [10, 20, 30] == [entry["step"] for entry in looked]
    assert [event["accuracy"] for event in found] == [entry["eval_accuracy"] for entry in looked]
    assert [event["loss"] for event in found] == pytest.approx(
        [entry["eval_loss"] for entry in looked], abs=1e-5
    )


def test_the_model_is_the_one_the_plain_script_ends_with(learned: Run, plain: tuple[Trainer, dict]) -> None:
    expected, found = (
        plain[0].model.state_dict(),
        LeafClassifier.open(learned.folder, device="cpu").model.state_dict(),
    )
    assert set(found) == set(expected)
    assert max(float((found[name] - expected[name]).abs().max()) for name in expected) < 1e-5
    (best,) = events(learned, "best")
    assert best["loss"] == pytest.approx(plain[1]["eval_loss"], abs=1e-5)
    assert learned.scores()["validation"]["loss"] == pytest.approx(best["loss"], abs=1e-4)


def test_trainers_own_files_are_there_as_it_writes_them(learned: Run, plain: tuple[Trainer, dict]) -> None:
    folder = learned.folder / checkpoint.TRAINER
    files = {
        name: json.loads((folder / name).read_text())
        for name in ("train_results.json", "eval_results.json", "trainer_state.json")
    }
    assert {name for name in plain[1] if name.startswith(("train_", "total_"))} <= set(
        files["train_results.json"]
    )
    assert files["train_results.json"]["train_loss"] == pytest.approx(plain[1]["train_loss"], abs=1e-5)
    assert files["eval_results.json"]["eval_accuracy"] == plain[1]["eval_accuracy"]
    assert (
        files["trainer_state.json"]["global_step"] == 30
        and len(files["trainer_state.json"]["log_history"]) >= 34
    )


def test_pixel_values_equal_the_image_processors(tiny_model: Path) -> None:
    rng = np.random.default_rng(3)
    photo = Image.fromarray(rng.integers(0, 256, (47, 61, 3), dtype=np.uint8))
    classifier = LeafClassifier.open(tiny_model, device="cpu")
    expected = ViTImageProcessorPil.from_pretrained(tiny_model)(photo, return_tensors="pt")["pixel_values"]
    found = engine._Collate(classifier)([(classifier.resize([photo])[0].numpy(), 2)])
    assert (
        torch.equal(found["pixel_values"], expected)
        and found["labels"].tolist() == [2]
        and set(found) == {"pixel_values", "labels"}
    )


# The tutorial's settings


def test_the_settings_are_the_tutorials(tiny_model: Path) -> None:
    config = TrainingConfig(**RECIPES["tutorial"])
    arguments = engine._arguments(config, torch.device("cpu"), Path("nowhere"), engine.Group())
    assert (arguments.per_device_train_batch_size, arguments.num_train_epochs, arguments.learning_rate) == (
        16,
        2,
        2e-4,
    )
    assert (
        arguments.eval_steps,
        arguments.logging_steps,
        arguments.save_steps,
        arguments.save_total_limit,
    ) == (10, 1, 100, 2)
    assert (
        arguments.load_best_model_at_end
        and arguments.metric_for_best_model == "loss"
        and arguments.seed == 42
    )
    assert (
        arguments.lr_scheduler_type == "linear"
        and arguments.warmup_steps == 0
        and arguments.weight_decay == 0
    )
    assert not arguments.fp16 and not arguments.bf16 and arguments.report_to == []


def test_a_cpu_with_bf16_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "bf16_is_faster", lambda device_type: True)
    assert engine._arguments(
        TrainingConfig(**RECIPES["tutorial"]), torch.device("cpu"), Path("nowhere"), engine.Group()
    ).bf16


@pytest.mark.parametrize(("every", "save"), [(10, 100), (7, 98), (30, 90), (1000, 1000), (1, 100), (0, 100)])
def test_a_model_is_saved_only_where_it_is_evaluated(every: int, save: int) -> None:
    config = TrainingConfig(**{**RECIPES["tutorial"], "evaluate_every": every})
    assert engine._arguments(config, torch.device("cpu"), Path("nowhere"), engine.Group()).save_steps == save


# In our run


def test_the_record_is_that_of_any_run(learned: Run) -> None:
    (begin,) = events(learned, "begin")
    assert (begin["total_steps"], begin["steps_per_epoch"], begin["photos"], begin["device"]) == (
        30,
        5,
        36,
        "cpu",
    )
    steps = events(learned, "train")
    assert [event["step"] for event in steps] == list(range(1, 31))
    assert (
        steps[4]["epoch"] == 1
        and steps[-1]["epoch"] == 6
        and all(event["photos_per_second"] > 0 for event in steps)
    )
    assert learned.state()["status"] == "finished" and learned.has_model()
    assert not torch.is_autocast_enabled("cpu")


def test_a_stopped_run_is_scored_and_ends_as_an_unbroken_one_when_it_goes_on(
    train: Train, learned: Run
) -> None:
    run = train(stop_at(13))
    assert run.state()["status"] == "stopped" and run.has_model()
    assert events(run, "train")[-1]["step"] == 13 and [event["step"] for event in events(run, "best")] == [13]
    assert checkpoint.exists(run)
    (run.folder / "stop").unlink()
    train(run=run)
    assert [event["step"] for event in events(run, "resumed")] == [13] and len(events(run, "begin")) == 1
    assert [event["step"] for event in events(run, "train")] == list(range(1, 31))
    assert [event["loss"] for event in events(run, "train")] == [
        event["loss"] for event in events(learned, "train")
    ]
    assert all(torch.equal(tensor, weights(run)[name]) for name, tensor in weights(learned).items())
    assert run.state()["status"] == "finished"


def test_a_stop_at_a_good_moment_does_not_change_what_the_whole_run_ends_with(
    train: Train, noise: Path
) -> None:
    """Step 10 of a run that then gets worse: the stop saves it, but an unbroken run has no such
    checkpoint.
    """
    settings = {"data": str(noise), "learning_rate": 2e-2, "epochs": 10}
    whole = train(**settings)
    losses = {event["step"]: event["loss"] for event in events(whole, "validation")}
    assert losses[10] < losses[30] and list(losses) == [10, 20, 30]
    run = train(stop_at(10), **settings)
    (run.folder / "stop").unlink()
    train(run=run)
    assert {event["step"]: event["loss"] for event in events(run, "validation")} == losses
    assert events(run, "best")[-1]["step"] == events(whole, "best")[-1]["step"]
    assert all(torch.equal(tensor, weights(run)[name]) for name, tensor in weights(whole).items())


def test_the_best_of_what_was_saved_is_the_model_in_all_its_weights(
    train: Train, noise: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "SAVE_STEPS", 10)
    run = train(data=str(noise), learning_rate=2e-2, epochs=10)
    losses = {event["step"]: event["loss"] for event in events(run, "validation")}
    (best,) = events(run, "best")
    assert best["step"] == min(losses, key=losses.get) != max(losses)  # else this test would show nothing
    saved = evaluate(LeafClassifier.open(run.folder, device="cpu"), open_dataset(noise)["validation"])
    assert saved.loss == pytest.approx(losses[best["step"]], rel=1e-4)


def test_a_torn_checkpoint_is_passed_over_and_goes(train: Train, learned: Run) -> None:
    run = train(stop_at(13))
    folder = run.folder / checkpoint.TRAINER
    for name, state in (
        ("checkpoint-20", None),
        ("checkpoint-25", '{"global_step": 25'),
        ("checkpoint-x", None),
    ):
        (folder / name).mkdir()
        (folder / name / "model.safetensors").write_bytes(b"half")
        if state:
            (folder / name / "trainer_state.json").write_text(state)
    # As after a move of the home folder.
    moved = Run(run.folder.rename(run.folder.with_name("moved")))
    (moved.folder / "stop").unlink()
    train(run=moved)
    assert [event["step"] for event in events(moved, "resumed")] == [13]
    assert "checkpoint-30" in (left := {path.name for path in (moved.folder / checkpoint.TRAINER).iterdir()})
    assert not {"checkpoint-20", "checkpoint-25"} & left
    assert all(torch.equal(tensor, weights(moved)[name]) for name, tensor in weights(learned).items())


def test_a_loss_that_is_no_number_ends_the_run_with_a_sentence(
    train: Train, tiny_model: Path, tmp_path: Path
) -> None:
    """Weights that are finite and too large to multiply."""
    broken = shutil.copytree(tiny_model, tmp_path / "model")
    model = ViTForImageClassification.from_pretrained(broken)
    torch.nn.init.constant_(model.vit.embeddings.patch_embeddings.projection.weight, 3e38)
    model.save_pretrained(broken)
    with pytest.raises(UserError, match="learning rate is too high"):
        train(model=str(broken))


def test_few_photos_are_looked_at_once(train: Train) -> None:
    run = train(epochs=1)
    assert (
        [event["step"] for event in events(run, "validation")]
        == [5]
        == [event["step"] for event in events(run, "best")]
    )


def test_a_full_disk_costs_the_checkpoint_and_not_the_run(train: Train, tiny_model: Path) -> None:
    """No file may be larger than the photos and the model are: the optimizer's is."""
    size = sum(file.stat().st_size for file in tiny_model.glob("*.safetensors"))
    with full_disk(size + 50_000):
        run = train(epochs=2)
    assert ["disk is full" in event["message"] for event in events(run, "warning")] == [True]
    assert run.state()["status"] == "finished" and run.has_model() and not checkpoint.exists(run)


# Several processes: see also test_processes.py


def test_a_batch_that_cannot_be_shared_out_is_refused(refusal: Callable[..., str]) -> None:
    config = TrainingConfig(**{**RECIPES["tutorial"], "batch_size": 15})
    assert "multiple of 2" in refusal(
        engine._arguments, config, torch.device("cpu"), Path("nowhere"), engine.Group(0, 2)
    )
