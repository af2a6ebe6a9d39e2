"""Record the attention probabilities of a ViT that runs on fused (SDPA) attention.

Fused attention never builds the probabilities, so a hook on the attention module finds nothing.
The queries and keys still leave two ordinary linear layers, and these are enough to compute
``softmax(q k^T / sqrt(head_dim))`` (Vaswani et al. 2017, eq. 1) beside the model's own forward.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vit_demo.common.errors import UserError
from vit_demo.explain.protocols import backbone, blocks_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.models.vit.modeling_vit import ViTAttention

# The key of what is said of one that does not exist.
NO_SUCH = {
    "layer": "error.explain.no_layer",
    "head": "error.explain.no_head",
    "class": "error.explain.no_class",
}


def resolve_index(kind: str, index: int, count: int) -> int:
    """Turn ``index`` (negative counts from the end) into 0 .. ``count`` - 1, or raise UserError.

    kind: what is counted, one of NO_SUCH.
    """
    if not -count <= index < count:
        raise UserError(NO_SUCH[kind], index=index, last=count - 1)
    return index % count


def attention_probabilities(query: Tensor, key: Tensor, attention: ViTAttention) -> Tensor:
    """Softmaxed attention of one layer, in float32 whatever the dtype of the inputs.

    query, key: outputs of ``q_proj`` and ``k_proj``, (B, T, heads * head_dim).
    attention: the layer's attention module, which knows ``head_dim`` and ``scaling``.
    Returns (B, heads, T, T); each row sums to 1.
    """
    # Autocast would run the product in bfloat16 again, float32 inputs or not.
    with torch.no_grad(), torch.autocast(query.device.type, enabled=False):
        queries = torch.unflatten(query.float(), -1, (-1, attention.head_dim)).transpose(1, 2)
        keys = torch.unflatten(key.float(), -1, (-1, attention.head_dim)).transpose(1, 2)
        scores: Tensor = queries @ keys.transpose(-2, -1) * attention.scaling
        return scores.softmax(dim=-1)


class AttentionRecorder:
    """Holds the attention of the latest forward; made by :func:`capture_attention`."""

    def __init__(self, layers: Sequence[int]) -> None:
        self._layers = tuple(layers)
        self._pending: dict[int, dict[str, Tensor]] = defaultdict(dict)
        self._probabilities: dict[int, Tensor] = {}
        # The model is shared by all visitors of the page: a forward that another thread runs
        # at the same time passes through the same hooks and must not be recorded.
        self._owner = threading.get_ident()

    @property
    def attentions(self) -> tuple[Tensor, ...]:
        """One float32 tensor (B, heads, T, T) a recorded layer, detached from the graph."""
        if any(layer not in self._probabilities for layer in self._layers):
            raise RuntimeError("No complete forward was recorded: call the model inside the block.")
        return tuple(self._probabilities[layer] for layer in self._layers)

    def clear(self, *_: object) -> None:
        """Forget what was recorded; runs before each forward, so that two never mix."""
        if threading.get_ident() == self._owner:
            self._pending.clear()
            self._probabilities.clear()

    def hook(self, layer: int, attention: ViTAttention, name: str) -> Callable[..., None]:
        """Forward hook for the projection ``name``; its None leaves the output as it is."""

        def keep(_module: nn.Module, _args: tuple[Tensor, ...], output: Tensor) -> None:
            if threading.get_ident() != self._owner:
                return
            pair = self._pending[layer]
            pair[name] = output.detach()
            if len(pair) == 2:
                self._probabilities[layer] = attention_probabilities(
                    pair["q_proj"], pair["k_proj"], attention
                )
                del self._pending[layer]

        return keep


@contextmanager
def capture_attention(
    model: PreTrainedModel, layers: Sequence[int] | None = None
) -> Iterator[AttentionRecorder]:
    """Record the attention of each forward of ``model`` that this thread runs inside the block.

    model: a ``ViTForImageClassification`` or ``ViTModel``; its outputs, its attention
        implementation and, after the block, its hooks are what they were.
    layers: layers to record, in the order wanted; negative counts from the end. None: all.

    The probabilities are those before attention dropout and without an attention mask, which is
    what the model uses in evaluation. Gives a recorder whose ``attentions`` may be read inside
    and after the block.
    """
    blocks = blocks_of(model)
    wanted = range(len(blocks)) if layers is None else layers
    chosen = [resolve_index("layer", layer, len(blocks)) for layer in wanted]
    recorder = AttentionRecorder(chosen)
    with ExitStack() as handles:
        handles.enter_context(backbone(model).register_forward_pre_hook(recorder.clear))
        for layer in sorted(set(chosen)):
            attention = blocks[layer].attention
            for name in ("q_proj", "k_proj"):
                projection = getattr(attention, name)
                hook = recorder.hook(layer, attention, name)
                handles.enter_context(projection.register_forward_hook(hook))
        yield recorder
