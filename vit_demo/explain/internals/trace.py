"""What one photo leaves behind on its way through the model, from one forward: the views of Look inside read
it from here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from vit_demo.explain.internals.attention import capture_attention
from vit_demo.explain.patches import PatchGrid
from vit_demo.explain.protocols import Classifier, TokenAttention, backbone, blocks_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Trace:
    """One photo's way, for a model of L layers, D hidden values, T tokens and C classes; token 0 is [CLS].

    pixel_values: (3, H, W), what the model read. hidden: (L + 1, T, D), the tokens that enter the first
    block and those that leave each block, before the final layer norm. attention: of all layers and heads.
    logits: (C,). All float32, on the CPU. temperature: what the logits are divided by before they become
    probabilities.
    """

    pixel_values: np.ndarray
    hidden: np.ndarray
    attention: TokenAttention
    logits: np.ndarray
    temperature: float = 1.0

    @property
    def grid(self) -> PatchGrid:
        """Where the patches lie."""
        return self.attention.grid

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits at the temperature, (C,), as a diagnosis shows them."""
        return (torch.from_numpy(self.logits) / self.temperature).softmax(dim=-1).numpy()


def trace(
    classifier: Classifier, photo: Image.Image, size: tuple[int, int] | None = None, temperature: float = 1.0
) -> Trace:
    """Follow one photo through the model. size: height and width in pixels that it is read at, None for the
    model's own. temperature: of its probabilities.
    """
    pixel_values = classifier.preprocess([photo], size)
    device = pixel_values.device.type
    with (
        torch.no_grad(),
        torch.autocast(device, enabled=False),
        capture_attention(classifier.model) as attention,
        capture_hidden(classifier.model) as hidden,
    ):
        logits = classifier.forward(pixel_values)
    grid = PatchGrid.of(pixel_values, classifier.patch_size)
    weights = torch.stack([layer[0] for layer in attention.attentions]).cpu().numpy()
    return Trace(
        pixel_values[0].cpu().numpy(),
        torch.stack(hidden)[:, 0].cpu().numpy(),
        TokenAttention(weights, grid),
        logits[0].cpu().numpy(),
        temperature,
    )


@contextmanager
def capture_hidden(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """Record the tokens before the first block and after each, (B, T, D), of the forwards that this thread
    runs inside the block.

    Gives a list of L + 1 tensors, filled by a forward and filled anew by the next. The model's outputs,
    and after the block its hooks, are what they were.
    """
    hidden: list[Tensor] = []
    owner = threading.get_ident()  # as in capture_attention: the model is shared

    def begin(_module: nn.Module, _inputs: tuple[Tensor, ...], tokens: Tensor) -> None:
        if threading.get_ident() == owner:
            hidden[:] = [tokens.detach()]

    def add(_module: nn.Module, _inputs: tuple[Tensor, ...], tokens: Tensor) -> None:
        if threading.get_ident() == owner:
            hidden.append(tokens.detach())

    with ExitStack() as handles:
        handles.enter_context(backbone(model).embeddings.register_forward_hook(begin))
        for block in blocks_of(model):
            handles.enter_context(block.register_forward_hook(add))
        yield hidden
