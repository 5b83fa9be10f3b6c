"""Read contact lists: a CSV file becomes contacts and problems.

Takes files, answers with a ContactList; nothing is sent or stored here. A row is kept, repaired (and
said so) or rejected with its line, column and a suggestion; every row ends as exactly one of kept and
rejected, so nobody can vanish. Raises ContactsError only when a file as a whole is unreadable.
Known limits: CSV only, UTF-8 unless told otherwise.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

from outreach import address, languages
from outreach.errors import ContactsError
from outreach.model import CONTACT_COLUMNS, LETTER_VARIABLES, Contact, name_part

_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}
_HEADER_NAMES = {
    "e_mail": "email",
    "mail": "email",
    "email_address": "email",
    "organization": "organisation",
    "org": "organisation",
    "lang": "language",
}
_GENDERS = {
    **dict.fromkeys(("f", "female", "woman", "w", "ms", "mrs"), "f"),
    **dict.fromkeys(("m", "male", "man", "mr"), "m"),
    **dict.fromkeys(("organisation", "organization", "org", "o"), "organisation"),
    **dict.fromkeys(("group", "g"), "group"),
    **dict.fromkeys(("unknown", "", "?", "-", "x", "d", "nb"), ""),
}
_MARK = "\udcff"  # stands for what does not decode; no text can hold it
codecs.register_error("outreach.mark", lambda error: (_MARK, getattr(error, "end", 0)))
# What other files begin with, so that an image is called an image.
_MAGIC = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "an Excel, OpenDocument or ZIP file",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file",
    b"{": "a JSON file",
    b"[": "a JSON file",
    b"<": "an HTML or XML file",
}


@dataclass(frozen=True, slots=True)
class RowProblem:
    """What is wrong in one row, and what became of it: rejected, repaired or warning."""

    file: str
    line: int
    column: str
    value: str
    severity: str
    problem: str
    suggestion: str = ""

    def __str__(self) -> str:
        value = f" {self.value!r}" if self.value else ""
        hint = f" → {self.suggestion}" if self.suggestion else ""
        return f"{self.file}:{self.line}: {self.severity}: {self.column}{value}: {self.problem}{hint}"


@dataclass(slots=True)
class ContactList:
    """One or several lists, read."""

    file: str
    format: str = "csv"
    encoding: str = "utf-8"
    delimiter: str = ","
    rows: int = 0
    contacts: list[Contact] = field(default_factory=list)
    problems: list[RowProblem] = field(default_factory=list)
    columns: tuple[str, ...] = ()

    def count(self, severity: str) -> int:
        """Return in how many rows there is a problem of this severity."""
        return len({(p.file, p.line) for p in self.problems if p.severity == severity})

    @property
    def rejected(self) -> list[RowProblem]:
        """The problems that cost a row its letter."""
        return [problem for problem in self.problems if problem.severity == "rejected"]


def read(paths: Sequence[Path], encoding: str | None = None) -> ContactList:
    """Read one or several lists into one; an address is kept once, where it stands first.

    Raises ContactsError when a file is missing, no text, no CSV or without an address column.
    """
    merged = ContactList(file=", ".join(str(path) for path in paths))
    seen: dict[str, Contact] = {}
    for path in paths:
        one = _read_file(path, encoding, seen)
        merged.encoding, merged.delimiter = one.encoding, one.delimiter
        merged.rows += one.rows
        merged.contacts += one.contacts
        merged.problems += one.problems
        merged.columns = tuple(dict.fromkeys(merged.columns + one.columns))
    extra = [name for name in merged.columns if name not in CONTACT_COLUMNS]
    if len(paths) > 1:  # a field of one list is empty in the other, not missing
        merged.contacts = [
            replace(c, fields={name: c.fields.get(name, "") for name in extra}) for c in merged.contacts
        ]
    return merged


def _read_file(path: Path, encoding: str | None, seen: dict[str, Contact]) -> ContactList:
    name = str(path)
    try:
        with path.open("rb") as raw:
            start = raw.read(4096)
    except FileNotFoundError:
        raise ContactsError(
            f"there is no contact list {name}",
            "name it with --contacts FILE, or make one with `outreach init`",
        ) from None
    except OSError as error:
        raise ContactsError(f"{name} cannot be read: {error.strerror}") from None
    encoding = _encoding(name, start, encoding)
    result = ContactList(file=name, encoding=encoding.replace("utf-8-sig", "utf-8"))
    try:
        with path.open(encoding=encoding, newline="") as text:
            _read_rows(text, result, seen)
    except UnicodeError:
        raise ContactsError(
            f"{name}:{_line_of(path, encoding)}: is not {result.encoding.upper()}",
            "save it as CSV (UTF-8); `outreach contacts check FILE --encoding cp1251` shows how it reads",
        ) from None
    except OSError as error:
        raise ContactsError(f"{name} cannot be read: {error.strerror}") from None
    return result


def _encoding(name: str, start: bytes, given: str | None) -> str:
    if given:
        try:
            "".encode(given)
        except (LookupError, UnicodeError):
            raise ContactsError(
                f"there is no encoding {given!r}", "known ones: utf-8, cp1251, cp1252, utf-16"
            ) from None
        return "utf-8-sig" if given.lower().replace("_", "-") in ("utf-8", "utf8") else given
    for magic, what in _MAGIC.items():
        if start.lstrip(b"\xef\xbb\xbf \r\n").startswith(magic):
            raise ContactsError(f"{name} is {what}, not a contact list", "save the table as CSV (UTF-8)")
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if b"\0" in start:
        raise ContactsError(f"{name} is a binary file, not a contact list", "save the table as CSV (UTF-8)")
    return "utf-8-sig"


def _line_of(path: Path, encoding: str) -> int:
    """Find the first line that does not decode; the decoder itself only knows its chunk."""
    try:
        with path.open(encoding=encoding, errors="outreach.mark", newline="") as text:
            return next((number for number, line in enumerate(text, 1) if _MARK in line), 1)
    except UnicodeError:
        return 1


def _read_rows(text: TextIO, result: ContactList, seen: dict[str, Contact]) -> None:
    head = text.readline()
    while head and not head.strip(" \t\r\n,;"):
        head = text.readline()
    text.seek(0)
    result.delimiter = max(_DELIMITERS, key=lambda d: (_has_email(head, d), head.count(d)))
    records = _records(text, result.file, result.delimiter)
    header_line, header = next(records, (1, []))
    if not any(cell.strip(" \t,;") for cell in header):
        raise ContactsError(
            f"{result.file} is empty", f"its first line must name the columns: {','.join(CONTACT_COLUMNS)}"
        )
    columns = _columns(result.file, header_line, header)
    result.columns = tuple(columns)
    taken = [name for name in columns if name in LETTER_VARIABLES[len(CONTACT_COLUMNS) :]]
    for name in taken:
        if name != "salutation":
            result.problems.append(
                RowProblem(
                    result.file,
                    header_line,
                    name,
                    "",
                    "warning",
                    "the program sets this itself; column unused",
                )
            )
    result.problems += _misspelt(result.file, header_line, columns)
    for line, row in records:
        result.rows += 1
        contact = _Row(result, line, columns).read(row)
        if contact is None:
            continue
        key = address.key(contact.email)
        if first := seen.get(key):
            where = f"line {first.line}" if first.file == result.file else f"{first.file}:{first.line}"
            result.problems.append(
                RowProblem(
                    result.file,
                    line,
                    "email",
                    contact.email,
                    "rejected",
                    f"same address as {where}; kept once",
                )
            )
            continue
        seen[key] = contact
        result.contacts.append(contact)


def _records(text: TextIO, file: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line where the record starts, cells), without empty rows.

    Strict: a quote that never closes would swallow every row behind it in silence.
    """
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    line = 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise ContactsError(
            f"{file}:{line}: is no readable CSV: {error}",
            'check the double quotes of this row: one is not closed, or stands inside a value (write "")',
        ) from None


