"""How long each view of Look inside takes to answer, for the embedded model and for a ViT-B/16 of random
weights.

    python -m benchmarks.views

The first line of a model is its first view of a photo, with the forward that all views then share; the others
are what a view computes when it is opened on that photo (the median of some turns, each on another photo).
Not counted: the way to the browser and what it draws. Occlusion and the map of a data set show progress
instead.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from vit_demo.data.names import BEANS
from vit_demo.data.open.sources import open_dataset
from vit_demo.explain.attribution.methods import METHODS
from vit_demo.model.checkpoints import EMBEDDED
from vit_demo.ui.shared.models import get_classifier
from vit_demo.ui.tabs.inside import attention, costs, layers, positions, tokens, why
from vit_demo.ui.tabs.inside.heat import ANSWER, NONE
from vit_demo.ui.tabs.inside.scene import look

LIMITS = {"ViT-Ti/16": 1.0, "ViT-B/16": 4.0}
VIEWS: dict[str, Callable[[str, str], object]] = {
    **{
        f"why: {method}": lambda photo, model, method=method: why.begin(photo, model, ANSWER, NONE, method)
        for method in METHODS
        if method != "occlusion"
    },
    "why: two classes": lambda photo, model: why.begin(
        photo, model, "0 angular_leaf_spot", "1 bean_rust", "masked-relevance"
    ),
    "tokens": lambda photo, model: tokens.show(photo, model, 100),
    "why patches": lambda photo, model: costs.show(photo, model, 16, 224, next(iter(costs.MEASURES))),
    "filters": positions.show_filters,
    "positions": lambda photo, model: positions.show_similarity(photo, model, 100),
    "another resolution": lambda photo, model: (
        positions.show_resized(photo, model, 100, 288),
        positions.show_answers(photo, model, 288),
    ),
    "attention distance": positions.show_distance,
    "attention": lambda photo, model: attention.begin(
        photo, model, "attention", 11, attention.ALL_HEADS, attention.SHEETS[0]
    ),
    "rollout": lambda photo, model: attention.begin(
        photo, model, "rollout", 11, attention.ALL_HEADS, attention.SHEETS[0]
    ),
    "layers": lambda photo, model: layers.show(photo, model, 11),
}


def base_model(folder: Path) -> str:
    """A ViT-B/16 with three classes and random weights."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

    labels = dict(enumerate(("angular_leaf_spot", "bean_rust", "healthy")))
    ViTForImageClassification(
        ViTConfig(id2label=labels, label2id={label: number for number, label in labels.items()})
    ).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 224, "width": 224}).save_pretrained(folder)
    return str(folder)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2, help="of torch (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="photos for each view (default: %(default)s)")
    options = parser.parse_args()
    # Here and not above: how torch's threads wait is set when vit_demo is imported, which must come first.
    import torch

    torch.set_num_threads(options.threads)
    late = []
    with tempfile.TemporaryDirectory() as folder:
        photos = []
        for number, photo in enumerate(open_dataset(BEANS)["test"].select(range(options.rounds))["image"]):
            photos.append(str(Path(folder) / f"{number}.png"))
            photo.save(photos[-1])
        for name, model in (("ViT-Ti/16", EMBEDDED), ("ViT-B/16", base_model(Path(folder) / "base"))):
            get_classifier(model)
            shared = statistics.median(seconds(look, model, photo) for photo in photos)
            print(
                f"{name}, seconds (limit {LIMITS[name]:g})\n"
                f"  {'forward that all views share':30}{shared:8.2f}"
            )
            for view, draw in VIEWS.items():
                taken = []
                for photo in photos:
                    look(model, photo)
                    taken.append(seconds(draw, photo, model))
                whole = shared + statistics.median(taken)
                print(
                    f"  {view:30}{statistics.median(taken):8.2f}   with the forward"
                    f" {whole:.2f}{'' if whole <= LIMITS[name] else '  too slow'}",
                    flush=True,
                )
                late += [f"{view} of {name}"] if whole > LIMITS[name] else []
    print("All within their limits." if not late else f"Too slow: {', '.join(late)}.")
    return 1 if late else 0


def seconds(function: Callable, *arguments: object) -> float:
    began = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - began


if __name__ == "__main__":
    raise SystemExit(main())
