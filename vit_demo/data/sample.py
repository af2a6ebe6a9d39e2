"""The embedded data set of bean leaves: drawn, not photographed.

Three classes as in the Hub data set AI-Lab-Makerere/beans, in the same columns, so that every part
of the program can be tried and tested without a download. `drawing` makes one leaf; this module
puts leaves into a scene, takes the picture and writes the parquet files:

    python -m vit_demo.data.sample OUT_DIR
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter, shift, zoom

from vit_demo.data.drawing import (
    SIGNS,
    Array,
    Leaf,
    Light,
    Rng,
    mix,
    noise,
    paint,
    ramp,
    rgb,
    stream,
    survey,
    veins_at,
)

LABELS = tuple(SIGNS)
COUNTS: Mapping[str, int] = {"train": 240, "validation": 48, "test": 48}
SIZE = 256
QUALITY = 77
FINER = 2  # leaves are drawn at this multiple of the picture's size and then averaged down
SPLIT_STRIDE, LABEL_STRIDE = 1_000_000, 100_000  # keep the seeds of splits and classes apart


@dataclass(frozen=True)
class Masks:
    """Where things are on the main leaf, (size, size) bool each; drawn without anti-aliasing."""

    leaf: np.ndarray
    spot: np.ndarray
    vein: np.ndarray


def _light(rng: Rng) -> Light:
    """Anything from a clear noon to a dull evening."""
    turn, up = rng.uniform(0, 2 * np.pi), rng.uniform(0.65, 1.2)
    direction = (np.cos(turn) * np.cos(up), np.sin(turn) * np.cos(up), np.sin(up))
    warm, sunny = rng.uniform(-0.1, 0.14), rng.uniform(0.3, 0.8)
    sun = tuple(sunny * np.array([1 + warm, 1.0, 1 - 1.4 * warm]))
    sky = tuple((1.02 - sunny) * np.array([0.94, 1.0, 1.1]))
    return Light(direction, sun, sky, gloss=rng.uniform(0.02, 0.22))


def _grow_leaf(rng: Rng, base: tuple[float, float], length: float, angle: float) -> Leaf:
    """A random leaflet at a given pose."""
    width, skew = rng.uniform(0.32, 0.45), rng.normal(0, 0.035)
    sides = []
    step = rng.uniform(0.14, 0.185)
    for offset in (0.0, rng.uniform(-0.04, 0.04)):
        at, origins = 0.012, [0.012]
        while at < 0.93:
            at += step * (1 - 0.5 * at) * rng.uniform(0.88, 1.12)
            at += offset if len(origins) == 1 else 0  # the two sides alternate
            origins.append(at)
        sides.append(tuple(origins))
    return Leaf(
        base=base,
        length=length,
        angle=angle,
        tilt=(rng.uniform(-0.25, 0.25), rng.uniform(-0.3, 0.3)),
        bend=rng.normal(0, 0.07),
        widths=(width + skew, width - skew),
        ends=(rng.uniform(0.36, 0.58), rng.uniform(0.75, 1.3)),
        slopes=(rng.uniform(0.2, 0.4), rng.uniform(0.35, 0.6), rng.uniform(0.8, 1.6)),
        veins=(sides[0], sides[1]),
        fold=rng.uniform(-0.05, 0.28),
        seed=int(rng.integers(2**31)),
    )


def _leaves(rng: Rng) -> list[Leaf]:
    """One to three leaflets, the main one last (on top)."""
    kind, angle = rng.choice(3, p=[0.6, 0.25, 0.15]), rng.normal(-np.pi / 2, 0.9)
    if rng.random() < 0.2:
        angle += np.pi
    length = rng.uniform(0.72, 1.08) if kind < 2 else rng.uniform(0.55, 0.72)
    along = np.array([np.cos(angle), np.sin(angle)])
    base = 0.5 + rng.normal(0, 0.05, 2) + ((0 if kind < 2 else 0.2) - 0.48 * length) * along
    others = []
    if kind == 1:
        turn = angle + rng.choice([-1, 1]) * rng.uniform(0.7, 2.2)
        start = base + rng.uniform(0.0, 0.4) * length * np.array([np.cos(turn), np.sin(turn)])
        others = [_grow_leaf(rng, tuple(start), length * rng.uniform(0.6, 0.95), turn)]
    elif kind == 2:
        foot = base - 0.12 * length * along
        others = [
            _grow_leaf(rng, tuple(foot), length * rng.uniform(0.8, 1.0), angle + turn)
            for turn in (-rng.uniform(1.4, 2.0), rng.uniform(1.4, 2.0))
        ]
    return [*others, _grow_leaf(rng, tuple(base), length, angle)]


def _litter(rng: Rng, size: int) -> tuple[Image.Image, Image.Image]:
    """Pebbles (grey) and straw (RGB) on black, (size, size) each."""
    pebbles = Image.new("L", (size, size))
    straw = Image.new("RGB", (size, size))
    for _ in range(rng.integers(0, 26)):
        at, radius = rng.uniform(0, size, 2), size * rng.uniform(0.006, 0.028)
        box = (*(at - radius * rng.uniform(0.7, 1, 2)), *(at + radius))
        ImageDraw.Draw(pebbles).ellipse(box, fill=int(rng.integers(90, 255)))
    for _ in range(rng.integers(0, 22)):
        at, turn = rng.uniform(0, size, 2), rng.uniform(0, np.pi)
        steps = np.linspace(-0.5, 0.5, 9) * size * rng.uniform(0.1, 0.5)
        bow = rng.normal(0, 1.2) * steps**2 / size
        turned = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        line = [tuple(point) for point in at + np.stack([steps, bow], -1) @ turned]
        tone = tuple(int(c) for c in np.array([196, 172, 128]) * rng.uniform(0.6, 1.3))
        width = max(1, round(size * rng.uniform(0.004, 0.011)))
        ImageDraw.Draw(straw).line(line, fill=tone, width=width)
    return pebbles, straw


def _soil(rng: Rng, light: Light, size: int) -> Array:
    """Earth with clods, pebbles and straw, linear RGB (size, size, 3)."""
    y, x = np.mgrid[0:size, 0:size] / size
    scale = rng.uniform(4, 9)
    clods = np.abs(noise(rng, x * 2.3 * scale, y * 2.3 * scale, 4))
    height = noise(rng, x * scale, y * scale, 6) + 0.6 * clods
    earths = ((168, 92, 70), (150, 112, 82), (112, 90, 74), (196, 140, 116), (178, 160, 142))
    earth = rng.dirichlet([0.4] * 5) @ [rgb(*e) for e in earths] * rng.uniform(0.6, 1.3)
    colour = mix(np.broadcast_to(earth, (size, size, 3)), earth * 0.45, 0.5 - 0.8 * height)
    colour = mix(colour, earth * 1.7, 0.7 * ramp(noise(rng, x * 30, y * 30, 3), 0.15, 0.6))
    pebbles, straw = _litter(rng, size)
    stone = gaussian_filter(np.asarray(pebbles) / 255.0, size / 200)
    stalk = (np.asarray(straw) / 255.0) ** 2.2
    over = gaussian_filter((stalk.sum(-1) > 0).astype(float), 0.5)
    colour = mix(colour, rgb(150, 128, 112), stone) * (1 - 0.6 * shift(over, (3, 2)))[..., None]
    lit, _ = light.shade((height * 0.05 + 0.02 * stone) * size)
    return mix(colour, stalk * 0.9, over) * lit


def _foliage(picture: Array, rng: Rng, light: Light, count: int) -> Array:
    """Add other plants' leaves behind; always clean, whatever the class."""
    for _ in range(count):
        at, turn = rng.uniform(-0.25, 1.15, 2), rng.uniform(0, 2 * np.pi)
        leaf = _grow_leaf(rng, tuple(at), rng.uniform(0.2, 0.55), turn)
        picture = _lay(picture, leaf, ("healthy", light), False) * 0.96
    return picture


