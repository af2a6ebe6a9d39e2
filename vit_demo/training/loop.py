"""The training loop: one config and one run folder in, one scored model out."""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import kornia.augmentation
import numpy as np
import torch

from vit_demo.data.sources import label_names, merge_train, open_dataset
from vit_demo.errors import UserError
from vit_demo.training.config import TrainingConfig
from vit_demo.training.evaluation import Evaluation, score
from vit_demo.training.finish import finish
from vit_demo.training.photos import Photos, prepare
from vit_demo.training.runs import SCRATCH_PREFIX, EventLog, Run
from vit_demo.training.work import Listener, Progress, Work, counter, sides_of
from vit_demo.vit import LeafClassifier, autocast

# Train losses are fetched from the device this often, so that no step waits for the log.
LOG_SECONDS = 0.5
GRADIENT_NORM = 1.0
DIVERGED = "The loss became infinite: the learning rate is too high. Start again with a lower one, such as 2e-4."


def fine_tune(run: Run, listener: Listener = lambda progress: None) -> dict:
    """Do the run: prepare the photos, train, keep the best model by validation loss, save and score it.

    Returns what the run's state holds as ``result``. Raises UserError for what a person can mend.
    The test photos are looked at once, after the model is saved.
    """
    started = time.time()
    config = run.config()
    log = EventLog(run)
    report = _reporter(run, listener)
    try:
        report(Progress("preparing", 0, 1, "Opening photos and model"))
        data = open_dataset(config.data, config.data_revision)
        if config.extra_data:
            data = merge_train(data, open_dataset(config.extra_data))
        classifier = LeafClassifier.open(config.model, revision=config.model_revision, device=config.device, labels=label_names(data))
        sides = sides_of(config, classifier)
        classifier.processor.size = {"height": sides[-1], "width": sides[-1]}
        with _scratch(run) as folder:
            train, validation = (
                prepare(data[split], classifier, (sides[-1], sides[-1]), folder / f"{split}.npy", counter(report, split))
                for split in ("train", "validation")
            )
            _log_broken(log, train, validation)
            stopped = _train(Work(run, config, classifier, train, validation, sides, log, report))
        return finish(run, classifier, data, report, started=started, stopped=stopped)
    finally:
        log.close()
        shutil.rmtree(run.folder / "model.new", ignore_errors=True)  # there only where saving or scoring failed


