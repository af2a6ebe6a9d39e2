"""What it takes to understand a folder of 200,000 photos: time and memory of its plan, before any photo is
opened.

    python -m benchmarks.plan

Three folders are made up, of empty files in a temporary place: split/class/photo, class/day/photo, and all
photos in one folder with a table of their names and classes. Each is planned by a process of its own, once.
The goals: at most 20 seconds, and 300 MB more than the process had when all was imported.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PHOTOS, CLASSES = 200_000, 40
SECONDS, BYTES = 20, 300e6
SPLITS = ("train", "train", "train", "validation", "test")


def in_splits(number: int) -> str:
    return f"{SPLITS[number % 5]}/class {number % CLASSES:02}/IMG_{number:07}.jpg"


def in_days(number: int) -> str:
    return f"class {number % CLASSES:02}/day{number % 7}/IMG_{number:07}.jpg"


def in_one(number: int) -> str:
    return f"train_images/IMG_{number:07}.jpg"


LAYOUTS = {"split/class/photo": in_splits, "class/day/photo": in_days, "table beside photos": in_one}


def make(folder: Path, name: str, photos: int) -> None:
    """So many empty files; beside those of one folder a table."""
    for number in range(photos):
        file = folder / LAYOUTS[name](number)
        if number < 1000:  # by then each folder is there
            file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    if name.startswith("table"):
        with (folder / "train.csv").open("w", encoding="utf-8") as table:
            table.write("image_id,label\n")
            table.writelines(_rows(photos))


def _rows(photos: int) -> Iterator[str]:
    return (f"IMG_{number:07}.jpg,class {number % CLASSES:02}\n" for number in range(photos))


def measure(folder: Path) -> None:
    """Print seconds, bytes and photos of one plan."""
    from vit_demo.data.plan.corrections import Corrections
    from vit_demo.data.plan.of_source import plan_folder

    before, began = _peak(), time.perf_counter()
    plan = plan_folder(folder, Corrections())
    seconds = time.perf_counter() - began
    plan.check()
    print(seconds, _peak() - before, len(plan.photos), len(plan.classes))


def _peak() -> int:
    """Bytes that this process took at most so far."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=PHOTOS, help="in each folder (default: %(default)s)")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return 0
    met = True
    print(f"the plan of {options.photos:,} photos (limits: {SECONDS} s, {BYTES / 1e6:.0f} MB)")
    for name in LAYOUTS:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), name, options.photos)
            answer = subprocess.run(
                [sys.executable, "-m", "benchmarks.plan", "--measure", folder],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.split()
        seconds, taken, photos, classes = float(answer[0]), int(answer[1]), int(answer[2]), int(answer[3])
        good = seconds <= SECONDS and taken <= BYTES and (photos, classes) == (options.photos, CLASSES)
        met &= good
        print(
            f"  {name:22}{seconds:6.1f} s {taken / 1e6:6.0f} MB   {photos:,} photos in {classes} classes"
            f"{'' if good else '   over the limit'}",
            flush=True,
        )
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
