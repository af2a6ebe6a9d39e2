"""Whether a photo is fit to be diagnosed: light, sharpness, size, and whether there is enough leaf in it.

Every threshold was set on the training photos of the bean data set (1,034, of which none is flagged): a
warning that comes too often is not read. The photo is judged at about the size at which a model sees it: blur
that vanishes there does no harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from vit_demo.common.words import say

# Each problem by its key; what is said of it are the texts of "quality.".
WARNINGS = ("dark", "bright", "blurred", "small", "leaf_small")
# Longest side in pixels of the thumbnail that is judged. A smaller photo is judged as it is.
SIDE = 256
# A shorter side has fewer than half of the pixels across that a usual model takes in (224).
MIN_SIDE = 112
# Brightness 0 to 255: three quarters of the photo lie below the one, or above the other.
DARK, BRIGHT = 65, 205
SHARPNESS = 0.02
LEAF_SHARE = 0.07
# Excess green of a plant pixel, on a scale from -1 to 2; 0 is grey.
EXCESS_GREEN = 0.06
# Blue as a share of green in yellow, brown and red-brown leaves is at most this.
BLUE_TO_GREEN = 0.85
# A photo whose channels differ by no more than this anywhere is black and white: nothing can be said of its
# plants.
COLOURLESS = 2.0


@dataclass(frozen=True)
class Quality:
    """What is known of a photo before a model looks at it.

    upper_grey, lower_grey: brightness (0 to 255) that three quarters of the pixels do not exceed, and that
    one quarter do not. sharpness: variance of the Laplacian over the variance of the brightness (0 to 72; 0
    is nothing but one soft shade). side: the shorter one of the photo in pixels. leaf_share: of the pixels,
    those coloured like leaves, green to yellow to brown (0 to 1); None in a photo that is black and white,
    too dark or too bright to tell. problems: any of WARNINGS, in their order.
    """

    upper_grey: int
    lower_grey: int
    sharpness: float
    side: int
    leaf_share: float | None
    problems: tuple[str, ...]


def warning(problem: str) -> str:
    """A problem in words, to stand behind the photo's name; problem: one of WARNINGS."""
    text = say(f"quality.{problem}")
    return text[:1].lower() + text[1:]


def assess(photo: Image.Image) -> Quality:
    """The quality of an upright photo, in a few milliseconds."""
    # Channel by channel in memory too: left interleaved, what is asked of all three takes thirty times as
    # long. Pillow parts them fastest.
    red, green, blue = colours = [
        np.asarray(channel).astype(np.float32) for channel in _thumbnail(photo).split()
    ]
    # Luma of ITU-R BT.601, as Pillow has it; not rounded, which would look like noise in a dim photo.
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    below = np.bincount(grey.astype(np.uint8).ravel(), minlength=256).cumsum() / grey.size
    lower, upper = (int(level) for level in np.searchsorted(below, (0.25, 0.75)))
    side, sharp = min(photo.size), sharpness(grey)
    dark, bright = upper < DARK, lower > BRIGHT
    share = None if dark or bright else leaf_share(colours)
    found = (dark, bright, sharp < SHARPNESS, side < MIN_SIDE, share is not None and share < LEAF_SHARE)
    return Quality(
        upper,
        lower,
        sharp,
        side,
        share,
        tuple(key for key, is_so in zip(WARNINGS, found, strict=True) if is_so),
    )


def sharpness(grey: np.ndarray) -> float:
    """Variance of the Laplacian (Pech-Pacheco et al. 2000, LAP_VAR) of grey (H, W), divided by the variance
    of grey itself.

    Divided, because the first alone takes a dim photo for a blurred one. Infinite where nothing can be said:
    under 3 pixels a side, or one shade throughout.
    """
    if min(grey.shape) < 3:
        return float("inf")
    spread = float(grey.var())
    if spread < 1e-3:
        return float("inf")
    middle = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * middle
    return float(laplacian.var()) / spread


def leaf_share(colours: Sequence[np.ndarray]) -> float | None:
    """Share of pixels that are coloured like leaves, sick ones included, in red, green and blue (H, W), 0 to
    255; None for black and white.

    Green: excess green index 2g - r - b of the chromatic coordinates r = R / (R + G + B) and so on (Woebbecke
    et al. 1995). Yellow to brown: clearly less blue than green. Dry soil counts too: rather a warning too few
    than one of each sick leaf.
    """
    red, green, blue = colours
    if (
        np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    ).max() <= COLOURLESS:
        return None
    # Both sides times R + G + B, so that nothing is divided by the 0 of a black pixel.
    is_green = 2 * green - red - blue > EXCESS_GREEN * (red + green + blue)
    return float((is_green | (blue < BLUE_TO_GREEN * green)).mean())


def _thumbnail(photo: Image.Image) -> Image.Image:
    photo = photo if photo.mode == "RGB" else photo.convert("RGB")
    scale = SIDE / max(photo.size)
    if scale >= 1:
        return photo
    width, height = (max(1, round(side * scale)) for side in photo.size)
    return photo.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
