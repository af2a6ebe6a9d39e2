"""A kind of checkpoint that is added."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification

from vit_demo.model import classifier as vit
from vit_demo.model.checkpoints import CONFIG, KINDS, Kind, locate
from vit_demo.model.classifier import LeafClassifier
from vit_demo.model.cpu_engine import CpuEngine


def edit_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


class MirroredConfig(ViTConfig):
    model_type = "vit_mirrored"


class MirroredViT(ViTForImageClassification):
    """Sees each photo mirrored."""

    config_class = MirroredConfig

    def forward(self, pixel_values: torch.Tensor, **options: object):
        return super().forward(pixel_values.flip(-1), **options)


def test_a_kind_that_is_added_opens_as_any_other(
    tiny_model: Path, tmp_path: Path, refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "my-model"))
    plain, photos = LeafClassifier.open(model, device="cpu"), torch.rand(2, 3, 32, 32)
    edit_json(model / CONFIG, model_type="vit_mirrored", inner={"model_type": "vit", "auto_map": {}})
    assert "vit_mirrored" in refusal(locate, model)
    added = Kind("vit_mirrored", f"{__name__}:MirroredViT", holds=(("inner", "vit"),))
    monkeypatch.setitem(KINDS, added.model_type, added)
    opened = LeafClassifier.open(model, device="cpu")
    assert torch.equal(opened.forward(photos), plain.forward(photos.flip(-1)))
    monkeypatch.setattr(vit, "bf16_is_faster", lambda device_type: True)
    assert CpuEngine.fits(plain) and not CpuEngine.fits(opened), "it computes a plain ViT alone"
    opened.save(tmp_path / "saved")
    again = LeafClassifier.open(tmp_path / "saved", labels=["a", "b"], device="cpu")
    assert (again.checkpoint.kind, type(again.model)) == ("vit_mirrored", MirroredViT)
    edit_json(model / CONFIG, inner={"model_type": "vit", "auto_map": {"AutoModel": "code.Model"}})
    assert "own code" in refusal(locate, model)
    edit_json(model / CONFIG, inner={"model_type": "swin"})
    assert CONFIG in refusal(locate, model)
