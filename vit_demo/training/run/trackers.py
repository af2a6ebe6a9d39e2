"""Where else the numbers of a run can go. A new tracker is a class in a file of its own and one entry here.

Light, since the settings of a run name them: nothing of a tracker is imported before a run asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

# What our runs are called in all of them.
PROJECT = "vit_demo"


@dataclass(frozen=True)
class TrackerKind:
    """One tracker. name: as ``report_to`` takes it, and as it is installed. place: what opens it with a run
    and its settings, or "module:name" of it.
    """

    name: str
    title: str
    place: str | Callable[..., Any]

    def opener(self) -> Callable[..., Any]:
        """The class, see ``training.loop.reporting.Tracker``."""
        if not isinstance(self.place, str):
            return self.place
        module, _, name = self.place.partition(":")
        return cast("Callable[..., Any]", getattr(import_module(module), name))


_ROOM = "vit_demo.training.loop.trackers"
TRACKERS = {
    kind.name: kind
    for kind in (
        TrackerKind("tensorboard", "TensorBoard", f"{_ROOM}.tensorboard:TensorBoard"),
        TrackerKind("trackio", "Trackio", f"{_ROOM}.trackio:Trackio"),
        TrackerKind("wandb", "Weights & Biases", f"{_ROOM}.wandb:Wandb"),
    )
}
