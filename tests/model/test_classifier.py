"""The core: what it computes is what transformers computes, and what it saves is what it opens."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ViTForImageClassification, ViTImageProcessorPil, ViTModel

from vit_demo.model.classifier import LeafClassifier

BEANS = ["angular_leaf_spot", "bean_rust", "healthy"]
TINY_PHOTO = (3, 32, 32)


def noise(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    return Image.fromarray(pixels, "RGBA").convert(mode)


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """fp32 all the way, so that results can be compared to the last digits on any processor."""
    monkeypatch.setattr("vit_demo.model.classifier.bf16_is_faster", lambda device_type: False)


@pytest.fixture
def tiny(tiny_model: Path, exact: None) -> LeafClassifier:
    return LeafClassifier.open(tiny_model, device="cpu")


@pytest.fixture
def photos() -> list[Image.Image]:
    """Five photos of different sizes, shapes and colours: mere noise looks all the same once it is
    resized.
    """
    noises = [noise(40 + 13 * number, 70 - 11 * number, seed=number) for number in range(5)]
    colours = ("red", "yellow", "green", "black", "white")
    return [
        Image.blend(photo, Image.new("RGB", photo.size, colour), 0.7)
        for photo, colour in zip(noises, colours)
    ]


@pytest.fixture
def changed(tiny_model: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the tiny model with values changed in one of its JSON files."""

    def change(file: str, **values: object) -> Path:
        folder = Path(shutil.copytree(tiny_model, tmp_path / "my-model"))
        (folder / file).write_text(json.dumps({**json.loads((folder / file).read_text()), **values}))
        return folder

    return change


# --- photos to pixels


def assert_as_processor(classifier: LeafClassifier, photo: Image.Image) -> None:
    expected = classifier.processor([photo.convert("RGB")], return_tensors="pt")["pixel_values"]
    pixel_values = classifier.preprocess([photo]).cpu()
    assert pixel_values.dtype == torch.float32
    torch.testing.assert_close(pixel_values, expected.float(), atol=1e-6, rtol=0)


def test_preprocess_is_the_processor_on_real_photos(shared: Path) -> None:
    classifier = LeafClassifier.open(shared / "models" / "vit-tiny-patch16-224")
    files = sorted((shared / "data" / "not_beans").rglob("*.jpg"))[::60][:3]
    assert files
    for file in files:
        with Image.open(file) as photo:
            assert_as_processor(classifier, photo)
            assert classifier.preprocess([photo]).shape == (1, 3, 224, 224)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "RGB"])