def _stalk(picture: Array, leaf: Leaf, light: Light) -> Array:
    """A petiole from the leaf's base, thicker and paler than the midrib."""
    u, v = leaf.coordinates(len(picture))
    rng = stream(leaf.seed, 9)
    width, across = rng.uniform(0.011, 0.017), v - rng.normal(0, 0.5) * np.minimum(u, 0) ** 2
    inside = ramp(width - np.abs(across), 0, 1.6 / (leaf.length * len(picture)))
    inside = inside * (u < 0.03) * (u > -1.5)
    round_ = np.sqrt(np.clip(1 - (across / width) ** 2, 0, 1))
    colour = rgb(*rng.uniform((112, 142, 60), (160, 176, 100))) * (0.35 + 0.65 * round_)[..., None]
    return mix(picture, colour * (np.array(light.sun) + np.array(light.sky)), inside)


def _lay(picture: Array, leaf: Leaf, look: tuple[str, Light], detail: bool) -> Array:
    """Put one leaf with its cast shadow over a picture (size, size, 3)."""
    size = len(picture)
    label, light = look
    picture = _stalk(picture, leaf, light)
    face = survey(leaf, size, detail)
    if face is None:
        return picture
    colour, alpha, _ = paint(face, label, light)
    full = np.zeros((size, size))
    full[face.where] = alpha
    small = gaussian_filter(full[::2, ::2], size * 0.006)
    away = -np.array([light.direction[1], light.direction[0]]) * size / 2 * 0.045
    shadow = zoom(shift(small, away, order=1), 2, order=1)[:size, :size]
    picture = picture * (1 - 0.6 * shadow * min(1, sum(light.sun) / 1.5))[..., None]
    picture[face.where] = mix(picture[face.where], colour, alpha)
    return picture


