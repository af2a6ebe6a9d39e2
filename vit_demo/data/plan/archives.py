"""Zip and tar files that a stranger packed: read one member after the other, never more than a piece in
memory.

Nothing in an archive decides where anything is written: :meth:`Archive.members` gives names and bytes, the
caller stores them under names of its own. An archive made to do harm (names outside it, links, devices,
bombs, archives in archives) is refused as a whole, by what its list says and again by what really comes out.
"""

from __future__ import annotations

import bz2
import contextlib
import functools
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Protocol, cast

from vit_demo.common.errors import UserError
from vit_demo.data.plan.file_names import readable

MAX_MEMBERS = 200_000
MAX_TOTAL_BYTES = 20 * 2**30
# Photos are packed already: unpacked they are hardly larger. What grows more than this is no photo, unless it
# is small.
MAX_RATIO, SMALL = 100, 8 * 2**20
# A list of members is read at once: of this length it takes about half a GB. Nothing else that is read at
# once comes near it.
MAX_READ = 40 * 2**20
# The same for the names of one member of a tar.
MAX_HEADER = 2**21
# An .xz file names how much memory it wants; the strongest usual setting takes 65 MB.
MAX_XZ_MEMORY = 256 * 2**20
# Of the bzip2, LZMA and newer ones inside a zip, some want any amount of memory before the first byte.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
NESTED = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".tbz", ".tbz2", ".xz", ".txz", ".zst")
ZIP_ENDINGS = (".zip",)
TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tbz2", ".tar.xz", ".txz")
ENDINGS = ZIP_ENDINGS + TAR_ENDINGS
PIECE = 2**20
BAD = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OSError,
)


@dataclass(frozen=True)
class Member:
    """One file in an archive. parts: its path, as it can be read. size: bytes, as the list says. at: bytes of
    the archive that are behind us.
    """

    parts: tuple[str, ...]
    size: int
    at: int
    _pieces: Callable[[], Iterator[bytes]]

    @property
    def name(self) -> str:
        return "/".join(self.parts)

    def pieces(self) -> Iterator[bytes]:
        """Its content. To be read before the next member is asked for. UserError where it is damaged or more
        than it said.
        """
        return self._pieces()


@dataclass(frozen=True)
class Archive:
    """members: one after the other, once. count: how many there are, 0 where only the end will tell. size:
    bytes of the archive.
    """

    members: Iterator[Member]
    count: int
    size: int


class Damaged(UserError):
    """One member cannot be read; the others may."""


