"""The forward of a training step on a CPU is transformers' own, to rounding: logits and all gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

from vit_demo.model.classifier import LeafClassifier
from vit_demo.training.loop.augment import kept_patches
from vit_demo.training.loop.forward import _embed_some, cpu_forward, forward_of

FP32, BF16 = torch.float32, torch.bfloat16


@pytest.fixture
def classifier(tiny_model: Path) -> LeafClassifier:
    return LeafClassifier.open(tiny_model, device="cpu")


def photos_of(side: int = 32, count: int = 5) -> torch.Tensor:
    return torch.randint(
        0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(side), dtype=torch.uint8
    )


def reference(classifier: LeafClassifier, photos: torch.Tensor) -> torch.Tensor:
    return classifier.forward(classifier.normalise(photos))


def gradients(classifier: LeafClassifier, logits: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of a loss that no class leaves alone; a parameter that has no part in it has none."""
    loss = torch.nn.functional.cross_entropy(
        logits, torch.arange(len(logits)) % logits.shape[1], label_smoothing=0.1
    )
    named = dict(classifier.model.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {name: gradient for name, gradient in zip(named, found) if gradient is not None}


def same(classifier: LeafClassifier, photos: torch.Tensor, kept: torch.Tensor | None = None) -> None:
    """Logits and gradients equal those of transformers' eager attention, which goes on with the kept tokens
    alone.
    """
    classifier.model.set_attn_implementation("eager")
    hook = classifier.model.vit.embeddings.register_forward_hook(
        lambda module, inputs, tokens: tokens if kept is None else only(tokens, kept)
    )
    expected = reference(classifier, photos)
    hook.remove()
    found = cpu_forward(classifier, photos, kept, FP32)
    assert found.dtype == FP32 and found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    theirs, ours = gradients(classifier, expected), gradients(classifier, found)
    assert set(ours) == set(theirs) and "vit.layers.1.attention.k_proj.weight" in ours
    for name, gradient in theirs.items():
        torch.testing.assert_close(
            ours[name], gradient, rtol=1e-4, atol=1e-5 * float(gradient.abs().max()) + 1e-7, msg=name
        )


def only(tokens: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """The slow way: [CLS] and the kept patches, photo by photo."""
    return torch.stack(
        [
            torch.stack([row[0], *(row[1 + number] for number in numbers)])
            for row, numbers in zip(tokens, kept.tolist())
        ]
    )


@pytest.mark.parametrize("side", [32, 16, 48])
def test_it_is_the_model_of_transformers_in_fp32(classifier: LeafClassifier, side: int) -> None:
    same(classifier, photos_of(side))


def test_for_one_photo_and_for_one_layer(tmp_path: Path) -> None:
    config = ViTConfig(
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=3,
        intermediate_size=40,
        image_size=16,
        patch_size=8,
        qkv_bias=False,
        num_labels=2,
    )
    torch.manual_seed(0)
    model = ViTForImageClassification(config)
    model.save_pretrained(tmp_path)
    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(tmp_path)
    one = LeafClassifier.open(tmp_path, device="cpu", labels=["a", "b"], head_init="normal")
    torch.testing.assert_close(
        cpu_forward(one, photos_of(16, 1), None, FP32), reference(one, photos_of(16, 1)), rtol=1e-5, atol=1e-6
    )


def test_a_hybrid_too(tiny_model: Path) -> None:
    torch.manual_seed(0)
    hybrid = LeafClassifier.open(tiny_model, device="cpu", hybrid="new")
    same(hybrid, photos_of(48))
    same(hybrid, photos_of(48), kept_patches(5, 36, 0.5))


def test_dropout_falls_as_in_the_model(classifier: LeafClassifier) -> None:
    """With the same random numbers in the same order, which shows that each dropout is there."""
    classifier.model.set_attn_implementation("eager")
    classifier.model.train()
    # Not in the last block, which draws for [CLS] alone and so in another order.
    first = classifier.model.vit.layers[0]
    first.dropout.p, first.attention.attention_dropout = 0.3, 0.2
    torch.manual_seed(3)
    expected = reference(classifier, photos_of())
    torch.manual_seed(3)
    torch.testing.assert_close(
        cpu_forward(classifier, photos_of(), None, FP32), expected, rtol=1e-5, atol=1e-5
    )
    assert not torch.allclose(expected, reference(classifier, photos_of()), atol=1e-3)


@pytest.mark.parametrize("side", [32, 48])
@pytest.mark.parametrize("share", [0.5, 0.75, 0.9])
def test_patches_that_are_left_out_are_left_out_before_the_encoder(
    classifier: LeafClassifier, side: int, share: float
) -> None:
    patches = (side // 8) ** 2
    kept = kept_patches(5, patches, share)
    assert kept.shape == (5, max(1, round(patches * (1 - share)))) and not torch.equal(kept[0], kept[1])
    same(classifier, photos_of(side), kept)
    assert not torch.allclose(
        cpu_forward(classifier, photos_of(side), kept, FP32),
        cpu_forward(classifier, photos_of(side), None, FP32),
        atol=1e-3,
    )


def test_elsewhere_than_on_a_cpu_they_are_left_out_too(
    classifier: LeafClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way of a GPU, done on the CPU: transformers' own forward with the patches taken out between
    embeddings and encoder.
    """
    kept, device = kept_patches(5, 16, 0.5), classifier.device
    monkeypatch.setattr(LeafClassifier, "device", property(lambda self: torch.device("meta")))
    forward = forward_of(classifier, "fp32")
    monkeypatch.setattr(LeafClassifier, "device", property(lambda self: device))
    for chosen in (kept, None):
        torch.testing.assert_close(
            forward(photos_of(), chosen),
            cpu_forward(classifier, photos_of(), chosen, FP32),
            rtol=1e-5,
            atol=1e-5,
        )
    assert not classifier.model.vit.embeddings._forward_hooks


def test_bf16_is_as_near_to_fp32_as_autocast_is(classifier: LeafClassifier) -> None:
    photos = photos_of(count=32)
    with torch.no_grad():
        exact, ours = (cpu_forward(classifier, photos, None, dtype) for dtype in (FP32, BF16))
        with torch.autocast("cpu", dtype=BF16):
            theirs = reference(classifier, photos).float()
    assert 0 < (ours - exact).abs().mean() < 1.5 * (theirs - exact).abs().mean()


def test_a_frozen_encoder_gives_gradients_to_the_head_alone(classifier: LeafClassifier) -> None:
    classifier.freeze_encoder()
    cpu_forward(classifier, photos_of(), None, FP32).sum().backward()
    assert {
        name for name, parameter in classifier.model.named_parameters() if parameter.grad is not None
    } == {"classifier.weight", "classifier.bias"}


@pytest.mark.parametrize(
    ("precision", "has_hardware", "lower"),
    [("auto", True, True), ("auto", False, False), ("bf16", False, True), ("fp32", True, False)],
)
def test_the_precision_is_the_one_that_was_asked_for(
    classifier: LeafClassifier,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    has_hardware: bool,
    lower: bool,
) -> None:
    monkeypatch.setattr("vit_demo.training.loop.forward.bf16_is_faster", lambda device_type: has_hardware)
    with torch.no_grad():
        found = forward_of(classifier, precision)(photos_of())
        assert torch.equal(found, cpu_forward(classifier, photos_of(), None, BF16 if lower else FP32))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_are_the_same_bits_each_time_with_several_threads(dtype: torch.dtype) -> None:
    """Of the embedded model at its own size: a smaller one is computed by one thread alone, and shows
    nothing.
    """
    classifier = LeafClassifier.open("embedded", device="cpu")
    chance = torch.Generator().manual_seed(0)
    photos = torch.randint(0, 256, (24, 3, 224, 224), generator=chance).float()
    kept = torch.rand(24, 196, generator=chance).argsort(1)[:, :147]
    found = []
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        for _ in range(12):
            classifier.model.zero_grad()
            (_embed_some(classifier, photos, kept, dtype) ** 2).sum().backward()
            found.append(
                [
                    weight.grad.clone()
                    for weight in classifier.model.vit.embeddings.parameters()
                    if weight.grad is not None
                ]
            )
    finally:
        torch.set_num_threads(threads)
    assert len(found[0]) >= 3 and all(
        torch.equal(one, first) for other in found[1:] for one, first in zip(other, found[0], strict=True)
    )
