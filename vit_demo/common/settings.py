"""Every limit, folder and environment variable of the project, in one typed place."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from vit_demo.common.errors import UserError

PACKAGE = Path(__file__).resolve().parents[1]
ASSETS = PACKAGE.parent / "assets"
EMBEDDED_MODEL = ASSETS / "models" / "leaf-vit-tiny"
EMBEDDED_BEANS = ASSETS / "beans"
# Where the embedded model sees each of its train photos, see vit_demo.model.neighbours.
EMBEDDED_SIMILAR = ASSETS / "models" / "leaf-vit-tiny-similar.safetensors"


@dataclass(frozen=True)
class Settings:
    """What a deployment may change; read from the environment by :func:`load`.

    home: folder that holds all runs and caches (``VIT_DEMO_HOME``). threads: CPU threads for torch, 0 leaves
    torch's own choice (``VIT_DEMO_THREADS``). max_photo_bytes, max_photo_pixels: a larger photo is refused
    before it is decoded. max_archive_bytes: a larger file is not taken in at all, be it a zip of photos.
    batch_size: photos that are diagnosed at a time. review: whether corrections may be stored and opened
    (``VIT_DEMO_REVIEW``, "off" for a page that strangers use).
    """

    home: Path
    threads: int = 0
    max_photo_bytes: int = 64 * 2**20
    max_photo_pixels: int = 200_000_000
    max_archive_bytes: int = 2 * 2**30
    batch_size: int = 16
    review: bool = True

    @property
    def runs(self) -> Path:
        """Folder with one sub-folder a run."""
        return self.home / "runs"


def load() -> Settings:
    """The settings as the environment has them now; UserError where one makes no sense."""
    home = os.environ.get("VIT_DEMO_HOME") or platformdirs.user_data_dir("vit_demo")
    threads = os.environ.get("VIT_DEMO_THREADS") or "0"
    if not threads.isdecimal():
        raise UserError("error.common.threads", threads=threads)
    review = os.environ.get("VIT_DEMO_REVIEW") or "on"
    if review not in ("on", "off"):
        raise UserError("error.common.review", review=review)
    return Settings(home=Path(home).expanduser().resolve(), threads=int(threads), review=review == "on")
