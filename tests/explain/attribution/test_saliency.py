"""Maps of a prediction against slow references: transformers' eager attention and loops over the papers'
formulas.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr

from vit_demo.explain.attribution.gradcam import gradcam
from vit_demo.explain.attribution.masked import halves, masked_relevance
from vit_demo.explain.attribution.methods import METHODS
from vit_demo.explain.attribution.occlusion import cover, occlusion
from vit_demo.explain.attribution.relevance import attention_gradients, relevance
from vit_demo.explain.attribution.saliency import attentions, saliency
from vit_demo.explain.attribution.target import Target
from vit_demo.explain.patches import PatchGrid
from vit_demo.model.classifier import LeafClassifier

LABELS = ["angular_leaf_spot", "bean_rust", "healthy"]
SIDES = (32, 48)


@pytest.fixture(scope="module")
def classifier(tiny_model) -> LeafClassifier:
    return LeafClassifier.open(tiny_model, device="cpu")


@pytest.fixture(scope="module")
def hybrid(tiny_model) -> LeafClassifier:
    torch.manual_seed(3)
    opened = LeafClassifier.open(tiny_model, device="cpu", labels=LABELS, hybrid="new")
    torch.nn.init.normal_(opened.model.classifier.weight, std=0.5)
    return opened


@pytest.fixture(params=["plain", "hybrid"])
def model(request, classifier, hybrid) -> LeafClassifier:
    return classifier if request.param == "plain" else hybrid


def pixels(side: int, photos: int = 2) -> torch.Tensor:
    return torch.randn(photos, 3, side, side, generator=torch.Generator().manual_seed(side))


def eager(classifier: LeafClassifier, pixel_values: torch.Tensor):
    """Logits and attentions of transformers' own eager attention; their gradients are kept."""
    twin = copy.deepcopy(classifier.model)
    twin.set_attn_implementation("eager")
    output = twin(pixel_values, output_attentions=True, interpolate_pos_encoding=True)
    for attention in output.attentions:
        attention.retain_grad()
    return output.logits, output.attentions


def slow_relevance(attentions: list[np.ndarray], gradients: list[np.ndarray]) -> np.ndarray:
    """One photo; (heads, T, T) a layer. The paper's equations with a loop for each index; row 0 of R."""
    tokens = attentions[0].shape[-1]
    relevance = np.eye(tokens)
    for attention, gradient in zip(attentions, gradients):
        step = np.zeros((tokens, tokens))
        for i in range(tokens):
            for j in range(tokens):
                step[i, j] = sum(
                    max(0.0, float(a[i, j] * g[i, j])) for a, g in zip(attention, gradient)
                ) / len(attention)
        product = np.zeros((tokens, tokens))
        for i in range(tokens):
            for j in range(tokens):
                product[i, j] = sum(step[i, k] * relevance[k, j] for k in range(tokens))
        relevance = relevance + product
    return relevance[0]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("label", [None, 0, 2])
