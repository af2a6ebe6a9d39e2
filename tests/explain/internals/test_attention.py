"""Recorded attention is transformers' own eager attention, and recording leaves no trace."""

from __future__ import annotations

import copy
import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import ViTConfig, ViTForImageClassification, ViTModel

from vit_demo.common.errors import UserError
from vit_demo.explain.internals.attention import NO_SUCH, capture_attention, resolve_index
from vit_demo.model.classifier import LeafClassifier

CONFIG = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 48,
    "num_labels": 3,
    # Wide weights: with the usual 0.02 every attention would be nearly uniform.
    "initializer_range": 0.3,
}


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def model(seed: None) -> ViTForImageClassification:
    return ViTForImageClassification(ViTConfig(**CONFIG)).eval()


@pytest.fixture
def pixel_values(seed: None) -> Tensor:
    return torch.randn(2, 3, 32, 32)


def record(model: nn.Module, pixel_values: Tensor, **kwargs: bool) -> tuple[Tensor, ...]:
    with torch.no_grad(), capture_attention(model) as recorder:
        model(pixel_values, **kwargs)
    return recorder.attentions


def eager(model: nn.Module, pixel_values: Tensor, **kwargs: bool) -> tuple[Tensor, ...]:
    reference = copy.deepcopy(model)
    reference.set_attn_implementation("eager")
    with torch.no_grad():
        return reference(pixel_values, output_attentions=True, **kwargs).attentions


