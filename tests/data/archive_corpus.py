"""Archives as strangers pack them: good ones in each format, and those made to do harm. All are made here,
none is stored.
"""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

ZEROS = 10 * 2**30


def leaf(seed: int, ending: str = "JPEG", size: tuple[int, int] = (96, 72)) -> bytes:
    """A photo file of soft shapes, each seed its own."""
    noise = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8))
    out = io.BytesIO()
    noise.resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(1)).save(out, ending)
    return out.getvalue()


def leaves(
    count: int = 20, classes: tuple[str, ...] = ("healthy", "rust"), start: int = 0
) -> dict[str, bytes]:
    """{class/photo: content}, so many photos of each class."""
    return {
        f"{name}/{number:03}.jpg": leaf(start + 1000 * place + number)
        for place, name in enumerate(classes)
        for number in range(count)
    }


def pack_zip(
    file: Path, members: dict[str, bytes], change: Callable[[zipfile.ZipInfo], None] = lambda info: None
) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            change(info)
            out.writestr(info, content)
    return file


def pack_tar(
    file: Path, members: dict[str, bytes], change: Callable[[tarfile.TarInfo], None] = lambda info: None
) -> Path:
    kind = {".gz": "gz", ".tgz": "gz", ".bz2": "bz2", ".xz": "xz", ".txz": "xz"}.get(file.suffix, "")
    with tarfile.open(file, f"w:{kind}") as out:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            change(info)
            out.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return file


def _deflated_zeros(total: int) -> Iterator[bytes]:
    """A raw deflate stream of so many zeros, made in no time: one piece of it, repeated."""
    packer = zlib.compressobj(9, wbits=-15)
    head = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    packer = zlib.compressobj(9, wbits=-15)
    piece = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    yield head
    for _ in range(total // 2**20 - 1):
        yield piece
    yield zlib.compressobj(9, wbits=-15).flush()


def zip_of_zeros(file: Path, declared: int, name: str = "rust/leaf.jpg") -> Path:
    """A zip whose one member unpacks to 10 GB of zeros, whatever size it declares. Written by hand, as no
    packer would lie.
    """
    content = b"".join(_deflated_zeros(ZEROS))
    raw = name.encode()
    zip64 = declared >= 2**32
    size = 0xFFFFFFFF if zip64 else declared
    extra = struct.pack("<HHQ", 1, 8, declared) if zip64 else b""
    common = struct.pack("<HHHHHIIIHH", 45, 0, 8, 0, 0x21, 0, len(content), size, len(raw), len(extra))
    with file.open("wb") as out:
        out.write(b"PK\x03\x04" + common + raw + extra + content)
        start = out.tell()
        out.write(
            b"PK\x01\x02"
            + struct.pack("<H", 45)
            + common
            + struct.pack("<HHHII", 0, 0, 0, 0, 0)
            + raw
            + extra
        )
        length = out.tell() - start
        out.write(b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, length, start, 0))
    return file


def tar_of_zeros(file: Path, name: str = "rust/leaf.jpg") -> Path:
    """A tar.gz with one member of 10 GB of zeros."""
    info = tarfile.TarInfo(name)
    info.size = ZEROS
    header = info.tobuf(tarfile.GNU_FORMAT)
    packer = zlib.compressobj(9, wbits=-15)
    with file.open("wb") as out:
        out.write(
            b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
            + packer.compress(header)
            + packer.flush(zlib.Z_FULL_FLUSH)
        )
        for piece in _deflated_zeros(ZEROS):
            out.write(piece)
        out.write(struct.pack("<II", 0, (ZEROS + 512) % 2**32))
    return file


def tar_of_a_long_name(file: Path) -> Path:
    """A tar.gz whose first member names itself with 10 GB, which tarfile reads at once."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, ZEROS
    with gzip.open(file, "wb") as out:
        out.write(info.tobuf(tarfile.GNU_FORMAT) + bytes(2**20))
    return file


def zip_with_a_long_list(file: Path) -> Path:
    """A zip that says its list of members has 3 GB."""
    with file.open("wb") as out:
        out.write(b"PK\x03\x04")
        out.truncate(3 * 2**30 + 4)  # a hole: it takes no disk
        out.seek(0, io.SEEK_END)
        out.write(b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 65535, 65535, 3 * 2**30, 4, 0))
    return file


def locked_zip(file: Path) -> Path:
    """A zip whose members say that they are encrypted."""
    content = bytearray(pack_zip(file, leaves(2)).read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(mark)
        while at >= 0:
            content[at + place] |= 1
            at = content.find(mark, at + 4)
    file.write_bytes(content)
    return file


def overlapping_zip(file: Path) -> Path:
    """A zip whose list names one member's bytes a thousand times (Fifield 2019, "A better zip bomb", in its
    simplest form).
    """
    pack_zip(file, {"a/0.jpg": leaf(0)})
    content = file.read_bytes()
    start, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    entries = content[start:end] * 1000
    file.write_bytes(
        content[:start]
        + entries
        + b"PK\x05\x06"
        + struct.pack("<HHHHIIH", 0, 0, 1000, 1000, len(entries), start, 0)
    )
    return file


def _as(kind: bytes, target: str = "") -> Callable[[tarfile.TarInfo], None]:
    def change(info: tarfile.TarInfo) -> None:
        if info.name.startswith("bad"):
            info.type, info.linkname, info.size = kind, target, 0

    return change


def _as_link(info: zipfile.ZipInfo) -> None:
    if info.filename.startswith("bad"):
        info.create_system, info.external_attr = 3, 0o120777 << 16


def _with(name: str, content: bytes = b"x") -> dict[str, bytes]:
    """Good photos, and one member that is not: what comes before it must not stay either."""
    return {**leaves(12), name: content}


# name: (what makes it in a folder, what its refusal says)
HARMFUL: dict[str, tuple[Callable[[Path], Path], str]] = {
    "zip traversal": (
        lambda folder: pack_zip(folder / "a.zip", _with("rust/../../../evil.jpg")),
        "outside the archive",
    ),
    "zip windows traversal": (
        lambda folder: pack_zip(folder / "a.zip", _with("rust\\..\\..\\evil.jpg")),
        "outside the archive",
    ),
    "zip absolute": (
        lambda folder: pack_zip(folder / "a.zip", _with("/tmp/evil.jpg")),
        "outside the archive",
    ),
    "zip drive": (lambda folder: pack_zip(folder / "a.zip", _with("C:\\evil.jpg")), "outside the archive"),
    "zip link": (
        lambda folder: pack_zip(folder / "a.zip", _with("bad/link.jpg", b"/etc/passwd"), _as_link),
        "a link or a device",
    ),
    "zip in zip": (
        lambda folder: pack_zip(folder / "a.zip", _with("rust/more.zip")),
        "an archive inside the archive",
    ),
    "zip locked": (lambda folder: locked_zip(folder / "a.zip"), "locked with a password"),
    "zip of zeros": (lambda folder: zip_of_zeros(folder / "a.zip", ZEROS), "packed more tightly"),
    "zip with a long list": (lambda folder: zip_with_a_long_list(folder / "a.zip"), "too many files"),
    "zip that overlaps": (lambda folder: overlapping_zip(folder / "a.zip"), "less than it says"),
    "zip cut off": (lambda folder: _cut(pack_zip(folder / "a.zip", leaves(12)), 0.7), "not a zip file"),
    "text called zip": (
        lambda folder: _write(folder / "a.zip", b"dear sir or madam\n" * 100),
        "not a zip file",
    ),
    "tar traversal": (lambda folder: pack_tar(folder / "a.tar", _with("../evil.jpg")), "outside the archive"),
    "tar absolute": (
        lambda folder: pack_tar(folder / "a.tgz", _with("/tmp/evil.jpg")),
        "outside the archive",
    ),
    "tar link": (
        lambda folder: pack_tar(folder / "a.tar", _with("bad/link.jpg"), _as(tarfile.SYMTYPE, "/etc/passwd")),
        "a link or a device",
    ),
    "tar hard link": (
        lambda folder: pack_tar(folder / "a.tar", _with("bad/link.jpg"), _as(tarfile.LNKTYPE, "/etc/passwd")),
        "a link or a device",
    ),
    "tar device": (
        lambda folder: pack_tar(folder / "a.tar", _with("bad/device.jpg"), _as(tarfile.CHRTYPE)),
        "a link or a device",
    ),
    "tar pipe": (
        lambda folder: pack_tar(folder / "a.tar", _with("bad/pipe.jpg"), _as(tarfile.FIFOTYPE)),
        "a link or a device",
    ),
    "tar in tar": (
        lambda folder: pack_tar(folder / "a.tar.xz", _with("rust/more.tar.gz")),
        "an archive inside the archive",
    ),
    "tar of zeros": (lambda folder: tar_of_zeros(folder / "a.tar.gz"), "packed more tightly"),
    "tar of a long name": (lambda folder: tar_of_a_long_name(folder / "a.tgz"), "made to do harm"),
    "tar cut off": (lambda folder: _cut(pack_tar(folder / "a.tar.gz", leaves(12)), 0.7), "damaged"),
    "tar cut in a photo": (lambda folder: _cut(pack_tar(folder / "a.tar", leaves(12)), 0.503), "damaged"),
    "tar with a broken middle": (lambda folder: _scratch(pack_tar(folder / "a.tar", leaves(12))), "damaged"),
    "text called tar": (
        lambda folder: _write(folder / "a.tar", b"dear sir or madam\n" * 100),
        "not a tar file",
    ),
    "empty file called tar.gz": (lambda folder: _write(folder / "a.tar.gz", b""), "not a tar file"),
}


def _cut(file: Path, share: float) -> Path:
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    return file


def _scratch(file: Path) -> Path:
    """The head of one member in the middle is overwritten."""
    content = bytearray(file.read_bytes())
    at = content.index(b"rust/000.jpg")
    content[at : at + 512] = b"\xaa" * 512
    file.write_bytes(content)
    return file


def _write(file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    return file
