"""Odd and hostile files: each gives an answer or one plain sentence, never a traceback, never more than 1 GB
of memory.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.photo_corpus import CORPUS, PLACES, SIZE, Odd
from tests.sentences import is_plain
from vit_demo.common.errors import UserError
from vit_demo.diagnose.photos import open_photo

GIGABYTE = 10**9
# Runs a module as `python -m` does and writes the most memory that it ever held (bytes) to the file named
# last. Not ru_maxrss: a child begins with what its parent held when it was started.
RUN = """
import re, runpy, sys
target = sys.argv.pop()
try:
    runpy.run_module("vit_demo", run_name="__main__")
finally:
    with open("/proc/self/status") as status, open(target, "w") as file:
        file.write(re.search(r"VmHWM:\\s+(\\d+) kB", status.read())[1] + "000")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("corpus")
    for odd in CORPUS:
        (made / odd.name).write_bytes(odd.make())
    return made


def test_the_corpus_is_large_and_takes_both_ways() -> None:
    assert len({odd.name for odd in CORPUS}) == len(CORPUS) >= 40
    assert (
        sum(odd.size is None for odd in CORPUS) >= 20 and sum(odd.colours is not None for odd in CORPUS) >= 20
    )


@pytest.mark.parametrize("odd", CORPUS, ids=[odd.name for odd in CORPUS])
def test_an_odd_file_is_an_upright_photo_or_a_sentence(folder: Path, odd: Odd) -> None:
    if odd.size is None:
        with pytest.raises(UserError, match=odd.words) as refusal:
            open_photo(folder / odd.name)
        assert is_plain(str(refusal.value)) and odd.name in str(refusal.value)
        return
    photo = open_photo(folder / odd.name)
    assert (photo.mode, photo.size) == ("RGB", odd.size)
    for place, colour in zip(PLACES, odd.colours or ()):
        there = tuple(at * side // whole for at, side, whole in zip(place, photo.size, SIZE))
        assert all(abs(a - b) <= 45 for a, b in zip(photo.getpixel(there), colour, strict=True)), (
            place,
            photo.getpixel(there),
        )


@dataclass(frozen=True)
class Done:
    """A command that has ended. peak: the most memory that it held, in bytes."""

    status: int
    out: list[str]
    err: list[str]
    peak: int


def predict(model: Path, photos: list[Path], report: Path, *options: str) -> Done:
    line = [
        sys.executable,
        "-c",
        RUN,
        "predict",
        "--device",
        "cpu",
        "--model",
        str(model),
        *options,
        *map(str, photos),
        str(report),
    ]
    env = {**os.environ, "VIT_DEMO_HOME": str(report.parent), "VIT_DEMO_THREADS": "1"}
    done = subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True)
    return Done(done.returncode, done.stdout.splitlines(), done.stderr.splitlines(), int(report.read_text()))


@pytest.fixture(scope="module")
def done(folder: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """All files in one call."""
    return predict(
        tiny_model,
        [folder / odd.name for odd in CORPUS],
        tmp_path_factory.mktemp("report") / "peak",
        "--json",
    )


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads its memory from /proc")


@linux
def test_predict_answers_or_refuses_each_file_in_one_call(folder: Path, done: Done) -> None:
    assert done.status == 2
    answers = [json.loads(line) for line in done.out]
    assert [answer["photo"] for answer in answers] == [str(folder / odd.name) for odd in CORPUS if odd.size]
    refused = [odd for odd in CORPUS if odd.size is None]
    assert len(done.err) == len(refused)
    for odd, sentence in zip(refused, done.err):
        assert odd.name in sentence and re.search(odd.words, sentence) and is_plain(sentence)
    quality = {Path(answer["photo"]).name: answer["quality"] for answer in answers}
    assert (
        quality["dot.png"] == ["small", "leaf_small"]
        and quality["black.png"] == ["dark", "small"]
        and "small" not in quality["200 million.png"]
    )


@linux
def test_no_file_takes_a_gigabyte(folder: Path, tiny_model: Path, tmp_path: Path, done: Done) -> None:
    idle = predict(tiny_model, [folder / "dot.png"], tmp_path / "peak", "--json")
    assert idle.status == 0
    # Both ways: the largest photo was really decoded, so that the limit was tried.
    assert 0.7 * GIGABYTE < done.peak - idle.peak < GIGABYTE


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page, served to this test alone."""
    from vit_demo.ui.app import build

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIT_DEMO_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        page = build()
        _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
        yield url
        page.close()


def test_the_api_answers_or_refuses_too(folder: Path, address: str, tiny_model: Path) -> None:
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    client = Client(address, verbose=False)
    by_name = {odd.name: odd for odd in CORPUS}
    for name in ("turned6.heic", "phone.mpo", "cmyk.jpg", "16 grey.png", "dot.png", "200 million.jpg"):
        answer = client.predict(handle_file(str(folder / name)), str(tiny_model), api_name="/diagnose")
        assert sum(answer["scores"].values()) == pytest.approx(1, abs=1e-6) and by_name[name].size
        assert ("small" in answer["quality"]) == (min(by_name[name].size) < 112)
    for name in ("cut.heif", "text.jpg", "words.png", "tile.tif", "scans 200.jpg", "empty.jpg"):
        with pytest.raises(AppError, match=by_name[name].words) as refusal:
            client.predict(handle_file(str(folder / name)), str(tiny_model), api_name="/diagnose")
        assert is_plain(str(refusal.value))
