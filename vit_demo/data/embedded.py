"""Make the photos that come with the program from the data set that they are of.

    python -m vit_demo.data.embedded AI-Lab-Makerere/beans OUT

The source is whatever ``--data`` takes: the Hub's data set, or a folder of its layout. Each photo larger than
:data:`SIDE` is scaled down and stored as a JPEG; a smaller one keeps its bytes, so made from its own output
the set stays as it is. Splits, order, labels and file names stay, whatever folder the photos were unpacked
in. How side and quality were chosen: docs/recipe.md.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image as Pictures

from vit_demo.common.errors import UserError
from vit_demo.data.open.sources import open_dataset
from vit_demo.data.output.export import new_folder, write_parquet
from vit_demo.photos.safe_open import decode

if TYPE_CHECKING:
    from datasets import Dataset

# Longest side in pixels, and how the JPEG is made: its quality, and no subsampling of colour (4:4:4), since
# rust is told by colour.
SIDE, QUALITY, SUBSAMPLING = 256, 80, 0
# A parquet file stays below 8 MB.
MOST_BYTES = 7_500_000


def build(source: str, out: Path) -> None:
    """Write ``out``/data/{split}-{number}-of-{count}.parquet; ``out`` must not be there. Raises UserError
    with what to do.
    """
    from datasets import Dataset

    data = open_dataset(source)
    with new_folder(out) as fresh:
        (fresh / "data").mkdir()
        for split, part in data.items():
            rows = list(_rows(part))
            size = sum(len(row["image"]["bytes"]) for row in rows)
            shards = list(_shards(rows))
            for number, shard in enumerate(shards):
                file = fresh / "data" / f"{split}-{number:05}-of-{len(shards):05}.parquet"
                for _ in write_parquet(Dataset.from_list(shard, features=part.features), file):
                    pass
            print(f"{split}: {len(rows)} photos, {size / 1e6:.1f} MB", file=sys.stderr)


def _shards(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The rows in order, in lists of at most :data:`MOST_BYTES` of photos, or one photo."""
    shard: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        if shard and size + len(row["image"]["bytes"]) > MOST_BYTES:
            yield shard
            shard, size = [], 0
        shard.append(row)
        size += len(row["image"]["bytes"])
    yield shard


def _rows(part: Dataset) -> Iterator[dict[str, Any]]:
    """The rows with small photos, named by split, class and file."""
    from datasets import Image

    for row in part.cast_column("image", Image(decode=False)):
        path = "/".join(Path(row["image_file_path"]).parts[-3:])
        yield {
            **row,
            "image_file_path": path,
            "image": {"bytes": shrink(row["image"], path), "path": Path(path).name},
        }


def shrink(stored: dict[str, Any], path: str) -> bytes:
    """The bytes of a photo no larger than :data:`SIDE`. stored: its ``bytes``, or the ``path`` where they
    lie. path: its name, for the error.
    """
    photo = decode(stored)
    if photo is None:
        raise UserError("error.data.embedded_photo", path=path)
    if max(photo.size) <= SIDE:
        return stored["bytes"] if stored["bytes"] is not None else Path(stored["path"]).read_bytes()
    photo.thumbnail((SIDE, SIDE), Pictures.Resampling.LANCZOS, reducing_gap=None)
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=QUALITY, subsampling=SUBSAMPLING, optimize=True, progressive=True)
    return buffer.getvalue()


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="the data set: a name on the Hub, or a folder")
    parser.add_argument("out", type=Path, help="a new folder")
    options = parser.parse_args()
    try:
        build(options.source, options.out)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