def test_relevance_is_the_paper_s(model, side, label):
    photos = pixels(side)
    found = relevance(model, photos, Target(label))
    assert found.dtype == torch.float32 and found.shape == (2, (side // 8) ** 2 + 1)
    logits, probabilities = eager(model, photos)
    labels = logits.argmax(-1) if label is None else torch.tensor([label, label])
    logits.gather(1, labels[:, None]).sum().backward()
    for photo in range(2):
        expected = slow_relevance(
            [a[photo].detach().numpy() for a in probabilities], [a.grad[photo].numpy() for a in probabilities]
        )
        np.testing.assert_allclose(found[photo].numpy(), expected, rtol=1e-4, atol=1e-6)
    assert found[:, 1:].std() > 1e-4


def test_the_gradients_are_those_of_eager_attention(model):
    photos = pixels(32)
    ours, gradients = attention_gradients(model, photos, Target(1).score)
    logits, theirs = eager(model, photos)
    logits[:, 1].sum().backward()
    assert len(ours) == len(theirs) == 2
    for number, (attention, gradient, reference) in enumerate(zip(ours, gradients, theirs)):
        last = number == len(theirs) - 1
        rows = slice(0, 1) if last else slice(None)
        torch.testing.assert_close(attention, reference.detach()[:, :, rows], rtol=0, atol=1e-5)
        torch.testing.assert_close(gradient, reference.grad[:, :, rows], rtol=1e-4, atol=1e-6)
        assert not last or reference.grad[:, :, 1:].abs().max() == 0


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("label", [None, 0])
def test_gradcam_is_the_paper_s(model, side, label):
    photos = pixels(side)
    found = gradcam(model, photos, Target(label))
    kept = []
    last = model.model.base_model.layers[-1].layernorm_before
    handle = last.register_forward_hook(
        lambda _module, _inputs, output: (output.retain_grad(), kept.append(output))[1]
    )
    try:
        logits = model.forward(photos)
    finally:
        handle.remove()
    labels = logits.argmax(-1) if label is None else torch.tensor([label, label])
    logits.gather(1, labels[:, None]).sum().backward()
    features, gradients = kept[0].detach().numpy()[:, 1:], kept[0].grad.numpy()[:, 1:]
    model.model.zero_grad()
    places, channels = features.shape[1:]
    for photo in range(2):
        alpha = [
            sum(float(gradients[photo, place, channel]) for place in range(places)) / places
            for channel in range(channels)
        ]
        expected = [
            max(
                0.0,
                sum(alpha[channel] * float(features[photo, place, channel]) for channel in range(channels)),
            )
            for place in range(places)
        ]
        np.testing.assert_allclose(found[photo].numpy(), expected, rtol=1e-3, atol=1e-5)
    assert found.max() > 0


@pytest.mark.parametrize(
    ("window", "label", "against"), [(1, None, None), (3, 2, None), (3, 0, 1), (5, None, None)]
)
def test_occlusion_covers_one_square_after_the_other(model, window, label, against):
    photo = pixels(32, 1)
    found = occlusion(model, photo, Target(label, against), window)
    mean = [float(photo[0, channel].mean()) for channel in range(3)]

    def score(pixel_values: torch.Tensor) -> float:
        logits = model.forward_fast(pixel_values)[0].double()
        chosen = int(model.forward_fast(photo).argmax()) if label is None else label
        if against is not None:
            return float(logits[chosen] - logits[against])
        share = float(logits.softmax(-1)[chosen])
        return float(np.log(share / (1 - share)))

    whole = score(photo)
    lost, covering = np.zeros((4, 4)), np.zeros((4, 4))
    for row in range(4):
        for column in range(4):
            top, left = max(0, row - window // 2), max(0, column - window // 2)
            bottom, right = min(4, row + window // 2 + 1), min(4, column + window // 2 + 1)
            covered = photo.clone()
            for channel in range(3):
                covered[0, channel, 8 * top : 8 * bottom, 8 * left : 8 * right] = mean[channel]
            lost[top:bottom, left:right] += whole - score(covered)
            covering[top:bottom, left:right] += 1
    # The model computes in bf16 where the hardware has it, whatever the size of the batch.
    np.testing.assert_allclose(found.numpy(), lost / covering, rtol=0.05, atol=0.05)


def test_occlusion_reports_its_progress_and_refuses_an_even_window(classifier, refusal):
    seen = []
    occlusion(classifier, pixels(48, 1), report=lambda done, total: seen.append((done, total)))
    assert seen == [(16, 36), (32, 36), (36, 36)]
    assert "odd number" in refusal(occlusion, classifier, pixels(32, 1), window=2)


def test_covering_leaves_the_other_pixels_and_those_of_no_patch():
    photo = pixels(35, 1)
    grid = PatchGrid(35, 35, 8)
    covers = torch.zeros(1, 16, dtype=torch.bool)
    covers[0, 5] = True
    changed = (cover(photo, covers, grid) != photo)[0].any(dim=0)
    assert changed[8:16, 8:16].all() and int(changed.sum()) == 64
    rest = cover(photo, ~covers, grid)
    assert (rest[0, 0, 16:32, :32] == photo[0, 0].mean()).all() and torch.equal(
        rest[..., 32:], photo[..., 32:]
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_gives_what_its_photos_give_alone(classifier, method):
    photos = pixels(32, 3)
    together = saliency(classifier, photos, method)
    assert together.shape == (3, 4, 4) and together.dtype == torch.float32
    for number in range(3):
        torch.testing.assert_close(
            together[number],
            saliency(classifier, photos[number : number + 1], method)[0],
            rtol=0.02,
            atol=0.02,
        )


def test_attention_and_rollout_are_those_of_the_attention_view(classifier):
    from vit_demo.explain.attribution.maps import MapRequest, explain

    photo = Image.fromarray(np.random.default_rng(5).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    for method in ("attention", "rollout"):
        expected = explain(classifier, photo, MapRequest(method=method, layer=-1)).map
        np.testing.assert_allclose(
            saliency(classifier, classifier.preprocess([photo]), method)[0].numpy(), expected, atol=1e-6
        )


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if method.for_class])
def test_the_map_depends_on_the_class_and_on_what_it_is_held_against(classifier, method):
    photo = pixels(32, 1)
    maps = [saliency(classifier, photo, method, target) for target in (Target(0), Target(1), Target(0, 2))]
    for one, other in ((0, 1), (0, 2)):
        assert not torch.allclose(maps[one], maps[other], atol=1e-4)


def test_maps_in_bf16_rank_the_patches_as_those_in_fp32():
    from vit_demo.data.open.sources import open_dataset

    classifier = LeafClassifier.open(device="cpu")
    photos = classifier.preprocess(open_dataset("beans")["validation"][:4]["image"])
    for method in ("attention", "rollout", "relevance", "masked-relevance", "gradcam"):
        exact, fast = (
            saliency(classifier, photos, method, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)
        )
        for number in range(4):
            assert spearmanr(exact[number].flatten(), fast[number].flatten()).statistic > 0.97, method


def test_several_photos_are_explained_in_the_fast_type_and_one_exactly(classifier, monkeypatch):
    photos = pixels(32, 3)
    for faster in (True, False):
        monkeypatch.setattr(
            "vit_demo.explain.attribution.saliency.bf16_is_faster", lambda _device, faster=faster: faster
        )
        several = torch.bfloat16 if faster else torch.float32
        for method in ("rollout", "relevance"):
            torch.testing.assert_close(
                saliency(classifier, photos, method),
                saliency(classifier, photos, method, dtype=several),
                rtol=0,
                atol=0,
            )
            torch.testing.assert_close(
                saliency(classifier, photos[:1], method),
                saliency(classifier, photos[:1], method, dtype=torch.float32),
                rtol=0,
                atol=0,
            )


def test_nothing_is_left_behind(classifier):
    before = {name: tensor.clone() for name, tensor in classifier.model.state_dict().items()}
    photos = pixels(32)
    logits = classifier.forward(photos)
    for method in METHODS:
        saliency(classifier, photos, method)
    assert torch.equal(classifier.forward(photos), logits)
    assert all(torch.equal(before[name], tensor) for name, tensor in classifier.model.state_dict().items())
    assert all(parameter.grad is None for parameter in classifier.model.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in classifier.model.modules())


def test_attentions_are_those_of_the_eager_model(model):
    _, expected = eager(model, pixels(48))
    found = attentions(model, pixels(48))
    for ours, theirs in zip(found[:-1], expected[:-1], strict=True):
        torch.testing.assert_close(ours, theirs.detach(), rtol=0, atol=1e-5)
    torch.testing.assert_close(found[-1], expected[-1].detach()[:, :, :1], rtol=0, atol=1e-5)


def test_what_cannot_be_explained_is_refused(classifier, refusal):
    assert "class 3" in refusal(saliency, classifier, pixels(32), "relevance", Target(3)).lower()
    assert "relevance" in refusal(saliency, classifier, pixels(32), "magic")


def test_log_odds_are_those_of_the_probability():
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]], dtype=torch.float64)
    share = logits.softmax(-1)
    torch.testing.assert_close(Target(0).log_odds(logits), (share[:, 0] / (1 - share[:, 0])).log())
    torch.testing.assert_close(Target(None).log_odds(logits), (share.amax(-1) / (1 - share.amax(-1))).log())
    torch.testing.assert_close(Target(0, 2).log_odds(logits), logits[:, 0] - logits[:, 2])
    assert Target(None).fixed(logits[1:]) == Target(1)


@pytest.mark.parametrize("against", [None, 1])
def test_masked_relevance_is_the_mean_over_what_each_half_shows(model, against):
    photos = pixels(32)
    target = Target(2, against)
    found = masked_relevance(model, photos, target, rounds=2)
    shown = halves(16, 2).numpy()
    expected = np.zeros((2, 16))
    for number in range(2):
        mean = photos[number].mean(dim=(1, 2))
        for version in shown:
            half = photos[number : number + 1].clone()
            for patch in range(16):
                if not version[patch]:
                    half[
                        0, :, 8 * (patch // 4) : 8 * (patch // 4) + 8, 8 * (patch % 4) : 8 * (patch % 4) + 8
                    ] = mean[:, None, None]
            logits, probabilities = eager(model, half)
            share = logits.softmax(-1)[0]
            score = (
                (share[2] / (1 - share[2])).log() if against is None else logits[0, 2] - logits[0, against]
            )
            score.backward()
            row = slow_relevance(
                [a[0].detach().numpy() for a in probabilities], [a.grad[0].numpy() for a in probabilities]
            )[1:]
            expected[number] += np.where(version, row / row.sum(), 0) / 2
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-6)


def test_each_patch_is_shown_in_one_of_two_halves():
    shown = halves(25, 3)
    assert shown.shape == (6, 25) and shown.sum(dim=1).tolist() == [12, 13] * 3
    assert (
        torch.equal(shown[::2], ~shown[1::2])
        and torch.equal(shown, halves(25, 3))
        and not torch.equal(shown[0], shown[2])
    )