def is_archive(path: Path) -> bool:
    """Whether a file is called as an archive that can be read here."""
    return path.name.lower().endswith(ENDINGS)


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open a zip or tar file. Raises UserError where it is none, damaged or made to do harm: of a tar only
    while its members are read.
    """
    shown = path.name
    try:
        file = path.open("rb")  # noqa: SIM115 (closed below; what the caller raises must not be taken for our own)
    except FileNotFoundError:
        raise UserError("error.data.no_file", path=str(path)) from None
    except OSError as error:
        raise UserError("error.data.archive_unreadable", archive=shown, error=error.strerror) from None
    with file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        if shown.lower().endswith(ZIP_ENDINGS):
            packed, files = _zip_list(file, size, shown)
            yield Archive(_zip_members(packed, files), len(files), size)
        else:
            yield Archive(_tar_members(file, shown), 0, size)


def _zip_list(
    file: BinaryIO, size: int, shown: str
) -> tuple[zipfile.ZipFile, list[tuple[zipfile.ZipInfo, tuple[str, ...]]]]:
    """The files of a zip with their paths; all of what its list says is checked before anything is
    unpacked.
    """
    try:
        packed = zipfile.ZipFile(_Bounded(file, shown))
    except BAD:
        raise UserError("error.data.no_zip", archive=shown) from None
    infos = packed.infolist()
    _check_count(len(infos), shown)
    if sum(info.compress_size for info in infos) > size:
        # Members that share their bytes: so small archives unpack to huge ones.
        raise UserError("error.data.holds_less", archive=shown)
    _check_total(sum(info.file_size for info in infos), shown)
    files = [(info, _parts(_zip_name(info), shown)) for info in infos if not info.is_dir()]
    for info, parts in files:
        _check_zip_member(info, parts, shown)
    return packed, files


def _zip_members(
    packed: zipfile.ZipFile, files: list[tuple[zipfile.ZipInfo, tuple[str, ...]]]
) -> Iterator[Member]:
    behind = 0
    for info, parts in files:
        yield Member(parts, info.file_size, behind, functools.partial(_unzip, packed, info, parts[-1]))
        behind += info.compress_size


def _check_zip_member(info: zipfile.ZipInfo, parts: tuple[str, ...], shown: str) -> None:
    name, kind = parts[-1], stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise UserError("error.data.link_inside", archive=shown, name=name)
    if info.flag_bits & 0x1:
        raise UserError("error.data.password", archive=shown)
    _check_nested(name, shown)
    if info.file_size > max(SMALL, MAX_RATIO * info.compress_size):
        raise _bomb(shown)


def _unzip(packed: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Iterator[bytes]:
    if info.compress_type not in METHODS:
        raise Damaged("error.data.packing", name=name)
    try:
        with packed.open(info) as content:
            while piece := content.read(PIECE):
                yield piece
    except BAD:
        raise Damaged("error.data.member_damaged", name=name) from None


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Some packers write UTF-8 and do not say so: then it was read as the letters of an old PC."""
    name = info.orig_filename
    if not info.flag_bits & 0x800:
        with contextlib.suppress(UnicodeError):
            return name.encode("cp437").decode()
    return name


def _tar_members(file: BinaryIO, shown: str) -> Iterator[Member]:
    unpacked = _unpacker(file)
    stream = _Forward(unpacked, file, shown)
    try:
        # It only reads: what else a file can do is not asked for.
        tar = tarfile.open(  # noqa: SIM115 (it holds no file)
            fileobj=cast("BinaryIO", stream), mode="r:", encoding="utf-8", errors="surrogateescape"
        )
    except UserError:
        raise
    except (*BAD, RecursionError):
        raise UserError("error.data.no_tar", archive=shown) from None
    count = 0
    while info := _next(tar, shown):
        tar.members.clear()  # type: ignore[attr-defined]  # else all are kept; typeshed lacks it
        count += 1
        _check_count(count, shown)
        if info.isdir():
            continue
        parts = _parts(_utf8(info.name), shown)
        if not info.isreg() or info.issparse():
            raise UserError("error.data.link_inside", archive=shown, name=parts[-1])
        _check_nested(parts[-1], shown)
        _check_total(info.size, shown)
        yield Member(parts, info.size, stream.packed.tell(), functools.partial(_untar, tar, info, shown))
    # To tarfile anything that is no header is the end; a whole archive ends with zeros, or with its last
    # member.
    if stream.last.strip(b"\0"):
        raise _damaged(shown)


def _next(tar: tarfile.TarFile, shown: str) -> tarfile.TarInfo | None:
    try:
        return tar.next()
    except UserError:
        raise
    except (*BAD, RecursionError):
        raise _damaged(shown) from None


def _untar(tar: tarfile.TarFile, info: tarfile.TarInfo, shown: str) -> Iterator[bytes]:
    try:
        with cast("IO[bytes]", tar.extractfile(info)) as content:  # none only of what is no file
            while piece := content.read(PIECE):
                yield piece
    except UserError:
        raise
    except BAD:
        raise _damaged(shown) from None


def _damaged(shown: str) -> UserError:
    return UserError("error.data.archive_damaged", archive=shown)


