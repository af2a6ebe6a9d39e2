"""A whole fine-tune, ours and the peers', on the same model, photos and machine, in one run.

    python -m benchmarks.finetune --seeds 5

Each side is a process of its own, timed from its start to a saved and scored model (imports, photos,
training, scoring). Ours runs once a seed, between the peers' runs, with the settings given after -- or the
defaults: nothing is chosen among the seeds. Prints a JSON object a run, then a table:

    seconds          wall time, median over the runs of a side times faster     the tutorial's median over
    that of the side test accuracy    mean over the runs of a side, with a 95 % interval of that mean
    (Student's t) from two runs on seconds to 0.96  on test: for the peers the first evaluation that reaches
    it (the looks at test are not
                     counted), for ours, which looks at test once at the end, the whole time
    peak memory      of the process, in GB

With --gpu it measures instead how many photos a second ViT-B/16 at 224 px trains on in bf16 with our steps,
and which share of the GPU's peak that is.
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
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from vit_demo.common import settings
from vit_demo.model.checkpoints import PRETRAINED

ROOT = Path(__file__).resolve().parent.parent
TARGET = 0.96
SIDES = ("tutorial", "example", "ours")
# Dense bf16 matrix products, in FLOP/s, as the makers state them.
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L4": 121e12, "A10": 125e12, "T4": 65e12}


@dataclass(frozen=True)
class Result:
    """One run of one side. seconds: wall time, without looks at test. to_target: seconds to TARGET on test,
    or None. memory: peak, bytes.
    """

    side: str
    seed: int
    seconds: float
    to_target: float | None
    test_accuracy: float
    validation_accuracy: float
    memory: int


def run(side: str, seed: int, options: argparse.Namespace) -> Result:
    """One run from process start to end."""
    common = ["--data", str(options.data.resolve()), "--model", options.model, "--seed", str(seed)]
    with tempfile.TemporaryDirectory() as folder:
        began = time.time()
        if side == "ours":
            command = [
                sys.executable,
                "-m",
                "vit_demo",
                "train",
                *common,
                *options.settings,
                "--out",
                f"{folder}/run",
                "--json",
            ]
        else:
            peers = str(Path(__file__).with_name("peers.py"))
            command = [
                sys.executable,
                peers,
                side,
                *common,
                "--out",
                f"{folder}/run",
                "--started",
                str(began),
            ]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=None if options.verbose else subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
        )
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{side} failed (status {status}); see --verbose")
        found = json.loads(output.strip().splitlines()[-1])
        seconds = time.time() - began if side == "ours" else found["seconds"]
        reached = (
            (seconds if found["test_accuracy"] >= TARGET else None)
            if side == "ours"
            else found["seconds_to_target"]
        )
    unit = 1 if sys.platform == "darwin" else 1024
    return Result(
        side,
        seed,
        round(seconds, 1),
        reached,
        found["test_accuracy"],
        found["validation_accuracy"],
        usage.ru_maxrss * unit,
    )


def plan(seeds: int, peer_runs: int, sides: list[str]) -> list[tuple[str, int]]:
    """(side, seed) in an order that mixes the sides, so that a slow minute of the machine hits all of
    them.
    """
    ours = [("ours", seed) for seed in range(1, seeds + 1)]
    peers = [(side, seed) for seed in range(1, peer_runs + 1) for side in sides if side != "ours"]
    if "ours" not in sides:
        return peers
    gap = -(-len(ours) // (len(peers) + 1))
    mixed = []
    for peer in peers:
        mixed += ours[:gap] + [peer]
        ours = ours[gap:]
    return mixed + ours


def table(results: list[Result]) -> str:
    """The summary, a line a side."""
    found = {side: [result for result in results if result.side == side] for side in SIDES}
    lines = [
        f"{'side':10}{'runs':>5}{'seconds':>9}{'times faster':>14}{'test accuracy':>34}"
        f"{'seconds to 0.96':>17}{'peak memory':>13}"
    ]
    base = statistics.median(result.seconds for result in found["tutorial"]) if found["tutorial"] else None
    for side, runs in found.items():
        if not runs:
            continue
        seconds = statistics.median(result.seconds for result in runs)
        faster = f"{base / seconds:.1f}" if base else "-"
        reached = sorted(result.to_target for result in runs if result.to_target is not None)
        reach = (
            f"{statistics.median(reached):.0f} ({len(reached)} of {len(runs)})"
            if reached
            else f"- (0 of {len(runs)})"
        )
        memory = max(result.memory for result in runs) / 1e9
        lines.append(
            f"{side:10}{len(runs):5}{seconds:9.1f}{faster:>14}"
            f"{_mean([result.test_accuracy for result in runs]):>34}{reach:>17}{memory:10.2f} GB"
        )
    return "\n".join(lines)


def _mean(values: list[float]) -> str:
    mean = float(np.mean(values))
    if len(values) < 2:
        return f"{mean:.4f}"
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return f"{mean:.4f} (95 %: {mean - half:.4f} to {min(1.0, mean + half):.4f})"


def gpu_speed(steps: int = 60, batch: int = 128) -> str:
    """Photos a second and share of the peak of ViT-B/16 at 224 px, bf16, random weights and photos, our own
    steps.
    """
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

    from vit_demo.model.classifier import LeafClassifier
    from vit_demo.training.job import TrainingJob
    from vit_demo.training.loop.steps import train
    from vit_demo.training.photos import Photos
    from vit_demo.training.run.config import TrainingConfig
    from vit_demo.training.run.events import EventLog
    from vit_demo.training.run.runs import create

    if not torch.cuda.is_available():
        raise SystemExit("There is no GPU here, so this number stays open.")
    labels = {0: "a", 1: "b", 2: "c"}
    with tempfile.TemporaryDirectory() as folder:
        model = ViTForImageClassification(
            ViTConfig(id2label=labels, label2id={name: number for number, name in labels.items()})
        )
        model.save_pretrained(folder)
        ViTImageProcessorPil(size={"height": 224, "width": 224}).save_pretrained(folder)
        classifier = LeafClassifier.open(folder, device="cuda")
        rng = np.random.default_rng(0)
        photos = Photos(
            rng.integers(0, 256, (batch * 4, 3, 224, 224), dtype=np.uint8),
            rng.integers(0, 3, batch * 4),
            [""] * (batch * 4),
            [],
        )
        config = TrainingConfig(
            batch_size=batch,
            epochs=steps // 4,
            small_first=False,
            patch_dropout=0.0,
            film=0,
            evaluate_every=10**6,
        )
        record = create(config, Path(folder) / "run")
        few = Photos(photos.pixels[:8], photos.labels[:8], [""] * 8, [])
        train(
            TrainingJob(
                record, config, classifier, photos, few, (224,), EventLog(record), lambda progress: None
            )
        )
        speeds = [event["photos_per_second"] for event in record.read_events()[0] if event["kind"] == "train"]
    speed = statistics.median(speeds[len(speeds) // 3 :])
    name = torch.cuda.get_device_name()
    peak = next((peak for part, peak in PEAKS.items() if part in name), None)
    # 3 x the forward's 2 FLOP a multiply-add: ViT-B/16 at 224 px has 17.5 G of these, attention included.
    share = f", {speed * 3 * 2 * 17.5e9 / peak:.0%} of its peak" if peak else ""
    return f"{name}: ViT-B/16 at 224 px, batch {batch}, bf16: {speed:.0f} photos a second{share}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    beans = settings.EMBEDDED_BEANS
    parser.add_argument(
        "--data",
        type=Path,
        default=beans,
        help="parquet folder laid out as the tutorial's (default: the photos that come with the program)",
    )
    parser.add_argument("--model", default=PRETRAINED, help="model folder or name (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=5, help="runs of ours (default: %(default)s)")
    parser.add_argument("--peer-runs", type=int, default=1, help="runs of each peer (default: %(default)s)")
    parser.add_argument("--sides", default=",".join(SIDES), help="which sides (default: %(default)s)")
    parser.add_argument("--gpu", action="store_true", help="the speed of our steps on a GPU instead")
    parser.add_argument("--verbose", action="store_true", help="let the sides print to standard error")
    parser.add_argument(
        "settings", nargs="*", help="after --: settings of ours, as `python -m vit_demo train` takes them"
    )
    options = parser.parse_args()
    if options.gpu:
        print(gpu_speed())
        return
    options.model = str(Path(options.model).resolve()) if Path(options.model).exists() else options.model
    results = []
    for side, seed in plan(options.seeds, options.peer_runs, options.sides.split(",")):
        results.append(run(side, seed, options))
        print(json.dumps(vars(results[-1])), flush=True)
    print(table(results))


if __name__ == "__main__":
    main()