def _has_email(head: str, delimiter: str) -> bool:
    try:
        row = next(csv.reader([head], delimiter=delimiter), [])
    except csv.Error:
        return False
    return "email" in [_column_name(cell) for cell in row]


def _column_name(cell: str) -> str:
    name = re.sub(r"\W+", "_", unicodedata.normalize("NFC", cell).strip().lower()).strip("_")
    return _HEADER_NAMES.get(name, name)


def _columns(file: str, line: int, header: list[str]) -> list[str]:
    names = [_column_name(cell) or f"column_{n}" for n, cell in enumerate(header, 1)]
    if "email" not in names:
        shown = ", ".join(cell.strip() for cell in header if cell.strip())[:200]
        raise ContactsError(
            f"{file}:{line}: no column is named email; found: {shown}",
            "the first line must name the columns",
        )
    for n, name in enumerate(names):
        if name in names[:n]:
            raise ContactsError(f"{file}:{line}: two columns are named {name}", "rename one of them")
    return names


def _misspelt(file: str, line: int, columns: list[str]) -> Iterator[RowProblem]:
    """Yield columns that look like a missing one of the program's: `audiance` would switch off the asks."""
    known = [*CONTACT_COLUMNS, "salutation"]
    for name in columns:
        near = difflib.get_close_matches(name, known, 1, cutoff=0.8)
        if name not in (*known, *LETTER_VARIABLES) and near and near[0] not in columns:
            problem = f"a column of this list's own; is {near[0]} meant?"
            yield RowProblem(file, line, name, "", "warning", problem, f"write {near[0]} in the header")


class _Row:
    """One row on its way to a contact; collects what was wrong with it."""

    def __init__(self, result: ContactList, line: int, columns: list[str]) -> None:
        self.result, self.line, self.columns = result, line, columns

    def say(self, severity: str, column: str, value: str, problem: str, suggestion: str = "") -> None:
        self.result.problems.append(
            RowProblem(self.result.file, self.line, column, value[:200], severity, problem, suggestion)
        )

    def read(self, row: list[str]) -> Contact | None:
        extra = [cell for cell in row[len(self.columns) :] if cell.strip()]
        if extra:
            self.say(
                "rejected",
                f"column {len(self.columns) + 1}",
                extra[0],
                f"the row has {len(row)} cells, the header {len(self.columns)}",
                f'put a value that holds "{self.result.delimiter}" in double quotes',
            )
            return None
        if len(row) < len(self.columns):
            self.say("warning", self.columns[len(row)], "", "the row ends early; the missing cells are empty")
        cells = {
            name: self.clean(name, row[n] if n < len(row) else "") for n, name in enumerate(self.columns)
        }
        mails = self.addresses(cells["email"])
        if not mails:
            return None
        standard = {name: cells.get(name, "") for name in CONTACT_COLUMNS}
        standard["email"] = mails[0]
        standard["language"] = self.known("language", cells, languages.normalise_readers)
        standard["country"] = self.known("country", cells, languages.country_code)
        standard["gender"] = self.known("gender", cells, lambda text: _GENDERS.get(text.lower().rstrip(".")))
        standard["audience"] = "-".join(standard["audience"].lower().split())
        fields = {name: text for name, text in cells.items() if name not in CONTACT_COLUMNS}
        parts = (name_part(fields, "given"), name_part(fields, "family"))
        standard["name"] = standard["name"] or " ".join(part for part in parts if part)
        return Contact(
            **standard, fields=fields, alternates=tuple(mails[1:]), line=self.line, file=self.result.file
        )

    def clean(self, column: str, cell: str) -> str:
        text = unicodedata.normalize("NFC", cell).replace("\r\n", "\n").replace("\r", "\n")
        if column in CONTACT_COLUMNS:
            text = " ".join(text.split())
        kept = "".join(
            char for char in text if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cs")
        )
        kept = languages.without_controls(kept).strip()
        if len(kept) != len(text.strip()):
            self.say("repaired", column, "", "control characters were taken out")
        return kept

    def known(self, column: str, cells: dict[str, str], read: Callable[[str], str | None]) -> str:
        text = cells.get(column, "")
        if not text:
            return ""
        value = read(text)
        if value is None:
            self.say("warning", column, text, f"unknown {column}; treated as empty")
        return value or ""

    def addresses(self, cell: str) -> list[str]:
        if not cell:
            self.say("rejected", "email", "", "there is no address")
            return []
        good: list[str] = []
        wrong: list[tuple[str, str]] = []
        try:
            return [address.parse(cell)]
        except address.AddressError as error:
            whole = str(error)
        for part in address.split(cell):
            try:
                good.append(address.parse(part))
            except address.AddressError as error:
                wrong.append((part, str(error)))
        if not good:
            self.say("rejected", "email", cell, whole)
        elif wrong:
            self.say("repaired", "email", cell, f"unusable: {', '.join(w for w, _ in wrong)}; used {good[0]}")
        elif len(good) > 1:
            rest = ", ".join(good[1:])
            self.say("repaired", "email", cell, f"several addresses; {good[0]} gets the letter, kept: {rest}")
        else:
            self.say("repaired", "email", cell, f"used {good[0]}")
        return good


def as_json(people: ContactList) -> dict[str, object]:
    """Return the document of `contacts check --json`."""
    return {
        "file": people.file,
        "format": people.format,
        "encoding": people.encoding,
        "delimiter": people.delimiter,
        "rows": people.rows,
        "kept": len(people.contacts),
        "repaired": people.count("repaired"),
        "rejected": len(people.rejected),
        "contacts": [
            {"line": one.line, "email": one.email, "alternates": list(one.alternates)}
            | {name: getattr(one, name) for name in CONTACT_COLUMNS if name != "email"}
            | {"fields": dict(one.fields)}
            for one in people.contacts
        ],
        "problems": [
            {
                "line": one.line,
                "column": one.column,
                "value": one.value,
                "severity": one.severity,
                "problem": one.problem,
                "suggestion": one.suggestion,
            }
            for one in people.problems
        ],
    }
