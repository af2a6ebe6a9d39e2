"""The tutorial's way: transformers' Trainer with the tutorial's settings, inside a run of ours.

run folder/trainer/train_results.json, eval_results.json, trainer_state.json   as Trainer writes them
                   checkpoint-N/   what a stopped or broken-off run goes on from

What Trainer decides is left to it: AdamW, the order of the photos, gradient clipping at 1, and that
the best model is the best among those it saved, so a good one between two checkpoints is passed over.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from transformers import (
    EvalPrediction,
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from vit_demo.common.errors import UserError
from vit_demo.common.words import Sentence
from vit_demo.model.classifier import LeafClassifier, bf16_is_faster
from vit_demo.training.job import Progress, TrainingJob
from vit_demo.training.loop.loss_logger import finite
from vit_demo.training.loop.processes import Group, current
from vit_demo.training.photos import Photos
from vit_demo.training.run import checkpoint
from vit_demo.training.run.config import TUTORIAL, TrainingConfig
from vit_demo.training.run.notes import kept
from vit_demo.training.run.status import RunStatus

SAVE_STEPS, KEEP = 100, 2
# Several processes must end at the same step: they ask the main one this often.
AGREE_STEPS = 10


def train(work: TrainingJob) -> bool:
    """Do all steps, from the newest whole checkpoint on if there is one; leaves Trainer's best weights in the
    classifier.

    Returns whether the user stopped it. Raises UserError where the loss is not a number any more, and
    where the batch cannot be shared out evenly among several processes.
    A run that goes on gives what an unbroken one gives, bit for bit on CPU fp32: Trainer keeps its
    random state and skips the photos it has seen. On several machines that needs a run folder they share.
    On several processes the curve is that of one, but for the last batch of an epoch: where it is not
    whole, Trainer fills it up with the first photos of the epoch.
    """
    group = current()
    folder = Path(group.tell(str(work.run.folder / checkpoint.TRAINER) if group.main else None))
    going_on = group.tell(_going_on(folder) if group.main else None)
    watcher = _Watcher(work, group, resumed=going_on is not None)
    trainer = _Trainer(
        model=work.classifier.model,
        args=_arguments(work.config, work.classifier.device, folder, group),
        data_collator=_Collate(work.classifier),
        compute_metrics=_accuracy,
        train_dataset=_Rows(work.train),
        eval_dataset=_Rows(work.validation),
        callbacks=[watcher],
    )
    trainer.work = work
    trainer.remove_callback(PrinterCallback)  # standard output belongs to the command's result
    trained = trainer.train(resume_from_checkpoint=going_on)
    watcher.chosen = checkpoint.step_of(trainer.state.best_model_checkpoint) or trainer.state.global_step
    trainer.save_metrics("train", trained.metrics)
    trainer.save_state()
    scores = trainer.evaluate()
    trainer.save_metrics("eval", scores)
    # Trainer leaves its mixed precision in the model's forward, for which the classifier has its own.
    trainer.accelerator.unwrap_model(trainer.model_wrapped, keep_fp32_wrapper=False)
    cast("PreTrainedModel", trainer.model).eval()
    work.log.add("best", step=watcher.chosen, loss=scores["eval_loss"])
    return watcher.stopped and trainer.state.global_step < trainer.state.max_steps


def _arguments(config: TrainingConfig, device: torch.device, folder: Path, group: Group) -> TrainingArguments:
    """The tutorial's. fp16 needs a GPU: a CPU takes bf16 where it has it in hardware."""
    if config.batch_size % group.size:
        raise UserError("error.training.batch_not_shared", size=config.batch_size, processes=group.size)
    every: int = config.evaluate_every or TUTORIAL["evaluate_every"]
    cpu = device.type == "cpu"
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=config.batch_size // group.size,
        per_device_eval_batch_size=config.batch_size // group.size,
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        fp16=device.type == "cuda",
        bf16=cpu and bf16_is_faster("cpu"),
        use_cpu=cpu,
        eval_strategy="steps",
        eval_steps=every,
        logging_steps=1,
        # A model can only be the best if it was evaluated when it was saved.
        save_steps=every * max(1, round(SAVE_STEPS / every)),
        save_total_limit=KEEP,
        load_best_model_at_end=True,
        remove_unused_columns=False,
        seed=config.seed,
        report_to="none",  # the run's log does that
        disable_tqdm=True,
        dataloader_pin_memory=False,  # the collate function has them on the device already
        logging_nan_inf_filter=False,  # a loss that is no number must show
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # else Trainer takes all GPUs from one process, with a batch on each
    return arguments


class _Rows(torch.utils.data.Dataset[tuple[np.ndarray, int]]):
    """Prepared photos, one a row."""

    def __init__(self, photos: Photos):
        self._photos = photos

    def __len__(self) -> int:
        return len(self._photos)

    def __getitem__(self, row: int) -> tuple[np.ndarray, int]:
        return self._photos.pixels[row], self._photos.labels[row]


class _Collate:
    """Rows to what the model takes; pixel_values equal those of the image processor to the last bit."""

    def __init__(self, classifier: LeafClassifier):
        self._classifier = classifier
        # What the processor makes of a value depends on the value and its channel alone: it is asked once for
        # all 256.
        values = np.broadcast_to(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), (16, 16, 3))
        prepared = classifier.processor(
            [Image.fromarray(np.ascontiguousarray(values))], do_resize=False, return_tensors="pt"
        )["pixel_values"]
        self._table = prepared[0].reshape(3, 256).to(classifier.device)

    def __call__(self, rows: list[tuple[np.ndarray, int]]) -> dict[str, Any]:
        values = torch.from_numpy(np.stack([pixels for pixels, _ in rows])).to(
            self._table.device, torch.int64
        )
        pixels = torch.stack([table[values[:, channel]] for channel, table in enumerate(self._table)], dim=1)
        labels = torch.tensor([int(label) for _, label in rows])
        batch: dict[str, Any] = {"pixel_values": pixels, "labels": labels}
        if self._classifier.needs_interpolation(pixels):
            batch["interpolate_pos_encoding"] = True
        return batch


