"""The models that the page has open: the last few, loaded once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from vit_demo.model import checkpoints
from vit_demo.model.classifier import LeafClassifier

KEEP = 2
_open: OrderedDict[tuple[str, int], LeafClassifier] = OrderedDict()
_lock = threading.Lock()


def get_classifier(spec: str | None) -> LeafClassifier:
    """The classifier for what the model list names; loaded again only when its files have changed."""
    spec = (spec or checkpoints.EMBEDDED).strip()
    with _lock:
        key = (spec, _changed(spec))
        if key not in _open:
            _open[key] = LeafClassifier.open(spec)
            while len(_open) > KEEP:
                _open.popitem(last=False)
        _open.move_to_end(key)
        return _open[key]


def _changed(spec: str) -> int:
    """When the model's files changed last; 0 for one on the Hub, which a running page does not follow."""
    folder = Path(spec).expanduser()
    for config in (folder / "model" / checkpoints.CONFIG, folder / checkpoints.CONFIG):
        if config.is_file():
            return config.stat().st_mtime_ns
    return 0


def choices() -> list[tuple[str, str]]:
    """(title, value) of each model in the list."""
    return [(choice.title, choice.spec) for choice in checkpoints.list_choices()]


def ready_choices() -> list[tuple[str, str]]:
    """Those that can name classes without being fine-tuned first: the embedded one and finished runs."""
    return [(choice.title, choice.spec) for choice in checkpoints.list_choices() if not choice.on_hub]
