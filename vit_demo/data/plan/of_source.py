"""The plan of a folder or an archive as it lies on the disk now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from vit_demo.common.errors import UserError
from vit_demo.data.plan import archives, tables
from vit_demo.data.plan.corrections import Corrections
from vit_demo.data.plan.listing import Listing, Parts, list_folder
from vit_demo.data.plan.make import CLASSES_FILE, make_plan
from vit_demo.data.plan.plan import Plan

# So much of an archive's tables is held while the plan is made.
MOST_TABLES = 256 * 2**20


def plan_folder(
    folder: Path,
    corrections: Corrections,
    files: Sequence[Path] = (),
    check: Callable[[], None] = lambda: None,
) -> Plan:
    """What is understood of a folder. files: those tables or parquet files of it that are meant, () for all.
    check: called for each folder; raises where a person stopped it. Raises UserError where a table is broken.
    """

    def content(parts: Parts) -> bytes:
        return tables.content_of(folder.joinpath(*parts))

    listing = list_folder(folder, check)
    if files:
        meant = {file.relative_to(folder).parts for file in files}
        listing.tables = [parts for parts in listing.tables if parts in meant]
        listing.parquet = [parts for parts in listing.parquet if parts in meant]
        listing.others = listing.links = []
    plan = make_plan(listing, files[0].name if files else folder.resolve().name, corrections, content)
    if files and plan.kind == "folders":  # the table names no photo: what lies beside it is not meant
        tables.read_rows(files[0], corrections)
        raise UserError("error.data.plan.names_none", table=files[0].name)
    if files:
        plan.left_out = [one for one in plan.left_out if one.why != "data.left_out.not_in_table"]
    return plan


def plan_archive(archive: Path, corrections: Corrections, check: Callable[[], None] = lambda: None) -> Plan:
    """What is understood of an archive, of which only names and tables are read. Raises UserError where it is
    none, damaged or made to do harm.
    """
    listing, contents, size = Listing(), {}, 0
    with archives.open_archive(archive) as found:
        for member in found.members:
            check()
            listing.add(member.parts)
            if tables.is_table(Path(member.parts[-1])) or member.parts[-1] == CLASSES_FILE:
                contents[member.parts] = (
                    b"".join(member.pieces()) if size + member.size <= MOST_TABLES else b""
                )
                size += len(contents[member.parts])
    return make_plan(listing.sort(), archive.name, corrections, contents.__getitem__)
