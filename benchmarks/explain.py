"""Attention rollout and relevance: ours against a plain implementation in the style of the public ones, in
one run.

    python -m benchmarks.explain

    ours    vit_demo.explain.attribution.saliency: one call for all photos, no matrix larger than needed, on
    fp32 and, where the
            hardware has it, on bf16 products
    plain   eager attention for the whole model, one photo at a time. Rollout: each layer's attention is
    copied to the
            CPU as numpy, averaged over heads, the identity added, normalised, multiplied T x T. Relevance: a
            full backward() from the one-hot logit, attention times gradient copied layer by layer, R = R + A
            R, T x T

For one photo and for 32, at 224 and 384 px. Prints the peak memory of a process of its own that does one of
them, less that of one that only opens the model, in MB. Then the sides take turns, round by round: the median
seconds and quartiles of each, the plain side's median as a multiple of it, and how well both agree (largest
difference in fp32, least rank correlation of a photo in bf16).
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

# Ours first, as in the app: how waiting threads behave is read when torch is imported, and holds for both
# sides.
from vit_demo.explain.attribution.saliency import saliency
from vit_demo.explain.attribution.target import Target
from vit_demo.model.classifier import LeafClassifier, bf16_is_faster

# isort: split
import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
METHODS = ("rollout", "relevance")
SIDES = (224, 384)
COUNTS = (1, 32)
LABEL = 0
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def types() -> list[str]:
    """The types that ours is run in here."""
    return [name for name in TYPES if name == "fp32" or bf16_is_faster("cpu")]


def photos_of(count: int, side: int) -> Tensor:
    """Pixels as good as any for the time that is taken, (count, 3, side, side)."""
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def ours(classifier: LeafClassifier, pixel_values: Tensor, method: str, dtype: torch.dtype) -> np.ndarray:
    return saliency(classifier, pixel_values, method, Target(LABEL), dtype).flatten(1).numpy()


def eager(classifier: LeafClassifier) -> torch.nn.Module:
    """The same model with attention that can be read."""
    model = copy.deepcopy(classifier.model)
    model.set_attn_implementation("eager")
    return model


def plain(model: torch.nn.Module, pixel_values: Tensor, method: str) -> np.ndarray:
    return np.stack(
        [PLAIN[method](model, pixel_values[index : index + 1]) for index in range(len(pixel_values))]
    )


def plain_rollout(model: torch.nn.Module, photo: Tensor) -> np.ndarray:
    """Of [CLS] to the patches, (N,)."""
    with torch.no_grad():
        attentions = model(photo, output_attentions=True, interpolate_pos_encoding=True).attentions
    layers = [attention.cpu().numpy()[0].mean(axis=0) for attention in attentions]
    identity = np.eye(layers[0].shape[0], dtype=np.float32)
    result = identity
    for layer in layers:
        mixed = layer + identity
        result = mixed / mixed.sum(axis=-1, keepdims=True) @ result
    return result[0, 1:]


def plain_relevance(model: torch.nn.Module, photo: Tensor) -> np.ndarray:
    """For LABEL, of [CLS] to the patches, (N,)."""
    output = model(photo, output_attentions=True, interpolate_pos_encoding=True)
    for attention in output.attentions:
        attention.retain_grad()
    one_hot = torch.zeros_like(output.logits)
    one_hot[0, LABEL] = 1
    model.zero_grad()
    (output.logits * one_hot).sum().backward(retain_graph=True)
    relevance = torch.eye(output.attentions[0].shape[-1])
    for attention in output.attentions:
        weighted = (attention.detach().cpu() * attention.grad.cpu())[0].clamp(min=0).mean(dim=0)
        relevance = relevance + weighted @ relevance
    return relevance[0, 1:].numpy()


PLAIN: dict[str, Callable[[torch.nn.Module, Tensor], np.ndarray]] = {
    "rollout": plain_rollout,
    "relevance": plain_relevance,
}


def compare(options: argparse.Namespace) -> None:
    """The table of times and agreement."""
    classifier = LeafClassifier.open(options.model, device="cpu")
    model = eager(classifier)
    print(
        f"{'method':11}{'px':>5}{'photos':>8}{'side':>12}{'seconds (median)':>18}{'quartiles':>20}"
        f"{'plain takes':>13}"
        "  agreement with plain"
    )
    for method in METHODS:
        for side in options.sides:
            for count in COUNTS:
                pixel_values = photos_of(count, side)
                sides = {
                    "plain": lambda method=method, photos=pixel_values: plain(model, photos, method),
                    **{
                        f"ours {name}": lambda method=method, photos=pixel_values, name=name: ours(
                            classifier, photos, method, TYPES[name]
                        )
                        for name in types()
                    },
                }
                _print_row(
                    (method, side, count),
                    *_alternate(sides, options.rounds if count == 1 else max(1, options.rounds // 4)),
                )


def _alternate(
    sides: dict[str, Callable[[], np.ndarray]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, np.ndarray]]:
    """Seconds of each side, which take turns, and what each gave. The first turn is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    found = {name: side() for name, side in sides.items()}
    for _ in range(rounds):
        for name, side in sides.items():
            began = time.perf_counter()
            side()
            seconds[name].append(time.perf_counter() - began)
    return seconds, found


