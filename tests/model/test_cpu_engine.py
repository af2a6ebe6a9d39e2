"""The packed forward gives transformers' own answers, as near as bfloat16 allows, also from several threads
at once.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from transformers.activations import ACT2FN

from tests.engines import photos_of
from vit_demo.common.compat import onednn_fuses
from vit_demo.data.open.sources import open_dataset
from vit_demo.model import classifier as vit
from vit_demo.model import cpu_engine
from vit_demo.model.classifier import LeafClassifier
from vit_demo.model.cpu_engine import CpuEngine, encoder_of, engine_of
from vit_demo.model.encoder import encode
from vit_demo.model.readout import Pool, Readout

READOUT = Readout(1)


@torch.no_grad()
def by_transformers(classifier: LeafClassifier, photos: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and the features of READOUT, in fp32."""
    found = classifier.model(classifier.normalise(photos), output_hidden_states=True)
    return found.logits, found.hidden_states[1][:, 0]


def scale(values: torch.Tensor) -> float:
    return float(values.abs().max())


@pytest.mark.parametrize("count", [1, 5])
def test_bf16_is_near_transformers_in_fp32(tiny: LeafClassifier, in_bf16: None, count: int) -> None:
    photos = photos_of(tiny, count)
    engine = engine_of(tiny)
    assert isinstance(engine, CpuEngine)
    for found, wanted in zip(engine.logits_and_features(photos, READOUT), by_transformers(tiny, photos)):
        assert found.shape == wanted.shape and found.dtype == torch.float32
        # bfloat16 has 8 bits: 1/256 at each of a few steps.
        assert scale(found - wanted) < 0.03 * scale(wanted)
    assert torch.allclose(
        engine.probabilities(photos), engine.logits_and_features(photos, READOUT)[0].softmax(dim=1)
    )


@pytest.mark.parametrize("activation", [None, torch.nn.ReLU(), ACT2FN["gelu"], ACT2FN["gelu_new"]], ids=str)
@pytest.mark.parametrize("laid_out", [True, False])
def test_a_product_is_the_same_laid_out_for_onednn_or_not(
    activation: torch.nn.Module | None, laid_out: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if laid_out and not onednn_fuses():
        pytest.skip("this torch has no oneDNN")
    monkeypatch.setattr(cpu_engine, "onednn_fuses", lambda: laid_out)
    random = torch.Generator().manual_seed(1)
    weight, bias, values = (torch.randn(*shape, generator=random) for shape in ((40, 32), (40,), (2, 7, 32)))
    wanted = torch.nn.functional.linear(values, weight, bias)
    wanted = wanted if activation is None else activation(wanted)
    product = cpu_engine._Linear(weight, bias, activation)
    weight.zero_()  # it has its own copy
    found = product(values.to(torch.bfloat16))
    assert found.dtype == torch.bfloat16 and found.shape == (2, 7, 40)
    assert scale(found - wanted) < 0.01 * scale(wanted)


@pytest.mark.parametrize("broken", [RuntimeError, TypeError, None])
def test_a_torch_whose_product_is_missing_or_another_is_found_out(
    broken: type[Exception] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(values: torch.Tensor, *_: object) -> torch.Tensor:
        if broken:
            raise broken("no such function")
        return 2 * values

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", other, raising=False)
    assert not onednn_fuses.__wrapped__()


@pytest.mark.parametrize(("rescales", "normalises"), [(True, True), (True, False), (False, True)])
def test_pixels_are_normalised_as_the_processor_says(
    tiny: LeafClassifier, in_bf16: None, rescales: bool, normalises: bool
) -> None:
    tiny.processor.image_mean, tiny.processor.image_std = [0.485, 0.456, 0.2], [0.229, 0.3, 0.225]
    tiny.processor.do_rescale, tiny.processor.do_normalize = rescales, normalises
    photos = photos_of(tiny, 3)
    for found, wanted in zip(
        engine_of(tiny).logits_and_features(photos, READOUT), by_transformers(tiny, photos)
    ):
        assert scale(found - wanted) < 0.03 * scale(wanted)


def test_no_farther_from_fp32_than_autocast(in_bf16: None) -> None:
    classifier = LeafClassifier.open(device="cpu")
    test = open_dataset("beans")["test"]
    photos = classifier.resize([test[row]["image"] for row in range(0, 128, 16)])
    wanted = classifier.model(classifier.normalise(photos)).logits.detach()
    own, autocast = (
        float((found.logits_and_features(photos, Readout(9))[0] - wanted).abs().mean())
        for found in (engine_of(classifier), classifier)
    )
    assert own < 1.5 * autocast


def test_one_engine_a_model_until_its_weights_change(tiny: LeafClassifier, in_bf16: None) -> None:
    engine, photos = engine_of(tiny), photos_of(tiny, 1)
    assert engine_of(tiny) is engine
    with torch.no_grad():
        tiny.model.vit.layers[0].mlp.fc1.weight.mul_(2)
    assert engine_of(tiny) is not engine
    logits, wanted = engine_of(tiny).logits_and_features(photos, READOUT)[0], by_transformers(tiny, photos)[0]
    assert scale(logits - wanted) < 0.03 * scale(wanted)


def test_threads_share_an_engine(tiny: LeafClassifier, in_bf16: None) -> None:
    engine, batches = engine_of(tiny), [photos_of(tiny, count) for count in range(1, 9)]
    alone = [engine.logits_and_features(batch, READOUT) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda batch: engine.logits_and_features(batch, READOUT), batches))
    for (logits, tokens), (wanted, wanted_tokens) in zip(together, alone):
        assert torch.equal(logits, wanted) and torch.equal(tokens, wanted_tokens)


@pytest.mark.parametrize("layer", [1, 2])
def test_the_mean_of_the_patch_tokens_is_that_of_transformers(
    tiny: LeafClassifier, in_bf16: None, layer: int
) -> None:
    """Also after the last block, of which otherwise only [CLS] is computed."""
    engine, photos, readout = engine_of(tiny), photos_of(tiny, 3), Readout(layer, Pool.PATCH_MEAN)
    tokens: list[torch.Tensor] = []
    # Of transformers' last hidden state the final norm is part; the features are read before it.
    handle = tiny.model.vit.layers[layer - 1].register_forward_hook(lambda *found: tokens.append(found[-1]))
    with torch.no_grad():
        wanted_logits = tiny.model(tiny.normalise(photos)).logits
    handle.remove()
    wanted = tokens[0][:, 1:].mean(dim=1)
    logits, features = engine.logits_and_features(photos, readout)
    torch.testing.assert_close(logits, wanted_logits, rtol=0, atol=0.03 * scale(wanted_logits))
    for found in (
        features,
        engine.features_after(photos, readout),
        tiny.logits_and_features(photos, readout)[1],
    ):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0.03 * scale(wanted))