def test_preprocess_any_mode(tiny: LeafClassifier, mode: str) -> None:
    assert_as_processor(
        tiny, noise(37, 50, "L").convert("1") if mode == "1" else noise(37, 50, "RGB").convert(mode)
    )


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (3, 50), (50, 3), (1, 50), (300, 4)])
def test_preprocess_slivers(tiny: LeafClassifier, size: tuple[int, int]) -> None:
    # A side of 1 or 3 pixels must not be taken for the channels.
    photo = noise(*size)
    expected = np.asarray(photo.resize((32, 32), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    resized = tiny.resize([photo])
    assert resized.dtype == torch.uint8 and np.array_equal(resized[0].numpy(), expected)


@pytest.mark.parametrize("resample", range(6))
def test_preprocess_does_what_the_config_says(changed: Callable[..., Path], resample: int) -> None:
    folder = changed(
        "preprocessor_config.json",
        image_mean=[0.1, 0.2, 0.3],
        image_std=[0.4, 0.5, 0.6],
        resample=resample,
        size={"height": 24, "width": 40},
    )
    classifier = LeafClassifier.open(folder, device="cpu")
    assert classifier.image_size == (24, 40)
    assert classifier.preprocess([noise(50, 50)]).shape == (1, 3, 24, 40)
    assert_as_processor(classifier, noise(90, 33))


@pytest.mark.parametrize("off", ["do_rescale", "do_normalize"])
def test_processor_steps_follow_the_processor(changed: Callable[..., Path], off: str) -> None:
    classifier = LeafClassifier.open(changed("preprocessor_config.json", **{off: False}), device="cpu")
    photo = noise(60, 45)
    assert_as_processor(classifier, photo)
    resized, rescaled, normalised = classifier.processor_steps(photo)
    assert np.allclose(rescaled.values, resized.values * (1 if off == "do_rescale" else 1 / 255), atol=1e-6)
    assert np.allclose(normalised.values, classifier.preprocess([photo])[0].numpy(), atol=1e-6)


def test_processor_steps_lead_to_the_pixels(tiny: LeafClassifier) -> None:
    photo = noise(60, 45)
    steps = tiny.processor_steps(photo)
    assert [step.name for step in steps] == ["resized", "rescaled", "normalised"]
    assert all(step.values.shape == TINY_PHOTO for step in steps)
    resized, rescaled, normalised = (step.values for step in steps)
    assert resized.dtype == np.uint8 and rescaled.min() >= 0 and rescaled.max() <= 1
    mean, std = (
        np.reshape(values, (3, 1, 1)) for values in (tiny.processor.image_mean, tiny.processor.image_std)
    )
    assert np.allclose(rescaled, resized / 255, atol=1e-6)
    assert np.allclose(normalised, (rescaled - mean) / std, atol=1e-6)
    assert np.array_equal(normalised, tiny.preprocess([photo])[0].numpy())


@pytest.mark.parametrize(
    "values",
    [
        {"size": {"shortest_edge": 32}},
        {"do_resize": False},
        {
            "do_center_crop": True,
            "size": {"height": 36, "width": 36},
            "crop_size": {"height": 32, "width": 32},
        },
        {
            "do_center_crop": True,
            "crop_size": {"height": 32, "width": 32},
        },  # would cut a piece out of larger photos
        {"image_std": [0, 0, 0]},
        {"image_mean": None},
        {"size": {"height": 4, "width": 4}},
    ],
    ids=str,
)
def test_processors_that_do_not_fit_are_refused(
    changed: Callable[..., Path], refusal: Callable[..., str], values: dict
) -> None:
    assert "my-model" in refusal(LeafClassifier.open, changed("preprocessor_config.json", **values))


def test_old_processor_config(changed: Callable[..., Path]) -> None:
    # As written before transformers had image processors: facebook/dino-vits16 is one.
    folder = changed("config.json")
    old = {
        "do_normalize": True,
        "do_resize": True,
        "feature_extractor_type": "ViTFeatureExtractor",
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "resample": 2,
        "size": 32,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(old))
    classifier = LeafClassifier.open(folder, device="cpu")
    assert classifier.image_size == (32, 32)
    expected = (
        np.asarray(noise(32, 32)).transpose(2, 0, 1) / 255 - np.reshape(old["image_mean"], (3, 1, 1))
    ) / np.reshape(old["image_std"], (3, 1, 1))
    assert np.allclose(classifier.preprocess([noise(32, 32)])[0].numpy(), expected, atol=1e-5)


# --- pixels to logits


def test_logits_are_those_of_transformers(
    tiny: LeafClassifier, tiny_model: Path, photos: list[Image.Image]
) -> None:
    model = ViTForImageClassification.from_pretrained(tiny_model).eval()
    processor = ViTImageProcessorPil.from_pretrained(tiny_model)
    with torch.inference_mode():
        expected = model(processor(photos, return_tensors="pt")["pixel_values"]).logits
    logits = tiny.logits(photos)
    assert logits.dtype == torch.float32 and logits.shape == (5, 3)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    assert expected.std(dim=0).min() > 0.02, "the photos look alike to this model, so the test could not fail"


def test_logits_do_not_depend_on_the_batch(tiny: LeafClassifier, photos: list[Image.Image]) -> None:
    one_by_one = torch.cat([tiny.logits([photo]) for photo in photos])
    for batch in (
        tiny.logits(photos),
        tiny.logits(photos, batch_size=2),
        tiny.logits(tuple(photos)),
        tiny.logits(tiny.resize(photos), batch_size=3),
    ):
        torch.testing.assert_close(batch, one_by_one, atol=1e-4, rtol=1e-4)


def test_bf16_stays_near(
    tiny_model: Path, photos: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = LeafClassifier.open(tiny_model, device="cpu")
    results = {}
    for faster in (False, True):
        monkeypatch.setattr(
            "vit_demo.model.classifier.bf16_is_faster", lambda device_type, faster=faster: faster
        )
        results[faster] = classifier.logits(photos)
    assert results[True].dtype == torch.float32
    assert not torch.equal(results[True], results[False]), "autocast was not used"
    torch.testing.assert_close(results[True], results[False], atol=0.1, rtol=0.1)


def test_probabilities(tiny: LeafClassifier, photos: list[Image.Image]) -> None:
    probabilities, logits = tiny.probabilities(photos), tiny.logits(photos)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(5))
    torch.testing.assert_close(probabilities, logits.exp() / logits.exp().sum(dim=1, keepdim=True))


def test_features_are_the_cls_token_after_the_last_norm(
    tiny: LeafClassifier, tiny_model: Path, photos: list[Image.Image]
) -> None:
    model = ViTModel.from_pretrained(tiny_model, add_pooling_layer=False).eval()
    pixel_values = ViTImageProcessorPil.from_pretrained(tiny_model)(photos, return_tensors="pt")[
        "pixel_values"
    ]
    with torch.no_grad():
        # Before the norm, from the list of hidden states; the norm is done here by hand.
        hidden = model(pixel_values, output_hidden_states=True).hidden_states[-1][:, 0]
        expected = torch.nn.functional.layer_norm(
            hidden, (32,), model.layernorm.weight, model.layernorm.bias, model.config.layer_norm_eps
        )
    features = tiny.features(photos, batch_size=2)
    assert features.dtype == torch.float32 and features.shape == (5, 32)
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)
    weight, bias = tiny.model.classifier.weight.detach(), tiny.model.classifier.bias.detach()
    torch.testing.assert_close(features @ weight.T + bias, tiny.logits(photos), atol=1e-4, rtol=1e-4)


def test_no_photos(tiny: LeafClassifier) -> None:
    assert tiny.logits([]).shape == tiny.probabilities([]).shape == (0, 3)
    assert tiny.features([]).shape == (0, 32)


def test_other_resolution(tiny: LeafClassifier) -> None:
    photo = noise(100, 80)
    assert not tiny.needs_interpolation(tiny.preprocess([photo]))
    with torch.inference_mode():
        for size in ((64, 64), (32, 48), (48, 32), (24, 24)):
            pixels = tiny.preprocess([photo], size=size)
            assert pixels.shape == (1, 3, *size) and tiny.needs_interpolation(pixels)
            expected = tiny.model(pixels, interpolate_pos_encoding=True).logits
            torch.testing.assert_close(tiny.forward(pixels), expected)
    assert torch.isfinite(tiny.logits(tiny.resize([photo], size=(64, 64)))).all()
    assert torch.isfinite(tiny.features(tiny.resize([photo], size=(32, 48)))).all()


def test_forward_keeps_gradients(tiny: LeafClassifier, photos: list[Image.Image]) -> None:
    tiny.forward(tiny.preprocess(photos)).sum().backward()
    assert tiny.model.classifier.weight.grad is not None
    assert not tiny.logits(photos).requires_grad


# --- heads


def test_own_head(tiny: LeafClassifier) -> None:
    assert tiny.labels == BEANS and list(tiny.checkpoint.labels) == BEANS
    assert (tiny.patch_size, tiny.image_size, tiny.device.type) == (8, (32, 32), "cpu")
    assert not tiny.model.training and tiny.model.dtype == torch.float32
    assert tiny.model.classifier.weight.abs().sum() > 0


def test_new_head_is_zero_and_the_body_is_kept(
    tiny: LeafClassifier, tiny_model: Path, photos: list[Image.Image]
) -> None:
    for labels in (["a", "b"], ["x", "y", "z"], ["one", "two", "three", "four"]):
        fresh = LeafClassifier.open(tiny_model, labels=labels, device="cpu")
        assert fresh.labels == labels and fresh.model.config.label2id == {
            label: index for index, label in enumerate(labels)
        }
        assert fresh.model.classifier.weight.shape == (len(labels), 32)
        assert not fresh.model.classifier.weight.any() and not fresh.model.classifier.bias.any()
        torch.testing.assert_close(fresh.probabilities(photos), torch.full((5, len(labels)), 1 / len(labels)))
        torch.testing.assert_close(fresh.features(photos), tiny.features(photos))


def test_same_labels_keep_the_head(tiny: LeafClassifier, tiny_model: Path) -> None:
    again = LeafClassifier.open(tiny_model, labels=list(BEANS), device="cpu")
    assert torch.equal(again.model.classifier.weight, tiny.model.classifier.weight)
    # In another order the old rows would name the wrong classes.
    turned = LeafClassifier.open(tiny_model, labels=BEANS[::-1], device="cpu")
    assert turned.labels == BEANS[::-1] and not turned.model.classifier.weight.any()


def test_headless_needs_labels(
    tiny_model: Path,
    tmp_path: Path,
    refusal: Callable[..., str],
    photos: list[Image.Image],
    tiny: LeafClassifier,
) -> None:
    folder = tmp_path / "headless"
    # Saved by its base class, so its weights lack the prefix "vit.", as google/vit-base-patch16-224-in21k
    # does.
    ViTModel.from_pretrained(tiny_model, add_pooling_layer=True).save_pretrained(folder)
    shutil.copy(tiny_model / "preprocessor_config.json", folder)
    assert "has not learned any classes" in refusal(LeafClassifier.open, folder)
    opened = LeafClassifier.open(folder, labels=["a", "b"], device="cpu")
    assert opened.labels == ["a", "b"] and not opened.model.classifier.weight.any()
    torch.testing.assert_close(opened.features(photos), tiny.features(photos))


@pytest.mark.parametrize("labels", [[], ["only"]], ids=str)
def test_one_class_is_no_classifier(tiny_model: Path, refusal: Callable[..., str], labels: list[str]) -> None:
    assert "at least two classes" in refusal(LeafClassifier.open, tiny_model, labels=labels)


# --- checkpoints that look complete and are not


@pytest.mark.parametrize("labels", [None, ["a", "b"]], ids=str)
@pytest.mark.parametrize(
    "lost", ["vit.encoder.layer.1.", "vit.layernorm.weight", "vit.embeddings.cls_token", "classifier.bias"]
)
def test_missing_weights_are_not_made_up(
    changed: Callable[..., Path], refusal: Callable[..., str], lost: str, labels: list[str] | None
) -> None:
    from safetensors.numpy import load_file, save_file

    folder = changed("config.json")
    tensors = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in tensors.items() if not name.startswith(lost)}
    assert len(kept) < len(tensors)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    if labels and lost.startswith("classifier"):
        assert LeafClassifier.open(folder, labels=labels).labels == labels  # a new head needs no old one
    else:
        assert "incomplete" in refusal(LeafClassifier.open, folder, labels=labels)


