"""What is refused of the files of a ResNet or a hybrid: weights that are missing, settings that do not
fit.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

from tests.resnets import BEANS, PATCHES, save_resnet
from vit_demo.model.classifier import LeafClassifier


@pytest.fixture
def resnet(tmp_path: Path) -> Path:
    save_resnet(tmp_path / "my-resnet")
    return tmp_path / "my-resnet"


def test_a_patch_size_that_no_resnet_has(
    tmp_path: Path, tiny_model: Path, refusal: Callable[..., str]
) -> None:
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=28,
        patch_size=14,
        num_labels=3,
    )
    ViTForImageClassification(config).save_pretrained(tmp_path / "fourteen")
    ViTImageProcessorPil(size={"height": 28, "width": 28}).save_pretrained(tmp_path / "fourteen")
    assert LeafClassifier.open(tmp_path / "fourteen").patch_size == 14
    assert "patches of 4, 8, 16 or 32 pixels; this one has 14" in refusal(
        LeafClassifier.open, tmp_path / "fourteen", hybrid="new"
    )


def test_half_a_resnet_is_refused(tiny_model: Path, resnet: Path, refusal: Callable[..., str]) -> None:
    weights = load_file(resnet / "model.safetensors")
    used = next(name for name in weights if "stages.1" in name and name.endswith("convolution.weight"))
    unused = next(name for name in weights if "stages.2" in name)
    save_file(
        {name: tensor for name, tensor in weights.items() if name != unused},
        resnet / "model.safetensors",
        metadata={"format": "pt"},
    )
    assert LeafClassifier.open(tiny_model, hybrid=resnet).labels == BEANS
    save_file(
        {name: tensor for name, tensor in weights.items() if name != used},
        resnet / "model.safetensors",
        metadata={"format": "pt"},
    )
    assert "my-resnet is incomplete: 1 of its weights" in refusal(
        LeafClassifier.open, tiny_model, hybrid=resnet
    )
    (resnet / "preprocessor_config.json").unlink()
    assert "has no preprocessor_config.json" in refusal(LeafClassifier.open, tiny_model, hybrid=resnet)


@pytest.mark.parametrize(
    "values",
    [
        {"depths": "deep"},
        {"layer_type": "nonsense"},
        {"hidden_act": "nonsense"},
        {"hidden_sizes": []},
        {"embedding_size": 9},
        {"depths": [1, 2, 1, 1]},
        {"num_channels": 0},
        {"depths": [1, 3, 1]},
    ],
    ids=str,
)
def test_resnets_whose_config_does_not_fit(
    tiny_model: Path, resnet: Path, refusal: Callable[..., str], values: dict
) -> None:
    config = resnet / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **values}))
    assert "my-resnet" in refusal(LeafClassifier.open, tiny_model, hybrid=resnet)


@pytest.mark.parametrize(
    "values",
    [
        {"backbone_config": None},
        {"backbone_config": "resnet"},
        {"backbone_config": {"model_type": "swin"}},
        {"backbone_config": {}},
        {"backbone_norm": "layer"},
        {"backbone_norm": 3},
        {"patch_size": 16},
        {"patch_size": "8"},
        {"backbone": "microsoft/resnet-18"},
        {"model_type": "vit"},
        {"auto_map": {"AutoModel": "code.Model"}},
    ],
    ids=str,
)
def test_hybrids_whose_config_was_changed(
    tiny_model: Path, tmp_path: Path, refusal: Callable[..., str], values: dict
) -> None:
    LeafClassifier.open(tiny_model, hybrid="new", device="cpu").save(tmp_path / "my-model")
    config = tmp_path / "my-model" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **values}))
    if "backbone" in values:  # not one of our settings: nothing is fetched, nothing changes
        assert LeafClassifier.open(tmp_path / "my-model").checkpoint.is_hybrid
    else:
        assert "my-model" in refusal(LeafClassifier.open, tmp_path / "my-model")


@pytest.mark.parametrize(
    "values",
    [
        {"depths": [2, 1]},
        {"hidden_sizes": [32, 48]},
        {"auto_map": {"AutoModel": "code.Model"}},
        {"num_channels": 1},
    ],
    ids=str,
)
def test_hybrids_whose_resnet_was_changed(
    tiny_model: Path, tmp_path: Path, refusal: Callable[..., str], values: dict
) -> None:
    LeafClassifier.open(tiny_model, hybrid="new", device="cpu").save(tmp_path / "my-model")
    config = tmp_path / "my-model" / "config.json"
    content = json.loads(config.read_text())
    content["backbone_config"] |= values
    config.write_text(json.dumps(content))
    assert "my-model" in refusal(LeafClassifier.open, tmp_path / "my-model")


@pytest.mark.parametrize(
    "lost",
    [
        f"{PATCHES}projection.weight",
        "embedder.embedder.normalization.weight",
        "vit.layernorm.bias",
        "running_mean",
    ],
)
def test_missing_weights_are_not_made_up(
    tiny_model: Path, resnet: Path, tmp_path: Path, refusal: Callable[..., str], lost: str
) -> None:
    LeafClassifier.open(tiny_model, hybrid=resnet, device="cpu").save(tmp_path / "my-model")
    weights = load_file(tmp_path / "my-model" / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if lost not in name}
    assert len(kept) < len(weights)
    save_file(kept, tmp_path / "my-model" / "model.safetensors", metadata={"format": "pt"})
    assert "my-model is incomplete" in refusal(LeafClassifier.open, tmp_path / "my-model")
