"""Every engine gives transformers' own answers, as near as its numbers allow, also from several threads at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers.activations import ACT2FN

from vit_demo import vit
from vit_demo.data.sources import open_dataset
from vit_demo.diagnose import ahead, engines
from vit_demo.diagnose.ahead import Room, bytes_to_open, in_order
from vit_demo.diagnose.diagnosis import Refusal, diagnose, diagnose_files
from vit_demo.diagnose.engines import CpuEngine, OnnxEngine, compute_alone, engine_of
from vit_demo.vit import LeafClassifier

LAYER = 1


@pytest.fixture
def in_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a CPU with bfloat16 of its own, which computes the same where it is emulated."""
    monkeypatch.setattr(vit, "bf16_is_faster", lambda device_type: device_type == "cpu")


@pytest.fixture
def tiny(tiny_model: Path) -> LeafClassifier:
    return LeafClassifier.open(tiny_model, device="cpu")


def photos_of(classifier: LeafClassifier, count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, *classifier.image_size), dtype=torch.uint8, generator=torch.Generator().manual_seed(count))


@torch.no_grad()
def by_transformers(classifier: LeafClassifier, photos: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and the [CLS] token after LAYER blocks, in fp32."""
    found = classifier.model(classifier.normalise(photos), output_hidden_states=True)
    return found.logits, found.hidden_states[LAYER][:, 0]


def scale(values: torch.Tensor) -> float:
    return float(values.abs().max())


@pytest.mark.parametrize("count", [1, 5])
def test_bf16_is_near_transformers_in_fp32(tiny: LeafClassifier, in_bf16: None, count: int) -> None:
    photos = photos_of(tiny, count)
    engine = engine_of(tiny)
    assert isinstance(engine, CpuEngine)
    for found, wanted in zip(engine.logits_and_tokens(photos, LAYER), by_transformers(tiny, photos)):
        assert found.shape == wanted.shape and found.dtype == torch.float32
        # bfloat16 has 8 bits: 1/256 at each of a few steps.
        assert scale(found - wanted) < 0.03 * scale(wanted)
    assert torch.allclose(engine.probabilities(photos), engine.logits_and_tokens(photos, LAYER)[0].softmax(dim=1))


@pytest.mark.parametrize("activation", [None, torch.nn.ReLU(), ACT2FN["gelu"], ACT2FN["gelu_new"]], ids=str)
@pytest.mark.parametrize("packed", [True, False])
def test_a_product_is_the_same_laid_out_for_onednn_or_not(activation: torch.nn.Module | None, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if packed and not engines.onednn_fuses():
        pytest.skip("this torch has no oneDNN")
    monkeypatch.setattr(engines, "onednn_fuses", lambda: packed)
    random = torch.Generator().manual_seed(1)
    weight, bias, values = (torch.randn(*shape, generator=random) for shape in ((40, 32), (40,), (2, 7, 32)))
    wanted = torch.nn.functional.linear(values, weight, bias)
    wanted = wanted if activation is None else activation(wanted)
    product = engines._Linear(weight, bias, activation)
    weight.zero_()  # it has its own copy
    found = product(values.to(torch.bfloat16))
    assert found.dtype == torch.bfloat16 and found.shape == (2, 7, 40)
    assert scale(found - wanted) < 0.01 * scale(wanted)


@pytest.mark.parametrize("broken", [RuntimeError, TypeError, None])
def test_a_torch_whose_product_is_missing_or_another_is_found_out(broken: type[Exception] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(values: torch.Tensor, *_: object) -> torch.Tensor:
        if broken:
            raise broken("no such function")
        return 2 * values

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", other, raising=False)
    assert not engines.onednn_fuses.__wrapped__()


@pytest.mark.parametrize(("rescales", "normalises"), [(True, True), (True, False), (False, True)])
def test_pixels_are_normalised_as_the_processor_says(tiny: LeafClassifier, in_bf16: None, rescales: bool, normalises: bool) -> None:
    tiny.processor.image_mean, tiny.processor.image_std = [0.485, 0.456, 0.2], [0.229, 0.3, 0.225]
    tiny.processor.do_rescale, tiny.processor.do_normalize = rescales, normalises
    photos = photos_of(tiny, 3)
    for found, wanted in zip(engine_of(tiny).logits_and_tokens(photos, LAYER), by_transformers(tiny, photos)):
        assert scale(found - wanted) < 0.03 * scale(wanted)


def test_no_farther_from_fp32_than_autocast(in_bf16: None) -> None:
    classifier = LeafClassifier.open(device="cpu")
    photos = photos_of(classifier, 2)
    wanted = classifier.model(classifier.normalise(photos)).logits.detach()
    own, autocast = (scale(found.logits_and_tokens(photos, 9)[0] - wanted) for found in (engine_of(classifier), classifier))
    assert own < 2 * autocast + 0.01


def test_the_real_diagnosis_is_the_same(in_bf16: None, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, photo = LeafClassifier.open(device="cpu"), open_dataset("sample")["test"][0]["image"]
    fast = diagnose(classifier, photo)
    monkeypatch.setattr(vit, "bf16_is_faster", lambda device_type: False)
    exact = diagnose(classifier, photo)
    assert (fast.verdict, fast.label, fast.prediction_set) == (exact.verdict, exact.label, exact.prediction_set)
    assert fast.scores == pytest.approx(exact.scores, abs=0.01) and fast.distance == pytest.approx(exact.distance, rel=0.02)


def test_one_engine_a_model_until_its_weights_change(tiny: LeafClassifier, in_bf16: None) -> None:
    engine, photos = engine_of(tiny), photos_of(tiny, 1)
    assert engine_of(tiny) is engine
    with torch.no_grad():
        tiny.model.vit.layers[0].mlp.fc1.weight.mul_(2)
    assert engine_of(tiny) is not engine
    logits, wanted = engine_of(tiny).logits_and_tokens(photos, LAYER)[0], by_transformers(tiny, photos)[0]
    assert scale(logits - wanted) < 0.03 * scale(wanted)


def test_the_classifier_itself_where_bf16_is_emulated_or_the_size_is_another(tiny: LeafClassifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vit, "bf16_is_faster", lambda device_type: False)
    assert engine_of(tiny) is tiny
    monkeypatch.setattr(vit, "bf16_is_faster", lambda device_type: True)
    tiny.processor.size = {"height": 48, "width": 48}
    assert engine_of(tiny) is tiny
    assert tiny.logits_and_tokens(photos_of(tiny, 1), LAYER)[0].shape == (1, 3)


def test_threads_share_an_engine(tiny: LeafClassifier, in_bf16: None) -> None:
    engine, batches = engine_of(tiny), [photos_of(tiny, count) for count in range(1, 9)]
    alone = [engine.logits_and_tokens(batch, LAYER) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda batch: engine.logits_and_tokens(batch, LAYER), batches))
    for (logits, tokens), (wanted, wanted_tokens) in zip(together, alone):
        assert torch.equal(logits, wanted) and torch.equal(tokens, wanted_tokens)


def test_a_thread_that_computes_alone_leaves_all_others_as_they_are() -> None:
    usual = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        found: dict[str, int] = {}

        def own() -> None:
            compute_alone(1, 3)
            found["own"] = torch.get_num_threads()

        for name, work in (("own", own), ("later", lambda: found.update(later=torch.get_num_threads()))):
            thread = threading.Thread(target=work, name=name)
            thread.start()
            thread.join()
        assert found == {"own": 1, "later": 3} and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(usual)


def test_files_side_by_side_are_answered_in_order_as_each_alone(tiny: LeafClassifier, in_bf16: None, tmp_path: Path) -> None:
    colours = torch.randint(0, 256, (21, 3), generator=torch.Generator().manual_seed(5)).tolist()
    files = [tmp_path / f"{number}.png" for number in range(len(colours))]
    for file, colour in zip(files, colours):
        Image.new("RGB", (40, 30), tuple(colour)).save(file)
    files[4].write_text("no photo")
    usual, before = torch.get_num_threads(), threading.active_count()
    try:
        torch.set_num_threads(4)
        together = list(diagnose_files(tiny, files))
        assert torch.get_num_threads() == 4 and threading.active_count() == before
    finally:
        torch.set_num_threads(usual)
    assert [answer.photo for answer in together] == [str(file) for file in files]
    for file, answer in zip(files, together):
        (alone,) = diagnose_files(tiny, [file])
        if file == files[4]:
            assert answer == alone and isinstance(alone, Refusal)
        else:
            assert answer.scores == pytest.approx(alone.scores, abs=0.01) and answer.quality == alone.quality
    assert len({tuple(answer.scores.values()) for answer in together if answer.photo != str(files[4])}) > 10


def test_whoever_wants_no_more_answers_ends_the_threads(tiny: LeafClassifier, in_bf16: None, tmp_path: Path) -> None:
    Image.new("RGB", (40, 40), (90, 140, 60)).save(tmp_path / "leaf.png")
    begun: list[int] = []

    def files():
        for number in range(1000):
            begun.append(number)
            yield tmp_path / "leaf.png"

    before = threading.active_count()
    answers = diagnose_files(tiny, files())
    next(answers)
    answers.close()
    assert threading.active_count() == before and len(begun) < 50


def test_a_file_that_is_no_model(tiny: LeafClassifier, tmp_path: Path, refusal: Callable[..., str]) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    assert "cannot be read" in refusal(OnnxEngine, tmp_path / "model.onnx", LAYER, tiny)


def test_in_order_and_no_further_ahead_than_asked() -> None:
    begun: list[int] = []

    def numbers():
        for number in range(50):
            begun.append(number)
            yield number

    made = in_order(lambda number: number * number, numbers(), ahead=4)
    assert begun == []
    for number in range(50):
        assert next(made) == number * number
        assert len(begun) <= number + 5
    assert list(made) == []


def test_an_error_comes_in_its_turn_and_ends_the_threads() -> None:
    before = threading.active_count()
    made = in_order(lambda number: 1 // (3 - number), range(10), ahead=9)
    assert [next(made) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(made)
    assert threading.active_count() == before


def test_room_is_never_overfull_and_the_largest_has_it_alone() -> None:
    room, lock, held, most, alone = Room(10), threading.Lock(), [0], [0], []

    def use(wanted: int) -> None:
        with room.hold(wanted):
            with lock:
                held[0] += wanted
                most[0] = max(most[0], held[0] if wanted <= 10 else 0)
                alone.append(held[0] == wanted or wanted <= 10)
            threading.Event().wait(0.002)
            with lock:
                held[0] -= wanted

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, [3, 4, 99, 5, 1, 10, 2, 7] * 4))
    assert 0 < most[0] <= 10 and all(alone) and held == [0]


def test_huge_photos_are_opened_one_at_a_time(tiny: LeafClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (12_000, 8_000)).save(tmp_path / "huge.png")
    Image.new("RGB", (50, 40)).save(tmp_path / "small.jpg")
    (tmp_path / "none.jpg").write_text("no photo")
    huge, small, none = (bytes_to_open(tmp_path / name) for name in ("huge.png", "small.jpg", "none.jpg"))
    assert huge > ahead.DECODE_BYTES / 2 and small < 2e6 and none == bytes_to_open(tmp_path / "missing") == ahead.DECODE_BYTES
    wanted: list[int] = []
    hold = Room.hold
    monkeypatch.setattr(Room, "hold", lambda self, size: wanted.append(size) or hold(self, size))
    list(diagnose_files(tiny, [tmp_path / "huge.png", tmp_path / "small.jpg"]))
    assert sorted(wanted) == [small, huge]
