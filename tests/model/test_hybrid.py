"""The CNN hybrid: its tokens are those of the ResNet, the rest is the ViT's, and what it saves is what it
opens.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import (
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
    ViTModel,
)

from tests.resnets import BEANS, IMAGENET, PATCHES, save_resnet
from tests.training.conftest import threads
from vit_demo.cli import main as cli
from vit_demo.model import checkpoints, hybrid
from vit_demo.model.classifier import LeafClassifier


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """fp32 all the way, so that results can be compared to the last digits on any processor; and one thread:
    so small a model only waits for more.
    """
    monkeypatch.setattr("vit_demo.model.classifier.bf16_is_faster", lambda device_type: False)
    torch.manual_seed(0)
    with threads(1):
        yield


@pytest.fixture
def photos() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    colours = ((200, 40, 30), (40, 180, 60), (30, 60, 220), (220, 220, 40), (10, 10, 10))
    arrays = [
        rng.normal(colour, 30, (50 + 9 * index, 70 - 7 * index, 3)) for index, colour in enumerate(colours)
    ]
    return [Image.fromarray(np.clip(array, 0, 255).astype(np.uint8)) for array in arrays]


@pytest.fixture
def resnet(tmp_path: Path) -> Path:
    save_resnet(tmp_path / "my-resnet")
    return tmp_path / "my-resnet"


@pytest.fixture(params=["new", "pretrained"])
def classifier(request: pytest.FixtureRequest, tiny_model: Path, resnet: Path) -> LeafClassifier:
    opened = LeafClassifier.open(tiny_model, hybrid="new" if request.param == "new" else resnet, device="cpu")
    # At first all photos give nearly the same tokens.
    torch.nn.init.normal_(opened.model.vit.embeddings.patch_embeddings.projection.weight, std=1)
    return opened


def embedding(classifier: LeafClassifier) -> hybrid.HybridPatchEmbeddings:
    return classifier.model.vit.embeddings.patch_embeddings


# --- built out of a plain ViT


def test_the_patch_embedding_alone_is_replaced(tiny_model: Path, resnet: Path) -> None:
    plain = LeafClassifier.open(tiny_model, device="cpu")
    for source in ("new", resnet):
        built = LeafClassifier.open(tiny_model, hybrid=source, device="cpu")
        state = built.model.state_dict()
        for name, tensor in plain.model.state_dict().items():
            assert name.startswith(PATCHES) or torch.equal(state[name], tensor), name
        assert (built.labels, built.patch_size, built.image_size) == (BEANS, 8, (32, 32))
        assert (
            not built.model.training
            and built.feature_channels == (64 if source == "new" else 24)
            and plain.feature_channels is None
        )
        assert state[f"{PATCHES}projection.weight"].shape == (32, built.feature_channels, 1, 1)
        assert not built.checkpoint.is_hybrid, "what was opened is a plain ViT"


def test_tokens_are_the_projected_feature_map_of_the_resnet(
    tiny_model: Path, resnet: Path, photos: list[Image.Image]
) -> None:
    built = LeafClassifier.open(tiny_model, hybrid=resnet, device="cpu")
    whole = ResNetForImageClassification.from_pretrained(resnet).eval()
    pixel_values = built.preprocess(photos)
    with torch.no_grad():
        features = whole(pixel_values, output_hidden_states=True).hidden_states[
            2
        ]  # after the stage with stride 8, by transformers itself
        assert features.shape == (5, 24, 4, 4)
        projection = embedding(built).projection
        expected = torch.stack(
            [
                projection.weight[:, :, 0, 0] @ features[photo, :, place // 4, place % 4] + projection.bias
                for photo in range(5)
                for place in range(16)
            ]
        ).view(5, 16, 32)
        torch.testing.assert_close(embedding(built)(pixel_values), expected, atol=1e-5, rtol=1e-5)
    assert features.std() > 0.05


def test_the_rest_is_the_plain_vit(
    classifier: LeafClassifier, tiny_model: Path, photos: list[Image.Image]
) -> None:
    pixel_values = classifier.preprocess(photos)
    plain = ViTForImageClassification.from_pretrained(tiny_model).eval()
    with torch.no_grad():
        tokens = embedding(classifier)(pixel_values)
        plain.vit.embeddings.patch_embeddings.forward = lambda pixel_values: tokens
        torch.testing.assert_close(classifier.forward(pixel_values), plain(pixel_values).logits)
    # A hundred times what the comparison lets pass.
    assert classifier.logits(photos).std(dim=0).min() > 1e-3, (
        "the photos look alike to this model, so the test could not fail"
    )


def test_a_pretrained_resnet_gets_the_pixels_it_learned_with(
    tiny_model: Path, resnet: Path, photos: list[Image.Image], tmp_path: Path
) -> None:
    built = LeafClassifier.open(tiny_model, hybrid=resnet, device="cpu")
    built.save(tmp_path / "saved")
    for classifier in (built, LeafClassifier.open(tmp_path / "saved", device="cpu")):
        pixels = np.asarray(photos[0].resize((32, 32), Image.Resampling.BICUBIC)).transpose(2, 0, 1) / 255
        mean, std = (np.reshape(IMAGENET[name], (3, 1, 1)) for name in ("image_mean", "image_std"))
        np.testing.assert_allclose(
            classifier.preprocess(photos[:1])[0].numpy(), (pixels - mean) / std, atol=1e-5
        )
    assert (
        LeafClassifier.open(tiny_model, hybrid="new").processor.image_mean
        == ViTImageProcessorPil.from_pretrained(tiny_model).image_mean
    )


def test_a_new_resnet_is_drawn_from_the_seed(tiny_model: Path) -> None:
    states = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        states.append(LeafClassifier.open(tiny_model, hybrid="new", device="cpu").model.state_dict())
    drawn = [name for name in states[0] if name.startswith(PATCHES) and states[0][name].std() > 0]
    assert len(drawn) > 5 and all(
        torch.equal(states[0][name], states[1][name]) and not torch.equal(states[0][name], states[2][name])
        for name in drawn
    )
    convolution = states[0][f"{PATCHES}backbone.embedder.embedder.convolution.weight"]
    assert convolution.std().item() == pytest.approx(
        (2 / (32 * 49)) ** 0.5, rel=0.1
    )  # He et al. 2015, by the outputs
    assert states[0][f"{PATCHES}projection.weight"].std().item() == pytest.approx(0.02, rel=0.15)


def test_a_headless_vit_and_a_new_head(tiny_model: Path, tmp_path: Path) -> None:
    ViTModel.from_pretrained(tiny_model, add_pooling_layer=True).save_pretrained(tmp_path / "headless")
    shutil.copy(tiny_model / "preprocessor_config.json", tmp_path / "headless")
    built = LeafClassifier.open(tmp_path / "headless", hybrid="new", labels=["a", "b"], device="cpu")
    assert built.labels == ["a", "b"] and not built.model.classifier.weight.any()
    built.save(tmp_path / "saved")
    assert LeafClassifier.open(tmp_path / "saved").labels == ["a", "b"]
    assert LeafClassifier.open(tmp_path / "saved", labels=["x", "y", "z"]).model.classifier.weight.shape == (
        3,
        32,
    )


@pytest.mark.parametrize("patch", [4, 8, 16, 32])
def test_every_patch_size_that_a_resnet_can_have(patch: int) -> None:
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=2 * patch,
        patch_size=patch,
    )
    built = hybrid.make_hybrid(ViTForImageClassification(config), ViTImageProcessorPil()).eval()
    with torch.no_grad():
        assert built.vit.embeddings.patch_embeddings(torch.randn(1, 3, 96, 64)).shape == (
            1,
            96 * 64 // patch**2,
            16,
        )


# --- photos of other sizes


@pytest.mark.parametrize("size", [(64, 64), (24, 56), (16, 8), (45, 35), (47, 33)])
def test_other_sizes(classifier: LeafClassifier, photos: list[Image.Image], size: tuple[int, int]) -> None:
    pixel_values = classifier.preprocess(photos, size)
    rows, columns = size[0] // 8, size[1] // 8
    model = classifier.model
    with torch.inference_mode():
        # Positions by hand: the grid of the learned ones, stretched in 2D to the grid of the feature map.
        learned = model.vit.embeddings.position_embeddings
        stretched = (
            torch.nn.functional.interpolate(
                learned[:, 1:].view(1, 4, 4, 32).permute(0, 3, 1, 2),
                size=(rows, columns),
                mode="bicubic",
                align_corners=False,
            )
            .flatten(2)
            .transpose(1, 2)
        )
        tokens = embedding(classifier)(pixel_values)
        assert tokens.shape == (5, rows * columns, 32)
        hidden = torch.cat(
            [(model.vit.embeddings.cls_token + learned[:, :1]).expand(5, -1, -1), tokens + stretched], dim=1
        )
        for layer in model.vit.layers:
            hidden = layer(hidden)
        expected = model.classifier(model.vit.layernorm(hidden)[:, 0])
        torch.testing.assert_close(classifier.forward(pixel_values), expected, atol=1e-4, rtol=1e-4)
    assert classifier.features(classifier.resize(photos, size)).shape == (5, 32)


@pytest.mark.parametrize("side", [96, 288, 320, 384])
def test_sizes_of_people(shared: Path, tmp_path: Path, side: int, photos: list[Image.Image]) -> None:
    classifier = LeafClassifier.open(
        shared / "models" / "vit-tiny-patch16-224",
        hybrid="new",
        labels=BEANS,
        head_init="normal",
        device="cpu",
    )
    classifier.processor.size = {"height": side, "width": side}
    classifier.save(tmp_path / "saved")
    again = LeafClassifier.open(tmp_path / "saved", device="cpu")
    assert again.image_size == (side, side) and again.model.vit.embeddings.position_embeddings.shape[1] == 197
    logits = classifier.logits(photos[:1])
    assert logits.isfinite().all() and torch.equal(again.logits(photos[:1]), logits)


# --- saving


def test_round_trip(classifier: LeafClassifier, tmp_path: Path, photos: list[Image.Image]) -> None:
    logits = classifier.logits(photos)
    classifier.save(tmp_path / "saved")
    again = LeafClassifier.open(tmp_path / "saved", device="cpu")
    assert again.checkpoint.is_hybrid and again.labels == BEANS
    state = again.model.state_dict()
    assert state.keys() == classifier.model.state_dict().keys()
    for name, tensor in classifier.model.state_dict().items():
        assert torch.equal(state[name], tensor) and state[name].dtype == tensor.dtype, name
    assert torch.equal(again.logits(photos), logits)
    text = (tmp_path / "saved" / "config.json").read_text()
    assert json.loads(text)["model_type"] == checkpoints.HYBRID_TYPE and str(tmp_path) not in text


def test_round_trip_in_half_precision(
    classifier: LeafClassifier, tmp_path: Path, photos: list[Image.Image]
) -> None:
    classifier.save(tmp_path / "half", torch.float16)
    stored = load_file(tmp_path / "half" / "model.safetensors")
    weights = dict(classifier.model.named_parameters())
    # Statistics and counters may be larger than float16 takes.
    assert {
        tensor.dtype for name, tensor in stored.items() if "running" not in name and "tracked" not in name
    } == {torch.float16}
    again = LeafClassifier.open(tmp_path / "half", device="cpu")
    for name, tensor in classifier.model.state_dict().items():
        other = again.model.state_dict()[name]
        assert other.dtype == tensor.dtype
        torch.testing.assert_close(
            other, tensor, atol=2e-3 if name in weights else 0, rtol=2e-3 if name in weights else 0
        )
    torch.testing.assert_close(again.logits(photos), classifier.logits(photos), atol=0.05, rtol=0.05)


def test_the_same_as_a_half_and_half_run(tiny_model: Path, tmp_path: Path, photos: list[Image.Image]) -> None:
    """A saved hybrid keeps learning as if it had never been saved."""

    def steps(classifier: LeafClassifier, count: int) -> None:
        classifier.model.train()
        for _ in range(count):
            loss = torch.nn.functional.cross_entropy(
                classifier.forward(classifier.preprocess(photos)), torch.tensor([0, 1, 2, 1, 0])
            )
            loss.backward()
            for parameter in classifier.model.parameters():
                parameter.data -= 0.05 * parameter.grad
                parameter.grad = None
        classifier.model.eval()

    unbroken = LeafClassifier.open(tiny_model, hybrid="new", device="cpu")
    unbroken.save(tmp_path / "start")
    steps(unbroken, 4)
    broken = LeafClassifier.open(tmp_path / "start", device="cpu")
    steps(broken, 2)
    broken.save(tmp_path / "middle")
    broken = LeafClassifier.open(tmp_path / "middle", device="cpu")
    steps(broken, 2)
    assert torch.equal(broken.logits(photos), unbroken.logits(photos))
    assert not torch.equal(LeafClassifier.open(tmp_path / "start").logits(photos), unbroken.logits(photos))


# --- training


def test_photos_of_a_batch_do_not_mix_in_training(
    classifier: LeafClassifier, photos: list[Image.Image]
) -> None:
    pixel_values = classifier.preprocess(photos)
    buffers = {name: buffer.clone() for name, buffer in classifier.model.named_buffers()}
    classifier.model.train()
    whole = classifier.forward(pixel_values)
    one_by_one = torch.cat([classifier.forward(photo[None]) for photo in pixel_values])
    torch.testing.assert_close(whole, one_by_one, atol=1e-4, rtol=1e-4)
    classifier.model.eval()
    torch.testing.assert_close(whole, classifier.forward(pixel_values), atol=1e-4, rtol=1e-4)
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in classifier.model.named_buffers())


def test_a_photo_of_a_single_token_can_be_learned_from(
    classifier: LeafClassifier, photos: list[Image.Image]
) -> None:
    classifier.model.train()
    classifier.forward(classifier.preprocess(photos[:1], (8, 8))).sum().backward()
    assert embedding(classifier).projection.weight.grad.isfinite().all()


def test_everything_learns_unless_it_is_frozen(classifier: LeafClassifier, photos: list[Image.Image]) -> None:
    def learning() -> set[str]:
        classifier.model.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(
            classifier.forward(classifier.preprocess(photos)), torch.tensor([0, 1, 2, 1, 0])
        ).backward()
        return {
            name
            for name, parameter in classifier.model.named_parameters()
            if parameter.grad is not None and parameter.grad.any()
        }

    classifier.model.train()
    everything = {name for name, _ in classifier.model.named_parameters()}
    # A bias of the keys adds the same to all of a row of the softmax.
    assert {name for name in everything - learning() if not name.endswith("k_proj.bias")} == set()
    classifier.freeze_encoder()
    assert learning() == {"classifier.weight", "classifier.bias"}
    assert not classifier.model.vit.training and classifier.model.training


# --- refusals


def test_pairs_that_do_not_fit(
    tiny_model: Path, resnet: Path, tmp_path: Path, refusal: Callable[..., str], classifier: LeafClassifier
) -> None:
    classifier.save(tmp_path / "a-hybrid")
    assert "CNN in front already" in refusal(LeafClassifier.open, tmp_path / "a-hybrid", hybrid="new")
    assert "is no ResNet (it is vit)" in refusal(LeafClassifier.open, tiny_model, hybrid=tiny_model)
    assert "is no ResNet" in refusal(LeafClassifier.open, tiny_model, hybrid=tmp_path / "a-hybrid")
    assert "is no ViT image model (it is resnet)" in refusal(LeafClassifier.open, resnet)
    assert "no model folder" in refusal(LeafClassifier.open, tiny_model, hybrid=str(tmp_path / "nowhere"))
    save_resnet(tmp_path / "shallow", depths=[1], hidden_sizes=[16])
    assert "no feature map with a stride of 8" in refusal(
        LeafClassifier.open, tiny_model, hybrid=tmp_path / "shallow"
    )
    save_resnet(tmp_path / "grey", num_channels=1)
    assert "no feature map" in refusal(LeafClassifier.open, tiny_model, hybrid=tmp_path / "grey")
    save_resnet(tmp_path / "halving", downsample_in_first_stage=True)
    assert LeafClassifier.open(tiny_model, hybrid=tmp_path / "halving").feature_channels == 16


# --- the command line


def test_commands_take_a_hybrid_as_any_model(
    classifier: LeafClassifier, tmp_path: Path, photos: list[Image.Image], capsys: pytest.CaptureFixture[str]
) -> None:
    model, photo = str(tmp_path / "model"), str(tmp_path / "leaf.png")
    classifier.save(tmp_path / "model")
    photos[1].save(photo)
    for split in ("train", "validation", "test"):
        for index, label in enumerate(BEANS):
            (tmp_path / "data" / split / label).mkdir(parents=True)
            photos[index].save(tmp_path / "data" / split / label / "one.png")
    probabilities = classifier.probabilities(photos)

    assert cli.main(["predict", "--model", model, "--device", "cpu", "--json", photo]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["label"] == BEANS[int(probabilities[1].argmax())]
    assert answer["probability"] == pytest.approx(probabilities[1].max().item(), abs=1e-3)

    assert (
        cli.main(
            ["evaluate", "--model", model, "--data", str(tmp_path / "data"), "--device", "cpu", "--json"]
        )
        == 0
    )
    right = (probabilities[:3].argmax(dim=1) == torch.arange(3)).float().mean().item()
    assert json.loads(capsys.readouterr().out)["accuracy"] == pytest.approx(right)

    explain = ["explain", "--model", model, "--device", "cpu", "--out", str(tmp_path / "map.npz"), photo]
    assert cli.main([*explain, "--method", "rollout"]) == 0
    with np.load(tmp_path / "map.npz") as saved:
        assert saved["map"].shape == (4, 4) and saved["map"].sum() + saved["cls_share"] == pytest.approx(
            1, abs=1e-5
        )
    assert cli.main(explain) == 0
    with np.load(tmp_path / "map.npz") as saved:
        assert saved["map"].shape == (4, 4) and saved["map"].max() > 0