def test_many_photos_at_once_are_as_a_few(tiny: LeafClassifier, in_bf16: None) -> None:
    engine, photos = engine_of(tiny), photos_of(tiny, 11)
    logits, tokens = cpu_engine.logits_and_features(tiny, photos, READOUT)
    for start in range(0, 11, cpu_engine.FEW):
        few = slice(start, start + cpu_engine.FEW)
        wanted_logits, wanted_tokens = engine.logits_and_features(photos[few], READOUT)
        torch.testing.assert_close(logits[few], wanted_logits, rtol=0, atol=0.02 * scale(wanted_logits))
        torch.testing.assert_close(tokens[few], wanted_tokens, rtol=0, atol=0.02 * scale(wanted_tokens))
    torch.testing.assert_close(
        cpu_engine.features_after(engine, photos, READOUT), tokens, rtol=0, atol=0.02 * scale(tokens)
    )


def test_where_nothing_is_packed_the_classifier_answers(
    tiny: LeafClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vit, "bf16_is_faster", lambda device_type: False)
    photos = photos_of(tiny, 5)
    for found, wanted in zip(
        cpu_engine.logits_and_features(tiny, photos, READOUT), tiny.logits_and_features(photos, READOUT)
    ):
        assert torch.equal(found, wanted)


def test_the_attention_of_each_block_is_recorded(tiny: LeafClassifier, in_bf16: None) -> None:
    photos = tiny.normalise(photos_of(tiny, 3))
    exact: list[torch.Tensor] = []
    found: list[torch.Tensor] = []
    with torch.no_grad():
        tokens = tiny.model.vit.embeddings(photos)
        wanted = encode(tiny.model.vit, tokens, torch.float32, exact.append)
        last, _ = encoder_of(tiny.model)(tokens, found.append)
    assert scale(last - wanted) < 0.03 * scale(wanted)
    assert [one.shape for one in found] == [one.shape for one in exact] and len(found) == tiny.blocks
    for one, other in zip(found, exact):
        torch.testing.assert_close(one.float(), other, rtol=0.1, atol=0.02)