def _backdrop(rng: Rng, light: Light, size: int) -> Array:
    """What lies behind, out of focus, (size, size, 3); `size` is the picture's own."""
    picture = _soil(rng, light, size)
    kind = rng.choice(3, p=[0.45, 0.3, 0.25])
    if kind:
        count = rng.integers(2, 7) if kind == 1 else rng.integers(14, 24)
        picture = _foliage(picture, rng, light, int(count))
    blur = size * rng.uniform(0.0025, 0.011)
    return gaussian_filter(picture, (blur, blur, 0)) * rng.uniform(0.6, 1.3)


def _dapple(rng: Rng, size: int) -> Array:
    """Shade of other plants on the whole scene, (size, size) in [0.4, 1]."""
    y, x = np.mgrid[0:size, 0:size] / size
    kind, depth = rng.random(), rng.uniform(0.25, 0.6)
    if kind < 0.55:
        return np.ones((size, size))
    if kind < 0.8:
        return 1 - depth * ramp(noise(rng, x * 2, y * 2, 2), 0.0, rng.uniform(0.06, 0.3))
    shade, soft = np.zeros((size, size)), rng.uniform(0.004, 0.02)
    for _ in range(rng.integers(1, 4)):  # stems and blades overhead
        turn, width = rng.uniform(0, np.pi), rng.uniform(0.01, 0.06)
        px, py = rng.uniform(0.2, 0.8, 2)
        across = (x - px) * np.cos(turn) + (y - py) * np.sin(turn)
        across = np.abs(across + 0.04 * noise(rng, x * 2, y * 2, 2))
        shade = np.maximum(shade, 1 - ramp(across, width - soft, width + soft))
    return 1 - depth * shade


def _camera(picture: Array, rng: Rng) -> Image.Image:
    """Exposure, white balance, focus, tone and noise; linear (size, size, 3) to sRGB."""
    size = len(picture)
    blur = rng.choice([0.0, 0.3, 0.6, 0.9], p=[0.5, 0.25, 0.15, 0.1]) * size / SIZE
    picture = gaussian_filter(picture, (blur, blur, 0)) * np.exp(rng.normal(0.22, 0.22))
    grey = picture.mean(-1, keepdims=True)
    picture = np.clip(grey + (picture - grey) * rng.uniform(1.0, 1.25), 0, None)
    cast = np.array([1 + rng.normal(0, 0.05), 1.0, 1 + rng.normal(0, 0.09)])
    tone = np.clip(picture * cast, 0, None)
    tone = (tone * (1 + tone / 1.8) / (1 + tone)) ** (1 / 2.2)  # Reinhard et al. (2002)
    tone = 0.5 + (tone - 0.5) * rng.uniform(1.05, 1.3)
    tone = tone + rng.normal(0, rng.uniform(0.002, 0.009), tone.shape)
    return Image.fromarray((np.clip(tone, 0, 1) * 255 + 0.5).astype(np.uint8))


