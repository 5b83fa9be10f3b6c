"""Tables out of any file: CSV in any encoding, spreadsheets, JSON. Rows of text with their line, no meaning.

Takes a path, answers with tables whose rows are read as they are asked for. What a file is, its bytes say,
not its name. An encoding is known (byte-order mark, UTF-8), certain enough to be used and shown, or asked for
with samples of the possible readings. Raises TableError (sheets.py), also in the middle of a table. Refuses
the absurd early: endless lines and rows, a million rows. Known limit: JSON documents (not lines) are read as
a whole, in a child process.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from outreach import charsets, popolo, sheets
from outreach.sheets import TableError

DELIMITERS = (",", ";", "\t", "|")
MAX_ROWS = 300_000
_MAX_BYTES = 100_000_000  # of a text file
_MAX_LINE = 1_000_000  # bytes
_MAX_JSON = 32_000_000  # bytes; a text in memory takes up to four times that
_HEAD = 65_536  # bytes that are looked at first
_LOOK = 60  # rows by which the delimiter is found
_AS_CSV = "save the table as CSV (UTF-8)"
# What other files begin with, so that an image is called an image.
_MAGIC = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF document",
    b"\x1f\x8b": "a gzip file",
    b"7z\xbc\xaf": "a 7z file",
    b"Rar!": "a RAR file",
    b"{\\rtf": "an RTF document",
    b"SQLite format 3": "a database",
    b"BEGIN:VCARD": "a vCard file",
    b"<": "an HTML or XML file",
}

_SEP = re.compile(r"sep=([^\w\s\"]|\t)")  # the first line of a CSV that Excel is to read

_JSON = re.compile(r"\s*(\{|\[\s*(\{|\]))")

Record = tuple[int, list[str]]  # line (of a sheet: row), cells


@dataclass(slots=True)
class Table:
    """One table of a file."""

    name: str  # the file, and the sheet where there are several
    records: Iterator[Record]
    format: str = "csv"
    encoding: str = "utf-8"
    delimiter: str = ""
    hidden: bool = False  # a sheet that the program does not show: without its rows
    notes: list[tuple[int, str, str]] = field(default_factory=list)  # (line, what was found, what to do)


Score = Callable[[Sequence[str]], tuple[bool, int]]  # how much a row looks like a header


def read(path: Path, encoding: str | None, score: Score) -> Iterator[Table]:
    """Yield the tables of a file; each is to be read before the next. Raises TableError, OSError."""
    if not path.is_file():
        if path.is_dir():
            raise TableError("is a folder, not a contact list")
        if path.exists():
            raise TableError("is no file that can be read twice", "write it to a file first")
    with path.open("rb") as raw:
        start = raw.read(_HEAD)
        if start.startswith((b"PK\x03\x04", b"PK\x05\x06", b"\xd0\xcf\x11\xe0")):
            yield from _sheets(path, raw, start)
            return
        _refuse_others(start)
        charset = _check(raw, start, encoding)
        notes = []
        if charset is None:
            guess = charsets.guess(raw)
            charset = guess.name
            notes.append(
                (guess.line, f"read as {guess.name}, a guess: {guess.sample}", "--encoding names another")
            )
        shown = charset.removesuffix("-sig")
        head = _head(raw, charset)
        if _JSON.match(head):
            records = _json(raw, charset)
            delimiter, form = "", "json"
        else:
            delimiter, blank_after = _dialect(head, score)
            records = _csv(_text(raw, charset), delimiter, blank_after)
            form = "csv"
        yield Table(str(path), _decoded(records, raw, charset), form, shown, delimiter, notes=notes)


def _sheets(path: Path, raw: IO[bytes], start: bytes) -> Iterator[Table]:
    kind = "ods" if b"opendocument.spreadsheet" in start[:200] else "xlsx" if start[:2] == b"PK" else "xls"
    if b"opendocument" in start[:200] and kind != "ods":
        raise TableError("is no spreadsheet", "save the table as ODS, XLSX or CSV")
    several = itertools.groupby(sheets.read(path, raw), key=lambda row: row[0])
    for sheet, rows in several:
        first = next(rows)
        records = (
            (row, cells)
            for _, row, cells in itertools.chain((first,), rows)
            if any(cell.strip() for cell in cells)
        )
        yield Table(f"{path}[{sheet}]", records, kind, "", hidden=first[1] == 0)


def _refuse_others(start: bytes) -> None:
    for magic, what in _MAGIC.items():
        if start.lstrip(b"\xef\xbb\xbf \r\n").startswith(magic):
            raise TableError(f"is {what}, not a contact list", _AS_CSV)
    if b"\0" in start and not start.startswith((b"\xff\xfe", b"\xfe\xff")) and not charsets.utf_16(start):
        raise TableError("is a binary file, not a contact list", _AS_CSV)


def _check(raw: IO[bytes], start: bytes, given: str | None) -> str | None:
    """Go through the whole file once: refuse endless lines; return its encoding, None where it is unknown."""
    if given:
        name = charsets.named(given)
    elif start.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        name = "utf-32"
    elif start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        name = "utf-16"
    elif start.isascii() and (b"\x1b$B" in start or b"\x1b$@" in start):
        name = "iso2022_jp"
    else:
        name = charsets.utf_16(start) or "utf-8-sig"
    longest = (
        _MAX_JSON if start.lstrip(b"\xef\xbb\xbf\xff\xfe\0 \r\n\t").startswith((b"{", b"[")) else _MAX_LINE
    )
    decoder = None if given else codecs.getincrementaldecoder(name)()
    known: str | None = name
    size = line = 0
    raw.seek(0)
    while chunk := raw.read(1 << 20):
        size += len(chunk)
        first, last = _ends(chunk)
        if line + first > longest:
            raise TableError(
                f"has a line of over {longest // 1_000_000} MB: that is no contact list",
                "is it the right file? one row is one contact",
            )
        if size > _MAX_BYTES:
            raise TableError(f"is too large (over {_MAX_BYTES // 1_000_000} MB)", "split it")
        line = last if first < len(chunk) else line + len(chunk)
        if decoder and known:
            try:
                decoder.decode(chunk)
            except UnicodeError:
                known = None
    if decoder and known:
        try:
            decoder.decode(b"", final=True)
        except UnicodeError:
            known = None
    if known is None and name != "utf-8-sig":
        line = charsets.first_wrong(raw, name)
        raise TableError(
            f"is not {name.upper()}, as it says at its beginning", f"{_AS_CSV}, or name its --encoding", line
        )
    return known


def _ends(chunk: bytes) -> tuple[int, int]:
    """Return how many bytes stand before the first line end, and how many after the last."""
    found = [at for at in (chunk.find(b"\n"), chunk.find(b"\r")) if at >= 0]
    if not found:
        return len(chunk), len(chunk)
    return min(found), len(chunk) - 1 - max(chunk.rfind(b"\n"), chunk.rfind(b"\r"))


def _text(raw: IO[bytes], charset: str) -> io.TextIOWrapper:
    """Return the file as text from its beginning; several may be made, one after the other is used."""
    raw.seek(0)
    return io.TextIOWrapper(io.BufferedReader(_Kept(raw)), encoding=charset, newline="")


class _Kept(io.RawIOBase):
    """A file that stays open when a text reader above it is thrown away."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._raw.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _head(raw: IO[bytes], charset: str) -> str:
    """Return the beginning as far as it can be read, to find out what it is."""
    raw.seek(0)
    with contextlib.suppress(UnicodeError):
        return raw.read(_HEAD).decode(charset, "replace").removeprefix("\ufeff")
    return ""