def assert_same(recorded: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    assert len(recorded) == len(expected) > 0
    for ours, theirs in zip(recorded, expected, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def all_hooks(model: nn.Module) -> list[object]:
    return [
        hook
        for module in model.modules()
        for hooks in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
        for hook in hooks.values()
    ]


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_equals_eager_attention_for_any_batch_size(model, batch):
    pixel_values = torch.randn(batch, 3, 32, 32)
    recorded = record(model, pixel_values)
    assert model.config._attn_implementation == "sdpa"
    assert recorded[0].shape == (batch, 3, 17, 17)
    assert recorded[0].std() > 0.01, "the fixture's attention is too uniform to test anything"
    assert_same(recorded, eager(model, pixel_values))


@pytest.mark.parametrize("size", [(48, 48), (24, 56)])
def test_equals_eager_attention_at_other_resolutions(model, size):
    pixel_values = torch.randn(2, 3, *size)
    recorded = record(model, pixel_values, interpolate_pos_encoding=True)
    tokens = size[0] // 8 * (size[1] // 8) + 1
    assert recorded[0].shape == (2, 3, tokens, tokens)
    assert_same(recorded, eager(model, pixel_values, interpolate_pos_encoding=True))


def test_equals_eager_attention_of_the_bare_encoder(pixel_values):
    encoder = ViTModel(ViTConfig(**CONFIG), add_pooling_layer=False).eval()
    assert_same(record(encoder, pixel_values), eager(encoder, pixel_values))


def test_equals_eager_attention_of_a_pretrained_model(shared: Path):
    folder = shared / "models" / "vit-tiny-patch16-224"
    model = ViTForImageClassification.from_pretrained(folder, dtype=torch.float32).eval()
    pixel_values = torch.rand(2, 3, 224, 224) * 2 - 1
    recorded = record(model, pixel_values)
    assert (len(recorded), recorded[0].shape) == (12, (2, 3, 197, 197))
    assert_same(recorded, eager(model, pixel_values))


def test_rows_sum_to_one(model, pixel_values):
    for layer in record(model, pixel_values):
        torch.testing.assert_close(layer.sum(dim=-1), torch.ones(2, 3, 17))


def test_outputs_are_bit_identical_before_during_and_after(model, pixel_values):
    with torch.no_grad():
        before = model(pixel_values).logits
        with capture_attention(model):
            during = model(pixel_values).logits
            implementation = model.config._attn_implementation
        after = model(pixel_values).logits
    assert torch.equal(before, during)
    assert torch.equal(before, after)
    assert implementation == "sdpa"


def test_gradients_are_bit_identical_and_the_attention_is_detached(model, pixel_values):
    model(pixel_values).logits.sum().backward()
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    with capture_attention(model) as recorder:
        model(pixel_values).logits.sum().backward()
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        assert torch.equal(parameter.grad, gradient)
    assert not any(layer.requires_grad for layer in recorder.attentions)
    assert_same(recorder.attentions, eager(model, pixel_values))


def test_autocast_keeps_the_probabilities_in_float32(model, pixel_values):
    attention = model.vit.layers[0].attention
    outputs: dict[str, Tensor] = {}
    for name in ("q_proj", "k_proj"):
        getattr(attention, name).register_forward_hook(
            lambda _module, _args, output, name=name: outputs.update({name: output})
        )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        recorded = record(model, pixel_values)
    assert outputs["q_proj"].dtype == torch.bfloat16
    query, key = (outputs[name].float().view(2, 17, 3, 8).transpose(1, 2) for name in ("q_proj", "k_proj"))
    expected = (query @ key.mT / 8**0.5).softmax(dim=-1)
    torch.testing.assert_close(recorded[0], expected, rtol=0, atol=1e-6)
    for layer in recorded:
        assert layer.dtype == torch.float32
        torch.testing.assert_close(layer.sum(dim=-1), torch.ones(2, 3, 17))


def test_hooks_are_gone_after_the_block(model, pixel_values):
    with capture_attention(model) as recorder:
        assert len(all_hooks(model)) > 0
        model(pixel_values)
    assert all_hooks(model) == []
    assert len(recorder.attentions) == 3


def test_hooks_are_gone_after_a_forward_that_raises(model):
    with pytest.raises(ValueError, match="doesn't match model"), capture_attention(model):
        model(torch.randn(1, 3, 64, 64))
    assert all_hooks(model) == []


def test_foreign_hooks_stay(model, pixel_values):
    handle = model.vit.layers[0].attention.q_proj.register_forward_hook(lambda *_: None)
    record(model, pixel_values)
    assert len(all_hooks(model)) == 1
    handle.remove()


def test_layers_can_be_chosen_and_counted_from_the_end(model, pixel_values):
    every = record(model, pixel_values)
    with torch.no_grad(), capture_attention(model, layers=(-1, 0)) as recorder:
        model(pixel_values)
    assert len(recorder.attentions) == 2
    assert torch.equal(recorder.attentions[0], every[2])
    assert torch.equal(recorder.attentions[1], every[0])


def test_what_does_not_exist_is_called_by_its_name(refusal):
    said = {kind: refusal(resolve_index, kind, 3, 3) for kind in NO_SUCH}
    assert said["class"] == "Class 3 does not exist: this model has classes 0 to 2."
    assert all(
        text == f"{kind.capitalize()} 3 does not exist: this model has {kind}s 0 to 2."
        for kind, text in said.items()
        if kind != "class"
    )


@pytest.mark.parametrize("layer", [3, -4])
def test_a_layer_out_of_range_is_a_user_error(model, layer):
    message = f"Layer {layer} does not exist: this model has layers 0 to 2."
    with pytest.raises(UserError, match=message), capture_attention(model, layers=(layer,)):
        pass
    assert all_hooks(model) == []


def test_the_latest_forward_counts(model, pixel_values):
    with torch.no_grad(), capture_attention(model) as recorder:
        model(torch.randn(4, 3, 32, 32))
        model(pixel_values)
    assert_same(recorder.attentions, eager(model, pixel_values))


def test_nothing_is_left_of_an_earlier_forward_when_the_next_one_raises(model, pixel_values):
    with torch.no_grad(), capture_attention(model) as recorder:
        model(pixel_values)
        with pytest.raises(ValueError):
            model(torch.randn(1, 3, 64, 64))
    with pytest.raises(RuntimeError, match="call the model inside the block"):
        _ = recorder.attentions


def test_a_forward_of_another_thread_is_not_recorded(model, pixel_values):
    other_photos = torch.randn(4, 3, 32, 32)
    with torch.no_grad(), capture_attention(model) as recorder:
        model(pixel_values)
        other = threading.Thread(target=model, args=(other_photos,))
        other.start()
        other.join()
    assert_same(recorder.attentions, eager(model, pixel_values))


def test_blocks_can_be_nested(model, pixel_values):
    with torch.no_grad(), capture_attention(model) as outer, capture_attention(model, layers=(1,)) as inner:
        model(pixel_values)
    assert torch.equal(inner.attentions[0], outer.attentions[1])
    assert all_hooks(model) == []


def test_equals_eager_attention_of_a_pretrained_model_at_384_px(shared: Path):
    folder = shared / "models" / "vit-tiny-patch16-224"
    model = ViTForImageClassification.from_pretrained(folder, dtype=torch.float32).eval()
    pixel_values = torch.rand(1, 3, 384, 384) * 2 - 1
    with torch.no_grad():
        before = model(pixel_values, interpolate_pos_encoding=True).logits
        recorded = record(model, pixel_values, interpolate_pos_encoding=True)
        after = model(pixel_values, interpolate_pos_encoding=True).logits
    assert (len(recorded), recorded[0].shape) == (12, (1, 3, 577, 577))
    assert_same(recorded, eager(model, pixel_values, interpolate_pos_encoding=True))
    assert (
        torch.equal(before, after) and all_hooks(model) == [] and model.config._attn_implementation == "sdpa"
    )


@pytest.mark.parametrize("size", [(32, 32), (24, 56)])
def test_equals_eager_attention_of_a_cnn_hybrid(tiny_model: Path, size):
    classifier = LeafClassifier.open(tiny_model, labels=["a", "b", "c"], hybrid="new", device="cpu")
    model, pixel_values = classifier.model, torch.randn(3, 3, *size)
    with torch.no_grad():
        before = classifier.forward(pixel_values)
        recorded = record(model, pixel_values, interpolate_pos_encoding=True)
        after = classifier.forward(pixel_values)
    assert recorded[0].std() > 0.001, "the hybrid's attention is too uniform to test anything"
    assert_same(recorded, eager(model, pixel_values, interpolate_pos_encoding=True))
    assert torch.equal(before, after) and all_hooks(model) == []