@pytest.mark.parametrize("labels", [None, ["a", "b"]], ids=str)
@pytest.mark.parametrize(
    "values",
    [
        {"hidden_size": 64},
        {"num_hidden_layers": 4},
        {"num_attention_heads": 0},
        {"num_attention_heads": 3},
        {"hidden_size": "big"},
        {"hidden_act": "nonsense"},
        {"patch_size": 0},
        {"num_channels": 1},
        {"image_size": 64},
    ],
    ids=str,
)
def test_configs_that_do_not_fit_are_refused(
    changed: Callable[..., Path], refusal: Callable[..., str], values: dict, labels: list[str] | None
) -> None:
    assert "my-model" in refusal(LeafClassifier.open, changed("config.json", **values), labels=labels)


# --- saving


def test_round_trip(tiny: LeafClassifier, tmp_path: Path, photos: list[Image.Image]) -> None:
    tiny.processor.image_mean = [0.1, 0.2, 0.3]
    logits = tiny.logits(photos)
    tiny.save(tmp_path / "new" / "folder")
    again = LeafClassifier.open(tmp_path / "new" / "folder", device="cpu")
    assert again.labels == BEANS and again.image_size == (32, 32)
    for name, tensor in tiny.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor), name
    assert torch.equal(again.logits(photos), logits)


