"""In which encoding a table was written, where it does not say so."""

from __future__ import annotations

import codecs
import re

from charset_normalizer import from_bytes

from vit_demo.common.errors import UserError

# What tables are saved in that are not Unicode: Chinese, Cyrillic, Western European. More would make short
# words be taken for each other; any other can be named.
OTHERS = ("gb18030", "cp1251")
WESTERN = "cp1252"
_HIGH = re.compile(rb"[\x80-\xff]")


def decode(content: bytes, encoding: str, shown: str) -> tuple[str, str]:
    """(text, the encoding where it had to be guessed, else ""). encoding: as it was named, "" where it was
    not.

    shown: what the table is called. Raises UserError for what is no text.
    """
    if encoding:
        return _named(content, encoding, shown), ""
    if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):  # Excel's "Unicode text"
        return _named(content, "utf-16", shown), ""
    if b"\0" in content:
        raise UserError("error.data.table_no_text", table=shown)
    try:
        return content.decode("utf-8-sig"), ""
    except UnicodeDecodeError:
        guessed = guess(content)
        return _named(content, guessed, shown), guessed


def guess(content: bytes) -> str:
    """The encoding of bytes that are not UTF-8.

    Looked at are only the cells that are not plain ASCII: among many paths of plain letters a few words tell
    nothing. Single letters among plain ones are Western; of whole words in other letters the library finds
    out which.
    """
    cells = [cell for cell in set(re.split(rb"[,;\t|\r\n\"]", content)) if _HIGH.search(cell)]
    if 2 * sum(len(_HIGH.findall(cell)) for cell in cells) < sum(map(len, cells)):
        return WESTERN
    if _is_chinese(cells):
        return OTHERS[0]
    best = from_bytes(b"\n".join(sorted(cells)), cp_isolation=list(OTHERS)).best()
    return best.encoding if best else WESTERN


def _is_chinese(cells: list[bytes]) -> bool:
    """Whether words are pairs of bytes that mostly begin as the common Chinese characters do (B0 to D7 in
    GB 2312). Small Cyrillic letters begin with E0; words of capitals alone lie within C0 and DF.

    Of a few short words the library cannot tell.
    """
    runs = [run for cell in cells for run in re.findall(rb"[\x80-\xff]+", cell)]
    first = [run[place] for run in runs for place in range(0, len(run), 2)]
    common = sum(0xB0 <= byte <= 0xD7 for byte in first)
    capitals = all(0xC0 <= byte <= 0xDF for run in runs for byte in run)
    return all(len(run) % 2 == 0 for run in runs) and 2 * common > len(first) and not capitals


def _named(content: bytes, encoding: str, shown: str) -> str:
    try:
        text = content.decode(encoding, errors="replace" if encoding == WESTERN else "strict")
    except LookupError:
        raise UserError("error.data.plan.no_encoding", encoding=encoding[:40]) from None
    except (UnicodeError, ValueError):
        raise UserError("error.data.plan.not_encoding", table=shown, encoding=encoding[:40]) from None
    return text.removeprefix("\ufeff")
