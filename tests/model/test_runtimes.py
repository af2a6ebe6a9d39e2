"""Every engine gives transformers' own answers, as near as its numbers allow, also from several threads at
once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.engines import photos_of
from vit_demo.data.open.sources import open_dataset
from vit_demo.diagnose import memory_budget
from vit_demo.diagnose.diagnosis import Refusal, diagnose, diagnose_files
from vit_demo.diagnose.memory_budget import MemoryBudget, bytes_to_open
from vit_demo.model import classifier as vit
from vit_demo.model.classifier import LeafClassifier
from vit_demo.model.readout import Readout
from vit_demo.model.runtimes import OnnxEngine, engine_of

READOUT = Readout(1)


def test_the_real_diagnosis_is_the_same(in_bf16: None, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, photo = LeafClassifier.open(device="cpu"), open_dataset("beans")["test"][0]["image"]
    fast = diagnose(classifier, photo)
    monkeypatch.setattr(vit, "bf16_is_faster", lambda device_type: False)
    exact = diagnose(classifier, photo)
    assert (fast.verdict, fast.label, fast.prediction_set) == (
        exact.verdict,
        exact.label,
        exact.prediction_set,
    )
    assert fast.scores == pytest.approx(exact.scores, abs=0.01) and fast.distance == pytest.approx(
        exact.distance, rel=0.02
    )


def test_the_classifier_itself_where_bf16_is_emulated_or_the_size_is_another(
    tiny: LeafClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vit, "bf16_is_faster", lambda device_type: False)
    assert engine_of(tiny) is tiny
    monkeypatch.setattr(vit, "bf16_is_faster", lambda device_type: True)
    tiny.processor.size = {"height": 48, "width": 48}
    assert engine_of(tiny) is tiny
    assert tiny.logits_and_features(photos_of(tiny, 1), READOUT)[0].shape == (1, 3)


def test_files_side_by_side_are_answered_in_order_as_each_alone(
    tiny: LeafClassifier, in_bf16: None, tmp_path: Path
) -> None:
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


def test_whoever_wants_no_more_answers_ends_the_threads(
    tiny: LeafClassifier, in_bf16: None, tmp_path: Path
) -> None:
    Image.new("RGB", (40, 40), (90, 140, 60)).save(tmp_path / "leaf.png")
    begun: list[int] = []

    def files():
        for number in range(1000):
            begun.append(number)
            yield tmp_path / "leaf.png"

    before = set(threading.enumerate())  # of other tests some may end meanwhile
    answers = diagnose_files(tiny, files())
    next(answers)
    answers.close()
    assert set(threading.enumerate()) <= before and len(begun) < 50


def test_a_file_that_is_no_model(tiny: LeafClassifier, tmp_path: Path, refusal: Callable[..., str]) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    assert "cannot be read" in refusal(OnnxEngine, tmp_path / "model.onnx", READOUT, tiny)


def test_huge_photos_are_opened_one_at_a_time(
    tiny: LeafClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (12_000, 8_000)).save(tmp_path / "huge.png")
    Image.new("RGB", (50, 40)).save(tmp_path / "small.jpg")
    (tmp_path / "none.jpg").write_text("no photo")
    huge, small, none = (bytes_to_open(tmp_path / name) for name in ("huge.png", "small.jpg", "none.jpg"))
    assert (
        huge > memory_budget.DECODE_BYTES / 2
        and small < 2e6
        and none == bytes_to_open(tmp_path / "missing") == memory_budget.DECODE_BYTES
    )
    wanted: list[int] = []
    hold = MemoryBudget.hold
    monkeypatch.setattr(MemoryBudget, "hold", lambda self, size: wanted.append(size) or hold(self, size))
    list(diagnose_files(tiny, [tmp_path / "huge.png", tmp_path / "small.jpg"]))
    assert sorted(wanted) == [small, huge]
