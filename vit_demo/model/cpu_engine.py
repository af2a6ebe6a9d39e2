"""The forward of a ViT on a CPU with bfloat16 of its own, with all that need not be done at each photo done
once.

Under autocast each forward casts all weights anew and runs three products for queries, keys and values; here
the weights are kept in bfloat16, laid out for oneDNN where it can, and the three are one. GELU is computed in
passing, of the last block only [CLS]. The residual stream and the norms stay in float32, as under autocast.
Nothing keeps a state between calls, so threads may share it.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear
from transformers.activations import GELUActivation

from vit_demo.common.compat import GELU_AFTER, NOTHING_AFTER, laid_out, linear_then, onednn_fuses
from vit_demo.common.threads import map_threads
from vit_demo.model import classifier as vit
from vit_demo.model.checkpoints import KINDS
from vit_demo.model.classifier import LeafClassifier
from vit_demo.model.encoder import Record, layers_of
from vit_demo.model.readout import Readout

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ViTModel
    from transformers.models.vit.modeling_vit import ViTLayer

# Of the values of a pixel, 0 to 255.
MIDDLE = 128
# Photos that a thread by itself takes at a time: with more, what is computed no longer fits into its core's
# cache.
FEW = 4
# So many of these wait at most to be taken, of several hundred photos that are in memory as it is.
MOST_AHEAD = 64


class CpuEncoder:
    """The blocks of a ``ViTModel`` and its final norm, as :func:`vit_demo.model.encoder.encode` computes them
    in bfloat16, without gradients.
    """

    def __init__(self, vit_model: ViTModel):
        self._parameters = list(vit_model.parameters())
        self._stamp = self._versions()
        self._norm = vit_model.layernorm
        self._blocks = [_Block(block) for block in layers_of(vit_model)]

    def __call__(
        self, tokens: Tensor, record: Record | None = None, readout: Readout | None = None
    ) -> tuple[Tensor, Tensor]:
        """The [CLS] token after all blocks and the final norm, and the features of the readout, both float32
        (B, D); without a readout these are the [CLS] token before all blocks.

        tokens: float32 (B, T, D), as the embeddings give them. record: as in :mod:`vit_demo.model.encoder`.
        """
        features = tokens[:, 0]
        for number, block in enumerate(self._blocks, start=1):
            here = readout if readout is not None and number == readout.layer else None
            last = number == len(self._blocks)
            tokens = block(tokens, last and not (here and here.needs_all_tokens), record)
            if here:
                features = here.of(tokens).clone()
        return self._norm(tokens[:, 0]), features

    def features_after(self, tokens: Tensor, readout: Readout) -> Tensor:
        """The features of a readout, float32 (B, D); the blocks above are not computed."""
        *blocks, last = self._blocks[: readout.layer]
        for block in blocks:
            tokens = block(tokens, False, None)
        return readout.of(last(tokens, not readout.needs_all_tokens, None))

    def is_current(self) -> bool:
        """Whether no weight has changed in place since they were cast. The steps of a fused optimiser go
        unnoticed.
        """
        return self._stamp == self._versions()

    def _versions(self) -> int:
        """Grows with each change in place of any weight."""
        return sum(parameter._version for parameter in self._parameters)


class CpuEngine:
    """Answers for photos as bytes: patches are cut and projected as one product, whose weights normalise the
    pixels too.
    """

    def __init__(self, classifier: LeafClassifier):
        model = classifier.model
        # Neither may keep the model alive, by which they are found.
        self._classifier = weakref.proxy(classifier)
        self._encoder = encoder_of(model)
        embeddings = model.vit.embeddings
        with torch.no_grad():
            self._patches = _Linear(*_from_bytes(classifier, embeddings.patch_embeddings.projection))
            positions = embeddings.position_embeddings.detach()
            self._first = embeddings.cls_token.detach() + positions[:, :1]
            self._positions = positions[:, 1:].clone()

    @staticmethod
    def fits(classifier: LeafClassifier) -> bool:
        """Whether this model, where it is, can be computed so, and faster."""
        model = classifier.model
        size = model.config.image_size
        own_size = tuple(size) if isinstance(size, (list, tuple)) else (size, size)
        return (
            type(model) is KINDS["vit"].model_class()
            and own_size == classifier.image_size
            and is_faster(model)
        )

    def is_current(self) -> bool:
        """Whether no weight has changed since they were cast."""
        return self._encoder.is_current()

    def probabilities(self, photos: Tensor) -> Tensor:
        """Softmax of the logits, float32 (B, C); photos: uint8 (B, 3, H, W)."""
        return self.logits_and_features(photos, None)[0].softmax(dim=-1)

    @torch.inference_mode()
    def logits_and_features(self, photos: Tensor, readout: Readout | None) -> tuple[Tensor, Tensor]:
        """Logits (B, C) and the features of a readout (B, D), float32; photos: uint8 (B, 3, H, W)."""
        last, features = self._encoder(self._embed(photos), readout=readout)
        return self._classifier.model.classifier(last), features

    @torch.inference_mode()
    def features_after(self, photos: Tensor, readout: Readout) -> Tensor:
        """The features of :meth:`logits_and_features` alone; the blocks above are not computed."""
        return self._encoder.features_after(self._embed(photos), readout)

    def _embed(self, photos: Tensor) -> Tensor:
        """Patches of P x P pixels as rows (B, N, 3 P P), in the order of the convolution's weights,
        projected; (B, 1 + N, D).
        """
        side, count = self._classifier.patch_size, len(photos)
        rows, columns = (length // side for length in photos.shape[2:])
        cut = torch.unflatten(photos[..., : rows * side, : columns * side], 3, (columns, side))
        cut = torch.unflatten(cut, 2, (rows, side))
        cut = cut.permute(0, 2, 4, 1, 3, 5).reshape(count, rows * columns, -1).to(torch.bfloat16).sub_(MIDDLE)
        patches = self._patches(cut)
        return torch.cat([self._first.expand(count, -1, -1), patches + self._positions], dim=1)


class _Block:
    """One block of the encoder (Vaswani et al. 2017, eq. 1) on float32 tokens (B, T, D), its weights in
    bfloat16.
    """

    def __init__(self, block: ViTLayer):
        attention, mlp = block.attention, block.mlp
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        # The queries' share comes scaled, so that no product has to be.
        scales = (attention.scaling, 1.0, 1.0)
        bias = (
            None
            if parts[0].bias is None
            else torch.cat([part.bias * scale for part, scale in zip(parts, scales)])
        )
        self.head_dim = attention.head_dim
        self.inwards = _Linear(torch.cat([part.weight * scale for part, scale in zip(parts, scales)]), bias)
        self.outwards = _Linear(attention.o_proj.weight, attention.o_proj.bias)
        self.up, self.down = (
            _Linear(mlp.fc1.weight, mlp.fc1.bias, mlp.activation_fn),
            _Linear(mlp.fc2.weight, mlp.fc2.bias),
        )
        self.before, self.after = block.layernorm_before, block.layernorm_after

    def __call__(self, tokens: Tensor, cls_only: bool, record: Record | None) -> Tensor:
        """The new tokens, (B, T, D); with ``cls_only`` the first of them, (B, 1, D)."""
        projected = self.inwards(_normed(self.before, tokens))
        query, key, value = torch.unflatten(projected, -1, (3, -1, self.head_dim)).permute(2, 0, 3, 1, 4)
        if cls_only:
            query, tokens = query[:, :, :1], tokens[:, :1]
        # Plain, since fused attention is slower on CPUs at these sizes.
        weights = (query @ key.transpose(-1, -2)).softmax(dim=-1)
        if record is not None:
            record(weights)
        tokens = tokens + self.outwards((weights @ value).transpose(1, 2).flatten(2))
        return tokens.add_(self.down(self.up(_normed(self.after, tokens))))


def _from_bytes(classifier: LeafClassifier, projection: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weights (D, 3 P P) and bias (D,) that take pixels less MIDDLE, whole numbers that bfloat16 holds
    exactly, in place of normalised ones.
    """
    middle, last = classifier.normalise(
        torch.tensor([MIDDLE, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    )
    bias = (projection.weight * middle).sum(dim=(1, 2, 3))
    return (projection.weight * ((last - middle) / (255 - MIDDLE))).flatten(
        1
    ), bias if projection.bias is None else bias + projection.bias


class _Linear:
    """A product with weights and an activation after it, in bfloat16, on a copy of the weights apart from the
    model.

    Where oneDNN can, the weights are laid out for it once, and GELU is computed on each piece of the product
    while it is in the cache: a tenth of the forward is saved.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: nn.Module | None = None):
        weight = weight.detach().to(torch.bfloat16, copy=True)
        self._bias = None if bias is None else bias.detach().to(torch.bfloat16)
        self._laid_out = onednn_fuses()
        self._weight = laid_out(weight) if self._laid_out else weight
        self._fused = self._laid_out and isinstance(activation, GELUActivation)
        self._activation = None if self._fused else activation

    def __call__(self, values: Tensor) -> Tensor:
        """(..., K) to (..., N)."""
        if self._laid_out:
            found = linear_then(
                values, self._weight, self._bias, GELU_AFTER if self._fused else NOTHING_AFTER
            )
        else:
            found = linear(values, self._weight, self._bias)
        return found if self._activation is None else self._activation(found)


def _normed(norm: nn.LayerNorm, tokens: Tensor) -> Tensor:
    return layer_norm(tokens, norm.normalized_shape, norm.weight, norm.bias, norm.eps).to(torch.bfloat16)


def is_faster(model: PreTrainedModel) -> bool:
    """Whether a packed encoder is faster for this model where it is: on a CPU with bfloat16 of its own."""
    return model.device.type == "cpu" and vit.bf16_is_faster("cpu")


_encoders: weakref.WeakKeyDictionary[PreTrainedModel, CpuEncoder] = weakref.WeakKeyDictionary()
_engines: weakref.WeakKeyDictionary[LeafClassifier, CpuEngine] = weakref.WeakKeyDictionary()


def encoder_of(model: PreTrainedModel) -> CpuEncoder:
    """Of a ``ViTForImageClassification`` or hybrid on the CPU; made once, and anew where its weights have
    changed.
    """
    found = _encoders.get(model)
    if found is None or not found.is_current():
        found = _encoders[model] = CpuEncoder(cast("ViTModel", model.base_model))
    return found


def engine_of(classifier: LeafClassifier) -> CpuEngine | None:
    """The packed engine of this model, made once, or None where it does not fit."""
    if not CpuEngine.fits(classifier):
        return None
    found = _engines.get(classifier)
    if found is None or not found.is_current():
        found = _engines[classifier] = CpuEngine(classifier)
    return found


def logits_and_features(
    classifier: LeafClassifier, photos: Tensor, readout: Readout
) -> tuple[Tensor, Tensor]:
    """:meth:`LeafClassifier.logits_and_features` for many photos, uint8 (B, 3, H, W), the fastest way that
    there is here.
    """
    engine = engine_of(classifier)
    if engine is None or not len(photos):
        return classifier.logits_and_features(photos, readout)
    found = map_threads(
        lambda few: engine.logits_and_features(few, readout), torch.split(photos, FEW), ahead=MOST_AHEAD
    )
    logits, features = zip(*found)
    return torch.cat(logits), torch.cat(features)


def features_after(engine: CpuEngine, photos: Tensor, readout: Readout) -> Tensor:
    """:meth:`CpuEngine.features_after` for many photos, one or more."""
    return torch.cat(
        list(
            map_threads(
                lambda few: engine.features_after(few, readout), torch.split(photos, FEW), ahead=MOST_AHEAD
            )
        )
    )
