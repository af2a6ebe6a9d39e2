"""A trace holds transformers' own hidden states, attention and logits, and leaves nothing in the model."""

from __future__ import annotations

import copy
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from vit_demo.explain.attribution.maps import attend
from vit_demo.explain.internals.trace import Trace, capture_hidden, trace
from vit_demo.explain.patches import PatchGrid
from vit_demo.model.classifier import LeafClassifier

LABELS = ["angular_leaf_spot", "bean_rust", "healthy"]


@pytest.fixture
def classifier(tiny_model: Path) -> LeafClassifier:
    return LeafClassifier.open(tiny_model, device="cpu")


@pytest.fixture(scope="module")
def embedded() -> LeafClassifier:
    return LeafClassifier.open(device="cpu")


@pytest.fixture
def hybrid(tiny_model: Path) -> LeafClassifier:
    torch.manual_seed(0)
    return LeafClassifier.open(tiny_model, labels=LABELS, hybrid="new", head_init="normal", device="cpu")


@pytest.fixture
def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))


def all_hooks(model: nn.Module) -> list:
    return [
        hook
        for module in model.modules()
        for hooks in (module._forward_hooks, module._forward_pre_hooks)
        for hook in hooks.values()
    ]


def assert_is_transformers_own(found: Trace, classifier: LeafClassifier, pixel_values: Tensor) -> None:
    """Against a copy of the model with eager attention, which gives out what it computed."""
    reference = copy.deepcopy(classifier.model)
    reference.set_attn_implementation("eager")
    with torch.no_grad():
        # transformers 5 gives the tokens that leave the last block before the final layer norm, unlike older
        # ones.
        expected = reference(
            pixel_values, interpolate_pos_encoding=True, output_hidden_states=True, output_attentions=True
        )
    np.testing.assert_array_equal(found.pixel_values, pixel_values[0].numpy())
    hidden = torch.cat(expected.hidden_states).numpy()
    assert found.hidden.shape == hidden.shape and found.hidden.dtype == np.float32
    np.testing.assert_allclose(found.hidden, hidden, rtol=1e-5, atol=1e-4 * np.abs(hidden).mean())
    np.testing.assert_allclose(
        found.attention.weights, torch.cat(expected.attentions).numpy(), rtol=0, atol=1e-5
    )
    np.testing.assert_allclose(found.logits, expected.logits[0].numpy(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["classifier", "embedded", "hybrid"])
def test_hidden_states_attention_and_logits_are_transformers_own(name, photo, request):
    classifier = request.getfixturevalue(name)
    found = trace(classifier, photo)
    assert_is_transformers_own(found, classifier, classifier.preprocess([photo]))
    config = classifier.model.config
    assert found.hidden.shape == (config.num_hidden_layers + 1, found.grid.num_tokens, config.hidden_size)
    assert (classifier.feature_channels is not None) == (name == "hybrid")


@pytest.mark.parametrize("size", [(48, 48), (24, 56)])
@pytest.mark.parametrize("name", ["classifier", "hybrid"])
def test_another_resolution(name, photo, size, request):
    classifier = request.getfixturevalue(name)
    found = trace(classifier, photo, size)
    assert found.grid == PatchGrid(*size, 8)
    assert found.hidden.shape[1] == found.grid.num_tokens
    assert_is_transformers_own(found, classifier, classifier.preprocess([photo], size))


def test_the_logits_are_those_of_the_head_on_the_last_hidden_state(embedded, photo):
    found = trace(embedded, photo)
    model = embedded.model
    with torch.no_grad():
        expected = model.classifier(model.vit.layernorm(torch.from_numpy(found.hidden[-1])))[0]
    np.testing.assert_allclose(found.logits, expected.numpy(), atol=1e-5)
    exponentials = np.exp(found.logits.astype(np.float64))
    np.testing.assert_allclose(found.probabilities, exponentials / exponentials.sum(), atol=1e-6)


def test_the_attention_is_that_of_attend(classifier, photo):
    found, expected = trace(classifier, photo).attention, attend(classifier, photo)
    np.testing.assert_array_equal(found.weights, expected.weights)
    assert found.grid == expected.grid


def test_outputs_are_bit_identical_before_during_and_after_and_no_hook_is_left(classifier, photo):
    pixel_values = classifier.preprocess([photo])
    with torch.no_grad():
        before = classifier.forward(pixel_values)
        with capture_hidden(classifier.model):
            during = classifier.forward(pixel_values)
        found = trace(classifier, photo)
        after = classifier.forward(pixel_values)
    assert torch.equal(before, during) and torch.equal(before, after)
    np.testing.assert_array_equal(found.logits, before[0].numpy())
    assert classifier.model.config._attn_implementation == "sdpa"
    assert all_hooks(classifier.model) == []


def test_hooks_are_gone_after_a_forward_that_raises(classifier):
    with pytest.raises(ValueError, match="doesn't match model"), capture_hidden(classifier.model):
        assert len(all_hooks(classifier.model)) > 0
        classifier.model(torch.randn(1, 3, 64, 64))
    assert all_hooks(classifier.model) == []


def test_autocast_around_the_call_does_not_change_it(classifier, photo):
    expected = trace(classifier, photo)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = trace(classifier, photo)
    np.testing.assert_array_equal(found.hidden, expected.hidden)
    np.testing.assert_array_equal(found.logits, expected.logits)


def test_the_latest_forward_counts(classifier):
    first, second = torch.randn(4, 3, 32, 32), torch.randn(2, 3, 32, 32)
    with torch.no_grad(), capture_hidden(classifier.model) as hidden:
        classifier.forward(first)
        classifier.forward(second)
        assert [tokens.shape for tokens in hidden] == [(2, 17, 32)] * 3
        expected = classifier.model(second, output_hidden_states=True).hidden_states
    for ours, theirs in zip(hidden, expected, strict=True):
        assert torch.equal(ours, theirs)


def test_a_forward_of_another_thread_is_not_recorded(classifier):
    mine, other_photos = torch.randn(2, 3, 32, 32), torch.randn(4, 3, 32, 32)
    with torch.no_grad(), capture_hidden(classifier.model) as hidden:
        classifier.forward(mine)
        kept = [tokens.clone() for tokens in hidden]
        other = threading.Thread(target=classifier.forward, args=(other_photos,))
        other.start()
        other.join()
    assert len(hidden) == len(kept) == 3
    assert all(torch.equal(now, before) for now, before in zip(hidden, kept, strict=True))


def test_hidden_states_are_detached_and_gradients_are_what_they_were(classifier):
    pixel_values = torch.randn(2, 3, 32, 32)
    classifier.forward(pixel_values).sum().backward()
    expected = [parameter.grad.clone() for parameter in classifier.model.parameters()]
    classifier.model.zero_grad()
    with capture_hidden(classifier.model) as hidden:
        classifier.forward(pixel_values).sum().backward()
    assert not any(tokens.requires_grad for tokens in hidden)
    assert all(
        torch.equal(parameter.grad, gradient)
        for parameter, gradient in zip(classifier.model.parameters(), expected, strict=True)
    )