def test_round_trip_in_half_precision(tiny: LeafClassifier, tmp_path: Path) -> None:
    from safetensors import safe_open

    tiny.save(tmp_path / "half", dtype=torch.float16)
    with safe_open(tmp_path / "half" / "model.safetensors", framework="pt") as stored:
        assert {stored.get_slice(name).get_dtype() for name in stored.keys()} == {"F16"}  # noqa: SIM118
    config = tmp_path / "half" / "config.json"
    config.write_text(
        json.dumps({**json.loads(config.read_text()), "dtype": "float16"})
    )  # as other tools write it
    again = LeafClassifier.open(tmp_path / "half", device="cpu")
    assert again.model.dtype == tiny.model.dtype == torch.float32, "only the file is in half precision"
    for name, tensor in tiny.model.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[name], tensor, atol=1e-3, rtol=1e-3)


def test_no_file_is_too_big_for_a_space(
    shared: Path, tmp_path: Path, exact: None, tiny: LeafClassifier
) -> None:
    classifier = LeafClassifier.open(shared / "models" / "vit-tiny-patch16-224", labels=BEANS, device="cpu")
    tiny.save(tmp_path / "model")  # an earlier, smaller model in the same folder must not shine through
    classifier.save(tmp_path / "model")
    files = list((tmp_path / "model").iterdir())
    assert len([file for file in files if file.suffix == ".safetensors"]) > 1
    assert max(file.stat().st_size for file in files) < 10_000_000
    again = LeafClassifier.open(tmp_path / "model", device="cpu")
    assert again.labels == BEANS
    photo = [noise(300, 200)]
    assert torch.equal(again.features(photo), classifier.features(photo))
    tiny.save(tmp_path / "model")
    assert LeafClassifier.open(tmp_path / "model").model.config.hidden_size == 32


def test_embedded_model_opens_and_is_small() -> None:
    classifier = LeafClassifier.open()
    assert classifier.labels == BEANS and classifier.image_size == (224, 224)
    assert max(file.stat().st_size for file in classifier.checkpoint.folder.iterdir()) < 10_000_000
