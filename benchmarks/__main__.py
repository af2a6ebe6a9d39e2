"""Run all benchmarks, or the named ones, and write what they print into docs/benchmarks.md.

    python -m benchmarks [NAME ...] [--model MODEL] [--other FOLDER]

Each has a section of its own there: the command, the machine with its measured speed, the versions, the
commit, how long it took, and its whole output. Those that are not named keep theirs. A benchmark whose goals
are not met is written down all the same, and the exit status is then 1.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "docs" / "benchmarks.md"
TITLE = "# Benchmarks\n\nWritten by `python -m benchmarks`: each section is what the command in it printed.\n"
# In the order of the report: the command's own arguments, with {model} for a pretrained ViT and {other} for
# photos of other things.
BENCHMARKS = {
    "finetune": "--seeds 5 --sides tutorial,ours --model {model}",
    "predict": "",
    "explain": "",
    "views": "",
    "live_plot": "",
    "browse": "",
    "plan": "",
    "abstention": "--other {other}",
    "several": "",
    "label_errors": "--model {model}",
    "held_out": "--model {model}",
    "faithfulness": "",
}
VERSIONS = ("torch", "transformers", "datasets", "gradio", "pillow", "onnxruntime")
SIDE, ROUNDS = 2048, 5


def gflops(kind: torch.dtype) -> float:
    """Thousand million multiplications and additions a second in a product of two square matrices, the best
    of some.
    """
    left, right = (torch.randn(SIDE, SIDE).to(kind) for _ in range(2))
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - started)
    return 2 * SIDE**3 / best / 1e9


def machine() -> str:
    """Processor, cores, and what a product of matrices reaches on them."""
    names = (
        re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if Path("/proc/cpuinfo").exists()
        else []
    )
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    speed = f"{gflops(torch.float32):.0f} GFLOP/s in fp32 and {gflops(torch.bfloat16):.0f} in bf16"
    return (
        f"{os.cpu_count()} cores of {names[0] if names else platform.processor() or platform.machine()}{gpu},"
        f" {speed} ({torch.get_num_threads()} threads)"
    )


def versions() -> str:
    found = {}
    for name in VERSIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return f"Python {platform.python_version()}, " + ", ".join(
        f"{name} {version}" for name, version in found.items()
    )


def commit() -> str:
    """The commit that is checked out, with "and changes" where the tree differs from it; "unknown" outside a
    repository.
    """
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--", "vit_demo", "benchmarks"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + (" and changes" if changed.stdout.strip() else "")


def section(name: str, arguments: list[str], shown: str) -> tuple[str, bool]:
    """(text of a benchmark's section, whether its goals were met). shown: the arguments as they are written
    down.
    """
    where = f"{machine()}; {versions()}; commit {commit()}"
    started = time.time()
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    text = (
        f"## {name}\n\n`python -m benchmarks.{name}{' ' + shown if shown else ''}`, "
        f"{date.today().isoformat()}, {time.time() - started:.0f} s, exit status {done.returncode}."
        f" {where}.\n\n```\n{done.stdout.strip()}\n```\n"
    )
    return text, done.returncode == 0


def replaced(report: str, name: str, text: str) -> str:
    """The report with this section in its place, whatever was there before."""
    parts = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", report, re.MULTILINE | re.DOTALL))
    parts[name] = text.removeprefix(f"## {name}\n")
    return TITLE + "".join(
        f"\n## {other}\n{parts[other].rstrip()}\n" for other in BENCHMARKS if other in parts
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names",
        nargs="*",
        choices=[*BENCHMARKS, []],
        metavar="NAME",
        help=f"of {', '.join(BENCHMARKS)} (default: all)",
    )
    parser.add_argument(
        "--model",
        default="WinKawaks/vit-tiny-patch16-224",
        help="the pretrained ViT, a folder or a name (default: %(default)s)",
    )
    parser.add_argument(
        "--other",
        help="folder with one folder a kind of photos of other things; without it abstention is left out",
    )
    options = parser.parse_args()
    met = True
    for name in options.names or BENCHMARKS:
        if "{other}" in BENCHMARKS[name] and not options.other:
            print(f"{name} is left out: it needs --other", file=sys.stderr)
            continue
        print(f"{name} ...", file=sys.stderr)
        # A folder of one's own stands in the report by what it is, not by where it lies.
        shown = BENCHMARKS[name].format(
            model="MODEL" if Path(options.model).exists() else options.model, other="OTHER"
        )
        arguments = [
            part.format(model=options.model, other=options.other) for part in BENCHMARKS[name].split()
        ]
        text, good = section(name, arguments, shown)
        met &= good
        before = REPORT.read_text(encoding="utf-8") if REPORT.exists() else TITLE
        REPORT.write_text(replaced(before, name, text), encoding="utf-8")
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