def _print_row(
    case: tuple[str, int, int], seconds: dict[str, list[float]], found: dict[str, np.ndarray]
) -> None:
    method, side, count = case
    for name, taken in seconds.items():
        low, median, high = np.percentile(taken, [25, 50, 75])
        times = f"{np.median(seconds['plain']) / median:.2f}x"
        print(
            f"{method:11}{side:5}{count:8}{name:>12}{median:18.4f}{f'{low:.4f} to {high:.4f}':>20}{times:>13}"
            f"  {_agreement(name, found)}",
            flush=True,
        )


def _agreement(name: str, found: dict[str, np.ndarray]) -> str:
    if name == "plain":
        return ""
    own, other = found[name], found["plain"]
    if name.endswith("fp32"):
        return f"largest difference {np.abs(own - other).max():.1e}, largest value {other.max():.1e}"
    return f"least rank correlation {min(spearmanr(*pair).statistic for pair in zip(own, other)):.4f}"


def peak(options: argparse.Namespace) -> None:
    """The table of memory."""
    kinds = ["plain", *types()]
    print(
        f"{'method':11}{'px':>5}{'photos':>8}"
        + "".join(f"{kind if kind == 'plain' else f'ours {kind}':>12}" for kind in kinds)
        + "  MB"
    )
    base = _child(options, ["open"])
    for method in METHODS:
        for side in options.sides:
            for count in COUNTS:
                found = [
                    (_child(options, [kind, method, str(side), str(count)]) - base) / 1e6 for kind in kinds
                ]
                print(
                    f"{method:11}{side:5}{count:8}" + "".join(f"{value:12.0f}" for value in found), flush=True
                )


def _child(options: argparse.Namespace, work: list[str]) -> int:
    """Peak memory in bytes of a process that does one thing."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.explain",
        "--model",
        options.model,
        "--threads",
        str(options.threads),
        "--work",
        json.dumps(work),
    ]
    process = subprocess.Popen(command, cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(work)} failed (status {status})")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def work(options: argparse.Namespace) -> None:
    """What a child does: open the model, and do one thing with it."""
    kind, *case = json.loads(options.work)
    classifier = LeafClassifier.open(options.model, device="cpu")
    if kind == "open":
        return
    method, side, count = case[0], int(case[1]), int(case[2])
    if kind == "plain":
        # Of its own child no second copy is counted: the opened model itself is switched.
        classifier.model.set_attn_implementation("eager")
        plain(classifier.model, photos_of(count, side), method)
    else:
        ours(classifier, photos_of(count, side), method, TYPES[kind])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", default="embedded", help="model folder or name (default: the embedded model)"
    )
    parser.add_argument("--threads", type=int, default=2, help="of torch (default: %(default)s)")
    parser.add_argument(
        "--rounds",
        type=int,
        default=20,
        help="turns of each side with one photo; with 32 a quarter of them (default: %(default)s)",
    )
    parser.add_argument(
        "--sides",
        type=int,
        nargs="+",
        default=list(SIDES),
        help="sides of the photos in pixels (default: 224 384)",
    )
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.model = str(Path(options.model).resolve()) if Path(options.model).exists() else options.model
    torch.set_num_threads(options.threads)
    if options.work:
        work(options)
        return
    # First, while this process is small: on Linux a child's peak begins at its parent's.
    peak(options)
    compare(options)


if __name__ == "__main__":
    main()
