"""A small ResNet as it lies on the Hub, for hybrids."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import ResNetConfig, ResNetForImageClassification

BEANS = ["angular_leaf_spot", "bean_rust", "healthy"]
PATCHES = "vit.embeddings.patch_embeddings."
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def save_resnet(folder: Path, **values: object) -> ResNetForImageClassification:
    """A ResNet as it lies on the Hub, with weights and statistics that make a mix-up show."""
    settings = {
        "embedding_size": 8,
        "hidden_sizes": [16, 24, 32],
        "depths": [1, 2, 1],
        "layer_type": "bottleneck",
        "num_labels": 5,
        **values,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        resnet = ResNetForImageClassification(ResNetConfig(**settings)).eval()
        for name, buffer in resnet.named_buffers():
            if name.endswith("running_mean"):
                buffer.uniform_(-0.3, 0.3)
            elif name.endswith("running_var"):
                buffer.uniform_(0.1, 1)
            else:
                buffer.fill_(321_321)  # more than float16 can hold
    resnet.save_pretrained(folder)
    processor = {
        "crop_pct": 0.875,
        "do_normalize": True,
        "do_resize": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        **IMAGENET,
        "image_processor_type": "ConvNextImageProcessor",
        "resample": 3,
        "size": {"shortest_edge": 224},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return resnet
