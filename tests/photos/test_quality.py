"""The quality of a photo: the numbers by slow formulas, the thresholds on real photos and planted faults."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

from tests.sentences import is_plain
from vit_demo.cli import main as cli
from vit_demo.data.open.sources import open_dataset
from vit_demo.diagnose.diagnosis import diagnose, diagnose_files
from vit_demo.model.classifier import LeafClassifier
from vit_demo.photos.quality import (
    COLOURLESS,
    SIDE,
    WARNINGS,
    Quality,
    assess,
    leaf_share,
    sharpness,
    warning,
)

RNG = np.random.default_rng(3)
GREY = (128, 128, 128)


def noise(width: int, height: int, low: int = 0, high: int = 256) -> Image.Image:
    return Image.fromarray(RNG.integers(low, high, (height, width, 3), dtype=np.uint8))


# The numbers


@pytest.mark.parametrize("shape", [(3, 3), (40, 60), (5, 200)])
def test_sharpness_is_the_variance_of_the_laplacian_over_that_of_the_photo(shape: tuple[int, int]) -> None:
    grey = RNG.random(shape) * 255
    inside = ndimage.laplace(grey)[1:-1, 1:-1]
    assert sharpness(grey.astype(np.float32)) == pytest.approx(
        ((inside - inside.mean()) ** 2).mean() / ((grey - grey.mean()) ** 2).mean(), rel=1e-4
    )


def test_sharpness_neither_knows_light_nor_contrast() -> None:
    grey = (RNG.random((50, 50)) * 255).astype(np.float32)
    assert sharpness(0.1 * grey + 20) == pytest.approx(sharpness(grey), rel=1e-3)


def test_the_sharpest_that_there_is() -> None:
    rows, columns = np.mgrid[:64, :64]
    board = ((rows + columns) % 2 * 255).astype(np.float32)
    assert sharpness(board) == pytest.approx(64)  # the Laplacian is 8 times half the step, to both sides


@pytest.mark.parametrize("shape", [(1, 1), (2, 500), (500, 2), (40, 40)])
def test_where_nothing_can_be_said_of_sharpness_it_is_no_problem(shape: tuple[int, int]) -> None:
    assert sharpness(np.full(shape, 90, dtype=np.float32)) == float("inf")


def test_brightness_is_that_of_the_sorted_pixels() -> None:
    photo = noise(60, 40, 30, 200)
    greys = sorted(
        int(0.299 * red + 0.587 * green + 0.114 * blue)
        for red, green, blue in np.asarray(photo).reshape(-1, 3).astype(float)
    )
    found = assess(photo)
    assert (
        abs(found.lower_grey - greys[len(greys) // 4 - 1]) <= 1
        and abs(found.upper_grey - greys[len(greys) * 3 // 4 - 1]) <= 1
    )


def test_leaf_share_is_that_of_the_formulas_pixel_by_pixel() -> None:
    pixels = RNG.integers(0, 256, (50, 60, 3)).astype(np.float32)
    leaves = 0
    for red, green, blue in pixels.reshape(-1, 3).tolist():
        total = red + green + blue
        excess = 2 * green / total - red / total - blue / total if total else 0.0
        leaves += excess > 0.06 or blue < 0.85 * green
    assert 500 < leaves < 2800
    assert leaf_share(pixels.transpose(2, 0, 1)) == pytest.approx(leaves / 3000, abs=1e-3)


@pytest.mark.parametrize(
    ("colour", "is_leaf"),
    [
        ((60, 120, 40), True),
        ((120, 160, 90), True),
        ((200, 180, 60), True),
        ((150, 110, 60), True),
        ((120, 70, 40), True),
        ((90, 50, 35), True),
        ((200, 200, 203), False),
        ((120, 160, 220), False),
        ((60, 60, 64), False),
        ((200, 60, 60), False),
        ((250, 245, 240), False),
    ],
)
def test_green_yellow_and_brown_are_leaf_and_sky_stone_and_paper_are_not(
    colour: tuple[int, ...], is_leaf: bool
) -> None:
    assert leaf_share(np.full((4, 4, 3), colour, dtype=np.float32).transpose(2, 0, 1)) == float(is_leaf)


def test_black_and_white_says_nothing_of_leaves() -> None:
    found = assess(noise(200, 200).convert("L"))
    assert found.leaf_share is None and found.problems == ()
    tinted = np.full((3, 5, 5), 100.0)
    tinted[1, 2, 2] += COLOURLESS
    assert leaf_share(tinted) is None
    tinted[1, 2, 2] += 0.1
    assert leaf_share(tinted) == 0


# What is flagged


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (2, 2), (300, 300), (3000, 40)])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_any_photo_has_a_quality(size: tuple[int, int], mode: str) -> None:
    found = assess(Image.new("RGB", size, (90, 140, 60)).convert(mode))
    assert (
        found.side == min(size)
        and ("small" in found.problems) == (min(size) < 112)
        and set(found.problems) <= {"small", "leaf_small"}
    )


def test_a_quality_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        assess(noise(10, 10)).problems = ()


def test_a_dark_photo_is_only_dark_and_a_washed_out_one_only_bright() -> None:
    """In neither can colours be told, and a dim photo is not a blurred one."""
    assert assess(noise(300, 300, 0, 20)).problems == ("dark",)
    assert assess(noise(300, 300, 235, 256)).problems == ("bright",)


def leaf_on(background: tuple[int, ...], leaf: tuple[int, ...], radius: float) -> Image.Image:
    photo = Image.new("RGB", (400, 400), background)
    ImageDraw.Draw(photo).ellipse([200 - radius, 200 - radius, 200 + radius, 200 + radius], fill=leaf)
    grain = RNG.integers(-12, 13, (400, 400, 1))
    return Image.fromarray(np.clip(np.asarray(photo) + grain, 0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    "leaf", [(70, 130, 50), (190, 170, 60), (130, 85, 45)], ids=["green", "yellow", "brown"]
)
def test_a_leaf_on_white_paper_is_fine_and_one_far_away_is_small(leaf: tuple[int, ...]) -> None:
    assert assess(leaf_on((255, 255, 255), leaf, 150)).problems == ()
    assert assess(leaf_on(GREY, leaf, 150)).problems == ()
    assert assess(leaf_on(GREY, leaf, 50)).problems == ("leaf_small",)


def test_a_large_photo_is_judged_as_small_as_a_model_sees_it() -> None:
    """Blur that nobody sees at 256 pixels is no problem, and blur that is seen there is one whatever the size
    of the file.
    """
    sharp = noise(SIDE // 8, SIDE // 8, 40, 200).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    large = sharp.resize((SIDE * 6, SIDE * 6), Image.Resampling.NEAREST)
    assert "blurred" not in assess(large.filter(ImageFilter.GaussianBlur(2))).problems
    assert "blurred" in assess(large.filter(ImageFilter.GaussianBlur(24))).problems
    assert "blurred" in assess(sharp.filter(ImageFilter.GaussianBlur(4))).problems


# Real photos


def rates(photos: Iterable[Image.Image]) -> dict[str, float]:
    """Share of the photos that have each problem."""
    found = [assess(photo).problems for photo in photos]
    counts = Counter(problem for problems in found for problem in problems)
    return {problem: counts[problem] / len(found) for problem in WARNINGS}


@pytest.fixture(scope="module")
def beans() -> list[Image.Image]:
    """Every third training photo."""
    train = open_dataset("beans")["train"]
    return [train[number]["image"] for number in range(0, len(train), 3)]


def test_hardly_any_real_photo_is_flagged(beans: list[Image.Image]) -> None:
    assert len(beans) > 300 and max(rates(beans).values()) <= 0.02


def shrunk(photo: Image.Image) -> Image.Image:
    canvas = Image.new("RGB", photo.size, GREY)
    canvas.paste(
        photo.resize((photo.width // 4, photo.height // 4)), (photo.width * 3 // 8, photo.height * 3 // 8)
    )
    return canvas


FAULTS: dict[str, tuple[Callable[[Image.Image], Image.Image], float]] = {
    "dark": (lambda photo: photo.point(lambda value: value * 0.3), 0.97),
    "bright": (lambda photo: photo.point(lambda value: min(255, value * 4)), 0.8),
    # At 320 px, since a camera's blur comes before a photo is made small enough to be judged.
    "blurred": (
        lambda photo: photo.resize((320, 320), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2)),
        0.95,
    ),
    "small": (lambda photo: photo.resize((100, 100)), 1.0),
    "leaf_small": (shrunk, 0.97),
}


@pytest.mark.parametrize("problem", FAULTS)
def test_planted_faults_are_found(beans: list[Image.Image], problem: str) -> None:
    spoil, share = FAULTS[problem]
    found = rates(map(spoil, beans[::4]))
    assert found.pop(problem) >= share
    assert max(found.values()) <= 0.03  # and taken for nothing else


def sicker(photo: Image.Image, degrees: float) -> Image.Image:
    """Green turned towards yellow and brown by so many degrees of the colour circle."""
    hue, saturation, value = photo.convert("HSV").split()
    hue = hue.point(lambda level: max(0, level - degrees / 360 * 255) if 20 <= level <= 120 else level)
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


@pytest.mark.parametrize("degrees", [20, 35, 50])
def test_yellow_and_brown_leaves_raise_no_alarm(beans: list[Image.Image], degrees: float) -> None:
    assert rates(sicker(photo, degrees) for photo in beans[::4])["leaf_small"] <= 0.02


def test_it_is_cheap() -> None:
    photo, spent = noise(224, 224), []
    for _ in range(20):
        start = time.process_time()
        assess(photo)
        spent.append(time.process_time() - start)
    assert min(spent) < 0.005


# On the way out


@pytest.fixture(scope="module")
def gloomy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "gloomy.png"
    noise(60, 60, 0, 20).save(path)
    return path


def test_a_diagnosis_carries_the_problems(tiny_model: Path, gloomy: Path, tmp_path: Path) -> None:
    classifier = LeafClassifier.open(tiny_model, device="cpu")
    noise(200, 200, 30, 200).save(tmp_path / "fine.png")
    (tmp_path / "text.jpg").write_text("no photo")
    answers = list(diagnose_files(classifier, [tmp_path / "text.jpg", gloomy, tmp_path / "fine.png", gloomy]))
    assert [answer.to_dict().get("quality") for answer in answers] == [
        None,
        ["dark", "small"],
        [],
        ["dark", "small"],
    ]
    with Image.open(gloomy) as photo:
        assert diagnose(classifier, photo).quality == ["dark", "small"]


def test_predict_warns_on_standard_error(
    tiny_model: Path, gloomy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["predict", "--device", "cpu", "--model", str(tiny_model), str(gloomy)]) == 0
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 1
    assert told.err.splitlines()[-2:] == [
        f"{gloomy}: the photo is too dark. Take it again in more light.",
        f"{gloomy}: {warning('small')}",
    ]
    assert cli.main(["predict", "--device", "cpu", "--json", "--model", str(tiny_model), str(gloomy)]) == 0
    told = capsys.readouterr()
    assert '"quality": ["dark", "small"]' in told.out and "too dark" not in told.err


def test_warnings_are_plain() -> None:
    assert all(is_plain(warning(problem)) for problem in WARNINGS) and len(dataclasses.fields(Quality)) == 6
