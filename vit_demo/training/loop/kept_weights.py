"""Weights that are kept beside those that learn: the best so far, and a moving average."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from vit_demo.common.compat import lerp_all

if TYPE_CHECKING:
    from transformers import ViTForImageClassification


@dataclass
class BestWeights:
    """The weights with the lowest validation loss so far, on the CPU. since: evaluations without a lower
    one.
    """

    loss: float = math.inf
    step: int = 0
    since: int = 0
    weights: dict[str, torch.Tensor] = field(default_factory=dict)

    def offer(self, step: int, loss: float, model: torch.nn.Module) -> None:
        if self.weights and loss >= self.loss:
            self.since += 1
            return
        self.loss, self.step, self.since = loss, step, 0
        self.weights = {
            name: tensor.detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()
        }


class AverageWeights:
    """A moving average of the weights (Polyak and Juditsky 1992), slower the longer the run: min(decay, (1 +
    t) / (10 + t)).
    """

    def __init__(self, decay: float, model: ViTForImageClassification):
        self.decay, self.model = decay, model
        self.weights: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def update(self, step: int) -> None:
        if not self.decay:
            return
        state = {
            name: tensor for name, tensor in self.model.state_dict().items() if tensor.is_floating_point()
        }
        if not self.weights:
            self.weights = {name: tensor.clone() for name, tensor in state.items()}
        decay = min(self.decay, (1 + step) / (10 + step))
        # By name: a checkpoint gives the names in another order.
        lerp_all(list(self.weights.values()), [state[name] for name in self.weights], 1 - decay)

    def load(self, weights: dict[str, torch.Tensor]) -> None:
        self.weights = {name: tensor.to(self.model.device) for name, tensor in weights.items()}

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The model with the averaged weights, where there are any; then with its own again."""
        if not self.weights:
            yield
            return
        own = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self.model.load_state_dict({**own, **self.weights})
        try:
            yield
        finally:
            self.model.load_state_dict(own)


def trainable(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Copies of the weights that learn, by name."""
    return {
        name: parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