def _decoded(records: Iterator[Record], raw: IO[bytes], charset: str) -> Iterator[Record]:
    """Turn what does not decode into a TableError with its line."""
    try:
        yield from records
    except UnicodeError:
        raise charsets.undecodable(raw, charset) from None


# CSV -----------------------------------------------------------------------------------------------


def _dialect(head: str, score: Score) -> tuple[str, bool]:
    """Return what separates the cells, by which the first rows make sense, and whether a blank follows it."""
    lines = head.splitlines(keepends=True)[:200]

    def rows(delimiter: str) -> tuple[list[list[str]], bool]:
        """Return the first rows, and whether the quotes fit; the last one may be cut off."""
        found: list[list[str]] = []
        try:
            for cells in itertools.islice(csv.reader(lines, delimiter=delimiter, strict=True), _LOOK):
                if any(cell.strip() for cell in cells):
                    found.append(cells)
        except csv.Error as error:
            return found, "expected after" not in str(error)
        return found, True

    def judge(delimiter: str) -> tuple[bool, bool, int, int, int]:
        first, fits = rows(delimiter)
        widths = [len(cells) for cells in first]
        # `E-Mail;Adresse` would be one header, were it not two.
        heads = [row if len(row) > 1 or not set(DELIMITERS) & set(row[0]) else [] for row in first[:10]]
        has_email, known, at = max(((*score(row), -n) for n, row in enumerate(heads)), default=(False, 0, 0))
        if has_email:  # of one column too: its cells may hold several addresses
            usual = widths[-at]
            return True, fits, known, sum(width == usual for width in widths[-at:]), usual
        usual = max(set(widths), key=widths.count, default=0)
        even = sum(width == usual for width in widths) if usual > 1 else 0
        return False, fits, known, even, usual if even else 0

    found = _SEP.match(lines[0] if lines else "")
    delimiter = found[1] if found else max(DELIMITERS, key=judge)
    first = next((cells for cells in rows(delimiter)[0] if len(cells) > 1), [])
    return delimiter, bool(first) and all(cell.startswith(" ") for cell in first[1:])


