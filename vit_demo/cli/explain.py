"""``python -m vit_demo explain``: the map of a photo as numbers or as a picture, or all that Look inside
shows of it.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vit_demo.cli.options import Line, add_model, open_model
from vit_demo.common.errors import UserError
from vit_demo.explain.attribution.methods import DEFAULT, METHODS

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from vit_demo.explain.attribution.maps import Explanation
    from vit_demo.explain.attribution.target import Target
    from vit_demo.model.classifier import LeafClassifier


@dataclass(frozen=True)
class Found:
    """A map (rows, columns) and what it is of. explanation: of attention and rollout, None of the others.

    label: the class that is explained, or that the model says where the method does not ask for one.
    probability: of it. against: the class that it is held against, None for none.
    """

    map: np.ndarray
    method: str
    label: str
    probability: float
    against: str | None
    explanation: Explanation | None
    patch_size: int
    image_size: tuple[int, int]


def add(parser: argparse.ArgumentParser) -> None:
    """Give the parser of the command its flags."""
    parser.description = (
        "Says which patches of a photo the model looked at (attention, rollout) or which speak for a class"
        " (relevance, gradcam, occlusion)."
    )
    add_model(parser)
    parser.add_argument(
        "--method", choices=list(METHODS), help="default: the most faithful that answers at once"
    )
    parser.add_argument(
        "--class",
        dest="label",
        metavar="NAME",
        help="the class that is explained (default: the one that the model says)",
    )
    parser.add_argument(
        "--against", metavar="NAME", help="another class: what speaks for the first and not for this one"
    )
    parser.add_argument("--layer", type=int, help="for attention: 0 is the first, -1 the last (default)")
    parser.add_argument("--head", type=int, help="for attention: 0 is the first (default: the mean of all)")
    parser.add_argument(
        "--query",
        type=int,
        help="for attention and rollout: the patch that looks, counted row by row (default: the [CLS] token)",
    )
    written = parser.add_mutually_exclusive_group(required=True)
    written.add_argument(
        "--out",
        metavar="FILE",
        help="the map as .npz (arrays), .csv (a row a patch) or .png (over the photo)",
    )
    written.add_argument(
        "--everything",
        metavar="FOLDER",
        help="all figures and numbers that Look inside has of the photo, with an index.html",
    )
    parser.add_argument(
        "--json", action="store_true", help="print as JSON what was written, the class and its probability"
    )
    parser.add_argument("photo", metavar="PHOTO")
    parser.set_defaults(run=_explain)


def _explain(options: argparse.Namespace) -> None:
    _check(options)
    from vit_demo.diagnose.photos import open_photo

    photo = open_photo(options.photo)
    if options.everything is not None:
        _write_everything(options, photo)
        return
    found = find_map(open_model(options), photo, options)
    out = Path(options.out)
    try:
        WRITERS[out.suffix.lower()](out, found, photo)
    except OSError as error:
        raise UserError("error.cli.out_unwritten", file=str(out), reason=error.strerror) from None
    rows, columns = found.map.shape
    if options.json:
        cls_share = {} if found.explanation is None else {"cls_share": found.explanation.cls_share}
        print(
            json.dumps(
                {
                    "photo": options.photo,
                    "out": str(out),
                    "shape": [rows, columns],
                    "method": found.method,
                    "class": found.label,
                    "against": found.against,
                    "probability": found.probability,
                    **cls_share,
                }
            )
        )
    else:
        said = (
            ""
            if not METHODS[found.method].for_class
            else f" for {found.label}" + (f" against {found.against}" if found.against else "")
        )
        print(
            f"{out}: {found.method} map of {rows} x {columns} patches{said} ({found.label}:"
            f" {found.probability:.1%})"
        )


def _check(options: argparse.Namespace) -> None:
    """What can be told before the model is opened."""
    if options.everything is not None:
        for name in ("method", "layer", "head", "query"):
            if getattr(options, name) is not None:
                raise UserError("error.cli.with_everything", name=name)
        return
    if Path(options.out).suffix.lower() not in WRITERS:
        raise UserError("error.cli.explain_ending", file=str(options.out))
    if options.method is not None and not METHODS[options.method].for_class:
        if options.label is not None or options.against is not None:
            others = _or([name for name, method in METHODS.items() if method.for_class])
            raise UserError("error.cli.explain_no_class", method=options.method, others=others)
        wrong = {"rollout": ("layer", "head"), "attention": ()}.get(
            options.method, ("layer", "head", "query")
        )
    else:
        wrong = ("layer", "head", "query")
    for name in wrong:
        if getattr(options, name) is not None:
            raise UserError("error.cli.explain_attention_only", name=name)


def find_map(classifier: LeafClassifier, photo: Image.Image, options: argparse.Namespace) -> Found:
    """The map that the flags ask for."""
    from vit_demo.explain.attribution.maps import METHODS as ATTENTION_VIEWS
    from vit_demo.explain.attribution.maps import MapRequest, explain
    from vit_demo.explain.attribution.occlusion import occlusion
    from vit_demo.explain.attribution.saliency import saliency

    method = options.method or DEFAULT
    target, label, probability = find_target(classifier, photo, options)
    explanation = None
    if method in ATTENTION_VIEWS:
        request = MapRequest(
            method, -1 if options.layer is None else options.layer, options.head, options.query
        )
        explanation = explain(classifier, photo, request)
        heat = explanation.map
    elif method == "occlusion":
        report = functools.partial(Line(), "Occlusion: squares covered")
        heat = occlusion(classifier, classifier.preprocess([photo]), target, report=report).numpy()
    else:
        heat = saliency(classifier, classifier.preprocess([photo]), method, target)[0].numpy()
    against = None if target.against is None else classifier.labels[target.against]
    return Found(
        heat, method, label, probability, against, explanation, classifier.patch_size, classifier.image_size
    )


def find_target(
    classifier: LeafClassifier, photo: Image.Image, options: argparse.Namespace
) -> tuple[Target, str, float]:
    """What is explained, the name of its class, and the probability of that class. Raises UserError for an
    unknown class.
    """
    from vit_demo.explain.attribution.target import Target
    from vit_demo.model.abstention import temperature_of

    labels = classifier.labels
    probabilities = (classifier.logits([photo])[0] / temperature_of(classifier)).softmax(dim=-1)
    label = int(probabilities.argmax()) if options.label is None else find_class(labels, options.label)
    against = None if options.against is None else find_class(labels, options.against)
    if label == against:
        raise UserError("error.cli.explain_against_itself", label=labels[label])
    return Target(label, against), labels[label], float(probabilities[label])


def find_class(labels: Sequence[str], name: str) -> int:
    """The index of a class by its name in the model, or as people write it: "Bean rust" is bean_rust. Raises
    UserError where there is none.
    """
    if name in labels:
        return labels.index(name)
    plain = [_plain(label) for label in labels]
    if plain.count(_plain(name)) != 1:
        raise UserError("error.cli.explain_unknown_class", name=name, labels=", ".join(labels))
    return plain.index(_plain(name))


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).casefold()


def _or(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _write_npz(out: Path, found: Found, _photo: Image.Image) -> None:
    """Of attention and rollout the arrays of explain.maps.save_npz; of the others the map, what it is of, and
    sizes in pixels. Needs no pickle.
    """
    import numpy as np

    from vit_demo.explain.attribution.maps import save_npz

    if found.explanation is not None:
        save_npz(out, found.explanation)
        return
    with out.open("wb") as file:
        np.savez_compressed(
            file,
            map=found.map,
            method=found.method,
            label=found.label,
            against=found.against or "",
            probability=found.probability,
            patch_size=found.patch_size,
            image_size=found.image_size,
        )


def _write_csv(out: Path, found: Found, _photo: Image.Image) -> None:
    rows, columns = found.map.shape
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("row", "column", "value"))
        writer.writerows(
            (row, column, float(found.map[row, column])) for row in range(rows) for column in range(columns)
        )


def _write_png(out: Path, found: Found, photo: Image.Image) -> None:
    import numpy as np

    from vit_demo.figures.overlay import heat_overlay

    # As on the page: what speaks against the class is as dark as what says nothing.
    picture = heat_overlay(photo, np.maximum(found.map, 0))
    with out.open("wb") as file:
        picture.save(file, format="PNG")


WRITERS = {".npz": _write_npz, ".csv": _write_csv, ".png": _write_png}


def _write_everything(options: argparse.Namespace, photo: Image.Image) -> None:
    from vit_demo.figures.report import write_everything

    folder = Path(options.everything)
    try:
        # Nothing of someone else's is written over or mixed with ours.
        if folder.exists() and any(folder.iterdir()):
            raise UserError("error.cli.everything_not_empty", folder=str(folder))
        classifier = open_model(options)
        target, label, probability = find_target(classifier, photo, options)
        folder.mkdir(parents=True, exist_ok=True)
        files = write_everything(classifier, photo, target, folder, Line())
    except OSError as error:
        raise UserError("error.cli.everything_unwritten", folder=str(folder), reason=error.strerror) from None
    if options.json:
        print(
            json.dumps(
                {
                    "photo": options.photo,
                    "folder": str(folder),
                    "files": files,
                    "class": label,
                    "probability": probability,
                }
            )
        )
    else:
        print(f"{folder / 'index.html'}: {len(files)} files ({label}: {probability:.1%})")
