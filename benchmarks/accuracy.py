"""Test accuracy of a recipe as a mean over seeds, with a 95 % interval of that mean (Student's t).

    python benchmarks/accuracy.py --seeds 5 -- --data ../shared/data/beans --model ../shared/models/vit-tiny-patch16-224 --epochs 2

Everything after -- goes to `python -m vit_demo train`. Each seed is a run of its own, from start to
scored model; nothing is chosen among them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile

import numpy as np
from scipy import stats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, 1, 2, 3 … (default: %(default)s)")
    parser.add_argument("train", nargs=argparse.REMAINDER, help="-- and then options of the train command")
    options = parser.parse_args()
    arguments = [argument for argument in options.train if argument != "--"]
    results = []
    for seed in range(1, options.seeds + 1):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "vit_demo", "train", *arguments, "--seed", str(seed), "--out", f"{folder}/run", "--json"]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
        result = json.loads(done.stdout)
        results.append(result)
        print(json.dumps({"seed": seed, **{name: result[name] for name in ("validation_accuracy", "test_accuracy", "seconds")}}), flush=True)
    for name in ("validation_accuracy", "test_accuracy", "seconds"):
        values = np.array([result[name] for result in results])
        half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values) if len(values) > 1 else float("nan")
        print(f"{name}: mean {values.mean():.4g}, 95 % interval of the mean {values.mean() - half:.4g} to {values.mean() + half:.4g}, {len(values)} seeds")


if __name__ == "__main__":
    main()
