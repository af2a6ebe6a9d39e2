"""What a page of photos costs in a data set of 1,000 and in one of 200,000: time and memory of the server, in
one run.

    python -m benchmarks.browse

Both data sets are made up: parquet files in a temporary folder, with a few small photos that return and a
path of its own for each row. Each is served by a process of its own, as the page is (python app.py on an
empty home folder), and asked over HTTP as the browser asks, the two in turns. The goals: the median time of a
page among the many is at most 1.5 times that among the few, and the server of the many never takes 1.5 GB.

    first    the data set is opened for the first time, which reads its files and makes the small pictures of
    the first page open     it is opened again, as by someone else: its first page page     another page;
    filter, search, sort: a page of what was asked, most times something that was not asked before
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import psutil

FEW, MANY = 1_000, 200_000
RATIO, BYTES = 1.5, 1.5e9
LABELS = ("angular_leaf_spot", "bean_rust", "healthy")
PHOTOS = 40
# Rows in a group of a parquet file, as the Hub has them.
GROUP = 100
ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 180


def photo(number: int) -> bytes:
    """A JPEG of a few kB, another one for each number: soft blots of colour, 224 x 224 pixels."""
    from PIL import Image

    blots = np.random.default_rng(number).integers(0, 255, (12, 12, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(blots).resize((224, 224), Image.Resampling.BICUBIC).save(out, "JPEG", quality=70)
    return out.getvalue()


def make(folder: Path, rows: int, group: int) -> None:
    """Parquet files of the tutorial's layout: 80 % train, 10 % validation, 10 % test; in groups of so many
    rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet
    from datasets import ClassLabel, Features, Image, Value

    features = Features(
        {"image_file_path": Value("string"), "image": Image(), "labels": ClassLabel(names=list(LABELS))}
    )
    folder.mkdir()
    photos = [photo(number) for number in range(PHOTOS)]
    order = random.Random(0).sample(range(rows), rows)
    for split, start, end in (
        ("train", 0, rows * 8 // 10),
        ("validation", rows * 8 // 10, rows * 9 // 10),
        ("test", rows * 9 // 10, rows),
    ):
        with parquet.ParquetWriter(folder / f"{split}-00000-of-00001.parquet", features.arrow_schema) as file:
            for first in range(start, end, 10_000):
                numbers = range(first, min(first + 10_000, end))
                columns = {
                    "image_file_path": [
                        f"/data/{split}/{LABELS[row % 3]}/IMG_{order[row]:07}.jpg" for row in numbers
                    ],
                    "image": [{"bytes": photos[row % PHOTOS], "path": None} for row in numbers],
                    "labels": [row % 3 for row in numbers],
                }
                file.write_table(pa.table(columns, schema=features.arrow_schema), row_group_size=group)


class Page:
    """The page, served by a process of its own, and asked as the browser asks it."""

    def __init__(self, folder: Path, data: Path):
        self.data, self.asked, self.peak = data, {}, 0.0
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        environment = {
            **os.environ,
            "GRADIO_SERVER_PORT": self.url.rpartition(":")[2],
            "VIT_DEMO_HOME": str(folder / "home"),
            "HF_HOME": str(folder / "hf"),
            "HF_HUB_OFFLINE": "1",
            "GRADIO_ANALYTICS_ENABLED": "False",
        }
        folder.mkdir()
        self.log = folder / "log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        self.watched = psutil.Process(self.process.pid)

    def wait(self) -> None:
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                config = json.load(urllib.request.urlopen(f"{self.url}/config", timeout=5))
                break
            except (OSError, urllib.error.URLError):
                if self.process.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"The page did not come up: {self.log.read_text()}") from None
                time.sleep(0.3)
        names = {component["id"]: component["props"].get("elem_id") for component in config["components"]}
        for number, one in enumerate(config["dependencies"]):
            for target, event in one["targets"]:
                if (names.get(target), event) == ("data-browse", "select"):
                    self.look = one.get("id", number)
                elif (names.get(target), event) == ("data-open", "click"):
                    self.open = one.get("id", number)

    def call(self, number: int, inputs: list, event: dict | None = None) -> list:
        """Through the queue, as the browser: put in, then read what comes until it is done."""
        body = {"data": inputs, "fn_index": number, "session_hash": "benchmark", "event_data": event}
        request = urllib.request.Request(
            f"{self.url}/gradio_api/queue/join",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=300).read()
        with urllib.request.urlopen(
            f"{self.url}/gradio_api/queue/data?session_hash=benchmark", timeout=300
        ) as stream:
            for line in stream:
                message = json.loads(line[5:]) if line.startswith(b"data:") else {}
                if message.get("msg") == "process_completed":
                    if not message["success"]:
                        raise SystemExit(f"The page answered: {message['output']}")
                    return message["output"]["data"]
        raise SystemExit("The page gave no answer.")

    def begin(self) -> float:
        """Open the data set; seconds that it took."""
        began = time.perf_counter()
        self.answer = self.call(self.open, [str(self.data)])[1]
        self.asked = self.answer["asked"]
        return time.perf_counter() - began

    def ask(self, **changes: object) -> float:
        """Another page; seconds that it took."""
        began = time.perf_counter()
        wanted = {**self.asked, "split": "", "label": "", "text": "", "sort": "", "page": 0, **changes}
        self.answer = self.call(
            self.look, [str(self.data), "embedded"], {"index": 0, "value": json.dumps(wanted)}
        )[0]
        spent = time.perf_counter() - began
        if not self.answer["rows"] or not all(row["source"] for row in self.answer["rows"]):
            raise SystemExit(f"The page shows no photos for {wanted}.")
        return spent

    def measure_memory(self) -> None:
        """The most that the server ever took, as Linux counts it; elsewhere what it takes now."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            self.peak = 1024.0 * int(status.split("VmHWM:")[1].split()[0])
        except (OSError, IndexError):
            self.peak = max(self.peak, float(self.watched.memory_info().rss))

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def questions(rows: int, times: int) -> dict[str, list[dict]]:
    """Of each kind as many as asked for, none of them twice. Pages lie all over the data set."""
    pages = random.Random(1).sample(range(1, rows // 24), min(times, rows // 24 - 1))
    splits, sorts = ("", "train", "validation", "test"), ("path", "-path", "label", "-label")
    return {
        "page": [{"page": page} for page in pages],
        "filter": [
            {"split": splits[number % 4], "label": LABELS[number // 4 % 3], "page": number // 12}
            for number in range(times)
        ],
        "search": [{"text": f"_00{number:05}"[:7]} for number in range(0, 10 * times, 10)],
        "sort": [
            {"sort": sorts[number % 4], "label": ("", *LABELS)[number // 4 % 4], "page": number // 16}
            for number in range(times)
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--few", type=int, default=FEW, help="rows of the small data set (default: %(default)s)"
    )
    parser.add_argument("--many", type=int, default=MANY, help="rows of the large one (default: %(default)s)")
    parser.add_argument("--times", type=int, default=32, help="questions of each kind (default: %(default)s)")
    parser.add_argument(
        "--group",
        type=int,
        default=GROUP,
        help="rows in a group of the parquet files, at most 10,000 (default: %(default)s)",
    )
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="vit_demo-browse-"))
    pages: list[Page] = []
    try:
        for rows in (options.few, options.many):
            began = time.perf_counter()
            make(folder / str(rows), rows, options.group)
            print(f"made {rows:,} rows in {time.perf_counter() - began:.1f} s")
            pages.append(Page(folder / f"server-{rows}", folder / str(rows)))
        for page in pages:
            page.wait()
        spent = {"first": [[page.begin()] for page in pages], "open": [[], []]}
        for _ in range(options.times):
            for page, found in zip(pages, spent["open"]):
                found.append(page.begin())
        kinds = [questions(rows, options.times) for rows in (options.few, options.many)]
        for kind in kinds[0]:
            spent[kind] = [[], []]
            for turn in range(max(len(asked[kind]) for asked in kinds)):
                for page, asked, found in zip(pages, kinds, spent[kind]):
                    found.append(page.ask(**asked[kind][turn % len(asked[kind])]))
        for page in pages:
            page.measure_memory()
    finally:
        for page in pages:
            page.end()
        shutil.rmtree(folder, ignore_errors=True)
    report(options.few, options.many, spent, [page.peak for page in pages])


def report(few: int, many: int, spent: dict[str, list[list[float]]], peaks: list[float]) -> None:
    print(f"\n{'median (slowest), ms':22}{few:>22,}{many:>22,}{'ratio':>9}")
    for kind, (small, large) in spent.items():
        cells = [f"{1000 * np.median(one):.1f} ({1000 * max(one):.1f})" for one in (small, large)]
        print(f"{kind:22}{cells[0]:>22}{cells[1]:>22}{np.median(large) / np.median(small):9.2f}")
    print(
        f"{'server at most, MB':22}{peaks[0] / 1e6:22.0f}{peaks[1] / 1e6:22.0f}{peaks[1] / peaks[0]:9.2f}\n"
    )
    for kind in ("open", "page", "filter", "sort"):
        ratio = float(np.median(spent[kind][1]) / np.median(spent[kind][0]))
        print(
            f"goal: {kind} at most {RATIO} times as long: {'met' if ratio <= RATIO else 'NOT met'}"
            f" ({ratio:.2f})"
        )
    print(
        f"goal: server of {many:,} rows below {BYTES / 1e9} GB: {'met' if peaks[1] < BYTES else 'NOT met'}"
        f" ({peaks[1] / 1e9:.2f} GB)"
    )


if __name__ == "__main__":
    main()