def _utf8(name: str) -> str:
    """A name whose bytes are no UTF-8 is read as Latin letters, which at least is readable."""
    raw = name.encode("utf-8", "surrogateescape")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _unpacker(file: BinaryIO) -> _Reader:
    """The tar inside, by the first bytes and not by the ending."""
    head = file.read(6)
    file.seek(0)
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)
    if head.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if head == b"\xfd7zXZ\x00":
        return _Xz(file)
    return file


def _parts(name: str, shown: str) -> tuple[str, ...]:
    """A path in its parts; UserError where it names a place outside the archive."""
    path = name.replace("\\", "/")
    parts = tuple(readable(part) for part in path.split("/") if part not in ("", "."))
    if path.startswith("/") or path[1:2] == ":" or ".." in parts or "\0" in path or not parts:
        raise UserError("error.data.outside_archive", archive=shown, name=readable(name)[-80:])
    return parts


def _check_nested(name: str, shown: str) -> None:
    if name.lower().endswith(NESTED):
        raise UserError("error.data.nested", archive=shown, name=name[-80:])


def _check_count(count: int, shown: str) -> None:
    if count > MAX_MEMBERS:
        raise UserError("error.data.members", archive=shown, most=MAX_MEMBERS)


def _check_total(total: int, shown: str) -> None:
    if total > MAX_TOTAL_BYTES:
        raise UserError("error.data.unpacked", archive=shown, most=MAX_TOTAL_BYTES // 2**30)


def _bomb(shown: str) -> UserError:
    return UserError("error.data.bomb", archive=shown)


class _Bounded:
    """A file of which nobody can read more than MAX_READ at once, whatever length the file itself names."""

    def __init__(self, file: BinaryIO, shown: str):
        self._file, self._shown = file, shown
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if size > MAX_READ:
            raise UserError("error.data.list_too_long", archive=self._shown)
        return self._file.read(MAX_READ if size < 0 else size)


class _Reader(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Forward:
    """What tarfile reads from: only forwards, nothing large at once, no more than honest packing
    can hold. packed: the archive's own file. last: what was read last."""

    def __init__(self, file: _Reader, packed: BinaryIO, shown: str):
        self.packed = packed
        self._file, self._shown, self._at = file, shown, 0
        self.last = b""

    def read(self, size: int) -> bytes:
        if size > MAX_HEADER:
            raise UserError("error.data.header", archive=self._shown)
        piece = self.last = self._file.read(size)
        self._at += len(piece)
        _check_total(self._at, self._shown)
        if self._at > SMALL + MAX_RATIO * self.packed.tell():
            raise _bomb(self._shown)
        return piece

    def tell(self) -> int:
        return self._at

    def seek(self, place: int) -> int:
        if place < self._at:
            raise tarfile.ReadError
        while self._at < place and self.read(min(PIECE, place - self._at)):
            pass
        return self._at


class _Xz(io.RawIOBase):
    """Like lzma.LZMAFile, with a limit to the memory that the file can ask for."""

    def __init__(self, file: BinaryIO):
        self._file, self._decoder = file, self._new()

    @staticmethod
    def _new() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_XZ_MEMORY)

    def read(self, size: int = -1) -> bytes:
        pieces, wanted = [], size
        while wanted > 0 and (piece := self._some(wanted)):
            pieces.append(piece)
            wanted -= len(piece)
        return b"".join(pieces)

    def _some(self, most: int) -> bytes:
        while True:
            if self._decoder.eof:  # several streams may follow each other, with zeros between them
                rest = (self._decoder.unused_data or self._file.read(io.DEFAULT_BUFFER_SIZE)).lstrip(b"\0")
                if not rest:
                    return b""
                self._decoder = self._new()
                piece = self._decoder.decompress(rest, most)
            else:
                packed = self._file.read(io.DEFAULT_BUFFER_SIZE) if self._decoder.needs_input else b""
                if self._decoder.needs_input and not packed:
                    raise EOFError
                piece = self._decoder.decompress(packed, most)
            if piece:
                return piece