def _accuracy(prediction: EvalPrediction) -> dict[str, float]:
    logits = cast("np.ndarray", prediction.predictions)  # a ViT gives nothing beside them
    return {"accuracy": float((logits.argmax(axis=-1) == prediction.label_ids).mean())}


class _Trainer(Trainer):
    """Trainer, but a checkpoint that cannot be written does not end the run, one that a stop made is never
    the best, and all weights are loaded.
    """

    work: TrainingJob

    @property
    def _folder(self) -> Path:
        return Path(cast("str", self.args.output_dir))

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: torch.nn.Module | None = None
    ) -> None:
        _load_weights(cast("PreTrainedModel", self.model), Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        # By its name alone: the folder of the run may have moved since.
        name = Path(cast("str", self.state.best_model_checkpoint)).name
        _load_weights(cast("PreTrainedModel", self.model), self._folder / name)

    def _save_checkpoint(self, model: torch.nn.Module, trial: object) -> None:
        state, planned = (
            self.state,
            self.state.global_step % self.args.save_steps == 0
            or self.state.global_step >= self.state.max_steps,
        )
        best = state.best_global_step
        if not planned:  # an unbroken run would not have it, and a resumed one must end as that does
            state.best_global_step = None
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, SafetensorError, RuntimeError) as error:
            if self.args.world_size > 1 or not _disk_failed(error):
                raise
            torn = self._folder / f"checkpoint-{state.global_step}"
            shutil.rmtree(torn, ignore_errors=True)
            if checkpoint.step_of(state.best_model_checkpoint) == state.global_step:
                state.best_model_checkpoint = None
            self.work.log.add("warning", **kept(Sentence("train.record.no_checkpoint_on_disk")))
        finally:
            state.best_global_step = best


def _disk_failed(error: Exception) -> bool:
    """Three libraries write a checkpoint, and each says in its own way that the disk would not take it."""
    text = str(error).lower()
    return isinstance(error, (OSError, SafetensorError)) or any(
        word in text for word in ("inline_container", "pytorchstreamwriter", "iostream error")
    )


class _Watcher(TrainerCallback):
    """Writes the run's events and progress, and ends the training when the user asks for it.

    stopped: whether that happened. chosen: once training is over, the step whose weights the model has.
    """

    def __init__(self, work: TrainingJob, group: Group, resumed: bool):
        self._work, self._group, self._resumed = work, group, resumed
        self._last_validation = -1
        self._since = 0.0
        self.stopped = False
        self.chosen: int | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        work = self._work
        if self._resumed:
            work.log.add("resumed", step=state.global_step)
        else:
            work.log.add(
                "begin",
                total_steps=state.max_steps,
                steps_per_epoch=work.steps_per_epoch,
                photos=len(work.train),
                device=str(work.classifier.device),
                processes=self._group.size,
            )

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        self._since = time.perf_counter()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        group = self._group
        if group.size == 1 or state.global_step % AGREE_STEPS == 0:
            self.stopped = group.tell(group.main and self._work.run.stop_requested())
        if self.stopped:
            control.should_training_stop = True
            control.should_save = True  # to go on from

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: object,
    ) -> None:
        if not logs or "loss" not in logs:
            return
        work, step = self._work, state.global_step
        finite(logs["loss"])
        work.log.add(
            "train",
            step=step,
            epoch=round(state.epoch, 4),
            loss=round(logs["loss"], 6),
            learning_rate=logs["learning_rate"],
            photos_per_second=round(self._photos(step) / max(time.perf_counter() - self._since, 1e-9), 2),
        )
        work.report(Progress(RunStatus.TRAINING, step, state.max_steps))

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **_: object,
    ) -> None:
        step = state.global_step
        if metrics is None or step <= self._last_validation or self.chosen not in (None, step):
            return  # the last look, at weights of an earlier step
        loss, accuracy = metrics["eval_loss"], metrics["eval_accuracy"]
        finite(loss)
        self._last_validation = step
        self._work.log.add("validation", step=step, loss=loss, accuracy=accuracy, side=self._work.sides[-1])
        if self._group.main:
            print(
                f"step {step}/{state.max_steps}  validation loss {loss:.4f}  accuracy {accuracy:.4f}",
                flush=True,
            )

    def _photos(self, step: int) -> int:
        """How many photos a step was made of; the last of an epoch has what is left."""
        size, photos = self._work.config.batch_size, len(self._work.train)
        return min(size, photos - (step - 1) % self._work.steps_per_epoch * size)


def _going_on(folder: Path) -> str | None:
    """The newest whole checkpoint. Those that are torn are removed, as Trainer would otherwise count them
    among those it keeps.
    """
    newest = checkpoint.newest_of_trainer(folder)
    for path in folder.glob("checkpoint-*"):
        if checkpoint.step_of(path) > checkpoint.step_of(newest):
            shutil.rmtree(path, ignore_errors=True)
    return str(newest) if newest else None


def _load_weights(model: PreTrainedModel, folder: Path) -> None:
    """The weights of a checkpoint, by the names that they have in memory.

    transformers writes them by the names of older versions. Trainer looks for those in the model, and
    where there are none it leaves the weights as they are, with no more than a warning.
    """
    saved = type(model).from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, local_files_only=True, trust_remote_code=False
    )
    model.load_state_dict(saved.state_dict())