def _csv(text: io.TextIOWrapper, delimiter: str, blank_after: bool) -> Iterator[Record]:
    """Yield (line where the row starts, cells), without empty rows.

    Strict: a quote that never closes would swallow every row behind it in silence.
    """
    line, size = 1, 0  # where the row at hand starts, and how many characters of it were read

    def lines() -> Iterator[str]:
        nonlocal size
        for one in text:
            size += len(one)
            if size > sheets.MAX_ROW:
                raise csv.Error(f"a row of over {sheets.MAX_ROW:,} characters")
            yield one

    reader = csv.reader(lines(), delimiter=delimiter, strict=True, skipinitialspace=blank_after)
    try:
        for number, cells in enumerate(reader):
            size = 0
            if number > MAX_ROWS:
                raise TableError(f"has over {MAX_ROWS:,} rows", "split it")
            if len(cells) > sheets.MAX_CELLS:
                sheets.refuse_row(line, cells)
            if number == 0 and cells:
                cells[0] = cells[0].removeprefix("\ufeff")
            is_text = any(cell and not cell.isspace() for cell in cells)
            if is_text and not (number == 0 and cells[0].startswith("sep=")):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        words = str(error).replace("field larger than field limit", "a cell of more characters than")
        words = words.replace("(131072)", f"{sheets.MAX_CELL:,}")
        raise TableError(
            f"is no readable CSV: {words}",
            'check the double quotes of this row: one is not closed, or stands inside a value (write "")',
            line,
        ) from None


# JSON ----------------------------------------------------------------------------------------------


def _json(raw: IO[bytes], charset: str) -> Iterator[Record]:
    """Yield the names of all fields as a header, then a row for each object."""
    try:
        if _is_lines(_text(raw, charset)):
            yield from popolo.rows(lambda: _json_lines(_text(raw, charset)))
        elif os.fstat(raw.fileno()).st_size > _MAX_JSON:
            raise TableError(
                f"is too large for one JSON document (over {_MAX_JSON // 1_000_000} MB)",
                "write it as JSON lines, one object a line",
            )
        else:
            yield from popolo.read(raw, charset)
    except (TableError, UnicodeError):
        raise
    except (ValueError, RecursionError) as error:
        raise popolo.refused(error) from None


def _is_lines(text: io.TextIOWrapper) -> bool:
    """Tell whether the first line is a JSON object of its own, and another one follows or nothing."""
    lines = iter(lambda: text.readline(_MAX_LINE + 1), "")
    line = next((line for line in lines if line.strip("\ufeff \t\r\n")), "").lstrip("\ufeff").rstrip()
    if len(line) > _MAX_LINE or not line.startswith("{") or not line.endswith("}"):
        return False
    try:
        return "persons" not in json.loads(line)
    except ValueError:
        return False


def _json_lines(text: io.TextIOWrapper) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(iter(lambda: text.readline(_MAX_LINE + 1), ""), 1):
        if len(line) > _MAX_LINE:
            raise TableError("has a line of over 1 MB", "one object a line is one contact", number)
        if number > MAX_ROWS:
            raise TableError(f"has over {MAX_ROWS:,} rows", "split it")
        if not line.strip("\ufeff \t\r\n"):
            continue
        try:
            found = list(popolo.objects(line.lstrip("\ufeff")))
        except json.JSONDecodeError as error:
            raise json.JSONDecodeError(error.msg, "\n" * (number - 1), number - 1) from None
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        yield from ((number, one) for _, one in found)
