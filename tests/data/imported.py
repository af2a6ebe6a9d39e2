"""What the tests of imports share: how photos are laid out, and what became of them."""

from __future__ import annotations

from pathlib import Path

from vit_demo.data.importing.imports import Imported

SPLITS = ("train", "validation", "test")


def totals(imported: Imported) -> dict[str, int]:
    return {split: sum(classes.values()) for split, classes in imported.counts.items()}


def stored(home: Path) -> list[str]:
    """All that lies in the folder of imports."""
    return sorted(path.name for path in (home / "imports").glob("*")) if (home / "imports").exists() else []


def contents(folder: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in folder.glob("*/*/*"))


def put(folder: Path, members: dict[str, bytes]) -> Path:
    for name, content in members.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder
