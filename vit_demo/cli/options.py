"""What several commands share: the flags of model, data and device, opening the model, a question, and a line
of progress.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from vit_demo.cli.corrections import add_corrections

if TYPE_CHECKING:
    from vit_demo.model.classifier import LeafClassifier

    # What add_subparsers() gives.
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

# What --data takes.
DATA = (
    "beans (the photos that come with the program), a folder of photos (class/photo, split/class/photo,"
    " with a CSV, or parquet files), a CSV or parquet file, or a name on the Hub"
)


def add_model(parser: argparse.ArgumentParser) -> None:
    """The flags that open_model reads, and the device."""
    from vit_demo.training.run.config import DEVICES

    parser.add_argument(
        "--model",
        default="embedded",
        help="run or model folder, or a name on the Hugging Face Hub (default: the embedded model)",
    )
    parser.add_argument("--model-revision", help="branch, tag or commit on the Hub")
    parser.add_argument("--device", choices=DEVICES, help="default: the fastest there is")


def add_data(parser: argparse.ArgumentParser) -> None:
    """The flags that say where the photos are, and which split of them is meant."""
    parser.add_argument("--data", default="beans", help=f"{DATA} (default: %(default)s)")
    parser.add_argument("--data-revision", help="branch, tag or commit on the Hub")
    add_corrections(parser, scores_split=True)


def add_engine(parser: argparse.ArgumentParser) -> None:
    """The flag that says who computes; with it, --model may name an export."""
    engines = ("torch", "onnx", "onnx-int8")
    parser.add_argument(
        "--engine",
        default="torch",
        choices=engines,
        help="what computes: torch, or an export (default: %(default)s)",
    )


def add_map(parser: argparse.ArgumentParser) -> None:
    """The flag that says which class of the photos is which of the model, where names do not."""
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="NAME=NAME",
        help='a class of the photos and the model\'s class that it is, such as "bean rust=bean_rust"; nothing'
        " behind = for one that is another class although it is called the same. May be given several times",
    )


def open_model(options: argparse.Namespace) -> LeafClassifier:
    """The classifier that the flags of add_model name; of a command that has add_engine, the folder of an
    export too.
    """
    from vit_demo.model.checkpoints import locate_export
    from vit_demo.model.classifier import LeafClassifier

    if hasattr(options, "engine") and (found := locate_export(options.model)):
        from vit_demo.export.onnx import open_export

        return open_export(found.folder, options.engine)
    return LeafClassifier.open(options.model, revision=options.model_revision, device=options.device)


def confirmed(question: str) -> bool:
    """Ask on standard error before something is deleted; anything but yes is no."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    print("Nothing was deleted.", file=sys.stderr)
    return False


class Line:
    """Progress on standard error: one line that is rewritten, on a terminal only."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()

    def __call__(self, text: str, done: int, total: int) -> None:
        if self._terminal:
            print(
                f"\r\033[K{text} {done}/{total}",
                end="\n" if done >= total else "\r",
                file=sys.stderr,
                flush=True,
            )
