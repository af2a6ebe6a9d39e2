"""What all tests share. Photos of other things and weights under ../shared are for testing only and never
part of the project.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Set before anything imports a Hugging Face library: no test may reach the network by accident.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the pretrained ViT-Tiny and photos of other things."""
    if not (SHARED / "models").is_dir():
        pytest.skip("needs the weights and photos in ../shared, which are not here")
    return SHARED


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder for runs, for this test alone."""
    folder = tmp_path / "home"
    monkeypatch.setenv("VIT_DEMO_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that opens in milliseconds: a random ViT (image 32, patch 8) with the three bean
    classes.
    """
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

    labels = ("angular_leaf_spot", "bean_rust", "healthy")
    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
    )
    folder = tmp_path_factory.mktemp("tiny") / "model"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ViTForImageClassification(config)
        # transformers draws weights so small that all photos look alike; larger ones make a mix-up show.
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture
def in_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a CPU with bfloat16 of its own, which computes the same where it is emulated."""
    from vit_demo.model import classifier

    monkeypatch.setattr(classifier, "bf16_is_faster", lambda device_type: device_type == "cpu")


@pytest.fixture
def tiny(tiny_model: Path):
    """The small random model, opened for this test alone."""
    from vit_demo.model.classifier import LeafClassifier

    return LeafClassifier.open(tiny_model, device="cpu")


@pytest.fixture(scope="session")
def refusal() -> Callable[..., str]:
    """Call a function that must raise UserError; returns its text, which must be one or two plain
    sentences.
    """
    from tests.sentences import is_plain
    from vit_demo.common.errors import UserError

    def call(function: Callable, *args: object, **options: object) -> str:
        with pytest.raises(UserError) as caught:
            function(*args, **options)
        text = str(caught.value)
        assert is_plain(text), text
        return text

    return call


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """A run inside a test takes over the signals of its process: give them back."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)
