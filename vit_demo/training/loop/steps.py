"""Our own training steps: no wait for the device, small photos first, and every step can be done again.

Whatever is random in a step is drawn from a generator seeded by the run's seed and the step's number,
and for the photos of all processes together. So a run that goes on from a checkpoint, and a run on
several processes, walk the same way as one that was never broken off.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from vit_demo.common.errors import UserError
from vit_demo.common.words import Sentence
from vit_demo.training.job import TrainingJob
from vit_demo.training.loop.augment import at, augmentation, kept_patches
from vit_demo.training.loop.forward import forward_of
from vit_demo.training.loop.kept_weights import AverageWeights, BestWeights, trainable
from vit_demo.training.loop.loss_logger import LossLogger, finite
from vit_demo.training.loop.optimizer import make_optimizer, set_moments
from vit_demo.training.loop.processes import Group, current
from vit_demo.training.loop.schedule import evaluation_steps, rate, rows_of, side_at
from vit_demo.training.run import checkpoint as checkpoints
from vit_demo.training.run.checkpoint import Checkpoint
from vit_demo.training.run.notes import kept

if TYPE_CHECKING:
    from vit_demo.training.film.recorder import Film

GRADIENT_NORM = 1.0
# Checkpoints come about this often, but take at most this share of the time.
CHECKPOINT_SECONDS = 60.0
CHECKPOINT_SHARE = 0.03
VALIDATION_BATCH = 32
# The film has a frame at each of these looks, and about so many evenly over the run.
FILM_FRAMES = 8
# Several processes must end at the same step: they ask the main one this often.
AGREE_STEPS = 10


def train(work: TrainingJob) -> bool:
    """Do all steps, from the run's checkpoint on if there is one; leaves the best weights in the classifier.

    Returns whether the user stopped it. The best are those with the lowest validation loss among the
    evaluations at the final photo size.
    """
    return _Loop(work, current()).run()


class _Loop:
    """The state of a training between two steps."""

    def __init__(self, work: TrainingJob, group: Group):
        self.work, self.group, self.config = work, group, work.config
        self.classifier, self.model, self.device = (
            work.classifier,
            work.classifier.model,
            work.classifier.device,
        )
        if self.config.freeze:
            self.classifier.freeze_encoder()
        elif self.config.attention_only and not self.classifier.feature_channels:
            self.classifier.freeze_mlps()
        self.optimizer = make_optimizer(self.config, self.model)
        self.start = trainable(self.model) if self.config.overshoot else {}
        self.forward = forward_of(self.classifier, self.config.precision)
        self.augment = {side: augmentation(self.config.augment, side) for side in work.sides}
        self.average = AverageWeights(self.config.average, self.model)
        self.best = BestWeights()
        self.losses = LossLogger(work)
        self.film = _film(work) if group.main else None
        self.evaluations = evaluation_steps(work)
        self.frames = {round(frame * work.total_steps / FILM_FRAMES) for frame in range(1, FILM_FRAMES)}
        self._saves = _Saves(self.config.checkpoint_every)
        self._earlier = 0.0  # seconds of earlier sittings
        self._began = time.monotonic()

    def run(self) -> bool:
        work = self.work
        first = self._resume()
        if first == 1:
            work.log.add(
                "begin",
                total_steps=work.total_steps,
                steps_per_epoch=work.steps_per_epoch,
                photos=len(work.train),
                device=str(self.device),
                processes=self.group.size,
            )
            self._show(0)
        self._train_mode()
        stopped = out_of_time = False
        for step in range(first, work.total_steps + 1):
            self._step(step)
            if self.group.size == 1 or step % AGREE_STEPS == 0:
                stopped, out_of_time = self.group.tell(
                    (work.run.stop_requested(), self._out_of_time()) if self.group.main else None
                )
            if step in self.evaluations:
                self._evaluate(step)
            elif step in self.frames:
                self._show(step)
            tired = self.config.patience > 0 and self.best.since >= self.config.patience
            if (stopped or self._saves.due(step)) and step < work.total_steps:
                self._save(step)
            if stopped or out_of_time or tired:
                if not self.best.weights:
                    self._evaluate(step, work.sides[-1])
                if not stopped:
                    self._say_why(step, tired)
                break
        self.losses.flush()
        stopped = stopped and step < work.total_steps
        self.model.load_state_dict(self.best.weights)
        self.model.eval()
        moved_on = bool(self.start) and not stopped and self._extrapolate()
        self.model.requires_grad_(True)
        work.log.add(
            "best",
            step=self.best.step,
            loss=self.best.loss,
            overshoot=self.config.overshoot if moved_on else 0.0,
        )
        return stopped

    def _step(self, step: int) -> None:
        rows = rows_of(self.config, len(self.work.train), step)
        here = self.group.part(len(rows))
        torch.manual_seed(_seed(self.config.seed, step))
        side = side_at(self.work, step)
        batch = at(self.work.train.pixels[rows], side).to(self.device, non_blocking=True)
        labels = torch.from_numpy(self.work.train.labels[rows[here]]).to(self.device, non_blocking=True)
        photos = self.augment[side](batch)[here]
        # Small photos have few patches as it is.
        share = self.config.patch_dropout if side == self.work.sides[-1] else 0.0
        kept = kept_patches(len(rows), (side // self.classifier.patch_size) ** 2, share)
        for group in self.optimizer.param_groups:
            group["lr"] = group["highest"] * rate(step, self.work.total_steps, self.config.warmup)
        self.optimizer.zero_grad(set_to_none=True)
        if len(labels):
            logits = self.forward(photos, None if kept is None else kept[here])
            each = torch.nn.functional.cross_entropy(
                logits, labels, label_smoothing=self.config.label_smoothing, reduction="sum"
            )
            loss = each / len(rows)
            loss.backward()
            loss = loss.detach()
        else:  # fewer photos than processes
            loss = torch.zeros((), device=self.device)
        self._share_gradients(loss)
        torch.nn.utils.clip_grad_norm_(
            [parameter for parameter in self.model.parameters() if parameter.grad is not None], GRADIENT_NORM
        )
        self.losses.step(
            step,
            loss,
            self.config.learning_rate * rate(step, self.work.total_steps, self.config.warmup),
            len(rows),
        )
        self.optimizer.step()
        self.average.update(step)

    def _share_gradients(self, loss: torch.Tensor) -> None:
        if self.group.size == 1:
            return
        gradients = []
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(parameter.grad)
        self.group.sum([*gradients, loss])

    def _evaluate(self, step: int, side: int | None = None) -> None:
        """Score the validation photos at the size of this part of the run; only at the last size it counts
        for the best.
        """
        side = side or side_at(self.work, step)
        self.losses.flush()
        with self.average.in_place():
            self.model.eval()
            loss, accuracy = self._score(side)
            finite(loss)  # the last step may have broken the weights, and no train loss follows to show it
            if side == self.work.sides[-1]:
                self.best.offer(step, loss, self.model)
            self._record(step)  # first, so that who reads of this evaluation finds its frame
            self.work.log.add("validation", step=step, loss=loss, accuracy=accuracy, side=side)
            if self.group.main:
                print(
                    f"step {step}/{self.work.total_steps}  validation loss {loss:.4f}  accuracy"
                    f" {accuracy:.4f}",
                    flush=True,
                )
        self._train_mode()
        self.losses.restart()

    def _extrapolate(self) -> bool:
        """Move the best weights on, away from where they began, and leave them there where validation has a
        lower loss; returns whether it has.
        """
        model, best = self.model, self.best
        with torch.no_grad():
            for name, end in trainable(model).items():
                model.get_parameter(name).copy_(torch.lerp(self.start[name], end, 1 + self.config.overshoot))
        loss, accuracy = self._score(self.work.sides[-1])
        better = loss < best.loss
        if self.group.main:
            print(
                f"weights moved on by {self.config.overshoot:.0%}  validation loss {loss:.4f}  accuracy"
                f" {accuracy:.4f}  {'kept' if better else 'not kept'}",
                flush=True,
            )
        if better:
            best.loss = loss
        else:
            model.load_state_dict(best.weights)
        return better

    def _score(self, side: int) -> tuple[float, float]:
        """Loss and accuracy of the model as it is on the validation photos, of all processes together."""
        photos, labels = self.work.validation.pixels, self.work.validation.labels
        here = self.group.part(len(labels))
        logits = self.group.gather(self._logits(photos[here], side))
        loss = float(torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels)))
        return loss, float((logits.argmax(dim=-1).numpy() == labels).mean())

    @torch.inference_mode()
    def _logits(self, photos: np.ndarray, side: int) -> torch.Tensor:
        parts = [torch.empty(0, len(self.classifier.labels))]
        for start in range(0, len(photos), VALIDATION_BATCH):
            batch = at(photos[start : start + VALIDATION_BATCH], side)
            parts.append(self.forward(batch.to(self.device), None).cpu())
        return torch.cat(parts)

    def _show(self, step: int) -> None:
        """A frame of the film, at a step where validation is not looked at."""
        if self.film is None:
            return
        self.losses.flush()
        with self.average.in_place():
            self.model.eval()
            self._record(step)
        self._train_mode()
        self.losses.restart()

    def _record(self, step: int) -> None:
        if self.film is not None:
            self.film.record(step)

    def _train_mode(self) -> None:
        self.model.train()
        if self.config.freeze:
            self.classifier.freeze_encoder()

    def _out_of_time(self) -> bool:
        return bool(self.config.time_limit) and self._seconds() >= 60 * self.config.time_limit

    def _say_why(self, step: int, tired: bool) -> None:
        where = {"step": step, "steps": self.work.total_steps}
        patience = Sentence("train.record.patience_over", {**where, "count": self.config.patience})
        self._warn(
            patience
            if tired
            else Sentence("train.record.time_over", {**where, "minutes": self.config.time_limit})
        )

    def _warn(self, said: Sentence) -> None:
        self.work.log.add("warning", **kept(said))

    def _seconds(self) -> float:
        return self._earlier + time.monotonic() - self._began

    # Going on later

    def _save(self, step: int) -> None:
        if not self.group.main:
            return
        began = time.monotonic()
        self.losses.flush()
        names: dict[torch.Tensor, str] = {
            parameter: name for name, parameter in self.model.named_parameters()
        }
        moments = {
            f"{moment}.{names[parameter]}": state[moment]
            for parameter, state in self.optimizer.state.items()
            for moment in ("exp_avg", "exp_avg_sq")
        }
        best = self.best
        try:
            checkpoints.save(
                self.work.run,
                Checkpoint(
                    step=step,
                    best_loss=best.loss if best.weights else None,
                    best_step=best.step,
                    since_best=best.since,
                    seconds=self._seconds(),
                    weights=self.model.state_dict(),
                    optimizer=moments,
                    best=best.weights,
                    average=self.average.weights,
                ),
            )
        except OSError as error:
            if self._saves.worked:
                self._warn(Sentence("train.record.no_checkpoint", {"reason": error.strerror or str(error)}))
            self._saves.worked = False
        else:
            self._saves.worked = True
        self._saves.took(time.monotonic() - began)
        self.losses.restart()

    def _resume(self) -> int:
        """Take up the checkpoint where there is one; returns the number of the next step."""
        own = checkpoints.load(self.work.run) if self.group.main else None
        found: Checkpoint | None = self.group.tell(own)
        if found is None:
            if self.group.main and checkpoints.exists(self.work.run):
                self._warn(Sentence("train.record.checkpoint_unread"))
            return 1
        try:
            self.model.load_state_dict(found.weights)
            set_moments(self.optimizer, self.model, found)
            self.average.load(found.average)
        except (RuntimeError, KeyError):
            raise UserError("error.training.checkpoint_unfit") from None
        loss = math.inf if found.best_loss is None else found.best_loss
        self.best = BestWeights(loss, found.best_step, found.since_best, found.best)
        self._earlier = found.seconds
        self.work.log.add("resumed", step=found.step)
        return found.step + 1


class _Saves:
    """When the next checkpoint is due: every so many steps, or with 0 by the clock. worked: the last one
    could be written.
    """

    def __init__(self, every: int):
        self._every = every
        self._next = time.monotonic() + CHECKPOINT_SECONDS
        self.worked = True

    def due(self, step: int) -> bool:
        return step % self._every == 0 if self._every else time.monotonic() >= self._next

    def took(self, seconds: float) -> None:
        self._next = time.monotonic() + max(CHECKPOINT_SECONDS, seconds / CHECKPOINT_SHARE)


def _seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)


def _film(work: TrainingJob) -> Film | None:
    if not work.config.film:
        return None
    from vit_demo.training.film.recorder import Film

    return Film(work)
