"""AdamW for a ViT: what learns how fast, and its memory of a run that goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from vit_demo.training.run.checkpoint import Checkpoint
from vit_demo.training.run.config import TrainingConfig

if TYPE_CHECKING:
    from transformers import ViTForImageClassification

# AdamW's memory of squared gradients is 50 steps, not the usual 1,000: a run may have only a hundred.
BETAS = (0.9, 0.98)


def make_optimizer(config: TrainingConfig, model: ViTForImageClassification) -> torch.optim.AdamW:
    """AdamW whose learning rate falls by ``layer_decay`` with each layer down from the head (Clark et al.
    2020; Bao et al. 2022).
    """
    depth = len(model.vit.layers)
    groups: dict[int, list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            layer = (
                0
                if name.startswith("vit.embeddings.")
                else int(name.split(".")[2]) + 1
                if name.startswith("vit.layers.")
                else depth + 1
            )
            groups.setdefault(layer if config.layer_decay < 1 else depth + 1, []).append(parameter)
    rates = [
        (config.learning_rate * config.layer_decay ** (depth + 1 - layer), parameters)
        for layer, parameters in groups.items()
    ]
    return torch.optim.AdamW(
        [{"params": parameters, "lr": highest, "highest": highest} for highest, parameters in rates],
        betas=BETAS,
        weight_decay=config.weight_decay,
        fused=model.device.type != "mps",
    )


def set_moments(optimizer: torch.optim.AdamW, model: torch.nn.Module, found: Checkpoint) -> None:
    """Give AdamW its moments back; its own step count is the number of the step for all weights that
    learn.
    """
    names = {parameter: name for name, parameter in model.named_parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if f"exp_avg.{names[parameter]}" not in found.optimizer:
                continue  # a weight that never got a gradient
            optimizer.state[parameter] = {
                "step": torch.tensor(float(found.step), device=parameter.device if group["fused"] else None),
                **{
                    moment: found.optimizer[f"{moment}.{names[parameter]}"].to(parameter.device)
                    for moment in ("exp_avg", "exp_avg_sq")
                },
            }