def _train(work: Work) -> bool:
    """Run all steps; leaves the best weights in the classifier. Returns whether it was stopped early."""
    config, classifier = work.config, work.classifier
    model, device = classifier.model, classifier.device
    torch.manual_seed(config.seed)
    if device.type == "cpu":
        # The fused kernel's backward is slow on CPUs: plain attention makes a step about a third faster.
        model.set_attn_implementation("eager")
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=device.type != "mps")
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _linear(work.total_steps, config.warmup))
    augment = {side: _augmentation(config, side) for side in work.sides}
    meter = _Meter(work)
    best = _Best()
    work.log.add("begin", total_steps=work.total_steps, steps_per_epoch=work.steps_per_epoch, photos=len(work.train), device=str(device))
    model.train()
    stopped = False
    for step, (batch, labels) in enumerate(_batches(work), start=1):
        side = work.sides[min(len(work.sides) - 1, (step - 1) * len(work.sides) // work.total_steps)]
        photos = augment[side](_at(batch.to(device, torch.float32) / 255, side))
        pixel_values = classifier.normalise(photos * 255)
        with autocast(device):
            logits = classifier.forward(pixel_values)
            loss = torch.nn.functional.cross_entropy(logits.float(), labels.to(device, non_blocking=True))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
        meter.step(step, loss.detach(), schedule.get_last_lr()[0], len(labels))
        optimizer.step()
        schedule.step()
        stopped = work.run.stop_requested()
        if step % work.evaluate_every == 0 or step == work.total_steps or stopped:
            meter.flush()
            if not stopped or best.weights is None:
                best.offer(step, _validate(work, step), model)
            meter.restart()
        if stopped:
            break
    model.load_state_dict(best.weights)
    model.eval()
    model.set_attn_implementation("sdpa")
    work.log.add("best", step=best.step, loss=best.loss)
    return stopped


def _batches(work: Work) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Shuffled batches of all epochs: uint8 (B, 3, H, W) and labels (B,). The order depends on the seed alone."""
    for epoch in range(work.config.epochs):
        order = np.random.default_rng([work.config.seed, epoch]).permutation(len(work.train))
        for start in range(0, len(order), work.config.batch_size):
            rows = order[start : start + work.config.batch_size]
            yield torch.from_numpy(work.train.pixels[rows]), torch.from_numpy(work.train.labels[rows])


def _at(photos: torch.Tensor, side: int) -> torch.Tensor:
    """Shrink a batch for an early, coarse part of the run."""
    if photos.shape[-1] == side:
        return photos
    return torch.nn.functional.interpolate(photos, size=(side, side), mode="bilinear", antialias=True)


def _augmentation(config: TrainingConfig, side: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Random changes of a batch (B, 3, side, side) of values 0 to 1, each photo by its own."""
    if config.augment == "none":
        return lambda photos: photos
    steps = [kornia.augmentation.RandomHorizontalFlip(), kornia.augmentation.RandomVerticalFlip()]
    if config.augment == "strong":
        steps += [
            kornia.augmentation.RandomRotation90(times=(0, 3), p=1.0),
            kornia.augmentation.RandomResizedCrop((side, side), scale=(0.6, 1.0), ratio=(0.8, 1.25)),
            kornia.augmentation.ColorJiggle(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02),
        ]
    return kornia.augmentation.AugmentationSequential(*steps, data_keys=["input"])


def _linear(total: int, warmup: float) -> Callable[[int], float]:
    """The factor on the learning rate at a step: up from 0 over the warm-up, then linearly down to 0."""
    rising = round(total * warmup)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        return max(0.0, (total - step) / max(1, total - rising))

    return factor


def _validate(work: Work, step: int) -> Evaluation:
    model = work.classifier.model
    model.eval()
    logits = work.classifier.logits(torch.from_numpy(work.validation.pixels))
    model.train()
    result = score(logits, work.validation.labels, work.classifier.labels)
    if not math.isfinite(result.loss):  # the last step broke the weights, and no train loss will follow to show it
        raise UserError(DIVERGED)
    work.log.add("validation", step=step, loss=result.loss, accuracy=result.accuracy)
    print(f"step {step}/{work.total_steps}  validation loss {result.loss:.4f}  accuracy {result.accuracy:.4f}", flush=True)
    return result


class _Best:
    """The weights with the lowest validation loss so far, kept on the CPU."""

    def __init__(self) -> None:
        self.loss = math.inf
        self.step = 0
        self.weights: dict[str, torch.Tensor] | None = None

    def offer(self, step: int, result: Evaluation, model: torch.nn.Module) -> None:
        if self.weights is None or result.loss < self.loss:
            self.loss, self.step = result.loss, step
            self.weights = {name: tensor.detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()}


class _Meter:
    """Collects train losses on the device and writes them out in lots."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._waiting: list[tuple[int, torch.Tensor, float, int]] = []
        self._rate = 0.0
        self.restart()

    def restart(self) -> None:
        """Start the clock anew, so that time spent on validation does not count as training."""
        self._since = time.perf_counter()

    def step(self, step: int, loss: torch.Tensor, learning_rate: float, photos: int) -> None:
        self._waiting.append((step, loss, learning_rate, photos))
        if time.perf_counter() - self._since >= LOG_SECONDS:
            self.flush()
            self.restart()

    def flush(self) -> None:
        if not self._waiting:
            return
        losses = torch.stack([loss for _, loss, _, _ in self._waiting]).tolist()
        if not all(map(math.isfinite, losses)):
            raise UserError(DIVERGED)
        photos = sum(photos for *_, photos in self._waiting)
        rate = photos / max(time.perf_counter() - self._since, 1e-9)
        work = self._work
        for (step, _, learning_rate, _), loss in zip(self._waiting, losses):
            work.log.add(
                "train", step=step, epoch=round(step / work.steps_per_epoch, 4), loss=round(loss, 6),
                learning_rate=learning_rate, photos_per_second=round(rate, 2),
            )
        last = self._waiting[-1][0]
        self._waiting.clear()
        work.report(Progress("training", last, work.total_steps))


@contextlib.contextmanager
def _scratch(run: Run) -> Iterator[Path]:
    """A folder for the prepared photos, gone when the training is over."""
    with tempfile.TemporaryDirectory(prefix=SCRATCH_PREFIX, dir=run.folder) as folder:
        yield Path(folder)


def _reporter(run: Run, listener: Listener) -> Listener:
    def report(progress: Progress) -> None:
        run.set_state(status=progress.status, done=progress.done, total=progress.total, message=progress.message)
        listener(progress)

    return report


def _log_broken(log: EventLog, *parts: Photos) -> None:
    broken = [path for part in parts for path in part.broken]
    if broken:
        log.add("warning", message=f"{len(broken)} photos cannot be read and are left out.", paths=broken[:100])
        print(f"{len(broken)} photos cannot be read and are left out, the first is {broken[0]}", flush=True)
