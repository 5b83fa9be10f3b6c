"""Write a list out again, repaired: CSV or XLSX by the suffix; and the rejected rows, to be mended.

Countries, languages and genders are written in their codes, the text in UTF-8, further addresses in a column
of their own; cleaning a clean list changes nothing. A cell that a spreadsheet would run as a formula is
disarmed, unless it is a number or a telephone number. Files are mode 600. Raises UsageError.
"""

from __future__ import annotations

import csv
import datetime
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from outreach import columns, private
from outreach.errors import UsageError
from outreach.lists import ContactList, Refused
from outreach.model import CONTACT_COLUMNS, NAME_PARTS, Contact, name_part

SUFFIXES = (".csv", ".xlsx")
_NUMBER = re.compile(r"[+-][\d\s()./-]+")
_MOST_ROWS, _MOST_CHARACTERS = 1_048_576, 32_767  # of an Excel sheet, of its cells
_MOST_CELLS, _MOST_TEXT = 1_000_000, 30_000_000  # of a workbook, which is made in memory


def refuse_names(source: Path, *targets: Path | None) -> None:
    """Refuse to write over the list itself, twice to one file, or a format that is not known."""
    there = [target for target in targets if target is not None]
    for target in there:
        if target.suffix.lower() not in SUFFIXES:
            raise UsageError(f"{target} has no suffix of a list", "use .csv or .xlsx")
        if target.exists() and source.exists() and target.samefile(source):
            raise UsageError(f"{target} is the list itself; it is never written over", "choose another name")
    if len({target.absolute() for target in there}) < len(there):
        raise UsageError("both would go to one file", "choose another name for --rejects")


def write(people: ContactList, target: Path) -> None:
    """Write the kept rows."""
    # Also empty, where a column of the list's own would be taken for it by who reads the clean list.
    claimed = {columns.field_of(name) for name in people.extra} & set(CONTACT_COLUMNS)
    used, named = {"email"} | claimed, "name" in claimed
    for one in _persons(people.contacts):
        used |= {name for name in CONTACT_COLUMNS if getattr(one, name)}
        used |= {"alternates"} if one.alternates else set()
        # A name that was found around an address has no column yet; one put together of its parts needs none.
        parts = (name_part(one.fields, "given"), name_part(one.fields, "family"))
        named = named or one.name != " ".join(filter(None, parts))
    names = [name for name in people.columns if name in used or name not in CONTACT_COLUMNS]
    names += [
        name for name in CONTACT_COLUMNS if name in used and name not in names and (name != "name" or named)
    ]
    names += _other_part(people, names)
    if "alternates" in used:
        names.insert(names.index("email") + 1, "alternates")
    _write(target, names, ([_cell(one, name) for name in names] for one in _persons(people.contacts)))


def _other_part(people: ContactList, names: Sequence[str]) -> list[str]:
    """Return the part of a name that a clean list needs as an empty column.

    Beside one part only, columns.py may take `name` for the other, by what most rows hold; and the rows that
    are left may not be like those that were there.
    """
    given, family = (next((one for one in NAME_PARTS[part] if one in names), "") for part in NAME_PARTS)
    if "name" not in names or bool(given) == bool(family):
        return []
    pairs = ((one.fields.get(given or family, ""), one.name) for one in _persons(people.contacts))
    doubtful = any(columns.fold(part) not in columns.fold(name) for part, name in pairs if part and name)
    return ["family_name" if given else "given_name"] if doubtful else []


def write_rejects(people: ContactList, target: Path) -> None:
    """Write the rejected rows as their file has them, each with line, cell and what is wrong."""
    heads: dict[tuple[str, int], str] = {}  # of several sheets, columns of one name are one
    for refused in people.refused:
        for key, name in _numbered(refused.header, len(refused.cells)):
            heads.setdefault(key, name)

    def row(one: Refused) -> list[str]:
        keys = (key for key, _ in _numbered(one.header, len(one.cells)))
        cells = dict(zip(keys, one.cells, strict=False))
        sheet = one.file.removesuffix("]").rpartition("[")[2] if one.file.endswith("]") else ""
        where = f"{sheet}!{one.cell}" if sheet else one.cell  # as spreadsheets write it
        return [*(cells.get(key, "") for key in heads), str(one.line), where, one.problem]

    _write(target, [*heads.values(), "line", "cell", "problem"], map(row, people.refused))


def _persons(contacts: Iterable[Contact]) -> Iterator[Contact]:
    for one in contacts:
        yield from one.people or (one,)


def _cell(one: Contact, name: str) -> str:
    if name == "alternates":
        return "; ".join(one.alternates)
    return str(getattr(one, name)) if name in CONTACT_COLUMNS else one.fields.get(name, "")


def _numbered(header: Sequence[str], width: int) -> list[tuple[tuple[str, int], str]]:
    """Return each column with what tells it from others of its name."""
    shown = [*header, *[""] * (width - len(header))]
    return [((name, shown[:n].count(name)), name or f"column_{n + 1}") for n, name in enumerate(shown)]


def _write(target: Path, names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    form = _xlsx if target.suffix.lower() == ".xlsx" else _csv
    private.write(target, form(names, rows))


def _csv(names: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[bytes]:
    out = io.StringIO()
    writer = csv.writer(out)
    yield b"\xef\xbb\xbf"
    for row in itertools.chain((names,), rows):  # one by one: the list may be long
        writer.writerow(map(_disarmed, row))
        yield out.getvalue().encode("utf-8", "replace")
        out.seek(0)
        out.truncate()


def _disarmed(cell: str) -> str:
    """Return a cell that no spreadsheet runs as a formula; contacts.py takes the mark off again."""
    if cell[:1] in ("=", "+", "-", "@", "\t", "\r") and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def _xlsx(names: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[bytes]:
    import xlsxwriter

    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, {"in_memory": True})
    # Neither the hour nor this machine is anybody's business; and the same list is the same file.
    book.set_properties({"created": datetime.datetime(2000, 1, 1)})
    sheet = book.add_worksheet("contacts")
    sheet.freeze_panes(1, 0)
    bold = book.add_format({"bold": True})
    for n, name in enumerate(names):
        sheet.write_string(0, n, name, bold)
        sheet.set_column(n, n, 30 if name in ("email", "problem") else 16)
    cells = text = 0
    for number, row in enumerate(rows, 1):
        cells += sum(map(bool, row))
        text += sum(map(len, row))
        much = number >= _MOST_ROWS or cells > _MOST_CELLS or text > _MOST_TEXT
        if much or any(len(cell) > _MOST_CHARACTERS for cell in row):
            raise UsageError("this is more than a spreadsheet can hold", "write it as .csv")
        for n, cell in enumerate(row):
            if cell:
                sheet.write_string(number, n, cell)
    book.close()
    yield out.getvalue()
