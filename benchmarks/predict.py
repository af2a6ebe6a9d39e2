"""From a photo file to a verdict: ours with each engine against transformers' pipeline with the same model,
in one run.

    python -m benchmarks.predict

ours      vit_demo.diagnose.diagnosis.diagnose_files: open and check the file, quality, forward, verdict, with
each engine pipeline  transformers.pipeline("image-classification"), given the same paths: open, forward,
probabilities

Prints peak memory and the time from the start of a process to its first answer, each in a process of its own.
Then for one photo, round by round and each side in its turn, the median and quartiles in milliseconds and how
many times ours is faster. Then the same for a list of photos (the test photos again and again), for the
pipeline photo by photo and in batches of 16. Whatever else runs on the machine makes the times longer, of
both: its load is printed first.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

# Ours first, as in the app: how waiting threads behave is read when torch is imported, and holds for both
# sides.
from vit_demo.model.classifier import LeafClassifier

# isort: split
import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
ENGINES = ("torch", "onnx", "onnx-int8")
PIPELINE = "pipeline"
BATCHES = (1, 16)

# Takes paths, gives one answer for each.
Side = Callable[[list[str]], list]


def ours(classifier: LeafClassifier, name: str) -> Side:
    from vit_demo.diagnose.diagnosis import diagnose_files
    from vit_demo.export.onnx import open_engine

    engine = open_engine(classifier, name)
    return lambda paths: list(diagnose_files(classifier, paths, engine))


def pipeline(folder: Path, batch_size: int = 1) -> Side:
    from transformers import pipeline as make
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    made = make("image-classification", model=str(folder), device="cpu")
    return lambda paths: made(paths, batch_size=batch_size)


def write_photos(spec: str, count: int, folder: Path) -> list[str]:
    """So many test photos as files, repeated where there are fewer; as they are stored, not encoded anew."""
    from datasets import Image

    from vit_demo.data.open.sources import open_dataset

    stored = open_dataset(spec)["test"].cast_column("image", Image(decode=False))["image"]
    paths = []
    for number in range(count):
        row = stored[number % len(stored)]
        content = row["bytes"] or Path(row["path"]).read_bytes()
        paths.append(str(folder / f"{number:05d}.jpg"))  # what it is stands in the content
        Path(paths[-1]).write_bytes(content)
    return paths


def alternate(sides: dict[str, Side], turns: list[list[str]]) -> dict[str, list[float]]:
    """Seconds of each side in each turn, which is a list of paths; the sides alternate. A few photos go ahead
    and do not count.
    """
    for side in sides.values():
        side(turns[0][:32])
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for paths in turns:
        for name, side in sides.items():
            began = time.perf_counter()
            side(paths)
            seconds[name].append(time.perf_counter() - began)
    return seconds


def print_rows(title: str, seconds: dict[str, list[float]], photos: int) -> None:
    """A row a side, in milliseconds a photo."""
    print(
        f"\n{title:24}{'ms a photo':>12}{'quartiles':>20}"
        + "".join(f"{f'x {name}':>15}" for name in seconds if name.startswith(PIPELINE)),
        flush=True,
    )
    median = {name: statistics.median(taken) for name, taken in seconds.items()}
    for name, taken in seconds.items():
        low, high = np.percentile(taken, [25, 75]) * 1000 / photos
        faster = "".join(
            f"{median[other] / median[name]:15.2f}" for other in seconds if other.startswith(PIPELINE)
        )
        print(
            f"{name:24}{median[name] * 1000 / photos:12.2f}{f'{low:.2f} to {high:.2f}':>20}{faster}",
            flush=True,
        )


def first_answers(options: argparse.Namespace, photo: str) -> None:
    """Start and memory of each side."""
    print(
        f"{'process of its own':24}{'first answer (s)':>18}{'quartiles':>18}{'peak memory (MB)':>20}",
        flush=True,
    )
    for name in (*ENGINES, PIPELINE):
        found = [_child(options, name, photo) for _ in range(options.starts)]
        taken, memory = ([one[number] for one in found] for number in (0, 1))
        low, median, high = np.percentile(taken, [25, 50, 75])
        print(
            f"{name:24}{median:18.2f}{f'{low:.2f} to {high:.2f}':>18}{statistics.median(memory) / 1e6:20.0f}",
            flush=True,
        )


def _child(options: argparse.Namespace, name: str, photo: str) -> tuple[float, int]:
    """Seconds to the first answer and peak memory in bytes of a process that diagnoses one photo."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.predict",
        "--model",
        options.model,
        "--threads",
        str(options.threads),
        "--work",
        name,
        photo,
    ]
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    process.stdout.readline()
    seconds = time.perf_counter() - began
    memory = process.stdout.readline()
    if process.wait():
        raise SystemExit(f"{name} failed (status {process.returncode})")
    return seconds, int(memory)


def peak_memory() -> int:
    """Of this process, in bytes. On Linux what the system counts for a process begins at its parent's peak;
    this file does not.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        return 1024 * int(
            next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def work(options: argparse.Namespace) -> None:
    """What a child does."""
    from vit_demo.model import checkpoints

    name, photo = options.work
    side = (
        pipeline(checkpoints.locate(options.model).folder)
        if name == PIPELINE
        else ours(LeafClassifier.open(options.model, device="cpu"), name)
    )
    print(side([photo])[0], flush=True)
    print(peak_memory(), flush=True)


def measure(options: argparse.Namespace, folder: Path) -> None:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"{options.threads} threads on {os.cpu_count()} cores; load of the last 1, 5 and 15 minutes: {load}\n"
    )
    paths = write_photos(options.data, options.photos, folder)
    # Exports it too, under the temporary home, so that the children find it there.
    classifier = LeafClassifier.open(options.model, device="cpu")
    sides = {name: ours(classifier, name) for name in ENGINES}
    if options.starts:
        first_answers(options, paths[0])
    model = classifier.checkpoint.folder
    print_rows(
        "one photo",
        alternate(
            {**sides, PIPELINE: pipeline(model)},
            [[paths[number % len(paths)]] for number in range(options.rounds)],
        ),
        1,
    )
    lists = {**sides, **{f"{PIPELINE} {size}": pipeline(model, size) for size in BATCHES}}
    print_rows(f"{len(paths)} photos", alternate(lists, [paths] * options.lists), len(paths))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", default="embedded", help="model folder or name (default: the embedded model)"
    )
    parser.add_argument(
        "--data", default="beans", help="its test photos are diagnosed (default: %(default)s)"
    )
    parser.add_argument(
        "--threads", type=int, default=2, help="of torch and onnxruntime (default: %(default)s)"
    )
    parser.add_argument(
        "--rounds", type=int, default=60, help="turns of each side with one photo (default: %(default)s)"
    )
    parser.add_argument("--photos", type=int, default=1000, help="in the list (default: %(default)s)")
    parser.add_argument(
        "--lists", type=int, default=3, help="turns of each side with the list (default: %(default)s)"
    )
    parser.add_argument("--starts", type=int, default=5, help="processes of each side (default: %(default)s)")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if Path(options.model).exists():
        options.model = str(Path(options.model).resolve())
    torch.set_num_threads(options.threads)
    if options.work:
        work(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["VIT_DEMO_HOME"] = f"{folder}/home"
        (Path(folder) / "photos").mkdir()
        measure(options, Path(folder) / "photos")


if __name__ == "__main__":
    main()
