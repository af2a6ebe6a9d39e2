"""All files of a folder or an archive by their names, without opening any of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from vit_demo.data.plan import tables
from vit_demo.data.plan.file_names import ENDINGS, is_clutter

PARQUET, ARROW = ".parquet", ".arrow"
Parts = tuple[str, ...]


@dataclass
class Listing:
    """Paths in a source, each in its parts. photos, tables, parquet, arrow: by their endings. others: files
    that are none of these. links: to folders or to nothing, which are not followed. hidden: how many files
    computers left beside photos.
    """

    photos: list[Parts] = field(default_factory=list)
    tables: list[Parts] = field(default_factory=list)
    parquet: list[Parts] = field(default_factory=list)
    arrow: list[Parts] = field(default_factory=list)
    others: list[Parts] = field(default_factory=list)
    links: list[Parts] = field(default_factory=list)
    hidden: list[Parts] = field(default_factory=list)

    def add(self, parts: Parts) -> None:
        """One file, by its name."""
        if is_clutter(parts):
            self.hidden.append(parts)
            return
        name = parts[-1].lower()
        kinds = (
            (ENDINGS, self.photos),
            (tables.ENDINGS, self.tables),
            (PARQUET, self.parquet),
            (ARROW, self.arrow),
        )
        next((files for endings, files in kinds if name.endswith(endings)), self.others).append(parts)

    def sort(self) -> Listing:
        """By path, folder for folder, so that the order does not depend on the disk or the packer."""
        for files in (
            self.photos,
            self.tables,
            self.parquet,
            self.arrow,
            self.others,
            self.links,
            self.hidden,
        ):
            files.sort()
        return self


def list_folder(folder: Path, check: Callable[[], None] = lambda: None) -> Listing:
    """Links to folders are not followed, since they may lead round in a circle; links to files are, as large
    data sets are often kept so. check: called for each folder; raises where a person stopped it.
    """
    listing = Listing()
    waiting: list[tuple[str, Parts]] = [(str(folder), ())]
    while waiting:
        check()
        place, parts = waiting.pop()
        try:
            entries = list(os.scandir(place))
        except OSError:
            listing.others.append(parts or (folder.name,))
            continue
        for entry in entries:
            below = (*parts, entry.name)
            if entry.is_dir(follow_symlinks=False):
                if is_clutter((entry.name,)):
                    listing.hidden.append(below)
                else:
                    waiting.append((entry.path, below))
            elif entry.is_file():
                listing.add(below)
            elif entry.is_symlink():
                listing.links.append(below)
            else:
                listing.others.append(below)
    return listing.sort()
