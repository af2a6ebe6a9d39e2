"""The answers for many photos as rows of a file, CSV or JSON lines, that grows as they come and can be gone
on with.

Beside results.csv lies results.csv.about.json, which says what wrote it. Where several processes share the
work, each writes a part of its own into results.csv.parts, and whichever ends last joins them: results.csv is
whole when that folder is gone. While process n writes, it holds results.csv.n.lock, so that a second run for
the same file is refused.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import itertools
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vit_demo.common.atomic import write_atomically
from vit_demo.common.errors import UserError
from vit_demo.diagnose.diagnosis import Diagnosis, Refusal
from vit_demo.model.classifier import LeafClassifier

FORMATS = (".csv", ".jsonl")
COLUMNS = (
    "photo",
    "verdict",
    "label",
    "probability",
    "prediction_set",
    "distance",
    "temperature",
    "quality",
    "language",
    "error",
)
BETWEEN = "|"  # of several classes or warnings in one cell
# A spreadsheet takes what begins so for a formula, and names of photos are a stranger's.
FORMULA = ("=", "+", "-", "@", "\t", "'")

# What about() tells apart, by the error for what was written otherwise.
OTHER = {
    "model": "error.diagnose.out_model",
    "weights": "error.diagnose.out_model",
    "engine": "error.diagnose.out_engine",
    "language": "error.diagnose.out_language",
    "columns": "error.diagnose.out_columns",
}


def about(classifier: LeafClassifier, language: str, engine: str = "torch") -> dict[str, Any]:
    """What has to be the same for rows to stand in one file: the model by its weights, what computes it, the
    language, the columns.
    """
    digest = hashlib.sha256()
    folder = classifier.checkpoint.folder
    for file in sorted([*folder.glob("*.safetensors"), *folder.glob("*.onnx")]):
        with file.open("rb") as weights:
            digest.update(file.name.encode() + hashlib.file_digest(weights, "sha256").digest())
    columns = [*COLUMNS, *(f"score_{label}" for label in classifier.labels)]
    return {
        "model": classifier.checkpoint.name,
        "weights": digest.hexdigest(),
        "engine": engine,
        "language": language,
        "columns": columns,
    }


def csv_row(answer: Diagnosis | Refusal, language: str, columns: list[str]) -> list[str]:
    """The cells of one photo. Numbers have six digits after the point; what is not known is empty."""
    if isinstance(answer, Refusal):
        cells: dict[str, str | float | None] = {"photo": answer.photo, "error": answer.error}
    else:
        cells = {
            name: getattr(answer, name)
            for name in ("photo", "verdict", "label", "probability", "distance", "temperature")
        }
        cells |= {
            "prediction_set": BETWEEN.join(answer.prediction_set or ()),
            "quality": BETWEEN.join(answer.quality),
        }
        cells |= {f"score_{label}": score for label, score in answer.scores.items()}
    cells["language"] = language
    return [_cell(cells.get(column)) for column in columns]


def _cell(value: str | float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6f}"
    text = _one_line(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def _one_line(text: str) -> str:
    """A name may hold line ends, and bytes that are no text; a row is one line of text."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\r", "\\r").replace("\n", "\\n")


