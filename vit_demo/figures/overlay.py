"""Heat maps and patch grids drawn over a photo."""

from __future__ import annotations

import functools

import numpy as np
import plotly.colors
from PIL import Image, ImageDraw

from vit_demo.explain.patches import PatchGrid

# How much of the colour covers the photo where the map is lowest and highest.
HEAT_SHARES = (0.2, 0.72)
LONGEST_SIDE = 640


@functools.cache
def heat_colours() -> np.ndarray:
    """The Inferno scale (perceptually uniform, safe for colour-blind readers) as uint8 (256, 3)."""
    samples = plotly.colors.sample_colorscale("Inferno", np.linspace(0, 1, 256).tolist(), colortype="tuple")
    return np.round(np.array(samples) * 255).astype(np.uint8)


def heat_overlay(photo: Image.Image, heat: np.ndarray) -> Image.Image:
    """The photo with a map over it, stretched from its smallest to its largest value.

    photo: any size. heat: (rows, columns), laid over the whole photo.
    """
    photo = shrink(photo)
    span = float(heat.max() - heat.min())
    scaled = (heat - heat.min()) / span if span > 0 else np.zeros_like(heat)
    smooth = np.asarray(
        Image.fromarray((scaled * 255).astype(np.uint8)).resize(photo.size, Image.Resampling.BICUBIC)
    )
    low, high = HEAT_SHARES
    share = (low + (high - low) * smooth / 255.0)[..., None]
    return Image.fromarray(
        (np.asarray(photo) * (1 - share) + heat_colours()[smooth] * share).astype(np.uint8)
    )


def mark_patch(picture: Image.Image, grid: PatchGrid, index: int) -> Image.Image:
    """The picture with a frame round one patch."""
    picture = picture.copy()
    across, down = picture.width / grid.image_width, picture.height / grid.image_height
    left, top, right, bottom = grid.box(index)
    box = (left * across, top * down, right * across - 1, bottom * down - 1)
    draw = ImageDraw.Draw(picture)
    draw.rectangle(box, outline="black", width=5)
    draw.rectangle(box, outline="white", width=2)
    return picture


def draw_grid(photo: Image.Image, grid: PatchGrid, gap: int = 4) -> Image.Image:
    """The photo as the model gets it, its patches pulled apart by ``gap`` pixels.

    photo: exactly grid.image_width x grid.image_height. Each patch is drawn at twice its size.
    """
    scale = max(1, round(448 / grid.image_width))
    step = grid.patch_size * scale + gap
    sheet = Image.new("RGB", (grid.columns * step - gap, grid.rows * step - gap), "white")
    for index in range(grid.num_patches):
        patch = photo.crop(grid.box(index)).resize((grid.patch_size * scale,) * 2, Image.Resampling.NEAREST)
        row, column = divmod(index, grid.columns)
        sheet.paste(patch, (column * step, row * step))
    return sheet


def mark_grid_patch(sheet: Image.Image, grid: PatchGrid, index: int, gap: int = 4) -> Image.Image:
    """A sheet of :func:`draw_grid` with a frame round one patch."""
    sheet = sheet.copy()
    step = (sheet.width + gap) / grid.columns
    row, column = divmod(index, grid.columns)
    left, top = column * step, row * step
    box = (
        max(0, left - gap),
        max(0, top - gap),
        min(sheet.width - 1, left + step - 1),
        min(sheet.height - 1, top + step - 1),
    )
    ImageDraw.Draw(sheet).rectangle(box, outline="#c2410c", width=gap)
    return sheet


def shrink(photo: Image.Image, longest: int = LONGEST_SIDE) -> Image.Image:
    """The photo at a size fit for a page, never enlarged."""
    photo = photo.convert("RGB")
    photo.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return photo
