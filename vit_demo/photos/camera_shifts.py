"""What another camera and another hand make of a photo: changes that leave the leaf what it is.

They are made on a photo as a model gets it, so that they are as strong for a photo of 12 megapixels as for a
small one.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFilter

from vit_demo.photos.safe_open import opened

# Each is drawn evenly between minus and plus this, of the factor's logarithm: brightness (as an exponent),
# each colour's gain, contrast, saturation.
EXPOSURE, WHITE_BALANCE, CONTRAST, SATURATION = 0.2, 0.1, 0.15, 0.2
# Of every other photo, the largest deviation of a Gaussian blur as a share of the width.
BLUR = 1 / 256
JPEG_QUALITY = (50, 90)


def mildly_changed(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A photo, uint8 (3, H, W), as another camera might have taken it: exposure, white balance, contrast,
    saturation, focus and compression are changed by a little, each drawn from ``rng``.
    """
    values = pixels.transpose(1, 2, 0).astype(np.float32) / 255
    values = values ** np.exp(rng.uniform(-EXPOSURE, EXPOSURE))
    values = values * np.exp(rng.uniform(-WHITE_BALANCE, WHITE_BALANCE, size=3)).astype(np.float32)
    values = (values - 0.5) * np.exp(rng.uniform(-CONTRAST, CONTRAST)) + 0.5
    grey = values.mean(axis=2, keepdims=True)
    values = grey + (values - grey) * np.exp(rng.uniform(-SATURATION, SATURATION))
    photo = Image.fromarray((values.clip(0, 1) * 255).astype(np.uint8))
    blur, blurred = rng.uniform(0, BLUR) * photo.width, rng.random() < 0.5
    if blurred:
        photo = photo.filter(ImageFilter.GaussianBlur(blur))
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=int(rng.uniform(*JPEG_QUALITY)))
    with opened(buffer.getvalue()) as saved:
        return np.asarray(saved.convert("RGB")).transpose(2, 0, 1)
