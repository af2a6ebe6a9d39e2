"""How a recipe or a data set does on photos of other plants: errors on groups of alike photos that were held
out.

    python -m benchmarks.held_out --seeds 2 [--data beans FOLDER ...] [-- --recipe thorough]

Photos of one plant stand in train and validation of `beans`, so neither says how a model does on other
plants. Train and validation together are cut into 90 groups of alike photos (Ward's clustering of their mean
tokens after half of the pretrained model's blocks), and these into three parts with as equal classes as they
allow. Each run learns from two parts, of which it keeps a tenth for validation, and is scored on the third;
test photos are never looked at.

--data takes several data sets of the same photos (by their paths): all are cut at the groups of the first,
and their runs take turns. The settings after -- are those of `python -m vit_demo train`. Prints a JSON object
a run, then a line a data set:

    errors      wrong when made to answer, over all parts and seeds, with the 95 % Wilson interval of their
    share.
                The runs of several seeds are asked about the same photos, so the interval is of one seed's
                number of photos
    answered    with a diagnosis; right: share of these that is right
    seconds     from start to scored model, median
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetDict, Image, concatenate_datasets
from scipy.stats import binomtest
from sklearn.cluster import AgglomerativeClustering
from sklearn.model_selection import train_test_split

from vit_demo.data.checks.features import read_features
from vit_demo.data.copies.duplicates import standardised
from vit_demo.data.normalise import label_names
from vit_demo.data.open.sources import open_dataset
from vit_demo.model.abstention import abstention_of
from vit_demo.model.checkpoints import PRETRAINED
from vit_demo.model.classifier import LeafClassifier
from vit_demo.photos.safe_open import decode
from vit_demo.training.result.abstain import tally
from vit_demo.training.result.evaluation import evaluate

ROOT = Path(__file__).resolve().parent.parent
GROUPS, PARTS, VALIDATION = 90, 3, 0.1
# Of the depths that are read, the half of the blocks; of its two features, the mean over the patches.
HALF, MEAN = 1, 1


def learned_from(data: DatasetDict) -> Dataset:
    """Train and validation as one, photos as they are stored."""
    return concatenate_datasets(
        [data[split].cast_column("image", Image(decode=False)) for split in ("train", "validation")]
    )


def groups_of(photos: Dataset, pretrained: LeafClassifier, count: int = GROUPS) -> np.ndarray:
    """The group (N,) of each photo: alike ones share it."""
    features = read_features(pretrained, (decode(row["image"]) for row in photos))
    return AgglomerativeClustering(count, linkage="ward").fit_predict(
        standardised(features.values[:, HALF, MEAN].astype(np.float32))
    )


def parts_of(groups: np.ndarray, labels: np.ndarray, count: int = PARTS) -> np.ndarray:
    """The part (N,) of each photo, whole groups at a time: the largest group first, each to the part that has
    the fewest of its classes.
    """
    table = np.zeros((groups.max() + 1, labels.max() + 1), int)
    np.add.at(table, (groups, labels), 1)
    filled, part = np.zeros((count, table.shape[1])), np.empty(len(table), int)
    for group in np.argsort(-table.sum(axis=1), kind="stable"):
        part[group] = np.argmin((filled * table[group]).sum(axis=1) * len(table) + filled.sum(axis=1))
        filled[part[group]] += table[group]
    return part[groups]


def write_parts(photos: Dataset, parts: dict[str, int], folder: Path) -> list[Path]:
    """A parquet folder for each part: the part as test, the others as train and validation. parts: by
    path.
    """
    of_rows, folders = np.array([parts[path] for path in photos["image_file_path"]]), []
    for part in range(PARTS):
        rest, place = np.flatnonzero(of_rows != part), folder / f"part-{part + 1}"
        train, validation = train_test_split(
            rest, test_size=VALIDATION, random_state=0, stratify=np.asarray(photos["labels"])[rest]
        )
        place.mkdir(parents=True)
        for split, rows in (
            ("train", np.sort(train)),
            ("validation", np.sort(validation)),
            ("test", np.flatnonzero(of_rows == part)),
        ):
            photos.select(rows).cast_column("image", Image()).to_parquet(
                place / f"{split}-00000-of-00001.parquet"
            )
        folders.append(place)
    return folders


def run(name: str, folder: Path, seed: int, options: argparse.Namespace) -> dict:
    """One fine-tune in a process of its own, and what its model says of the part that it never saw."""
    with tempfile.TemporaryDirectory() as place:
        began = time.time()
        command = [
            sys.executable,
            "-m",
            "vit_demo",
            "train",
            "--data",
            str(folder),
            "--model",
            options.model,
            "--seed",
            str(seed),
            "--film",
            "0",
        ]
        threads = (
            {"VIT_DEMO_THREADS": str(max(1, (os.cpu_count() or 1) // options.jobs))}
            if options.jobs > 1
            else {}
        )
        subprocess.run(
            [*command, *options.settings, "--out", f"{place}/run"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=ROOT,
            env={**os.environ, **threads},
        )
        seconds = time.time() - began
        classifier = LeafClassifier.open(f"{place}/run", device="cpu")
        fitted = abstention_of(classifier)
        found = evaluate(classifier, open_dataset(folder)["test"], readout=fitted.readout).at_temperature(
            fitted.temperature
        )
        counts = tally(fitted, found)
        return {
            "data": name,
            "part": folder.name,
            "seed": seed,
            "photos": found.n,
            "errors": found.n - round(found.accuracy * found.n),
            "answered": counts.diagnosis,
            "right": counts.right,
            "not_known": counts.not_known,
            "calibration_error": found.calibrated.expected_calibration_error,
            "seconds": round(seconds, 1),
        }


def summary(name: str, results: list[dict], seeds: int) -> str:
    """The line of one data set."""
    photos, errors, answered, right = (
        sum(result[key] for result in results) for key in ("photos", "errors", "answered", "right")
    )
    interval = binomtest(round(errors / seeds), photos // seeds).proportion_ci(method="wilson")
    seconds = statistics.median(result["seconds"] for result in results)
    return (
        f"{name}: {errors} errors of {photos}, {errors / photos:.1%} ({interval.low:.1%} to"
        f" {interval.high:.1%}); answered {answered / photos:.1%}, right {right / max(answered, 1):.1%}, not"
        f" known {sum(result['not_known'] for result in results) / photos:.1%}; calibration error"
        f" {np.mean([result['calibration_error'] for result in results]):.3f}; {seconds:.0f} s"
    )


def measured(options: argparse.Namespace, folder: Path) -> Iterator[dict]:
    """The results of all runs as they come."""
    opened = {name: open_dataset(name) for name in options.data}
    first = learned_from(opened[options.data[0]])
    pretrained = LeafClassifier.open(
        options.groups_by or options.model, labels=label_names(opened[options.data[0]]), device="cpu"
    )
    found = parts_of(groups_of(first, pretrained), np.asarray(first["labels"]))
    parts = dict(zip(first["image_file_path"], found.tolist()))
    print(f"{len(first)} photos in {PARTS} parts of {np.bincount(found).tolist()}", flush=True)
    folders = {
        name: write_parts(learned_from(data), parts, folder / str(number))
        for number, (name, data) in enumerate(opened.items())
    }
    jobs = [
        (name, folders[name][part], seed)
        for seed in range(1, options.seeds + 1)
        for part in range(PARTS)
        for name in options.data
    ]
    with ThreadPoolExecutor(options.jobs) as pool:
        yield from pool.map(lambda job: run(*job, options), jobs)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", nargs="+", default=["beans"], help="data sets of the same photos (default: beans)"
    )
    parser.add_argument("--model", default=PRETRAINED, help="where each run starts (default: %(default)s)")
    parser.add_argument(
        "--groups-by",
        help="a pretrained model to tell alike photos by, where --model saw them (default: --model)",
    )
    parser.add_argument("--seeds", type=int, default=1, help="runs of each part (default: %(default)s)")
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        help="runs at the same time, which share the cores (default: %(default)s)",
    )
    parser.add_argument(
        "settings", nargs="*", help="after --: settings of the runs, as `python -m vit_demo train` takes them"
    )
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for result in measured(options, Path(folder)):
            results.append(result)
            print(json.dumps(result), flush=True)
    for name in options.data:
        print(summary(name, [result for result in results if result["data"] == name], options.seeds))


if __name__ == "__main__":
    main()