def draw_leaf(label: str, seed: int, size: int = SIZE) -> Image.Image:
    """Draw one picture, (size, size) RGB; the same arguments give the same pixels.

    The seed alone fixes leaf, scene and light; the label only adds the signs of a disease.
    """
    light = _light(stream(seed, 1))
    back = _backdrop(stream(seed, 2), light, size)
    picture = zoom(back, (FINER, FINER, 1), order=1, grid_mode=True, mode="nearest")
    for leaf in _leaves(stream(seed, 3)):
        picture = _lay(picture, leaf, (label, light), True)
    picture = picture * _dapple(stream(seed, 4), size * FINER)[..., None]
    picture = picture.reshape(size, FINER, size, FINER, 3).mean((1, 3))
    return _camera(picture, stream(seed, 5))


def draw_masks(label: str, seed: int, size: int = SIZE) -> Masks:
    """Leaf, signs of disease and vein net of the main leaf that `draw_leaf` draws."""
    light, leaf = _light(stream(seed, 1)), _leaves(stream(seed, 3))[-1]
    masks = Masks(*(np.zeros((size, size), dtype=bool) for _ in range(3)))
    face = survey(leaf, size)
    if face is not None:
        _, _, signs = paint(face, label, light)
        masks.leaf[face.where] = face.edge > 0
        masks.spot[face.where] = signs.core > 0.5
        midrib, secondary, finer = veins_at(face)
        net = np.maximum(np.maximum(midrib, secondary), finer) > 0.5
        masks.vein[face.where] = net & (face.edge > 0)
    return masks


def _seeds(split: str, label: str, count: int, seed: int) -> range:
    """Seeds of one class in one split; no two classes, splits or sample seeds share any."""
    start = ((seed * len(COUNTS)) + list(COUNTS).index(split)) * SPLIT_STRIDE
    start += LABELS.index(label) * LABEL_STRIDE
    return range(start, start + count)


def jobs(split: str, count: int, seed: int = 0) -> list[tuple[str, int]]:
    """(label, seed) of every picture of a split, in stored order; `count` is for all classes."""
    each, rest = divmod(count, len(LABELS))
    if rest or each > LABEL_STRIDE:
        raise ValueError(f"{split}: {count} pictures do not divide by {len(LABELS)} classes")
    return [(label, number) for label in LABELS for number in _seeds(split, label, each, seed)]


def _encode(job: tuple[str, int]) -> bytes:
    """One picture as JPEG bytes."""
    file = io.BytesIO()
    draw_leaf(*job).save(file, "JPEG", quality=QUALITY, optimize=True)
    return file.getvalue()


def _rows(split: str, todo: list[tuple[str, int]], pictures: Iterator[bytes]) -> Iterator[dict]:
    """Rows in the columns of AI-Lab-Makerere/beans."""
    for number, ((label, _), data) in enumerate(zip(todo, pictures, strict=True)):
        name = f"{label}_{split}.{number % (len(todo) // len(LABELS))}.jpg"
        yield {
            "image_file_path": f"drawn/{split}/{label}/{name}",
            "image": {"bytes": data, "path": name},
            "labels": LABELS.index(label),
        }


def build_sample(out: Path, counts: Mapping[str, int] = COUNTS, seed: int = 0) -> None:
    """Draw the splits into `out`, one parquet file each; two processes draw."""
    from datasets import ClassLabel, Dataset, Features, Value
    from datasets import Image as ImageFeature

    features = Features(
        {
            "image_file_path": Value("string"),
            "image": ImageFeature(),
            "labels": ClassLabel(names=list(LABELS)),
        }
    )
    out.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(2) as pool:
        for split, count in counts.items():
            todo = jobs(split, count, seed)
            rows = list(_rows(split, todo, pool.map(_encode, todo, chunksize=4)))
            table = Dataset.from_list(rows, features=features)
            table.to_parquet(out / f"{split}-00000-of-00001.parquet")


def main() -> None:
    """Command line: write the data set into a folder."""
    parser = argparse.ArgumentParser(description="Write the sample (drawn leaves, no photos).")
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    build_sample(arguments.out, seed=arguments.seed)


if __name__ == "__main__":
    main()
