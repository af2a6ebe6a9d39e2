"""Who computes the forward of a diagnosis: torch, or an exported model in onnxruntime.

All engines give the same two answers as :class:`vit_demo.vit.LeafClassifier`, which is one itself: the probabilities, or the logits
with the [CLS] token that ``abstention`` judges. The class and :func:`engine_of` decide only how fast they come.
"""

from __future__ import annotations

import threading
import weakref
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear
from transformers.activations import GELUActivation

from vit_demo import hybrid, vit
from vit_demo.encoder import GELU, PLAIN, onednn_fuses
from vit_demo.errors import UserError
from vit_demo.vit import LeafClassifier

ENGINES = ("torch", "onnx", "onnx-int8")
# The file of an export that each engine reads.
FILES = {"onnx": "model.onnx", "onnx-int8": "model-int8.onnx"}
# Of the values of a pixel, 0 to 255.
MIDDLE = 128


class Engine(Protocol):
    """Gives the answers for uint8 photos (B, 3, H, W) from :meth:`vit_demo.vit.LeafClassifier.resize`."""

    def probabilities(self, photos: Tensor) -> Tensor:
        """Softmax of the logits, float32 (B, C)."""

    def logits_and_tokens(self, photos: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Logits (B, C) and the [CLS] token after ``layer`` blocks (B, hidden size), both float32 on the CPU."""


class CpuEngine:
    """The forward of a plain ViT in bfloat16, as autocast computes it, with all that need not be done at each photo done once.

    Under autocast each forward casts all weights anew and runs three products for queries, keys and values; here the weights are kept in
    bfloat16 and the three are one. Patches are cut and projected as one product too, whose weights normalise the pixels, GELU is computed
    in passing where it can be, and of the last block only [CLS] is computed. The residual stream and the norms stay in float32. It keeps
    no state between calls, so threads may share it.
    """

    def __init__(self, classifier: LeafClassifier):
        model = classifier.model
        self._classifier = weakref.proxy(classifier)
        self._parameters = list(model.parameters())
        self._stamp = self._versions()
        embeddings = model.vit.embeddings
        projection = embeddings.patch_embeddings.projection
        with torch.no_grad():
            self._patches = _Linear(*_from_bytes(classifier, projection))
            positions = embeddings.position_embeddings.detach()
            self._first = embeddings.cls_token.detach() + positions[:, :1]
            self._positions = positions[:, 1:].clone()
        self._blocks = [_Block(block) for block in model.vit.layers]

    @staticmethod
    def fits(classifier: LeafClassifier) -> bool:
        """Whether this model, where it is, can be computed so, and faster."""
        model = classifier.model
        own_size = model.config.image_size
        own_size = tuple(own_size) if isinstance(own_size, (list, tuple)) else (own_size, own_size)
        plain = not isinstance(model.config, hybrid.HybridViTConfig) and own_size == classifier.image_size
        return plain and classifier.device.type == "cpu" and vit.bf16_is_faster("cpu")

    def is_current(self) -> bool:
        """Whether no weight has changed since they were cast."""
        return self._stamp == self._versions()

    def probabilities(self, photos: Tensor) -> Tensor:
        return self.logits_and_tokens(photos, 1)[0].softmax(dim=-1)

    @torch.inference_mode()
    def logits_and_tokens(self, photos: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        model = self._classifier.model
        tokens = self._embed(photos)
        kept = tokens[:, 0]
        for number, block in enumerate(self._blocks, start=1):
            tokens = block(tokens, cls_only=number == len(self._blocks))
            if number == layer:
                kept = tokens[:, 0].clone()
        return model.classifier(model.vit.layernorm(tokens[:, 0])), kept

    def _embed(self, photos: Tensor) -> Tensor:
        """Patches of P x P pixels as rows (B, N, 3 P P), in the order of the convolution's weights, projected; (B, 1 + N, D)."""
        side, count = self._classifier.patch_size, len(photos)
        rows, columns = (length // side for length in photos.shape[2:])
        cut = photos[..., : rows * side, : columns * side].unflatten(3, (columns, side)).unflatten(2, (rows, side))
        cut = cut.permute(0, 2, 4, 1, 3, 5).reshape(count, rows * columns, -1).to(torch.bfloat16).sub_(MIDDLE)
        patches = self._patches(cut)
        return torch.cat([self._first.expand(count, -1, -1), patches + self._positions], dim=1)

    def _versions(self) -> int:
        """Grows with each change in place of any weight."""
        return sum(parameter._version for parameter in self._parameters)


class _Block:
    """One block of the encoder (Vaswani et al. 2017, eq. 1) on float32 tokens (B, T, D), its weights in bfloat16."""

    def __init__(self, block: nn.Module):
        attention, mlp = block.attention, block.mlp
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        # The queries' share comes scaled, so that no product has to be.
        scales = (attention.scaling, 1.0, 1.0)
        bias = None if parts[0].bias is None else torch.cat([part.bias * scale for part, scale in zip(parts, scales)])
        self.head_dim = attention.head_dim
        self.inwards = _Linear(torch.cat([part.weight * scale for part, scale in zip(parts, scales)]), bias)
        self.outwards = _Linear(attention.o_proj.weight, attention.o_proj.bias)
        self.up, self.down = _Linear(mlp.fc1.weight, mlp.fc1.bias, mlp.activation_fn), _Linear(mlp.fc2.weight, mlp.fc2.bias)
        self.before, self.after = block.layernorm_before, block.layernorm_after

    def __call__(self, tokens: Tensor, cls_only: bool) -> Tensor:
        """The new tokens, (B, T, D); with ``cls_only`` the first of them, (B, 1, D)."""
        projected = self.inwards(_normed(self.before, tokens))
        query, key, value = projected.unflatten(-1, (3, -1, self.head_dim)).permute(2, 0, 3, 1, 4)
        if cls_only:
            query, tokens = query[:, :, :1], tokens[:, :1]
        # Plain, since fused attention is slower on CPUs at these sizes.
        mixed = (query @ key.transpose(-1, -2)).softmax(dim=-1) @ value
        tokens = tokens + self.outwards(mixed.transpose(1, 2).flatten(2))
        return tokens.add_(self.down(self.up(_normed(self.after, tokens))))


def _from_bytes(classifier: LeafClassifier, projection: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weights (D, 3 P P) and bias (D,) that take pixels less MIDDLE, whole numbers that bfloat16 holds exactly, in place of normalised ones."""
    middle, last = classifier.normalise(torch.tensor([MIDDLE, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 1, 1))
    bias = (projection.weight * middle).sum(dim=(1, 2, 3))
    return (projection.weight * ((last - middle) / (255 - MIDDLE))).flatten(1), bias if projection.bias is None else bias + projection.bias


class _Linear:
    """A product with weights and an activation after it, in bfloat16, on a copy of the weights apart from the model.

    Where oneDNN can, the weights are laid out for it once, and GELU is computed on each piece of the product while it is in the cache:
    a tenth of the forward is saved.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: nn.Module | None = None):
        weight = weight.detach().to(torch.bfloat16, copy=True)
        self._bias = None if bias is None else bias.detach().to(torch.bfloat16)
        self._packed = onednn_fuses()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight) if self._packed else weight
        self._fused = self._packed and isinstance(activation, GELUActivation)
        self._activation = None if self._fused else activation

    def __call__(self, values: Tensor) -> Tensor:
        """(..., K) to (..., N)."""
        if self._packed:
            found = torch.ops.mkldnn._linear_pointwise(values, self._weight, self._bias, *(GELU if self._fused else PLAIN))
        else:
            found = linear(values, self._weight, self._bias)
        return found if self._activation is None else self._activation(found)


def _normed(norm: nn.LayerNorm, tokens: Tensor) -> Tensor:
    return layer_norm(tokens, norm.normalized_shape, norm.weight, norm.bias, norm.eps).to(torch.bfloat16)


class OnnxEngine:
    """An exported model in onnxruntime, on the CPU; threads may share it.

    file: as :mod:`vit_demo.diagnose.export` wrote it. layer: whose [CLS] token it gives. classifier: only prepares the photos.
    Raises UserError where onnxruntime is not installed or the file cannot be read.
    """

    def __init__(self, file: Path, layer: int, classifier: LeafClassifier):
        runtime = onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        # Threads that wait would otherwise spin, and take the cores from the decoding of the next photos.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a dozen of its own, none with a common base
            raise UserError(f"The exported model {file} cannot be read ({type(error).__name__}). Export it again.") from None
        self._layer, self._classifier = layer, classifier

    def probabilities(self, photos: Tensor) -> Tensor:
        return self._run(photos)[0].softmax(dim=-1)

    def logits_and_tokens(self, photos: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        if layer != self._layer:
            raise UserError("The model was exported for another calibration than it has now. Export it again.")
        return self._run(photos)

    def _run(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        logits, tokens = self._session.run(["logits", "cls_token"], {"pixel_values": self._classifier.normalise(photos).cpu().numpy()})
        return torch.from_numpy(logits), torch.from_numpy(tokens)


def onnxruntime():
    """The module, or UserError with what to do where it is not installed."""
    try:
        import onnxruntime
    except ImportError:
        raise UserError("Exported models need onnxruntime, which is not installed. Run: pip install onnx onnxruntime") from None
    return onnxruntime


_engines: weakref.WeakKeyDictionary[LeafClassifier, CpuEngine] = weakref.WeakKeyDictionary()


def engine_of(classifier: LeafClassifier) -> Engine:
    """The fastest torch engine for this model where it is: a CpuEngine, made once, or the classifier itself."""
    if not CpuEngine.fits(classifier):
        return classifier
    found = _engines.get(classifier)
    if found is None or not found.is_current():
        found = _engines[classifier] = CpuEngine(classifier)
    return found


def compute_alone(threads: int, others: int) -> None:
    """Let this thread compute with so many of torch's threads, and all that come later with as many as the others."""
    torch.get_num_threads()  # a thread takes the number of all when it first asks for it, which would undo the next line
    torch.set_num_threads(threads)
    # What is set by any thread holds for it and for those that come after; one that ends at once sets it back for these.
    setter = threading.Thread(target=torch.set_num_threads, args=(others,))
    setter.start()
    setter.join()
