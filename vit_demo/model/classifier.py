"""The core: a ViT image classifier, its image processor and its labels, as one thing.

Everything else in the project goes through :class:`LeafClassifier`: training starts from one and
ends in one, explanations look into one, diagnoses ask one. Photos are prepared in exactly one
place (:meth:`LeafClassifier.resize` then :meth:`LeafClassifier.normalise`).
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from vit_demo import collector_paused
from vit_demo.common.errors import UserError
from vit_demo.model import checkpoints
from vit_demo.model.readout import Readout

with collector_paused():
    import torch
    from transformers import ViTForImageClassification, ViTImageProcessorPil
    from transformers.utils import logging as transformers_logging

    from vit_demo.model import hybrid as hybrids

# Shards stay under the size that a Space takes without large-file storage.
MAX_SHARD_SIZE = "8MB"
HEAD_INITS = ("zero", "normal")


@dataclass(frozen=True)
class ProcessorStep:
    """One step of the image processor on one photo, for people to look at.

    values: float or uint8 array (3, H, W), as the next step receives it.
    """

    name: str
    values: np.ndarray


class LeafClassifier:
    """``ViTForImageClassification`` with the processor that prepares its photos and its class names.

    model: in fp32, in eval mode, on ``device``. processor: resizes, rescales and normalises.
    checkpoint: where it was opened from.
    """

    def __init__(
        self,
        model: ViTForImageClassification,
        processor: ViTImageProcessorPil,
        checkpoint: checkpoints.Checkpoint,
    ):
        self.model: ViTForImageClassification = model.eval()
        self.processor = processor
        self.checkpoint = checkpoint

    @classmethod
    def open(
        cls,
        spec: str | Path | None = None,
        *,
        revision: str | None = None,
        device: str | None = None,
        labels: Sequence[str] | None = None,
        hybrid: str | Path | None = None,
        head_init: str = "zero",
    ) -> LeafClassifier:
        """Open a checkpoint (see :func:`vit_demo.model.checkpoints.locate`), a plain ViT or a CNN hybrid.

        labels: None keeps the checkpoint's own head and raises UserError where it has none.
        A list gives a new head for these classes; a checkpoint that already knows exactly these
        classes keeps its head. head_init: "zero" for weights and biases of zero as in the ViT paper
        (Dosovitskiy et al. 2021, section 3.2), so that every class starts equally likely; "normal" for
        weights drawn with a deviation of 0.02 from torch's generator.
        hybrid: None opens what is there. "new" or a ResNet (a folder, or its name on the Hub) replaces the
        patch embedding of a plain ViT: see :func:`vit_demo.model.hybrid.make_hybrid`.
        """
        found = checkpoints.locate(spec, revision)
        if labels is None and not found.has_head:
            raise UserError("error.model.no_classes", name=found.name)
        if head_init not in HEAD_INITS:
            raise UserError("error.model.head_init", one=HEAD_INITS[0], other=HEAD_INITS[1], given=head_init)
        if hybrid and found.is_hybrid:
            raise UserError("error.model.hybrid_already", name=found.name)
        resnet = checkpoints.locate_resnet(hybrid) if hybrid and hybrid != hybrids.NEW else None
        fresh_head = labels is not None and tuple(labels) != found.labels
        with _quiet_transformers():
            model, processor = _load(found, labels if fresh_head else None)
            if hybrid:
                model = hybrids.make_hybrid(model, processor, resnet)
        if fresh_head:
            head = cast("torch.nn.Linear", model.classifier)
            torch.nn.init.zeros_(head.weight)
            torch.nn.init.zeros_(head.bias)
            if head_init == "normal":
                torch.nn.init.normal_(head.weight, std=0.02)
        try:
            cast("torch.nn.Module", model).to(device or best_device())
        except (AssertionError, RuntimeError, NotImplementedError):  # torch has one for each backend it lacks
            raise UserError("error.model.device", device=str(device)) from None
        opened = cls(model, processor, found)
        opened._try_processor()
        return opened

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def labels(self) -> list[str]:
        """Class names in the order of the logits."""
        id2label = cast("dict[int, str]", self.model.config.id2label)  # as every config turns it into
        return [id2label[index] for index in range(len(id2label))]

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return int(cast("int", self.model.config.patch_size))

    @property
    def feature_channels(self) -> int | None:
        """Channels of the CNN feature map that a hybrid's tokens come from; None for a plain ViT."""
        return (
            self.model.vit.embeddings.patch_embeddings.projection.in_channels
            if isinstance(self.model.config, hybrids.HybridViTConfig)
            else None
        )

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels that photos are resized to."""
        size = self.processor.size
        return int(size["height"]), int(size["width"])

    def resize(self, photos: Sequence[Image.Image], size: tuple[int, int] | None = None) -> torch.Tensor:
        """Photos of any size and mode to a uint8 tensor (B, 3, H, W) on the CPU, by the processor's own
        resampling.
        """
        height, width = size or self.image_size
        # What the processor does, without its way from picture to array to picture and back, which takes
        # longer than the resizing.
        resample = Image.Resampling.BILINEAR if self.processor.resample is None else self.processor.resample
        resized = [
            np.asarray(
                (photo if photo.mode == "RGB" else photo.convert("RGB")).resize((width, height), resample)
            )
            for photo in photos
        ]
        return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).contiguous()

    def normalise(self, resized: torch.Tensor) -> torch.Tensor:
        """Values 0..255 (B, 3, H, W) to float32 on the model's device: (value * rescale_factor - mean) /
        std.
        """
        processor = self.processor
        values = resized.to(self.device, dtype=torch.float32, non_blocking=True)
        if processor.do_rescale:
            values = values * processor.rescale_factor
        if processor.do_normalize:
            mean = torch.tensor(processor.image_mean, device=self.device).view(1, -1, 1, 1)
            std = torch.tensor(processor.image_std, device=self.device).view(1, -1, 1, 1)
            values = (values - mean) / std
        return values

    def preprocess(self, photos: Sequence[Image.Image], size: tuple[int, int] | None = None) -> torch.Tensor:
        """Photos to ``pixel_values``, float32 (B, 3, H, W) on the model's device."""
        return self.normalise(self.resize(photos, size))

    def processor_steps(self, photo: Image.Image) -> list[ProcessorStep]:
        """The photo after each step of the processor: resized (0..255), rescaled (0..1), normalised."""
        resized = self.resize([photo])
        rescaled = resized.to(torch.float32) * (
            self.processor.rescale_factor if self.processor.do_rescale else 1
        )
        normalised = self.normalise(resized).cpu()
        named = (("resized", resized), ("rescaled", rescaled), ("normalised", normalised))
        return [ProcessorStep(name, tensor[0].numpy()) for name, tensor in named]

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Logits (B, C) for ``pixel_values`` (B, 3, H, W); keeps gradients, dtype as autocast has it.

        At another size than the model's own the position embeddings are interpolated in 2D
        (Dosovitskiy et al. 2021, section 3.2).
        """
        logits: torch.Tensor = self.model(
            pixel_values, interpolate_pos_encoding=self.needs_interpolation(pixel_values)
        ).logits
        return logits

    @torch.inference_mode()
    def forward_fast(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Logits float32 (B, C) without gradients, computed in bf16 where that is faster."""
        with autocast(self.device):
            return self.forward(pixel_values).float()

    def needs_interpolation(self, pixel_values: torch.Tensor) -> bool:
        """Whether these pixels are of another size than the position embeddings were learned for."""
        size = self.model.config.image_size
        own = tuple(size) if isinstance(size, (list, tuple)) else (size, size)
        return tuple(pixel_values.shape[-2:]) != own

    @torch.inference_mode()
    def logits(self, photos: Sequence[Image.Image] | torch.Tensor, batch_size: int = 16) -> torch.Tensor:
        """Scores before softmax, float32 (B, C) on the CPU.

        photos: PIL images, or a uint8 tensor (B, 3, H, W) from :meth:`resize`.
        """
        parts = [self.forward_fast(batch).cpu() for batch in self._batches(photos, batch_size)]
        return torch.cat(parts) if parts else torch.empty(0, len(self.labels))

    def probabilities(
        self, photos: Sequence[Image.Image] | torch.Tensor, batch_size: int = 16
    ) -> torch.Tensor:
        """Softmax of the logits, float32 (B, C) on the CPU, rows sum to 1."""
        return self.logits(photos, batch_size).softmax(dim=-1)

    @torch.inference_mode()
    def features(self, photos: Sequence[Image.Image] | torch.Tensor, batch_size: int = 16) -> torch.Tensor:
        """The [CLS] token after the last layer norm, what the head sees; float32 (B, hidden size) on the
        CPU.
        """
        parts = []
        for pixel_values in self._batches(photos, batch_size):
            with autocast(self.device):
                hidden = self.model.vit(
                    pixel_values, interpolate_pos_encoding=self.needs_interpolation(pixel_values)
                )
            parts.append(hidden.last_hidden_state[:, 0].float().cpu())
        return torch.cat(parts) if parts else torch.empty(0, self.model.config.hidden_size)

    @property
    def blocks(self) -> int:
        """How many blocks the encoder has."""
        return len(self.model.vit.layers)

    @torch.inference_mode()
    def logits_and_features(
        self, photos: Sequence[Image.Image] | torch.Tensor, readout: Readout, batch_size: int = 16
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits as :meth:`logits` gives them and, from the same forward, the features of a readout.

        readout: after 1 to :attr:`blocks` blocks. Returns float32 (B, C) and (B, hidden size) on the CPU.
        """
        logits: list[torch.Tensor] = []
        features: list[torch.Tensor] = []
        # The model is shared: the forward of another thread passes the same hook.
        owner = threading.get_ident()

        def keep(_module: torch.nn.Module, _inputs: tuple[torch.Tensor, ...], hidden: torch.Tensor) -> None:
            if threading.get_ident() == owner:
                features.append(readout.of(hidden).cpu())

        handle = self.model.vit.layers[readout.layer - 1].register_forward_hook(keep)
        try:
            logits += [self.forward_fast(batch).cpu() for batch in self._batches(photos, batch_size)]
        finally:
            handle.remove()
        if not logits:
            return torch.empty(0, len(self.labels)), torch.empty(0, self.model.config.hidden_size)
        return torch.cat(logits), torch.cat(features)

    def freeze_encoder(self) -> None:
        """Let the head alone learn (a linear probe), with the encoder as in use: no dropout, no new
        statistics.

        Call it again after each ``model.train()``, which puts the encoder back into training mode.
        """
        self.model.requires_grad_(False)
        self.model.classifier.requires_grad_(True)
        self.model.vit.eval()

    def freeze_mlps(self) -> None:
        """Let all learn but the MLPs of the encoder's blocks."""
        for block in self.model.vit.layers:
            block.mlp.requires_grad_(False)

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write model (safetensors, in ``dtype``), config and processor into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        # Of an earlier model in this folder, one big file would be read in place of the new shards.
        # What was fitted for it would be wrong for this one.
        for stale in (checkpoints.WEIGHTS, checkpoints.INDEX, checkpoints.ABSTENTION):
            (folder / stale).unlink(missing_ok=True)
        learned = dict(self.model.named_parameters())
        # Statistics and counters of a CNN are no weights: they keep the type in which they fit.
        state = {
            name: tensor.detach().to("cpu", dtype if name in learned else tensor.dtype).contiguous()
            for name, tensor in self.model.state_dict().items()
        }
        with _quiet_transformers():
            self.model.save_pretrained(folder, state_dict=state, max_shard_size=MAX_SHARD_SIZE)
            self.processor.save_pretrained(folder)

    def _try_processor(self) -> None:
        """Raise UserError unless the processor turns any photo into what the model takes, on a photo that is
        not square.
        """
        try:
            # do_center_crop: every processor has it, though this class does not name it.
            fits = self.processor.do_resize and not cast("Any", self.processor).do_center_crop
            fits = fits and min(self.image_size) >= self.patch_size and self.model.config.num_channels == 3
            pixel_values = self.preprocess([Image.new("RGB", (48, 32))])
            fits = (
                fits
                and pixel_values.shape == (1, 3, *self.image_size)
                and bool(pixel_values.isfinite().all())
            )
        except Exception:  # as above: any value may stand in a preprocessor_config.json
            fits = False
        if not fits:
            raise UserError("error.model.processor", name=self.checkpoint.name)

    def _batches(
        self, photos: Sequence[Image.Image] | torch.Tensor, batch_size: int
    ) -> Iterator[torch.Tensor]:
        for start in range(0, len(photos), batch_size):
            batch = photos[start : start + batch_size]
            yield self.normalise(batch) if isinstance(batch, torch.Tensor) else self.preprocess(batch)


def best_device() -> str:
    """cuda where there is one, else mps, else cpu."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


@functools.cache
def bf16_is_faster(device_type: str) -> bool:
    """Whether bfloat16 has hardware of its own here: emulated, it is slower than fp32."""
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device_type == "cpu":
        abilities = torch.cpu.get_capabilities()
        return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16") or abilities.get("bf16"))
    return False


def autocast(device: torch.device) -> torch.autocast | contextlib.nullcontext[None]:
    """bf16 autocast where it is faster, else nothing."""
    if bf16_is_faster(device.type):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def _load(
    found: checkpoints.Checkpoint, labels: Sequence[str] | None
) -> tuple[ViTForImageClassification, ViTImageProcessorPil]:
    """Model and processor of a checkpoint; labels: of a fresh head, whose weights are anything, or None to
    keep its own.
    """
    options = _new_labels(labels) if labels is not None else {}
    kind = checkpoints.KINDS[found.kind].model_class()
    try:
        model, loading = cast(
            "tuple[ViTForImageClassification, dict[str, Any]]",  # with output_loading_info
            kind.from_pretrained(
                found.folder,
                dtype=torch.float32,
                use_safetensors=True,
                ignore_mismatched_sizes=bool(options),
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                **options,
            ),
        )
        processor = ViTImageProcessorPil.from_pretrained(found.folder, local_files_only=True)
    except (
        Exception
    ) as error:  # a config made by others can trip transformers anywhere, down to a division by zero
        raise UserError("error.model.files", name=found.name, error=type(error).__name__) from error
    # transformers fills what it does not find with random numbers: right for a new head, wrong for all else.
    random = {*loading["missing_keys"], *(key for key, *_ in loading["mismatched_keys"])}
    lost = [key for key in random if not (options and key.startswith("classifier."))]
    if lost:
        raise checkpoints.incomplete(found.name, len(lost))
    return model, processor


def _new_labels(labels: Sequence[str]) -> dict[str, Any]:
    if len(labels) < 2:
        raise UserError("error.model.two_classes")
    return {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
    }


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """No progress bars and no notes about the new head: both are expected here and read like errors."""
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
