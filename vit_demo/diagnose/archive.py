"""Photos in a zip file that a stranger sent: what is in it is checked before anything is unpacked, and never
more than one photo is in memory.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vit_demo.common import settings
from vit_demo.common.errors import UserError

# A list of 40 MB takes about half a GB of memory once it is read; one of 100,000 photos has about 10 MB.
MAX_LIST_BYTES = 40 * 2**20
MAX_MEMBERS = 200_000
# Photos are packed already: unpacked they are hardly larger. What grows more than this is no photo, unless it
# is small.
MAX_RATIO = 100
SMALL = 2**20
# Of the bzip2, LZMA and newer ones, some want any amount of memory before the first byte.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst")
HEAD = b"PK\x03\x04"
# What computers put beside photos, and nobody means to be looked at.
CLUTTER = ("__MACOSX", "Thumbs.db", "desktop.ini")
CHUNK = 2**20
# End of the list of members (APPNOTE 4.3.16) and where its 64-bit one stands (4.3.15 and 4.3.14): signature,
# length.
END, LOCATOR, END_64 = (b"PK\x05\x06", 22), (b"PK\x06\x07", 20), (b"PK\x06\x06", 56)
LONGEST_COMMENT = 2**16


@dataclass(frozen=True)
class Member:
    """One file in an archive. error: why it is not unpacked; None where it is."""

    info: zipfile.ZipInfo
    error: UserError | None = None

    @property
    def name(self) -> str:
        return self.info.filename


def is_archive(path: Path) -> bool:
    """Whether a file is called a zip, or is one without any ending; one that is called a photo is taken at
    its word, and refused as such.
    """
    if path.suffix:
        return path.suffix.lower() == ".zip"
    try:
        with path.open("rb") as file:
            return file.read(len(HEAD)) == HEAD
    except (OSError, ValueError):
        return False


def is_clutter(name: str) -> bool:
    """Whether a file or folder is hidden, or what a computer leaves beside photos (.DS_Store,
    .ipynb_checkpoints, __MACOSX).
    """
    return name.startswith(".") or name in CLUTTER


class Archive:
    """An opened zip file. Use as a context manager; raises UserError where it is broken or made to do
    harm.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            with path.open("rb") as file:
                _check_list(file, path)
            self._zip = zipfile.ZipFile(path)
        except FileNotFoundError:
            raise UserError("error.diagnose.no_archive", path=str(path)) from None
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
            raise UserError("error.diagnose.no_zip", name=path.name) from None
        try:
            _check_whole(self._zip.infolist(), path)
        except UserError:
            self._zip.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def members(self) -> Iterator[Member]:
        """All files but clutter, in the order of the archive."""
        for info in self._zip.infolist():
            parts = info.filename.replace("\\", "/").split("/")
            if not info.is_dir() and not any(is_clutter(part) for part in parts if part not in (".", "..")):
                yield Member(info, _refused(info))

    def unpack(self, member: Member, folder: Path) -> Path:
        """Write one photo into a folder, called as in the archive but without its path; UserError where it
        cannot be read.
        """
        name = Path(member.name).name
        limit = settings.load().max_photo_bytes
        # No name in an archive decides where anything is written: it is cut to the part that a sentence on
        # this photo names.
        file = folder / (
            name if len(name.encode(errors="replace")) <= 200 else f"photo{Path(name).suffix[:10]}"
        )
        try:
            with self._zip.open(member.info) as packed, file.open("wb") as out:
                head = packed.read(len(HEAD))
                if head == HEAD:
                    raise _nested(name)
                out.write(head)
                while piece := packed.read(CHUNK):
                    out.write(piece)
                    if (
                        out.tell() > limit
                    ):  # zipfile stops at the size of the list; this holds even where it would not
                        raise _large(name, limit)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            NotImplementedError,
            RuntimeError,
            OSError,
            ValueError,
        ):
            raise UserError("error.diagnose.damaged_inside", name=name, archive=self.path.name) from None
        return file


def _nested(name: str) -> UserError:
    return UserError("error.diagnose.nested", name=name)


def _large(name: str, limit: int) -> UserError:
    return UserError("error.diagnose.large", name=name, most=limit // 2**20)


def _refused(info: zipfile.ZipInfo) -> UserError | None:
    """Why a member is not unpacked, by what the list says of it."""
    path, name = info.orig_filename.replace("\\", "/"), Path(info.filename).name or info.filename
    limit = settings.load().max_photo_bytes
    if path.startswith("/") or path[1:2] == ":" or ".." in path.split("/") or "\0" in path:
        return UserError("error.diagnose.outside", name=info.filename)
    if stat.S_ISLNK(info.external_attr >> 16):
        return UserError("error.diagnose.link", name=name)
    if info.flag_bits & 0x1:
        return UserError("error.diagnose.locked", name=name)
    if name.lower().endswith(ARCHIVES):
        return _nested(name)
    if info.compress_type not in METHODS:
        return UserError("error.diagnose.packing", name=name)
    if info.file_size > limit:
        return _large(name, limit)
    if info.file_size > max(SMALL, MAX_RATIO * info.compress_size):
        return UserError("error.diagnose.tight", name=name)
    return None


def _check_whole(infos: list[zipfile.ZipInfo], path: Path) -> None:
    """Raise UserError for too many members, and where these share their bytes, which is how small archives
    unpack to huge ones.
    """
    if len(infos) > MAX_MEMBERS:
        raise UserError("error.diagnose.many_files", name=path.name, most=MAX_MEMBERS)
    if sum(info.compress_size for info in infos) > path.stat().st_size:
        raise UserError("error.diagnose.holds_less", name=path.name)


def _check_list(file: BinaryIO, path: Path) -> None:
    """Raise UserError where the list of members is too long to be read, which zipfile does at once and in
    memory.
    """
    size = file.seek(0, 2)
    start = max(0, size - LONGEST_COMMENT - END[1] - LOCATOR[1])
    file.seek(start)
    tail = file.read()
    # zipfile takes the one that ends the file, else the last one: so that none is overlooked, both are.
    ends = {
        end for end in (tail.rfind(END[0]), len(tail) - END[1]) if end >= 0 and tail[end:].startswith(END[0])
    }
    if not ends:
        raise zipfile.BadZipFile
    if max(_list_bytes(file, tail, end, start) for end in ends) > MAX_LIST_BYTES:
        raise UserError("error.diagnose.long_list", name=path.name)


def _list_bytes(file: BinaryIO, tail: bytes, end: int, start: int) -> int:
    """How long the list of members says that it is. tail: the end of the file, which begins at start. end:
    where the record stands in it.
    """
    length = int.from_bytes(tail[end + 12 : end + 16], "little")
    locator = tail[max(0, end - LOCATOR[1]) : end]
    if not locator.startswith(LOCATOR[0]):
        return length
    lengths = [length] if length < 2**32 - 1 else []
    # Right before the locator, or where that says: versions of zipfile differ in which they read.
    for place in (start + end - LOCATOR[1] - END_64[1], int.from_bytes(locator[8:16], "little")):
        file.seek(min(max(0, place), start + end))
        record = file.read(END_64[1])
        if record.startswith(END_64[0]):
            lengths.append(int.from_bytes(record[40:48], "little"))
    return max(lengths, default=0)