class Results:
    """The rows of one process. done: names of the photos that need not be looked at again, in all parts.

    Raises UserError where the file was written by another model, is being written by another run, or cannot
    be written.
    """

    def __init__(self, file: Path, about: dict[str, Any], rank: int = 0, size: int = 1):
        if file.suffix not in FORMATS:
            raise UserError("error.diagnose.out_format", one=FORMATS[0], other=FORMATS[1], name=file.name)
        self.file, self.about, self.rank, self.size = file, about, rank, size
        self.parts, self._joining = (
            file.with_name(f"{file.name}.parts"),
            file.with_name(f"{file.name}.joining"),
        )
        # Held as long as the process lives: one that was killed is in nobody's way.
        self._lock = FileLock(file.with_name(f"{file.name}.{rank}.lock"), timeout=0)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            self._begin()
        except Timeout:
            raise UserError("error.diagnose.out_busy", file=str(file)) from None
        except OSError as error:
            self._unlock()
            raise self._unwritable(error) from None
        except UserError:
            self._unlock()
            raise

    def _unlock(self) -> None:
        """Let others write; also what is held no more may be let go."""
        if self._lock.is_locked:
            # While it is held: who waits for it finds that this file is gone. Where a file in use cannot be
            # deleted, releasing does it.
            with contextlib.suppress(OSError):
                os.unlink(self._lock.lock_file)
            self._lock.release()

    def _begin(self) -> None:
        if self._joining.is_dir() and not self.parts.exists():  # killed while the parts were joined
            _rename(self._joining, self.parts)
        self._check()
        self._own = self.file
        if self.size > 1:
            self.parts.mkdir(exist_ok=True)
            self._own = self.parts / f"{self.rank}-of-{self.size}{self.file.suffix}"
            self._mark.unlink(missing_ok=True)
        elif self.parts.is_dir():  # of several processes that were broken off
            self._join()
        self.done = {name for file in (self.file, *self._part_files()) for name, _ in self._rows(file)}
        _mend(self._own)
        self._out = self._own.open("ab")
        if self._out.tell() == 0:
            self._write(self._header())

    @property
    def _mark(self) -> Path:
        """What says that this process is at the end."""
        return self.parts / f"{self.rank}-of-{self.size}.done"

    def __contains__(self, name: str) -> bool:
        """Whether the photo of this name has a row."""
        return _one_line(name) in self.done

    def is_new(self, name: str) -> bool:
        """Whether the photo of this name has no row yet; asked again, it counts as one that has."""
        name = _one_line(name)
        new = name not in self.done
        self.done.add(name)
        return new

    def append(self, answers: Iterable[Diagnosis | Refusal], told: Iterable[dict[str, Any]]) -> None:
        """Write a batch to the disk. told: the same answers as objects, for JSON lines."""
        if self.file.suffix == ".csv":
            lines = [
                _csv_line(csv_row(answer, self.about["language"], self.about["columns"]))
                for answer in answers
            ]
        else:
            lines = [json.dumps({**row, "photo": _one_line(row["photo"])}).encode() + b"\n" for row in told]
        try:
            self._write(b"".join(lines))
        except OSError as error:
            raise self._unwritable(error) from None

    def close(self) -> None:
        """No more rows come; closed twice is no mistake."""
        self._out.close()
        self._unlock()

    def finish(self, seen: str) -> bool:
        """Say that this process is at the end; the last one to do so joins the parts. seen: of which photos,
        the same text in all processes.

        Returns whether the results are whole.
        """
        self._out.close()
        try:
            return self.size == 1 or self._end(seen)
        except OSError as error:
            raise self._unwritable(error) from None
        finally:
            self._unlock()

    def _end(self, seen: str) -> bool:
        """Leave a mark, and join the parts where those of all processes are there."""
        marks = [self.parts / f"{rank}-of-{self.size}.done" for rank in range(self.size)]
        try:
            self._mark.write_text(seen, encoding="utf-8")
            # A mark of a time when there were other photos is none.
            return (
                all(mark.is_file() and mark.read_text(encoding="utf-8") == seen for mark in marks)
                and self._join()
            )
        except FileNotFoundError:  # another process has taken them away to join them
            return False

    def _join(self) -> bool:
        """Make one file of all parts, each photo once. Of several processes that try only one can rename the
        folder; the others return False.
        """
        if not _rename(self.parts, self._joining):
            return False
        whole = self._joining / "whole"
        parts = [self._rows(file) for file in sorted(self._joining.glob(f"*{self.file.suffix}"))]
        in_turn = (row for rows in itertools.zip_longest(*parts) for row in rows if row is not None)
        names: set[str] = set()
        with whole.open("wb") as out:
            out.write(self._header())
            for name, line in itertools.chain(self._rows(self.file), in_turn):
                if name not in names:
                    names.add(name)
                    out.write(line)
        os.replace(whole, self.file)
        shutil.rmtree(self._joining, ignore_errors=True)
        return True

    def _check(self) -> None:
        """Raise UserError where there are rows already that another model or other settings made; else say
        beside the file what makes them.
        """
        side = self.file.with_name(f"{self.file.name}.about.json")
        has_rows = self.parts.is_dir() or (self.file.exists() and self.file.stat().st_size > 0)
        try:
            known = json.loads(side.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            known = None
        if has_rows and not isinstance(known, dict):
            raise UserError("error.diagnose.out_foreign", file=str(self.file))
        other = [OTHER[key] for key, value in self.about.items() if has_rows and known.get(key) != value]
        if has_rows and not other and self.file.exists():
            with self.file.open("rb") as file:
                first = file.readline()
            other = [OTHER["columns"]] if first.endswith(b"\n") and self._header() not in (b"", first) else []
        if other:
            raise UserError(other[0], file=str(self.file), name=self.file.name)
        if known != self.about:
            write_atomically(side, json.dumps(self.about))

    def _part_files(self) -> list[Path]:
        return sorted(self.parts.glob(f"*{self.file.suffix}"))

    def _rows(self, file: Path) -> Iterator[tuple[str, bytes]]:
        """(name of the photo, the line) of each whole row."""
        if not file.exists():
            return
        is_csv = self.file.suffix == ".csv"
        with file.open("rb") as lines:
            if is_csv:
                lines.readline()
            for line in lines:
                if not line.endswith(b"\n"):  # torn, or being written this moment
                    return
                text = line.decode("utf-8")
                if is_csv:
                    name = next(csv.reader([text]))[0]
                    yield name[1:] if name.startswith("'") else name, line
                else:
                    yield json.loads(text)["photo"], line

    def _header(self) -> bytes:
        return _csv_line(self.about["columns"]) if self.file.suffix == ".csv" else b""

    def _write(self, data: bytes) -> None:
        self._out.write(data)
        self._out.flush()

    def _unwritable(self, error: OSError) -> UserError:
        return UserError("error.diagnose.out_unwritable", file=str(self.file), error=error.strerror)


def _csv_line(cells: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _rename(old: Path, new: Path) -> bool:
    """Whether this process, and no other one, has renamed the folder."""
    try:
        os.rename(old, new)
    except OSError:
        return False
    return True


def _mend(file: Path) -> None:
    """Take away a last line that has no end: its process was killed while it wrote."""
    if not file.exists():
        return
    with file.open("r+b") as rows:
        end = rows.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 2**16)
            rows.seek(start)
            last = rows.read(end - start).rfind(b"\n")
            if last >= 0:
                end = start + last + 1
                break
            end = start
        rows.truncate(end)
