"""Which run a model is of, and so which photos it has learned from."""

from __future__ import annotations

from pathlib import Path

from vit_demo.common.errors import UserError
from vit_demo.training.run.runs import Run


def run_of(model: Path) -> Run | None:
    """The run whose model lies in this folder; None of any other model."""
    run = Run(model.parent)
    files = (run.folder / "config.json", run.folder / "state.json")
    return run if run.model_folder == model and all(file.is_file() for file in files) else None


def has_learned_from(model: Path, source: str) -> bool:
    """Whether the model in this folder is of a run that learned from these photos.

    A run whose settings cannot be read, and a model that is of none, do not say so.
    """
    run = run_of(model)
    try:
        config = run.config() if run else None
    except UserError:
        return False
    return config is not None and any(
        _is_same(source, other) for other in (config.data, config.extra_data) if other
    )


def _is_same(source: str, other: str) -> bool:
    """Whether two names are one, also as two ways to write the path of a folder."""
    if source.strip() == other.strip():
        return True
    try:
        return Path(source.strip()).expanduser().samefile(Path(other.strip()).expanduser())
    except (OSError, ValueError, RuntimeError):  # none of them is a path
        return False
