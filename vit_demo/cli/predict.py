"""``python -m vit_demo predict``: diagnose photos, few or very many.

With --out the rows go to a file that is gone on with after a break, and ``accelerate launch -m vit_demo
predict DIR --out FILE`` shares the photos among its processes. These never have to meet: each takes every
n-th photo and writes a part of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from vit_demo.cli.options import add_engine, add_model, open_model
from vit_demo.common.errors import UserError
from vit_demo.common.words import DEFAULT_LANGUAGE, LANGUAGES

if TYPE_CHECKING:
    from vit_demo.diagnose.batch import Item
    from vit_demo.diagnose.diagnosis import Diagnosis
    from vit_demo.diagnose.results import Results
    from vit_demo.model.classifier import LeafClassifier

# Seconds between two lines of progress where no line on a terminal can be rewritten.
QUIET_SECONDS = 30


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of the command."""
    add_model(parser)
    parser.add_argument(
        "photos", nargs="+", metavar="PHOTO", help="photo files, folders of photos, zip files of photos"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a photo and line")
    parser.add_argument(
        "--language",
        default=DEFAULT_LANGUAGE,
        choices=LANGUAGES,
        help="of the answers in words (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write to FILE.csv or FILE.jsonl; photos that are in it already are not done again",
    )
    parser.add_argument(
        "--together", action="store_true", help="the photos show one plant: up to 12 leaves, one answer"
    )
    add_engine(parser)
    parser.set_defaults(run=_predict)


def _predict(options: argparse.Namespace) -> int:
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return (
            _print_together(options)
            if options.together
            else _write(options, 0, 1)
            if options.out
            else _print(options)
        )
    try:
        if options.together:
            raise UserError("error.cli.together_processes")
        if options.out is None:
            raise UserError("error.cli.processes_out")
        return _write(options, rank, size)
    except UserError:
        if rank == 0:
            raise
        return 2  # the first process says it for all


def _print(options: argparse.Namespace) -> int:
    """Answers to standard output, as they come."""
    from vit_demo.diagnose.batch import as_dict, diagnose_many
    from vit_demo.diagnose.diagnosis import Refusal
    from vit_demo.export.onnx import open_engine

    classifier, seen, refused = open_model(options), 0, 0
    for answer in diagnose_many(classifier, options.photos, open_engine(classifier, options.engine)):
        seen += 1
        if isinstance(answer, Refusal):
            refused += 1
            print(answer.error, file=sys.stderr)
        elif options.json:
            print(json.dumps(as_dict(classifier, answer, options.language)), flush=True)
        else:
            _print_one(answer)
    _check_any(seen, options.photos)
    return 2 if refused else 0


def _print_together(options: argparse.Namespace) -> int:
    """One answer for all photos, and what each of them says."""
    from vit_demo.diagnose.batch import diagnose_many
    from vit_demo.diagnose.diagnosis import Refusal
    from vit_demo.diagnose.several import MOST, combine
    from vit_demo.diagnose.telling import sentence_together, told_together
    from vit_demo.export.onnx import open_engine

    if options.out:
        raise UserError("error.cli.together_out")
    count = _count(options, lambda number, name: True)[0]
    _check_any(count, options.photos)
    if count > MOST:  # before the model is asked about a whole folder
        raise UserError("error.cli.together_many", count=count, most=MOST)
    classifier = open_model(options)
    found = combine(list(diagnose_many(classifier, options.photos, open_engine(classifier, options.engine))))
    if options.json:
        print(json.dumps(told_together(classifier, found, options.language)))
    else:
        print(sentence_together(classifier, found, options.language))
    for leaf in found.leaves:
        if isinstance(leaf, Refusal):
            print(leaf.error, file=sys.stderr)
        elif not options.json:
            _print_one(leaf)
    return 2 if any(isinstance(leaf, Refusal) for leaf in found.leaves) else 0


def _print_one(answer: Diagnosis) -> None:
    """A photo's answer as a line, and what is wrong with the photo."""
    from vit_demo.photos.quality import warning

    print(f"{answer.photo}: {answer.in_words()}", flush=True)
    for problem in answer.quality:
        print(f"{answer.photo}: {warning(problem)}", file=sys.stderr)


def _write(options: argparse.Namespace, rank: int, size: int) -> int:
    """Answers to a file, those of every size-th photo from the one numbered rank; what has a row already is
    left out.
    """
    from vit_demo.diagnose.results import Results, about

    classifier = _open_on_own_device(options)
    results = Results(options.out, about(classifier, options.language, options.engine), rank, size)
    with contextlib.closing(results):
        return _fill(options, classifier, results)


def _fill(options: argparse.Namespace, classifier: LeafClassifier, results: Results) -> int:
    """What _write does with an open file."""
    from vit_demo.diagnose.batch import as_dict, diagnose_batches
    from vit_demo.diagnose.diagnosis import Refusal, diagnose_files
    from vit_demo.export.onnx import open_engine

    rank, size = results.rank, results.size
    total, to_do, seen = _count(options, lambda number, name: number % size == rank and name not in results)
    _check_any(total, options.photos)
    pace, new, refused = Pace(to_do, "" if size == 1 else f"Process {rank + 1} of {size}: "), 0, 0
    items = (
        item
        for number, item in enumerate(_walk(options))
        if number % size == rank and results.is_new(item.name)
    )
    engine = open_engine(classifier, options.engine)
    for batch in diagnose_batches(lambda paths: diagnose_files(classifier, paths, engine), items):
        answers = [answer for answer, _ in batch]
        results.append(answers, (as_dict(classifier, answer, options.language) for answer in answers))
        new += len(answers)
        refused += sum(isinstance(answer, Refusal) for answer in answers)
        pace(len(answers))
    if results.finish(seen):
        bad = f", {refused} of these could not be used" if refused else ""
        what = (
            f"{len(results.done)} photos are in {options.out}; {new} of them are new{bad}."
            if size == 1
            else f"{total} photos are in {options.out}."
        )
        print(what, file=sys.stderr)
    # A launcher takes any other status for a crash, and ends the processes that are still at work.
    return 2 if refused and size == 1 else 0


def _open_on_own_device(options: argparse.Namespace) -> LeafClassifier:
    """The model, where there are several GPUs on the one that a launcher meant for this process."""
    import torch

    if options.device in (None, "cuda") and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    return open_model(options)


def _walk(options: argparse.Namespace) -> Iterator[Item]:
    from vit_demo.diagnose.batch import walk

    return walk(options.photos, options.out)


def _count(options: argparse.Namespace, is_mine: Callable[[int, str], bool]) -> tuple[int, int, str]:
    """How many photos there are, how many of them are for this process to do, and a text that stands for the
    names of all.
    """
    mine = number = digest = 0
    for number, item in enumerate(_walk(options), 1):
        mine += is_mine(number - 1, item.name)
        digest = zlib.crc32(item.name.encode("utf-8", "backslashreplace") + b"\n", digest)
    return number, mine, f"{number} {digest:08x}"


def _check_any(count: int, sources: list[str]) -> None:
    if count == 0:
        raise UserError("error.cli.no_photo", sources=" and ".join(sources))


class Pace:
    """Progress on standard error: how many of how many, photos a second, time left. Each call says how many
    more are done.
    """

    def __init__(self, total: int, who: str = ""):
        self._total, self._who, self._done = total, who, 0
        self._start = self._said = time.monotonic()
        self._terminal = sys.stderr.isatty() and not who

    def __call__(self, more: int) -> None:
        self._done += more
        now = time.monotonic()
        if not self._terminal and now - self._said < QUIET_SECONDS:
            return
        self._said = now
        print(
            self._line(now - self._start),
            file=sys.stderr,
            flush=True,
            end="" if self._terminal and self._done < self._total else "\n",
        )

    def _line(self, seconds: float) -> str:
        speed = self._done / max(seconds, 1e-9)
        minutes, left = divmod(int((self._total - self._done) / max(speed, 1e-9)), 60)
        line = (
            f"{self._who}Photo {self._done} of {self._total}, {speed:.1f} photos/s,"
            f" {minutes // 60}:{minutes % 60:02}:{left:02} left"
        )
        return f"\r\033[K{line}" if self._terminal else line
